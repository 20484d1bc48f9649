/* QEMU plugin: exact instruction counts between the entry and the return of one function, by layer and class.
 *
 * Arguments: entry=ADDRESS (of the function), exit=ADDRESS (it returns to), out=FILE, marks=FILE (lines "address layer":
 * an instruction there begins that layer; -1 is none), layers=N, and optionally allow=FIRST-END, more than once: stores
 * elsewhere are reported. flash=FIRST-END, read=BYTES, icache=BYTES and dcache=BYTES describe flash with wait states:
 * reads of instructions and of data that had to wait are counted. One line of JSON is written when the function returns;
 * numbers behind "layers" are those of struct totals.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "flash.h"
#include "qemu_plugin_api.h"
#include "totals.h"

enum { MAX_ALLOWED = 1024, MAX_BAD_STORES = 20, KEEP = -2 };

/* Instructions of a translated block between two marks: they always execute together. */
struct segment {
  int layer; /* that begins here; KEEP: the one before goes on */
  uint64_t pending;
  int pending_layer;
  struct totals once;
  struct segment* next;     /* in the same block */
  struct segment* next_all; /* of all, to collect what is pending */
};

struct block {
  uint64_t address, end;
  struct segment* segments;
  int64_t sp_lowest, sp_change; /* from the stack pointer at its begin */
  bool sp_lost;                 /* not known at its end, unless an access tells */
  bool loops;                   /* ends with LE */
};

/* A hooked access: what to add to its address to get the stack pointer at its lowest, and at the end of the block. */
struct anchor {
  int64_t to_lowest, to_end;
  bool lost_at_end;
};

struct mark {
  uint64_t address;
  int layer;
};

struct bad_store {
  uint64_t pc, address;
};

int qemu_plugin_version = 1;

static uint64_t entry_address, exit_address;
static FILE* out;
static struct mark* marks;
static size_t mark_count;
static int layer_count;
static struct {
  uint64_t first, end;
} allowed[MAX_ALLOWED];
static int allowed_count, last_allowed; /* the next store is mostly near the last one */

static uint64_t flash_first, flash_end;
static unsigned flash_read_bytes; /* 0: no wait states */
static struct cache code_cache, data_cache;

static struct segment* all_segments;
static struct totals* totals; /* [0]: no layer, [1 + i]: layer i */
static int layer = -1;
static bool active;
static uint64_t expected_address;
static bool looped;
static int64_t sp, lowest_sp;
static bool sp_known;
static const struct anchor* seen; /* in this block: storing several registers makes several accesses, the first counts */
static struct bad_store bad_stores[MAX_BAD_STORES];
static int bad_store_count;

static void* allocate(size_t size) {
  void* memory = calloc(1, size);
  if (!memory) abort();
  return memory;
}

static void collect(struct segment* s) {
  totals_add(&totals[1 + s->pending_layer], &s->once, s->pending);
  s->pending = 0;
}

static void start_run(void) {
  active = true;
  layer = -1;
  lowest_sp = INT64_MAX;
  sp_known = false;
  bad_store_count = 0;
  memset(totals, 0, sizeof *totals * (size_t)(1 + layer_count));
}

static void finish_run(void) {
  active = false;
  for (struct segment* s = all_segments; s; s = s->next_all) collect(s);
  fprintf(out, "{\"lowest_sp\":%" PRId64 ",\"layers\":[", lowest_sp == INT64_MAX ? -1 : lowest_sp);
  for (int i = 0; i <= layer_count; i++) {
    if (i) fputs(",", out);
    totals_print(&totals[i], out);
  }
  fputs("],\"bad_stores\":[", out);
  for (int i = 0; i < bad_store_count; i++)
    fprintf(out, "%s[%" PRIu64 ",%" PRIu64 "]", i ? "," : "", bad_stores[i].pc, bad_stores[i].address);
  fputs("]}\n", out);
  fflush(out);
}

