/* A UART that has as many bytes as standard input gives at once, in a FIFO; its interrupt comes while the kernel waits. */
#include <stdlib.h>
#include <unistd.h>
#include <zephyr/drivers/uart.h>
#include <zephyr/kernel.h>

const struct device stub_uart;
static uart_irq_callback_user_data_t handler;
static uint8_t fifo[1 << 16];
static ssize_t next, end;
static int enabled;

int uart_irq_callback_set(const struct device* device, uart_irq_callback_user_data_t callback) {
  handler = callback;
  return (void)device, 0;
}

void uart_irq_rx_enable(const struct device* device) { enabled = 1, (void)device; }
void uart_irq_rx_disable(const struct device* device) { enabled = 0, (void)device; }
int uart_irq_update(const struct device* device) { return (void)device, 1; }
int uart_irq_rx_ready(const struct device* device) { return (void)device, next < end; }

int uart_fifo_read(const struct device* device, uint8_t* data, const int size) {
  (void)device;
  if (next == end || size < 1) return 0;
  *data = fifo[next++];
  return 1;
}

void uart_poll_out(const struct device* device, unsigned char byte) {
  (void)device;
  if (write(STDOUT_FILENO, &byte, 1) != 1) exit(1);
}

void k_sem_give(struct k_sem* sem) { sem->count = 1; }

int k_sem_take(struct k_sem* sem, int timeout) {
  if (next == end) {
    next = 0;
    end = read(STDIN_FILENO, fifo, sizeof fifo);
    if (end <= 0) exit(0);
  }
  if (!enabled) abort(); /* nothing would ever come */
  handler(&stub_uart, 0);
  sem->count = 0;
  return timeout;
}

void k_thread_create(struct k_thread* thread, uint8_t* stack, size_t size, k_thread_entry_t entry, void* a, void* b,
                     void* c, int priority, uint32_t options, int delay) {
  (void)thread, (void)stack, (void)size, (void)priority, (void)options, (void)delay;
  entry(a, b, c);
}

int k_thread_stack_space_get(const struct k_thread* thread, size_t* unused) {
  *unused = CONFIG_TVM_TINY_STACK_BYTES - 600;
  return (void)thread, 0;
}
