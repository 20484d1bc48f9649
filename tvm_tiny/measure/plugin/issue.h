/* Which registers a Thumb instruction reads and writes, and whether a core that issues two instructions in one cycle would
 * issue it together with the one before it. What is not known reads and writes everything, so that it never pairs.
 *
 * Rules (docs/cycle_model.md has where they come from): the second uses no result of the first; one multiply, one shifted
 * or extended operand, one store, one branch at most, the branch second; parallel (SIMD) arithmetic only first; no divide,
 * no multiple load or store, nothing of the FPU or MVE.
 */
#ifndef TVM_TINY_ISSUE_H
#define TVM_TINY_ISSUE_H

#include "thumb.h"

struct operands {
  uint32_t reads, writes; /* bit n: register n */
  bool shifted;           /* goes through a shifter or an extender */
  bool parallel;          /* SIMD on parts of a register */
};

static const struct operands UNKNOWN_OPERANDS = {0xffff, 0xffff, true, true};

static inline uint32_t operand_bit(unsigned number) { return number == 15 ? 0 : UINT32_C(1) << number; }

static inline struct operands operands_16(unsigned h) {
  const uint32_t d = operand_bit(h & 7), n = operand_bit(h >> 3 & 7), m = operand_bit(h >> 6 & 7);
  const uint32_t high = operand_bit(h >> 8 & 7), sp = operand_bit(13);
  const bool load = h & 0x800;
  switch (h >> 12) {
    case 0: return (struct operands){n, d, (h & 0x7c0) != 0, false};
    case 1:
      if (!load) return (struct operands){n, d, true, false};
      return (struct operands){h & 0x400 ? n : n | m, d, false, false};
    case 2: return (struct operands){load ? high : 0, load ? 0 : high, false, false};
    case 3: return (struct operands){high, high, false, false};
    case 4: {
      const unsigned operation = h >> 6 & 15;
      const uint32_t d4 = operand_bit((h & 7) | (h >> 4 & 8)), m4 = operand_bit(h >> 3 & 15);
      if (h >= 0x4800) return (struct operands){0, high, false, false};
      if (h >= 0x4700) return (struct operands){m4, 0, false, false};
      if (h >= 0x4600) return (struct operands){m4, d4, false, false};
      if (h >= 0x4400) return (struct operands){d4 | m4, h & 0x100 ? 0 : d4, false, false};
      const bool compares = operation == 8 || operation == 10 || operation == 11;
      const bool shifts = (operation >= 2 && operation <= 4) || operation == 7;
      return (struct operands){n | d, compares ? 0 : d, shifts, false};
    }
    case 5: {
      const bool loads = (h >> 9 & 7) >= 3;
      return (struct operands){n | m | (loads ? 0 : d), loads ? d : 0, false, false};
    }
    case 6: case 7: case 8: return (struct operands){n | (load ? 0 : d), load ? d : 0, false, false};
    case 9: return (struct operands){sp | (load ? 0 : high), load ? high : 0, false, false};
    case 10: return (struct operands){load ? sp : 0, high, false, false};
    case 11:
      if ((h & 0xff00) == 0xb200 || (h & 0xff00) == 0xba00) return (struct operands){n, d, true, false};
      if ((h & 0xff00) == 0xb000) return (struct operands){sp, sp, false, false};
      if ((h & 0xf500) == 0xb100) return (struct operands){d, 0, false, false};
      return UNKNOWN_OPERANDS;
    case 13: case 14: return (struct operands){0, 0, false, false};
    default: return UNKNOWN_OPERANDS;
  }
}

static inline struct operands operands_32(unsigned h, unsigned l) {
  const uint32_t n = operand_bit(h & 15), d = operand_bit(l >> 8 & 15), t = operand_bit(l >> 12), m = operand_bit(l & 15);
  const bool load = h & 0x10;
  switch (h >> 9 & 0x7f) {
    case 0x74: /* double words; the others are not known */
      if (!(h & 0x40) || !(h & 0x0120)) return UNKNOWN_OPERANDS;
      return (struct operands){n | (load ? 0 : t | d), (load ? t | d : 0) | (h & 0x20 ? n : 0), false, false};
    case 0x75: return (struct operands){n | m, d, (l & 0x70f0) != 0, (h & 0xffe0) == 0xeac0};
    case 0x78: case 0x79: case 0x7a: case 0x7b:
      if (l & 0x8000) return (struct operands){0, (l & 0xd000) == 0xd000 ? operand_bit(14) : 0, false, false};
      /* movw, movt, saturation and bit fields have operation bits of their own; bfi and movt read what they write */
      return (struct operands){n | ((h & 0xfbe0) == 0xf360 || (h & 0xfbf0) == 0xf2c0 ? d : 0), d, (h & 0x0300) == 0x0300,
                               false};
    case 0x7c: {
      const bool immediate = (h & 0x80) || (l & 0x800);
      const bool writes_back = !(h & 0x80) && (l & 0x900) == 0x900;
      return (struct operands){n | (immediate ? 0 : m) | (load ? 0 : t), (load ? t : 0) | (writes_back ? n : 0), false,
                               false};
    }
    case 0x7d:
      if ((h & 0xff00) == 0xfb00) {
        const bool is_long = (h & 0x80) != 0; /* two results; the accumulating forms read them */
        return (struct operands){n | m | t | (is_long ? d : 0), d | (is_long ? t : 0), false, false};
      }
      return (struct operands){n | m, d, true, (h & 0x80) || (h & 0x20)};
    default: return UNKNOWN_OPERANDS;
  }
}

static inline struct operands operands_of(const uint8_t* bytes) {
  const unsigned h = bytes[0] | (unsigned)bytes[1] << 8;
  return h >> 11 >= 0x1d ? operands_32(h, bytes[2] | (unsigned)bytes[3] << 8) : operands_16(h);
}

static inline bool is_multiply(enum thumb_class c) {
  return c == MULTIPLY || c == MULTIPLY_ACCUMULATE || c == LONG_MULTIPLY;
}

static inline bool is_simple(enum thumb_class c) { return c <= BRANCH && c != DIVIDE && c != LOAD_MULTIPLE && c != STORE_MULTIPLE; }

/* Whether two instructions that follow each other are issued in one cycle. */
static inline bool issue_together(enum thumb_class first, const struct operands* a, enum thumb_class second,
                                  const struct operands* b) {
  if (!is_simple(first) || !is_simple(second) || first == BRANCH || b->parallel) return false;
  if (a->writes & (b->reads | b->writes)) return false;
  if (is_multiply(first) && is_multiply(second)) return false;
  if (first == STORE && second == STORE) return false;
  return !(a->shifted && b->shifted);
}

#endif
