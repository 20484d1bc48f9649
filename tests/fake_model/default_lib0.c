/* A model as the compiler would write it, small enough to check by hand. Input values from 120 on make it misbehave. */
#include <stdint.h>
#include <string.h>

#include "tvm_tiny_kernels.h"
#include "tvmgen_default.h"

#ifndef FAKE_ARENA_BYTES
#define FAKE_ARENA_BYTES TVMGEN_DEFAULT_WORKSPACE_SIZE
#endif

enum { FAULT = 120, HANG = 121, OVERFLOW = 122, STATUS = 123, UNALIGNED = 124, STACK = 125, OUTSIDE = 126, STORE = 127 };

extern const int8_t fake_weights[64];
static uint8_t tvmgen_default_workspace[FAKE_ARENA_BYTES] __attribute__((aligned(8)));
static uint32_t fake_runs = 7; /* something in .data */

__attribute__((noipa)) static uint32_t fake_recurse(uint32_t depth) {
  volatile uint32_t frame[64];
  frame[depth % 64] = depth;
  return depth ? fake_recurse(depth - 1) + frame[depth % 64] : frame[0];
}

__attribute__((noipa)) static void fake_fault(uint32_t value) {
  *(volatile uint32_t*)(uintptr_t)0xF0000000u = value;
}

__attribute__((noipa)) static int32_t misbehave(int kind, uint8_t* bytes) {
  if (kind == FAULT) fake_fault(0x1234u);
  if (kind == HANG) {
    for (;;) __asm volatile("");
  }
  if (kind == OVERFLOW) return (int32_t)fake_recurse(10000) & 0;
  if (kind == STATUS) return -5;
  if (kind == UNALIGNED) {
    uint32_t value;
    __asm volatile("" : "+r"(bytes));
#ifdef __arm__
    __asm volatile("ldr %0, [%1, #0]" : "=l"(value) : "l"(bytes + 1));
#else
    memcpy(&value, bytes + 1, 4);
#endif
    return value == 1u;
  }
  if (kind == OUTSIDE) {
    bytes[5] = 1; /* an input */
    return 0;
  }
  if (kind == STORE) { /* where the input says */
    uint32_t address;
    memcpy(&address, bytes + 4, 4);
    *(volatile uint8_t*)(uintptr_t)address = 1;
    return 0;
  }
  return (int32_t)fake_recurse(3) & 0;
}

static void layer_scale(const int8_t* x, int8_t* y) {
  for (int i = 0; i < 16; i++) y[i] = (int8_t)((x[i] * fake_weights[i]) / 16);
}

static void layer_totals(const int8_t* y, const int8_t* bias, int32_t* totals) {
  int32_t* sums = (int32_t*)(void*)tvmgen_default_workspace;
  for (int c = 0; c < 4; c++) {
    sums[c] = bias[c];
    for (int i = 0; i < 16; i++) sums[c] += y[i] * fake_weights[16 * c + i];
  }
  memcpy(totals, sums, 16);
}

int32_t tvmgen_default_run(struct tvmgen_default_inputs* inputs, struct tvmgen_default_outputs* outputs) {
  const int8_t* x = inputs->x_0;
  fake_runs++;
  if (x[0] >= FAULT) return misbehave(x[0], inputs->x_0);
  TINYML_MARK(0);
  layer_scale(x, outputs->y);
  TINYML_MARK(1);
  layer_totals(outputs->y, inputs->bias, outputs->totals);
  TINYML_MARK(-1);
  return 0;
}
