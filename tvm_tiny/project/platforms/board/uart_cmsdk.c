/* Arm CMSDK APB UART (MPS2 and MPS3 boards, real and emulated): Cortex-M System Design Kit TRM, DDI 0479. */
#include "serial.h"

enum { DATA = 0x0, STATE = 0x4, CTRL = 0x8, BAUDDIV = 0x10 };
enum { STATE_TX_FULL = 1, STATE_RX_FULL = 2, CTRL_TX_RX = 3 };

void uart_open(void) {
  REGISTER(SERIAL_ADDRESS + BAUDDIV) = SERIAL_CLOCK_HZ / SERIAL_BAUD;
  REGISTER(SERIAL_ADDRESS + CTRL) = CTRL_TX_RX;
}

uint8_t uart_get(void) {
  while (!(REGISTER(SERIAL_ADDRESS + STATE) & STATE_RX_FULL)) {
    for (volatile int i = 0; i < 16; i++) continue; /* an emulator that is asked all the time takes no bytes in */
  }
  return (uint8_t)REGISTER(SERIAL_ADDRESS + DATA);
}

void uart_put(uint8_t byte) {
  while (REGISTER(SERIAL_ADDRESS + STATE) & STATE_TX_FULL) continue;
  REGISTER(SERIAL_ADDRESS + DATA) = byte;
}
