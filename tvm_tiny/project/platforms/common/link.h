/* Link between the host and the model: framed requests and replies over a byte stream.
 *
 * Frame: 0xAA 0x55, type u8, status u8, zero u16, payload length u32, payload, CRC-16 u16 (CCITT, seed 0xFFFF, over
 * type to the end of the payload). Little endian. The device only answers; a reply has the request's type with bit 7 set.
 *
 *   type          request payload                    reply payload
 *   1 INFO        -                                  version, inputs, outputs, size of each input and output: u32
 *   2 WRITE       input u32, offset u32, data        -           (data goes straight into the model's buffer)
 *   3 RUN         -                                  return value i32, stack bytes u32, nanoseconds u64 (0: unknown)
 *   4 READ        output u32, offset u32, size u32   data
 *   5 EXIT        -                                  -
 *   0x7F FAULT    never sent by the host             words, see link_fault
 *
 * A model that takes its input row by row has one input, the next row: WRITE puts it in its place, RUN has the model
 * take it and returns how many rows are still expected. After the last one outputs can be read, and the next WRITE
 * begins the next image.
 */
#ifndef TVM_TINY_LINK_H
#define TVM_TINY_LINK_H

#include <stdint.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "frames are little endian and are sent as they lie in memory"
#endif

#define LINK_VERSION 1

struct link_buffer {
  uint8_t* data;
  uint32_t size;
};

/* tvmgen_<module>_run, or _push_row, and its arguments (those it has), for platforms that call it on a stack of its
 * own. */
struct model_call {
  void (*entry)(void);
  void* arguments[3];
};

/* Payload of RUN's reply. */
struct link_run {
  int32_t status;
  uint32_t stack_bytes;
  uint64_t nanoseconds;
};

/* Made for each model (model_io.c); model_info is the payload of INFO. model_map fills in addresses that only the model
 * knows; it is called before the first request and after each RUN. */
extern struct link_buffer model_inputs[];
extern struct link_buffer model_outputs[];
void model_map(void);
extern const uint32_t model_info[];
extern const uint32_t model_info_bytes;
extern struct model_call model_call;
int32_t model_run(void);

/* Made for each platform. Reading and writing do not return when the host is gone. */
void platform_read(void* data, uint32_t size);
void platform_write(const void* data, uint32_t size);
void platform_run(struct link_run* result);

/* Answer requests until EXIT. */
void link_serve(void);

/* Tell the host of a fault: registers and status words. */
void link_fault(const uint32_t* words, uint32_t count);

#endif
