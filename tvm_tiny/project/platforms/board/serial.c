/* The link's bytes over the board's serial port, whose clocks and pins the board file says how to set up. */
#include "serial.h"

#include "board_setup.h"
#include "cortex_m.h"
#include "link.h"

void carrier_open(void) {
  static const struct board_step steps[] = BOARD_STEPS;
  for (const struct board_step* step = steps; step->address; step++) {
    if (step->wait) {
      while (!(REGISTER(step->address) & step->wait)) continue;
    } else {
      REGISTER(step->address) = (REGISTER(step->address) & ~step->clear) | step->set;
    }
  }
  uart_open();
}

void carrier_close(void) {}

void platform_read(void* data, uint32_t size) {
  for (uint8_t* byte = data; size; size--) *byte++ = uart_get();
}

void platform_write(const void* data, uint32_t size) {
  for (const uint8_t* byte = data; size; size--) uart_put(*byte++);
}
