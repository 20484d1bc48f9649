/* Operations and parameter blocks: Arm, "Semihosting for AArch32 and AArch64". */
#include "semihost.h"

#include "link.h"

enum { SYS_OPEN = 0x01, SYS_WRITE = 0x05, SYS_READ = 0x06, SYS_EXIT_EXTENDED = 0x20 };
enum { MODE_READ_BINARY = 1, MODE_WRITE_BINARY = 5, APPLICATION_EXIT = 0x20026 };

static uint32_t from_host, to_host;

static uint32_t call(uint32_t operation, const void* parameters) {
  register uint32_t r0 __asm("r0") = operation;
  register const void* r1 __asm("r1") = parameters;
  __asm volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
  return r0;
}

__attribute__((noreturn)) void semihost_exit(uint32_t code) {
  const uint32_t parameters[2] = {APPLICATION_EXIT, code};
  for (;;) call(SYS_EXIT_EXTENDED, parameters);
}

static uint32_t open_pipe(const char* name, uint32_t length, uint32_t mode) {
  const uint32_t parameters[3] = {(uint32_t)name, mode, length};
  const uint32_t handle = call(SYS_OPEN, parameters);
  if (handle == 0xFFFFFFFFu) semihost_exit(4);
  return handle;
}

void semihost_open(void) {
  static const char in[] = "to_device", out[] = "from_device";
  from_host = open_pipe(in, sizeof in - 1, MODE_READ_BINARY);
  to_host = open_pipe(out, sizeof out - 1, MODE_WRITE_BINARY);
}

/* Both calls return how many bytes are left; nothing moved means that the host is gone. */
static void transfer(uint32_t operation, uint32_t handle, uint32_t address, uint32_t size) {
  while (size) {
    const uint32_t parameters[3] = {handle, address, size};
    const uint32_t left = call(operation, parameters);
    if (left >= size) semihost_exit(5);
    address += size - left;
    size = left;
  }
}

void platform_read(void* data, uint32_t size) { transfer(SYS_READ, from_host, (uint32_t)data, size); }

void platform_write(const void* data, uint32_t size) { transfer(SYS_WRITE, to_host, (uint32_t)data, size); }
