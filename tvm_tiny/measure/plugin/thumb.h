/* Just enough of a Thumb decoder: which class an instruction is of, and what it does to the stack pointer.
 * Encodings: Armv7-M and Armv8-M Architecture Reference Manuals, chapter "The Thumb instruction set encoding".
 */
#ifndef TVM_TINY_THUMB_H
#define TVM_TINY_THUMB_H

#include <stdbool.h>
#include <stdint.h>

/* The order is that of INSTRUCTION_CLASSES in counter.py. */
enum thumb_class {
  ALU,
  MULTIPLY,            /* 32-bit result */
  MULTIPLY_ACCUMULATE, /* MLA, MLS, SMLAD and the like */
  LONG_MULTIPLY,       /* 64-bit result, accumulating or not */
  DIVIDE,
  LOAD,
  STORE,
  LOAD_MULTIPLE, /* LDM, POP, LDRD, VLDM, VPOP */
  STORE_MULTIPLE,
  BRANCH,
  LOOP,             /* LE, LETP */
  FLOAT,            /* FPU instructions, moves to and from FPU registers */
  FLOAT_ACCUMULATE, /* VMLA, VFMA and the like */
  FLOAT_DIVIDE,     /* VDIV, VSQRT */
  VECTOR,           /* MVE: what is neither of the next two */
  VECTOR_MULTIPLY,  /* encodings EE and FE: multiplies, across vectors, by scalars */
  VECTOR_MEMORY,    /* loads and stores */
  OTHER,            /* IT, hints, barriers, system registers */
  CLASSES
};

struct thumb {
  enum thumb_class class;
  unsigned size;  /* bytes: 2 or 4 */
  unsigned words; /* of a load or store of several words */
  int sp_change;  /* bytes that the stack pointer moves */
  bool sp_lost;   /* the stack pointer gets a value that only the program knows */
  bool sp_access; /* memory at [sp after the instruction + sp_offset] is accessed */
  int sp_offset;
};

static inline unsigned thumb_ones(unsigned value) { return (unsigned)__builtin_popcount(value); }

static inline unsigned thumb_expand_immediate(unsigned i, unsigned imm3, unsigned imm8) {
  const unsigned rotation = i << 4 | imm3 << 1 | imm8 >> 7;
  if (rotation >= 8) {
    const unsigned value = 0x80 | (imm8 & 0x7f);
    return value >> rotation | value << (32 - rotation);
  }
  switch (imm3 & 3) {
    case 0: return imm8;
    case 1: return imm8 << 16 | imm8;
    case 2: return imm8 << 24 | imm8 << 8;
    default: return imm8 * 0x01010101u;
  }
}

static inline void thumb_decode_16(unsigned h, struct thumb* t) {
  const unsigned top = h >> 12;
  if (top == 4) {
    if ((h & 0xffc0) == 0x4340) t->class = MULTIPLY;
    if ((h & 0xff00) == 0x4700 || (h & 0xfd87) == 0x4487) t->class = BRANCH; /* bx, blx; add, mov to pc */
    if ((h & 0xfd87) == 0x4485) t->sp_lost = true;                           /* add, mov to sp */
    if (h >= 0x4800) t->class = LOAD;
  } else if (top == 5) {
    t->class = (h >> 9 & 7) < 3 ? STORE : LOAD;
  } else if (top >= 6 && top <= 9) {
    t->class = h & 0x0800 ? LOAD : STORE;
    t->sp_access = top == 9;
    t->sp_offset = (int)(h & 0xff) * 4;
  } else if (top == 0xb) {
    if ((h & 0xff00) == 0xb000) t->sp_change = (int)(h & 0x7f) * (h & 0x80 ? -4 : 4);
    if ((h & 0xf500) == 0xb100) t->class = BRANCH; /* cbz, cbnz */
    if ((h & 0xf600) == 0xb400) {                  /* push, pop */
      t->words = thumb_ones(h & 0x1ff);
      t->class = h & 0x0800 ? LOAD_MULTIPLE : STORE_MULTIPLE;
      t->sp_change = (int)t->words * (h & 0x0800 ? 4 : -4);
      t->sp_access = !(h & 0x0800);
    }
    if ((h & 0xff00) == 0xbf00 || (h & 0xff00) == 0xbe00 || (h & 0xffe0) == 0xb660) t->class = OTHER;
  } else if (top == 0xc) {
    t->words = thumb_ones(h & 0xff);
    t->class = h & 0x0800 ? LOAD_MULTIPLE : STORE_MULTIPLE;
  } else if (top == 0xd) {
    t->class = (h & 0x0f00) >= 0x0e00 ? OTHER : BRANCH; /* udf, svc */
  } else if (top == 0xe) {
    t->class = BRANCH;
  }
}

/* e8 and e9: load and store multiple, double, exclusive, table branch. */
static inline void thumb_decode_e8(unsigned h, unsigned l, struct thumb* t) {
  const bool load = h & 0x10;
  if (!(h & 0x40)) {
    t->words = thumb_ones(l);
    t->class = load ? LOAD_MULTIPLE : STORE_MULTIPLE;
    if ((h & 0x2f) == 0x2d) { /* sp! */
      t->sp_change = (int)t->words * (h & 0x100 ? -4 : 4);
      t->sp_access = !load && (h & 0x100);
    }
  } else if ((h & 0xfff0) == 0xe8d0 && (l & 0xffe0) == 0xf000) {
    t->class = BRANCH; /* tbb, tbh */
  } else if (!(h & 0x0120)) {
    t->class = load ? LOAD : STORE; /* exclusive, acquire, release */
  } else {
    const int offset = (int)(l & 0xff) * (h & 0x80 ? 4 : -4);
    t->words = 2;
    t->class = load ? LOAD_MULTIPLE : STORE_MULTIPLE;
    if ((h & 0xf) == 0xd) {
      t->sp_access = !(h & 0x20) || (h & 0x100); /* not after an access that is indexed later */
      t->sp_change = h & 0x20 ? offset : 0;
      t->sp_offset = h & 0x20 ? 0 : offset;
    }
  }
}

