/* Start, faults and calls on a bare-metal Cortex-M (Armv6-M to Armv8.1-M), emulated or real.
 *
 * The harness (this file, link.c, model_io.c, and the carrier of its bytes) has a stack of its own. The model, and what
 * the host loads and calls, run on the process stack, which lies at the bottom of RAM: a stack that grows too large
 * leaves RAM and faults. A fault is told to the host, and the harness serves on.
 */
#include "cortex_m.h"
#include "link.h"

#define REGISTER(address) (*(volatile uint32_t*)(address))
#define CPUID REGISTER(0xE000ED00u)
#define VTOR REGISTER(0xE000ED08u)
#define CCR REGISTER(0xE000ED14u)
#define CFSR REGISTER(0xE000ED28u)
#define HFSR REGISTER(0xE000ED2Cu)
#define MMFAR REGISTER(0xE000ED34u)
#define BFAR REGISTER(0xE000ED38u)
#define CCSIDR REGISTER(0xE000ED80u)
#define CSSELR REGISTER(0xE000ED84u)
#define CPACR REGISTER(0xE000ED88u)
#define MPU_CTRL REGISTER(0xE000ED94u)
#define FPCCR REGISTER(0xE000EF34u)
#define ICIALLU REGISTER(0xE000EF50u)
#define DCISW REGISTER(0xE000EF60u)
#define DCCMVAU REGISTER(0xE000EF64u)

enum { CCR_UNALIGN_TRP = 1 << 3, CCR_DC = 1 << 16, CCR_IC = 1 << 17, CCR_LOB = 1 << 19 };
enum { FPCCR_LSPACT = 1, PAINT = 0x5AA55AA5, CACHE_LINE_BYTES = 32 };
enum { RETURN_TO_THREAD = 1 << 3, RETURN_NO_FLOAT = 1 << 4, RETURN_TO_PSP = 1 << 2, XPSR_THUMB = 1 << 24 };

/* From the linker script; only their addresses mean something. */
extern uint32_t model_stack_bottom[], model_stack_top[];
extern uint32_t model_data_start[], model_data_end[], model_bss_start[], model_bss_end[];
extern const uint32_t model_data_load[];
extern uint32_t harness_data_start[], harness_data_end[], harness_bss_start[], harness_bss_end[], harness_stack_top[];
extern const uint32_t harness_data_load[];
extern uint8_t loaded_start[], loaded_end[];

static uint64_t call_overhead;

void harness_start(void);
void harness_main(void);
void harness_fault(void);
void harness_report_fault(const uint32_t* frame, uint32_t exc_return, uint32_t stack_pointer);
uint32_t harness_call(uint32_t function, const uint32_t* registers, uint32_t* stack, uint32_t* stack_bottom);

/* Exceptions 1 to 15; no interrupt of a peripheral is ever enabled. */
__attribute__((used, section(".vectors"), aligned(128))) static void (*const vectors[16])(void) = {
    (void (*)(void))harness_stack_top, harness_start, harness_fault, harness_fault, harness_fault, harness_fault,
    harness_fault, harness_fault, harness_fault, harness_fault, harness_fault, harness_fault,
    harness_fault, harness_fault, harness_fault, counter_overflow};

__attribute__((naked, noreturn)) void harness_start(void) {
  __asm volatile(
      "cpsid i\n"
      "ldr r0, =harness_stack_top\n"
      "msr msp, r0\n"
      "ldr r0, =harness_main\n"
      "bx r0\n"
      ".ltorg\n");
}

#if MEMORY_GUARD
/* Its memory protection unit guards a model alone: what the host has loaded works on memory of the harness. */
#define SET_GUARD "ldr r3, =0xE000ED94\nstr r2, [r3]\ndsb\nisb\n"
#define START_GUARD "ldr r2, =guard\nldr r2, [r2]\n" SET_GUARD
#define STOP_GUARD "movs r2, #0\n" SET_GUARD
__attribute__((used)) static uint32_t guard; /* what MPU_CTRL is to be during the call */
#else
#define START_GUARD
#define STOP_GUARD
#endif

