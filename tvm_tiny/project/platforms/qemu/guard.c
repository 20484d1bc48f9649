/* The memory protection unit, set up so that a model can write to its own RAM alone: stack, inputs, outputs, arenas.
 *
 * Everything else, code and weights included, can be read but not written; and what can be written is not executed.
 * Region formats: Armv7-M Architecture Reference Manual B3.5 (the same in Armv6-M), Armv8-M B11 (regions do not overlap).
 */
#include <stdint.h>

#include "cortex_m.h"

#define REGISTER(address) (*(volatile uint32_t*)(address))
#define MPU_TYPE REGISTER(0xE000ED90u)
#define MPU_RNR REGISTER(0xE000ED98u)
#define MPU_RBAR REGISTER(0xE000ED9Cu)
#define MPU_RASR REGISTER(0xE000EDA0u)
#define MPU_RLAR REGISTER(0xE000EDA0u)
#define MPU_MAIR0 REGISTER(0xE000EDC0u)

enum { ENABLE = 1, GRANULE_BYTES = 32 };

struct range {
  uint32_t first, end;
};

/* The board's largest RAM from its first byte to the last one used; other memories with a workspace as a whole. */
extern uint32_t model_stack_bottom[], model_bss_end[];
static const struct range memories[] = {{0, 0}, WRITABLE_MEMORIES};
enum { COUNT = sizeof memories / sizeof memories[0] };

static struct range range_of(int i) {
  struct range range = memories[i];
  if (i == 0) range = (struct range){(uint32_t)model_stack_bottom, (uint32_t)model_bss_end};
  range.end = (range.end + GRANULE_BYTES - 1) & ~(uint32_t)(GRANULE_BYTES - 1);
  return range;
}

#if __ARM_ARCH >= 8

enum { READ_ONLY = 2 << 1, EXECUTE_NEVER = 1, NORMAL_NOT_CACHED = 0x44 };

static void add(uint32_t* count, uint32_t first, uint32_t end, uint32_t attributes) {
  if (first == end) return;
  MPU_RNR = (*count)++;
  MPU_RBAR = first | attributes;
  MPU_RLAR = ((end - 1) & ~(uint32_t)(GRANULE_BYTES - 1)) | ENABLE;
}

static void set_regions(void) {
  uint32_t count = 0, behind = 0;
  MPU_MAIR0 = NORMAL_NOT_CACHED;
  for (int i = 0; i < COUNT; i++) { /* by address */
    const struct range range = range_of(i);
    add(&count, behind, range.first, READ_ONLY);
    add(&count, range.first, range.end, EXECUTE_NEVER);
    behind = range.end;
  }
  add(&count, behind, 0, READ_ONLY); /* to the end of the address space */
}

#else

enum { SIZE_4_GB = 31 << 1, NORMAL = 1 << 19, READ_WRITE = 1 << 24, READ_ONLY = 5 << 24, EXECUTE_NEVER = 1 << 28 };
enum { LEAST_EIGHTH_LOG2 = 5, MOST_EIGHTH_LOG2 = 28 };

/* One region over as much of the range as it can cover: eighths of a power of two. The last one covers what is left of
 * it, and whatever its eighths then take more. */
static struct range cover(uint32_t region, struct range range, int is_last) {
  uint32_t log2 = MOST_EIGHTH_LOG2;
  if (is_last) {
    log2 = LEAST_EIGHTH_LOG2;
    while (range.end - 1 - (range.first >> (log2 + 3) << (log2 + 3)) >= 8u << log2) log2++;
  } else {
    while (range.first & ((1u << log2) - 1) || range.end - range.first < 1u << log2) log2--;
  }
  const uint32_t base = range.first >> (log2 + 3) << (log2 + 3);
  uint32_t disabled = 0;
  for (uint32_t i = 0; i < 8; i++) {
    const uint32_t first = base + (i << log2), end = first + (1u << log2);
    const int inside = is_last ? end > range.first && first < range.end : first >= range.first && end <= range.end;
    if (!inside) disabled |= 1u << i;
  }
  MPU_RNR = region;
  MPU_RBAR = base;
  MPU_RASR = EXECUTE_NEVER | READ_WRITE | NORMAL | disabled << 8 | (log2 + 2) << 1 | ENABLE;
  const uint32_t next = base + (8u << log2);
  return (struct range){is_last || next > range.end ? range.end & ~((1u << log2) - 1) : next, range.end};
}

static void set_regions(void) {
  const uint32_t regions = MPU_TYPE >> 8 & 0xFF;
  uint32_t region = 1;
  MPU_RNR = 0;
  MPU_RBAR = 0;
  MPU_RASR = READ_ONLY | NORMAL | SIZE_4_GB | ENABLE;
  for (int i = 0; i < COUNT; i++) {
    const uint32_t last = i ? region : regions - COUNT; /* the other memories have one region each */
    for (struct range range = range_of(i); range.first < range.end && region <= last; region++)
      range = cover(region, range, region == last);
  }
}

#endif

uint32_t guard_set_up(void) {
  if (MPU_TYPE == 0) return 0; /* the core has none */
  set_regions();
  return ENABLE; /* faults run without it */
}
