/* Stands in for Arduino's core: what the example sketch uses of it, on standard output. */
#pragma once
#include <stdio.h>

struct StubSerial {
  void begin(unsigned long) {}
  void print(const char* text) { fputs(text, stdout); }
  void print(int value) { printf("%d", value); }
  void println(double value, int digits) { printf("%.*f\n", digits, value); }
};

inline StubSerial Serial;
inline void delay(unsigned long) {}

void setup();
void loop();
