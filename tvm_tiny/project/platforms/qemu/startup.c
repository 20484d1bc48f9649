/* Start, faults and the call of the model on an emulated Cortex-M (Armv6-M to Armv8.1-M).
 *
 * The harness (this file, link.c, semihost.c, model_io.c) lives in memory beside the board's flash and RAM and has a
 * stack of its own. The model runs on the process stack, which lies at the bottom of the board's RAM: a stack that
 * grows too large leaves RAM and faults, and nothing but the model's own calls is on it.
 */
#include "link.h"
#include "semihost.h"

#define REGISTER(address) (*(volatile uint32_t*)(address))
#define CCR REGISTER(0xE000ED14u)
#define VTOR REGISTER(0xE000ED08u)
#define CPACR REGISTER(0xE000ED88u)
#define CFSR REGISTER(0xE000ED28u)
#define HFSR REGISTER(0xE000ED2Cu)
#define MMFAR REGISTER(0xE000ED34u)
#define BFAR REGISTER(0xE000ED38u)

enum { CCR_UNALIGN_TRP = 1 << 3, CCR_LOB = 1 << 19, PAINT = 0x5AA55AA5 };

/* From firmware.ld; only their addresses mean something. */
extern uint32_t model_stack_bottom[], model_stack_top[];
extern uint32_t model_data_start[], model_data_end[], model_bss_start[], model_bss_end[];
extern const uint32_t model_data_load[];
extern uint32_t harness_bss_start[], harness_bss_end[], harness_stack_top[];

void harness_start(void);
void harness_main(void);
void harness_fault(void);
void harness_report_fault(const uint32_t* frame, uint32_t exc_return, uint32_t stack_pointer);
int32_t harness_call(const struct model_call* call, uint32_t* stack_top, uint32_t* stack_bottom);

/* Exceptions 1 to 15; no interrupt is ever enabled. */
__attribute__((used, section(".vectors"), aligned(128))) static void (*const vectors[16])(void) = {
    (void (*)(void))harness_stack_top, harness_start, harness_fault, harness_fault, harness_fault, harness_fault,
    harness_fault, harness_fault, harness_fault, harness_fault, harness_fault, harness_fault,
    harness_fault, harness_fault, harness_fault, harness_fault};

__attribute__((naked, noreturn)) void harness_start(void) {
  __asm volatile(
      "ldr r0, =harness_stack_top\n"
      "msr msp, r0\n"
      "ldr r0, =harness_main\n"
      "bx r0\n"
      ".ltorg\n");
}

/* Call the model on the process stack. A counter of instructions recognises the return by the label. */
__attribute__((naked)) int32_t harness_call(const struct model_call* call __attribute__((unused)),
                                            uint32_t* stack_top __attribute__((unused)),
                                            uint32_t* stack_bottom __attribute__((unused))) {
  __asm volatile(
      "push {r4, lr}\n"
      "msr psp, r1\n"
#if __ARM_ARCH >= 8
      "msr psplim, r2\n"
#endif
      "mrs r1, control\n"
      "movs r2, #2\n"
      "orrs r1, r2\n"
      "msr control, r1\n"
      "isb\n"
      "mov r4, r0\n"
      "ldr r0, [r4, #4]\n"
      "ldr r1, [r4, #8]\n"
      "ldr r2, [r4, #12]\n"
      "ldr r3, [r4, #0]\n"
      "blx r3\n"
      ".global harness_returned\n"
      "harness_returned:\n"
      "mrs r1, control\n"
      "movs r2, #2\n"
      "bics r1, r2\n"
      "msr control, r1\n"
      "isb\n"
      "pop {r4, pc}\n");
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

/* Words: stack pointer, IPSR, CFSR, HFSR, MMFAR, BFAR, EXC_RETURN, R0 to R3, R12, LR, PC, xPSR (frame: 0 if not readable). */
void harness_report_fault(const uint32_t* frame, uint32_t exc_return, uint32_t stack_pointer) {
  uint32_t words[15], ipsr;
  const int on_model_stack = (exc_return & 4) != 0;
  const int readable = !on_model_stack || (frame >= model_stack_bottom && frame + 8 <= model_stack_top);
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
  semihost_exit(3);
}

static void fill(uint32_t* from, const uint32_t* to, uint32_t value) {
  for (volatile uint32_t* word = from; word < to; word++) *word = value;
}

void platform_run(struct link_run* result) {
  fill(model_stack_bottom, model_stack_top, PAINT);
  result->status = harness_call(&model_call, model_stack_top, model_stack_bottom);
  const uint32_t* lowest = model_stack_bottom;
  while (lowest < model_stack_top && *lowest == PAINT) lowest++;
  result->stack_bytes = (uint32_t)((uint32_t)model_stack_top - (uint32_t)lowest);
}

void harness_main(void) {
  fill(harness_bss_start, harness_bss_end, 0);
  fill(model_bss_start, model_bss_end, 0);
  const uint32_t* from = model_data_load;
  for (volatile uint32_t* to = model_data_start; to < model_data_end; to++) *to = *from++;

  VTOR = (uint32_t)vectors;
  CPACR |= 0xFu << 20; /* FPU and MVE; ignored by cores without */
#if __ARM_ARCH >= 8
  CCR |= CCR_LOB; /* low-overhead branches of Armv8.1-M */
#endif
#if TRAP_UNALIGNED
  CCR |= CCR_UNALIGN_TRP;
#endif
  __asm volatile("dsb\nisb");

  semihost_open();
  link_serve();
  semihost_exit(0);
}
