/* UART without DMA of nRF51 and nRF52: nRF52840 Product Specification, "UART". Pins are set up by the board file. */
#include "serial.h"

enum { STARTRX = 0x000, STARTTX = 0x008, RXDRDY = 0x108, TXDRDY = 0x11C };
enum { ENABLE = 0x500, RXD = 0x518, TXD = 0x51C, BAUDRATE = 0x524, ENABLED = 4 };

static int sent_any;

void uart_open(void) {
  /* Baud rate in units of 16 MHz / 2^32, in the upper 20 bits. */
  REGISTER(SERIAL_ADDRESS + BAUDRATE) = (uint32_t)(((uint64_t)SERIAL_BAUD << 32) / 16000000u + 0x800u) & 0xFFFFF000u;
  REGISTER(SERIAL_ADDRESS + ENABLE) = ENABLED;
  REGISTER(SERIAL_ADDRESS + RXDRDY) = 0;
  REGISTER(SERIAL_ADDRESS + STARTRX) = 1;
  REGISTER(SERIAL_ADDRESS + STARTTX) = 1;
  sent_any = 0;
}

uint8_t uart_get(void) {
  while (!REGISTER(SERIAL_ADDRESS + RXDRDY)) continue;
  REGISTER(SERIAL_ADDRESS + RXDRDY) = 0; /* before RXD is read: the next byte may be waiting */
  return (uint8_t)REGISTER(SERIAL_ADDRESS + RXD);
}

void uart_put(uint8_t byte) {
  while (sent_any && !REGISTER(SERIAL_ADDRESS + TXDRDY)) continue;
  REGISTER(SERIAL_ADDRESS + TXDRDY) = 0;
  REGISTER(SERIAL_ADDRESS + TXD) = byte;
  sent_any = 1;
}
