/* What a driver of a serial port has to offer; uart_<driver>.c. */
#ifndef TVM_TINY_SERIAL_H
#define TVM_TINY_SERIAL_H

#include <stdint.h>

#define REGISTER(address) (*(volatile uint32_t*)(uintptr_t)(address))

/* SERIAL_ADDRESS, SERIAL_CLOCK_HZ and SERIAL_BAUD are the board's; clocks and pins have been set up. */
void uart_open(void);
uint8_t uart_get(void);
void uart_put(uint8_t byte);

#endif
