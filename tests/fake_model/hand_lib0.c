/* A model whose instructions are counted by hand (Thumb, all cores): test_counter.py has the sums. */
#include <stdint.h>

#include "tvm_tiny_kernels.h"
#include "tvmgen_hand.h"

#define MARK(i) ".pushsection .tinyml_marks,\"a\",%progbits\n.balign 4\n.word 0b, " #i "\n.popsection\n"

__attribute__((naked)) int32_t tvmgen_hand_run(struct tvmgen_hand_inputs* inputs __attribute__((unused)),
                                               struct tvmgen_hand_outputs* outputs __attribute__((unused))) {
  __asm volatile(
      ".syntax unified\n"
      "push {r4, r5, r6, lr}\n" /* before the first mark: 4 */
      "sub sp, #32\n"
      "ldr r4, [r0]\n"
      "ldr r5, [r1]\n"
      "0:" MARK(0) /* layer 0: 2 + n * 4 + (n - 1) * 1, n from the input */
      "ldrb r2, [r4]\n"
      "b 3f\n"
      "2: movs r3, #7\n"
      "3: str r2, [sp, #4]\n"
      "muls r3, r2\n"
      "subs r2, #1\n"
      "bne 2b\n"
      "0:" MARK(1) /* layer 1: 1 + 3 * 2 + 6 */
      "movs r2, #3\n"
      "4: subs r2, #1\n"
      "bne 4b\n"
      "mov r2, sp\n"
      "ldm r2!, {r0, r1, r3}\n"
      "strb r3, [r5]\n"
      "bl hand_leaf\n"
      "dmb\n"
      "movs r0, #0\n"
      "0:" MARK(-1) /* behind the last layer: 2 */
      "add sp, #32\n"
      "pop {r4, r5, r6, pc}\n"
      /* In layer 1 as well: 3. Its frame has 16 bytes that are never written. */
      ".thumb_func\n"
      "hand_leaf:\n"
      "sub sp, #16\n"
      "add sp, #16\n"
      "bx lr\n");
}
