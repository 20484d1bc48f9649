/* What the host calls in RAM: begin once, run for each inference. The firmware has started the counter. */
#include "loadable.h"

#include "link.h"

extern uint32_t loadable_bss_start[], loadable_bss_end[];

void loadable_begin(void);
int32_t loadable_run(void);

/* Ticks of each layer in the last inference. */
uint32_t loadable_ticks[LAYERS];

static int32_t current = -1;
static uint32_t since;

static uint32_t counter(void) {
#if SYSTICK
  return 0xFFFFFF - *(volatile uint32_t*)0xE000E018u;
#else
  return *(volatile uint32_t*)0xE0001004u; /* DWT CYCCNT */
#endif
}

void loadable_mark(int32_t layer) {
  const uint32_t passed = counter() - since;
  if (current >= 0) loadable_ticks[current] += SYSTICK ? passed & 0xFFFFFF : passed;
  current = layer;
  since = counter();
}

void loadable_begin(void) {
  for (volatile uint32_t* word = loadable_bss_start; word < loadable_bss_end; word++) *word = 0;
  model_begin();
}

int32_t loadable_run(void) {
  for (volatile uint32_t* ticks = loadable_ticks; ticks < loadable_ticks + LAYERS; ticks++) *ticks = 0;
  current = -1;
  const int32_t status = model_run();
  model_map();
  return status;
}