/* Call a function on the process stack. A counter of instructions recognises the return by the label. */
__attribute__((naked)) uint32_t harness_call(uint32_t function __attribute__((unused)),
                                             const uint32_t* registers __attribute__((unused)),
                                             uint32_t* stack __attribute__((unused)),
                                             uint32_t* stack_bottom __attribute__((unused))) {
  __asm volatile(
      "push {r4, lr}\n"
      "msr psp, r2\n"
#if __ARM_ARCH >= 8
      "msr psplim, r3\n"
#endif
      "mov r4, r0\n"
      "mrs r2, control\n"
      "movs r3, #2\n"
      "orrs r2, r3\n"
      "msr control, r2\n"
      "isb\n" START_GUARD
      "ldr r0, [r1, #0]\n"
      "ldr r2, [r1, #8]\n"
      "ldr r3, [r1, #12]\n"
      "ldr r1, [r1, #4]\n"
      "blx r4\n"
      ".global harness_returned\n"
      "harness_returned:\n" STOP_GUARD
      "mrs r1, control\n"
      "movs r2, #2\n"
      "bics r1, r2\n"
      "msr control, r1\n"
      "isb\n"
      "pop {r4, pc}\n"
      ".ltorg\n");
}

/* Handlers run on the harness's stack, whatever became of the model's. */
__attribute__((naked)) void harness_fault(void) {
  __asm volatile(
      "mov r1, lr\n"
      "movs r2, #4\n"
      "tst r1, r2\n"
      "beq 1f\n"
      "mrs r0, psp\n"
      "b 2f\n"
      "1: mrs r0, msp\n"
      "2: mov r2, r0\n"
      "ldr r3, =harness_report_fault\n"
      "bx r3\n"
      ".ltorg\n");
}

__attribute__((noreturn)) static void serve(void) {
  __asm volatile("cpsie i"); /* whatever a faulting function left */
  for (;;) {
    link_serve();
    carrier_close();
  }
}

/* Leave the handler for `serve` with an empty stack, by a frame of eight words as an exception pushes them. */
__attribute__((noreturn)) static void serve_again(uint32_t exc_return) {
  uint32_t* const frame = (uint32_t*)((uint32_t)harness_stack_top - 8 * sizeof(uint32_t));
  for (int i = 0; i < 6; i++) frame[i] = 0;
  frame[6] = (uint32_t)serve & ~1u;
  frame[7] = XPSR_THUMB;
  exc_return = (exc_return | RETURN_TO_THREAD | RETURN_NO_FLOAT) & ~(uint32_t)RETURN_TO_PSP;
  __asm volatile(
      "msr msp, %0\n"
      "bx %1\n"
      :
      : "r"(frame), "r"(exc_return)
      : "memory");
  __builtin_unreachable();
}

/* Words: stack pointer, IPSR, CFSR, HFSR, MMFAR, BFAR, EXC_RETURN, R0 to R3, R12, LR, PC, xPSR (frame: 0 if not readable). */
void harness_report_fault(const uint32_t* frame, uint32_t exc_return, uint32_t stack_pointer) {
  uint32_t words[15], ipsr;
  const int on_model_stack = (exc_return & RETURN_TO_PSP) != 0;
  const int readable = !on_model_stack || (frame >= model_stack_bottom && frame + 8 <= model_stack_top);
#if MEMORY_GUARD
  MPU_CTRL = guard = 0;
#endif
  __asm volatile("mrs %0, ipsr" : "=r"(ipsr));
  words[0] = stack_pointer;
  words[1] = ipsr;
  words[2] = CFSR;
  words[3] = HFSR;
  words[4] = MMFAR;
  words[5] = BFAR;
  words[6] = exc_return;
  for (int i = 0; i < 8; i++) words[7 + i] = readable ? frame[i] : 0;
  link_fault(words, 15);
#if __ARM_ARCH >= 7
  CFSR = words[2]; /* ones clear */
  HFSR = words[3];
  FPCCR &= ~(uint32_t)FPCCR_LSPACT; /* floating-point registers of the function are not wanted any more */
#endif
  serve_again(exc_return);
}

static void load(uint32_t* to, const uint32_t* end, const uint32_t* from) {
  for (volatile uint32_t* word = to; word < end; word++) *word = *from++;
}

static void fill(uint32_t* from, const uint32_t* to, uint32_t value) {
  for (volatile uint32_t* word = from; word < to; word++) *word = value;
}

