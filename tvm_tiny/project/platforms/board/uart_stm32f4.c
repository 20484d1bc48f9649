/* USART of STM32F1, F2, F4 and L1: RM0390, "Universal synchronous asynchronous receiver transmitter". */
#include "serial.h"

enum { SR = 0x00, DR = 0x04, BRR = 0x08, CR1 = 0x0C };
enum { SR_RXNE = 1 << 5, SR_TXE = 1 << 7, CR1_UE_TE_RE = 0x200C };

void uart_open(void) {
  REGISTER(SERIAL_ADDRESS + BRR) = (SERIAL_CLOCK_HZ + SERIAL_BAUD / 2) / SERIAL_BAUD;
  REGISTER(SERIAL_ADDRESS + CR1) = CR1_UE_TE_RE;
}

uint8_t uart_get(void) {
  while (!(REGISTER(SERIAL_ADDRESS + SR) & SR_RXNE)) continue;
  return (uint8_t)REGISTER(SERIAL_ADDRESS + DR); /* reading SR, then DR clears an overrun */
}

void uart_put(uint8_t byte) {
  while (!(REGISTER(SERIAL_ADDRESS + SR) & SR_TXE)) continue;
  REGISTER(SERIAL_ADDRESS + DR) = byte;
}
