/* Bytes to and from the host by semihosting, through two named pipes in QEMU's working directory. */
#ifndef TVM_TINY_SEMIHOST_H
#define TVM_TINY_SEMIHOST_H

#include <stdint.h>

void semihost_open(void);
__attribute__((noreturn)) void semihost_exit(uint32_t code);

#endif
