/* USART of STM32F0, F3, F7, G, H, L and U: RM0385, "Universal synchronous asynchronous receiver transmitter". */
#include "serial.h"

enum { CR1 = 0x00, BRR = 0x0C, ISR = 0x1C, ICR = 0x20, RDR = 0x24, TDR = 0x28 };
enum { CR1_UE_RE_TE = 0xD, ISR_ORE = 1 << 3, ISR_RXNE = 1 << 5, ISR_TXE = 1 << 7 };

void uart_open(void) {
  REGISTER(SERIAL_ADDRESS + BRR) = (SERIAL_CLOCK_HZ + SERIAL_BAUD / 2) / SERIAL_BAUD;
  REGISTER(SERIAL_ADDRESS + CR1) = CR1_UE_RE_TE;
}

uint8_t uart_get(void) {
  uint32_t state;
  do { /* an overrun stops reception until it is cleared */
    state = REGISTER(SERIAL_ADDRESS + ISR);
    if (state & ISR_ORE) REGISTER(SERIAL_ADDRESS + ICR) = ISR_ORE;
  } while (!(state & ISR_RXNE));
  return (uint8_t)REGISTER(SERIAL_ADDRESS + RDR);
}

void uart_put(uint8_t byte) {
  while (!(REGISTER(SERIAL_ADDRESS + ISR) & ISR_TXE)) continue;
  REGISTER(SERIAL_ADDRESS + TDR) = byte;
}