static void on_block(unsigned vcpu, void* userdata) {
  const struct block* block = userdata;
  (void)vcpu;
  if (block->address == entry_address) {
    start_run();
    expected_address = entry_address;
  } else if (active && block->address == exit_address) {
    totals[1 + layer].taken++;
    finish_run();
  }
  if (!active) return;
  if (block->address != expected_address && !looped) totals[1 + layer].taken++;
  expected_address = block->end;
  looped = block->loops;
  seen = NULL;
  if (sp_known) {
    if (sp + block->sp_lowest < lowest_sp) lowest_sp = sp + block->sp_lowest;
    sp += block->sp_change;
    sp_known = !block->sp_lost;
  }
  for (struct segment* s = block->segments; s; s = s->next) {
    if (s->layer != KEEP) layer = s->layer;
    if (s->pending_layer != layer) {
      collect(s);
      s->pending_layer = layer;
    }
    s->pending++;
  }
  if (flash_read_bytes && block->address >= flash_first && block->end <= flash_end)
    for (uint64_t line = block->address / flash_read_bytes; line <= (block->end - 1) / flash_read_bytes; line++)
      totals[1 + layer].code_waits += cache_miss(&code_cache, line);
}

static void on_load(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t address, void* userdata) {
  (void)vcpu;
  (void)userdata;
  if (!active || address < flash_first || address >= flash_end || qemu_plugin_mem_is_store(info)) return;
  totals[1 + layer].data_waits += cache_miss(&data_cache, address / flash_read_bytes);
}

static void on_stack_access(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t address, void* userdata) {
  const struct anchor* anchor = userdata;
  (void)vcpu;
  (void)info;
  if (!active || seen == anchor) return;
  seen = anchor;
  sp = (int64_t)address + anchor->to_lowest;
  if (sp < lowest_sp) lowest_sp = sp;
  sp = (int64_t)address + anchor->to_end;
  sp_known = !anchor->lost_at_end;
}

static void on_store(unsigned vcpu, qemu_plugin_meminfo_t info, uint64_t address, void* userdata) {
  (void)vcpu;
  if (!active || !qemu_plugin_mem_is_store(info) || bad_store_count == MAX_BAD_STORES) return;
  const uint64_t end = address + (UINT64_C(1) << qemu_plugin_mem_size_shift(info));
  if (address >= allowed[last_allowed].first && end <= allowed[last_allowed].end) return;
  for (int i = 0; i < allowed_count; i++)
    if (address >= allowed[i].first && end <= allowed[i].end) {
      last_allowed = i;
      return;
    }
  bad_stores[bad_store_count++] = (struct bad_store){(uintptr_t)userdata, address};
}

static const struct mark* find_mark(uint64_t address) {
  for (size_t i = mark_count; i-- > 0;) /* a layer without code shares its address with the next one */
    if (marks[i].address == address) return &marks[i];
  return NULL;
}

static struct segment* new_segment(int first_layer) {
  struct segment* s = allocate(sizeof *s);
  s->layer = first_layer;
  s->pending_layer = -1;
  s->next_all = all_segments;
  all_segments = s;
  return s;
}

/* Within a stretch of instructions that move the stack pointer by known amounts, one access relative to it tells where
 * it was all along. Between blocks it is tracked, so only blocks that move it need such an access hooked. */
static void watch_stack(const struct qemu_plugin_tb* tb, struct block* block, const struct thumb* decoded, size_t count) {
  for (size_t first = 0; first <= count;) {
    size_t end = first, hooked = count;
    int64_t position = 0, lowest = 0, at_hooked = 0;
    bool moved = first > 0;
    for (; end < count && !decoded[end].sp_lost; end++) {
      position += decoded[end].sp_change;
      moved |= decoded[end].sp_change != 0;
      if (position < lowest) lowest = position;
      if (hooked == count && decoded[end].sp_access) {
        hooked = end;
        at_hooked = position;
      }
    }
    if (first == 0) {
      block->sp_lowest = lowest;
      block->sp_change = position;
      block->sp_lost = end < count;
    }
    if (moved && hooked < count) {
      const int64_t to_stack_pointer = -decoded[hooked].sp_offset;
      struct anchor* anchor = allocate(sizeof *anchor);
      anchor->to_lowest = to_stack_pointer + lowest - at_hooked;
      anchor->to_end = to_stack_pointer + position - at_hooked;
      anchor->lost_at_end = end < count;
      qemu_plugin_register_vcpu_mem_cb(qemu_plugin_tb_get_insn(tb, hooked), on_stack_access, QEMU_PLUGIN_CB_NO_REGS,
                                       QEMU_PLUGIN_MEM_RW, anchor);
    }
    first = end + 1;
  }
}

