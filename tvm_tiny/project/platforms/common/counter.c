/* The cycle counter of a Cortex-M: DWT CYCCNT where the core has one that counts, else SysTick.
 *
 * Registers: Armv7-M and Armv8-M Architecture Reference Manuals, "Data Watchpoint and Trace", "System timer". CYCCNT has
 * 32 bits: what takes longer than 2^32 cycles is measured wrong. SysTick has 24, and an interrupt that counts on.
 */
#include "cortex_m.h"
#include "link.h"

#define REGISTER(address) (*(volatile uint32_t*)(address))
#define DEMCR REGISTER(0xE000EDFCu)
#define DWT_CTRL REGISTER(0xE0001000u)
#define DWT_CYCCNT REGISTER(0xE0001004u)
#define DWT_LAR REGISTER(0xE0001FB0u)
#define SYST_CSR REGISTER(0xE000E010u)
#define SYST_RVR REGISTER(0xE000E014u)
#define SYST_CVR REGISTER(0xE000E018u)

enum { TRCENA = 1 << 24, CYCCNTENA = 1, NOCYCCNT = 1 << 25, UNLOCK = (int)0xC5ACCE55 };
enum { CSR_ENABLE = 1, CSR_TICKINT = 2, CSR_CORE_CLOCK = 4, RELOAD = 0xFFFFFF };

static uint32_t kind;
static volatile uint32_t overflows;

static int open_dwt(void) {
#if __ARM_ARCH >= 7
  DEMCR |= TRCENA;
  DWT_LAR = (uint32_t)UNLOCK; /* Cortex-M7 has a lock */
  if (DWT_CTRL & NOCYCCNT) return 0;
  DWT_CYCCNT = 0;
  DWT_CTRL |= CYCCNTENA;
  const uint32_t start = DWT_CYCCNT;
  for (volatile int i = 0; i < 8; i++) continue;
  return DWT_CYCCNT != start; /* an emulator reads 0 */
#else
  return 0;
#endif
}

void counter_open(void) {
  kind = open_dwt() ? LINK_DWT_CYCCNT : LINK_SYSTICK;
  if (kind == LINK_SYSTICK) {
    SYST_RVR = RELOAD;
    SYST_CVR = 0;
    SYST_CSR = CSR_ENABLE | CSR_TICKINT | CSR_CORE_CLOCK;
  }
}

uint32_t counter_kind(void) { return kind; }

void counter_overflow(void) { overflows++; }

uint64_t counter_now(void) {
  if (kind == LINK_DWT_CYCCNT) return DWT_CYCCNT;
  uint32_t before, value;
  do { /* until no overflow came in between */
    before = overflows;
    value = SYST_CVR;
  } while (before != overflows);
  return (uint64_t)before * (RELOAD + 1u) + (RELOAD - value);
}

uint64_t counter_since(uint64_t start) {
  const uint64_t passed = counter_now() - start;
  return kind == LINK_DWT_CYCCNT ? (uint32_t)passed : passed;
}
