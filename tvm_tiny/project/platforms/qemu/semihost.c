/* Operations and parameter blocks: Arm, "Semihosting for AArch32 and AArch64". */
#include "cortex_m.h"
#include "link.h"

enum { SYS_OPEN = 0x01, SYS_WRITE = 0x05, SYS_READ = 0x06, SYS_EXIT_EXTENDED = 0x20 };
enum { MODE_READ_BINARY = 1, MODE_WRITE_BINARY = 5, APPLICATION_EXIT = 0x20026 };

static uint32_t from_host, to_host;
static uint8_t arrived[4096]; /* a byte alone would cost as much as all of them */
static uint32_t next, end;

static uint32_t call(uint32_t operation, const void* parameters) {
  register uint32_t r0 __asm("r0") = operation;
  register const void* r1 __asm("r1") = parameters;
  __asm volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
  return r0;
}

__attribute__((noreturn)) static void leave(uint32_t code) {
  const uint32_t parameters[2] = {APPLICATION_EXIT, code};
  for (;;) call(SYS_EXIT_EXTENDED, parameters);
}

static uint32_t open_pipe(const char* name, uint32_t length, uint32_t mode) {
  const uint32_t parameters[3] = {(uint32_t)name, mode, length};
  const uint32_t handle = call(SYS_OPEN, parameters);
  if (handle == 0xFFFFFFFFu) leave(4);
  return handle;
}

void carrier_open(void) {
  static const char in[] = "to_device", out[] = "from_device";
  from_host = open_pipe(in, sizeof in - 1, MODE_READ_BINARY);
  to_host = open_pipe(out, sizeof out - 1, MODE_WRITE_BINARY);
}

void carrier_close(void) { leave(0); }

/* How many bytes were moved: at least one. Nothing moved means that the host is gone. */
static uint32_t transfer(uint32_t operation, uint32_t handle, const void* data, uint32_t size) {
  const uint32_t parameters[3] = {handle, (uint32_t)data, size};
  const uint32_t left = call(operation, parameters);
  if (left >= size) leave(5);
  return size - left;
}

void platform_read(void* data, uint32_t size) {
  for (uint8_t* byte = data; size; size--) {
    if (next == end) {
      next = 0;
      end = transfer(SYS_READ, from_host, arrived, sizeof arrived);
    }
    *byte++ = arrived[next++];
  }
}

void platform_write(const void* data, uint32_t size) {
  const uint8_t* byte = data;
  while (size) {
    const uint32_t n = transfer(SYS_WRITE, to_host, byte, size);
    byte += n;
    size -= n;
  }
}

/* Instructions are counted from outside; the emulator has no cycles. */
void counter_open(void) {}

uint64_t counter_now(void) { return 0; }

uint64_t counter_since(uint64_t start) { return start; }

uint32_t counter_kind(void) { return LINK_NO_COUNTER; }

void counter_overflow(void) {}
