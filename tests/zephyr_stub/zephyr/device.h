/* Stands in for Zephyr's headers: what the host-driven application uses of them, on standard input and output. */
#ifndef STUB_DEVICE_H
#define STUB_DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct device {
  int unused;
};

extern const struct device stub_uart;

#define DT_CHOSEN(name) name
#define DEVICE_DT_GET(node) (&stub_uart)
static inline bool device_is_ready(const struct device* device) { return device == &stub_uart; }

#endif