/* ec to ef and fc to ff: FPU and MVE. */
static inline void thumb_decode_coprocessor(unsigned h, unsigned l, struct thumb* t) {
  const unsigned coprocessor = l >> 8 & 0xf;
  const bool fpu = (coprocessor & 0xe) == 0xa;
  const bool load = h & 0x10;
  t->class = fpu ? FLOAT : VECTOR;
  if (!fpu && !(h & 0x200)) t->class = VECTOR_MEMORY;
  if (!fpu && (h & 0x300) == 0x200) t->class = VECTOR_MULTIPLY;
  if (fpu && (h & 0xff00) == 0xee00 && !(l & 0x10)) {
    const unsigned operation = h & 0xb0;
    if (operation == 0x00 || operation == 0x10 || operation == 0x90 || operation == 0xa0) t->class = FLOAT_ACCUMULATE;
    if (operation == 0x80 || (operation == 0xb0 && (h & 15) == 1 && (l & 0xc0) == 0xc0)) t->class = FLOAT_DIVIDE;
  }
  if (!fpu || (h & 0xfe00) != 0xec00 || (h & 0x1e0) == 0x40) return; /* arithmetic, or a move of two registers */
  if ((h & 0x120) == 0x100) {                                        /* vldr, vstr */
    t->class = load ? LOAD : STORE;
    t->sp_access = (h & 0xf) == 0xd;
    t->sp_offset = (int)(l & 0xff) * (h & 0x80 ? 4 : -4);
    return;
  }
  t->words = l & 0xff;
  t->class = load ? LOAD_MULTIPLE : STORE_MULTIPLE;
  if ((h & 0x2f) == 0x2d) { /* vpush, vpop */
    t->sp_change = (int)t->words * (h & 0x100 ? -4 : 4);
    t->sp_access = !load && (h & 0x100);
  }
}

/* f0 to f7: immediates, branches, system. */
static inline void thumb_decode_f0(unsigned h, unsigned l, struct thumb* t) {
  if (l & 0x8000) {
    /* conditional branches have no condition 14 or 15; those encodings are msr, mrs, hints, barriers */
    t->class = (l & 0xd000) == 0x8000 && (h & 0x380) == 0x380 ? OTHER : BRANCH;
    if (l == 0xe801) t->class = VECTOR; /* vctp */
    if ((h & 0xffcf) == 0xf00f && (l & 0xf001) == 0xc001) t->class = LOOP;
    return;
  }
  if ((l >> 8 & 0xf) != 13) return;
  const unsigned operation = h & 0xfbff, i = h >> 10 & 1, imm3 = l >> 12 & 7, imm8 = l & 0xff;
  if (operation == 0xf1ad || operation == 0xf10d) {
    const int value = (int)thumb_expand_immediate(i, imm3, imm8);
    t->sp_change = operation == 0xf1ad ? -value : value;
  } else if (operation == 0xf2ad || operation == 0xf20d) {
    const int value = (int)(i << 11 | imm3 << 8 | imm8);
    t->sp_change = operation == 0xf2ad ? -value : value;
  } else {
    t->sp_lost = true;
  }
}

/* f8 and f9: load and store single. */
static inline void thumb_decode_f8(unsigned h, unsigned l, struct thumb* t) {
  const bool load = h & 0x10;
  t->class = load ? LOAD : STORE;
  if (load && l >> 12 == 15) t->class = (h & 0x60) == 0x40 ? BRANCH : OTHER; /* ldr pc; preload */
  if ((h & 0xf) != 13) return;
  if (h & 0x80) {
    t->sp_access = true;
    t->sp_offset = (int)(l & 0xfff);
  } else if (l & 0x800) {
    const int offset = (int)(l & 0xff) * (l & 0x200 ? 1 : -1);
    t->sp_change = l & 0x100 ? offset : 0;
    t->sp_access = (l & 0x400) != 0;
    t->sp_offset = l & 0x100 ? 0 : offset;
  }
}

static inline struct thumb thumb_decode(const uint8_t* bytes) {
  const unsigned h = bytes[0] | (unsigned)bytes[1] << 8;
  struct thumb t = {.class = ALU, .size = h >> 11 >= 0x1d ? 4 : 2};
  if (t.size == 2) {
    thumb_decode_16(h, &t);
    return t;
  }
  const unsigned l = bytes[2] | (unsigned)bytes[3] << 8;
  switch (h >> 9 & 0x7f) {
    case 0x74: thumb_decode_e8(h, l, &t); break;
    case 0x75: t.sp_lost = (l >> 8 & 0xf) == 13; break;
    case 0x76: case 0x77: case 0x7e: case 0x7f: thumb_decode_coprocessor(h, l, &t); break;
    case 0x78: case 0x79: case 0x7a: case 0x7b: thumb_decode_f0(h, l, &t); break;
    case 0x7c: thumb_decode_f8(h, l, &t); break;
    default:
      if ((h & 0xff80) == 0xfb00) t.class = l >> 12 == 15 ? MULTIPLY : MULTIPLY_ACCUMULATE;
      if ((h & 0xff80) == 0xfb80) t.class = (h & 0xffd0) == 0xfb90 ? DIVIDE : LONG_MULTIPLY;
  }
  return t;
}

#endif
