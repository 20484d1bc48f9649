/* What is counted of executed instructions; numbers and their order as LayerCounts.from_numbers in counter.py reads them. */
#ifndef TVM_TINY_TOTALS_H
#define TVM_TINY_TOTALS_H

#include <inttypes.h>
#include <stdio.h>

#include "issue.h"

struct totals {
  uint64_t instructions;
  uint64_t taken;      /* branches, those of LE apart */
  uint64_t words;      /* of multiple loads and stores */
  uint64_t pipelined;  /* loads behind a load or store */
  uint64_t load_uses;  /* loads whose value the next instruction takes */
  uint64_t pairs;      /* neighbours that could be issued together */
  uint64_t overlaps;   /* vector instructions behind one of another class */
  uint64_t code_waits; /* reads of flash that no cache had */
  uint64_t data_waits;
  uint64_t classes[CLASSES];
};

static inline void totals_add(struct totals* t, const struct totals* once, uint64_t times) {
  uint64_t* sums = (uint64_t*)t;
  const uint64_t* numbers = (const uint64_t*)once;
  for (size_t i = 0; i < sizeof *t / sizeof *sums; i++) sums[i] += times * numbers[i];
}

static inline void totals_print(const struct totals* t, FILE* out) {
  const uint64_t* numbers = (const uint64_t*)t;
  for (size_t i = 0; i < sizeof *t / sizeof *numbers; i++) fprintf(out, "%s%" PRIu64, i ? "," : "[", numbers[i]);
  fputs("]", out);
}

static inline bool is_vector(enum thumb_class c) { return c >= VECTOR && c <= VECTOR_MEMORY; }

/* Count instruction `i` of a block. `first_slot`: whether it could still be the first of a pair, in and out. */
static inline void totals_count(struct totals* t, const struct thumb* decoded, const struct operands* operands, size_t i,
                                bool* first_slot) {
  const enum thumb_class now = decoded[i].class;
  t->instructions++;
  t->words += decoded[i].words;
  t->classes[now]++;
  if (i == 0) {
    *first_slot = true;
    return;
  }
  const enum thumb_class before = decoded[i - 1].class;
  t->pipelined += now == LOAD && (before == LOAD || before == STORE);
  t->load_uses += before == LOAD && (operands[i - 1].writes & operands[i].reads) != 0;
  t->overlaps += is_vector(before) && is_vector(now) && before != now;
  *first_slot = !(*first_slot && issue_together(before, &operands[i - 1], now, &operands[i]));
  t->pairs += !*first_slot;
}

#endif