/* Call `function` so often, with the first words in registers, the others on its stack. */
static void run(uint32_t function, const uint32_t* arguments, uint32_t count, uint32_t times, struct link_run* result) {
  uint32_t registers[4] = {0, 0, 0, 0};
  const uint32_t pushed = count > 4 ? count - 4 : 0;
  uint32_t* const stack = model_stack_top - (pushed + (pushed & 1)); /* aligned to 8 bytes */
  for (uint32_t i = 0; i < count && i < 4; i++) registers[i] = arguments[i];
  fill(model_stack_bottom, model_stack_top, PAINT);
  for (; times; times--) {
    for (uint32_t i = 0; i < pushed; i++) stack[i] = arguments[4 + i];
    const uint64_t start = counter_now();
    result->status = (int32_t)harness_call(function, registers, stack, model_stack_bottom);
    const uint64_t cycles = counter_since(start);
    result->cycles += cycles > call_overhead ? cycles - call_overhead : 0;
  }
  const uint32_t* lowest = model_stack_bottom;
  while (lowest < model_stack_top && *lowest == PAINT) lowest++;
  result->stack_bytes = (uint32_t)model_stack_top - (uint32_t)lowest;
}

void platform_run(struct link_run* result) {
#if MEMORY_GUARD
  guard = guard_set_up();
#endif
  run((uint32_t)model_call.entry, (const uint32_t*)(const void*)model_call.arguments, 3, 1, result);
#if MEMORY_GUARD
  guard = 0;
#endif
}

void platform_call(const struct link_call* call, uint32_t count, struct link_run* result) {
  run(call->function, call->arguments, count, call->times, result);
}

__attribute__((noinline)) static void do_nothing(void) { __asm volatile(""); }

static void measure_overhead(void) {
  struct link_run result = {0, 0, 0, 0};
  for (int i = 0; i < 2; i++) { /* the second time from the cache */
    result.cycles = 0;
    run((uint32_t)do_nothing, 0, 0, 1, &result);
  }
  call_overhead = result.cycles;
}

void platform_describe(struct link_device* device) {
  device->cpuid = CPUID;
  device->counter = counter_kind();
  device->counter_hz = device->counter == LINK_NO_COUNTER ? 0 : CORE_CLOCK_HZ;
  device->memory_address = (uint32_t)loaded_start;
  device->memory_bytes = (uint32_t)(loaded_end - loaded_start);
}

/* Have the core fetch what was written as data. */
void platform_loaded(uint32_t address, uint32_t size) {
#if __ARM_ARCH >= 7
  if (CCR & CCR_DC) {
    __asm volatile("dsb" ::: "memory");
    const uint32_t end = address + size;
    for (address &= ~(CACHE_LINE_BYTES - 1u); address < end; address += CACHE_LINE_BYTES) DCCMVAU = address;
  }
  if (CCR & CCR_IC) {
    __asm volatile("dsb" ::: "memory");
    ICIALLU = 0;
  }
#else
  (void)address;
  (void)size;
#endif
  __asm volatile("dsb\nisb" ::: "memory");
}

#if CACHES
/* Caches hold garbage after power-on. Cores without them ignore all this. */
static void enable_caches(void) {
  CSSELR = 0; /* level 1, data */
  __asm volatile("dsb");
  const uint32_t sizes = CCSIDR;
  const uint32_t sets = sizes >> 13 & 0x7FFF, ways = sizes >> 3 & 0x3FF;
  uint32_t shift = 32; /* the number of the way lies at the top, as the Armv7-M manual has it for DCISW */
  while (ways >> (32 - shift)) shift--;
  ICIALLU = 0;
  for (uint32_t set = 0; sizes && set <= sets; set++) {
    for (uint32_t way = 0; way <= ways; way++) DCISW = (shift < 32 ? way << shift : 0) | set << 5;
  }
  __asm volatile("dsb\nisb");
  CCR |= CCR_IC | CCR_DC;
  __asm volatile("dsb\nisb");
}
#endif

void harness_main(void) {
  fill(harness_bss_start, harness_bss_end, 0);
  fill(model_bss_start, model_bss_end, 0);
  load(harness_data_start, harness_data_end, harness_data_load);
  load(model_data_start, model_data_end, model_data_load);

  VTOR = (uint32_t)vectors;
  CPACR |= 0xFu << 20; /* FPU and MVE; ignored by cores without */
#if __ARM_ARCH >= 8
  CCR |= CCR_LOB; /* low-overhead branches of Armv8.1-M */
#endif
#if TRAP_UNALIGNED
  CCR |= CCR_UNALIGN_TRP;
#endif
#if CACHES
  enable_caches();
#endif
  __asm volatile("dsb\nisb");

  carrier_open();
  counter_open();
  measure_overhead();
  serve();
}
