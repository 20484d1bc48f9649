#ifndef STUB_KERNEL_H
#define STUB_KERNEL_H

#include <stddef.h>
#include <stdint.h>

#define ARG_UNUSED(x) ((void)(x))
#define IS_ENABLED(option) 0
#define K_FOREVER 0
#define K_NO_WAIT 0
#define K_FP_REGS 0
#define K_PRIO_PREEMPT(priority) (priority)
#define CONFIG_TVM_TINY_STACK_BYTES 4096

struct k_sem {
  unsigned count;
};
#define K_SEM_DEFINE(name, initial, limit) struct k_sem name = {initial}
#define K_THREAD_STACK_DEFINE(name, size) static uint8_t name[size]
#define K_THREAD_STACK_SIZEOF(stack) sizeof(stack)

struct k_thread {
  int unused;
};
typedef void (*k_thread_entry_t)(void* a, void* b, void* c);

void k_sem_give(struct k_sem* sem);
int k_sem_take(struct k_sem* sem, int timeout);
void k_thread_create(struct k_thread* thread, uint8_t* stack, size_t size, k_thread_entry_t entry, void* a, void* b,
                     void* c, int priority, uint32_t options, int delay);
static inline int k_thread_join(struct k_thread* thread, int timeout) { return (void)thread, timeout; }
int k_thread_stack_space_get(const struct k_thread* thread, size_t* unused);
static inline int64_t k_uptime_ticks(void) {
  static int64_t ticks;
  return ticks += 5;
}
static inline uint64_t k_ticks_to_ns_floor64(uint64_t ticks) { return ticks * 1000; }

#endif