static void on_translation(qemu_plugin_id_t id, struct qemu_plugin_tb* tb) {
  const size_t count = qemu_plugin_tb_n_insns(tb);
  struct block* block = allocate(sizeof *block);
  struct thumb* decoded = allocate(count * sizeof *decoded);
  struct operands* operands = allocate(count * sizeof *operands);
  bool first_slot = true;
  struct segment** link = &block->segments;
  struct segment* segment = NULL;
  (void)id;
  block->address = block->end = qemu_plugin_tb_vaddr(tb);
  for (size_t i = 0; i < count; i++) {
    struct qemu_plugin_insn* insn = qemu_plugin_tb_get_insn(tb, i);
    const uint64_t address = qemu_plugin_insn_vaddr(insn);
    const struct mark* mark = find_mark(address);
    decoded[i] = thumb_decode(qemu_plugin_insn_data(insn));
    operands[i] = operands_of(qemu_plugin_insn_data(insn));
    block->end = address + decoded[i].size;
    block->loops = decoded[i].class == LOOP;
    if (mark || !segment) {
      *link = segment = new_segment(mark ? mark->layer : KEEP);
      link = &segment->next;
    }
    totals_count(&segment->once, decoded, operands, i, &first_slot);
    if (flash_read_bytes)
      /* QEMU 7.2 does not call back for loads alone. */
      qemu_plugin_register_vcpu_mem_cb(insn, on_load, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_RW, NULL);
    if (allowed_count)
      qemu_plugin_register_vcpu_mem_cb(insn, on_store, QEMU_PLUGIN_CB_NO_REGS, QEMU_PLUGIN_MEM_W,
                                       (void*)(uintptr_t)address);
  }
  watch_stack(tb, block, decoded, count);
  qemu_plugin_register_vcpu_tb_exec_cb(tb, on_block, QEMU_PLUGIN_CB_NO_REGS, block);
  free(operands);
  free(decoded);
}

static bool read_marks(const char* path) {
  FILE* file = fopen(path, "r");
  uint64_t address;
  int number;
  if (!file) return false;
  while (fscanf(file, "%" SCNu64 " %d", &address, &number) == 2) {
    struct mark* grown = realloc(marks, (mark_count + 1) * sizeof *marks);
    if (!grown) abort();
    marks = grown;
    marks[mark_count++] = (struct mark){address, number < layer_count ? number : -1};
  }
  fclose(file);
  return true;
}

__attribute__((visibility("default"))) int qemu_plugin_install(qemu_plugin_id_t id, const struct qemu_info* info,
                                                               int argc, char** argv) {
  const char* marks_path = NULL;
  unsigned code_cache_bytes = 0, data_cache_bytes = 0;
  (void)info;
  for (int i = 0; i < argc; i++) {
    char* value = strchr(argv[i], '=');
    if (!value) return -1;
    *value++ = 0;
    if (!strcmp(argv[i], "entry")) entry_address = strtoull(value, NULL, 0);
    if (!strcmp(argv[i], "exit")) exit_address = strtoull(value, NULL, 0);
    if (!strcmp(argv[i], "layers")) layer_count = atoi(value);
    if (!strcmp(argv[i], "out")) out = fopen(value, "w");
    if (!strcmp(argv[i], "marks")) marks_path = value;
    if (!strcmp(argv[i], "read")) flash_read_bytes = (unsigned)atoi(value);
    if (!strcmp(argv[i], "icache")) code_cache_bytes = (unsigned)atoi(value);
    if (!strcmp(argv[i], "dcache")) data_cache_bytes = (unsigned)atoi(value);
    if (!strcmp(argv[i], "flash")) {
      flash_first = strtoull(value, &value, 0);
      flash_end = strtoull(value + 1, NULL, 0);
    }
    if (!strcmp(argv[i], "allow")) {
      if (allowed_count == MAX_ALLOWED) return -1;
      allowed[allowed_count].first = strtoull(value, &value, 0);
      allowed[allowed_count++].end = strtoull(value + 1, NULL, 0);
    }
  }
  if (!out || !marks_path || !read_marks(marks_path)) {
    fprintf(stderr, "counter: cannot open its files\n");
    return -1;
  }
  if (flash_read_bytes) {
    cache_make(&code_cache, code_cache_bytes / flash_read_bytes);
    cache_make(&data_cache, data_cache_bytes / flash_read_bytes);
  }
  totals = allocate(sizeof *totals * (size_t)(1 + layer_count));
  qemu_plugin_register_vcpu_tb_trans_cb(id, on_translation);
  return 0;
}
