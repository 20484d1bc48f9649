/* A bare-metal Cortex-M as a device of the link: what cortex_m.c needs of the carrier of its bytes. */
#ifndef TVM_TINY_CORTEX_M_H
#define TVM_TINY_CORTEX_M_H

#include <stdint.h>

/* Make platform_read and platform_write work. */
void carrier_open(void);

/* The host has sent EXIT. */
void carrier_close(void);

/* With MEMORY_GUARD: regions of the memory protection unit for the model; what its control register is to be, 0 for none. */
uint32_t guard_set_up(void);

/* Cycle counter of the core: opened once, then read before and after. */
void counter_open(void);
uint64_t counter_now(void);
uint64_t counter_since(uint64_t start);
uint32_t counter_kind(void); /* enum link_counter */
void counter_overflow(void); /* SysTick's handler */

#endif
