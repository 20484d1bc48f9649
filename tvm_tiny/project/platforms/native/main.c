/* The model as a process: requests on stdin, replies on stdout. */
#define _POSIX_C_SOURCE 200809L
#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "link.h"

void platform_read(void* data, uint32_t size) {
  static uint8_t arrived[65536];
  static ssize_t next, end;
  for (uint8_t* byte = data; size; size--) {
    while (next == end) {
      next = 0;
      end = read(STDIN_FILENO, arrived, sizeof arrived);
      if (end < 0 && errno == EINTR) end = 0;
      else if (end <= 0) exit(1);
    }
    *byte++ = arrived[next++];
  }
}

void platform_write(const void* data, uint32_t size) {
  const uint8_t* byte = data;
  while (size) {
    const ssize_t n = write(STDOUT_FILENO, byte, size);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) exit(1);
    byte += n;
    size -= (uint32_t)n;
  }
}

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void platform_run(struct link_run* result) {
  const uint64_t start = now_ns();
  result->status = model_run();
  result->nanoseconds = now_ns() - start;
}

/* What AddressSanitizer asks for, if it is there: the end of its message is what an error shows. */
const char* __asan_default_options(void);
const char* __asan_default_options(void) { return "print_legend=0"; }

int main(void) {
  link_serve();
  return 0;
}
