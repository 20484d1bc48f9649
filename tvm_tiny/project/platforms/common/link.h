/* Link between the host and a device: requests and replies over any byte stream, however bad.
 *
 * Frame: END, then with escapes: type u8, status u8, sequence u16, payload length u16, session u16, payload, CRC-32 (of
 * zlib, over type to the end of the payload), then END. Little endian. END and ESC are those of SLIP (RFC 1055), so a
 * lost or damaged byte costs one frame: the next END starts anew, and no byte has to be waited for by the clock.
 *
 * The device only answers; a reply has the request's type with bit 7 set, its sequence number and its session. A frame
 * that does not check is answered with type 0x80, status 1. The host repeats a request with the same sequence number
 * until it has the reply. What RUN and CALL answered, or a fault, is kept: a repeated request is answered with it and
 * not executed again. INFO begins the session that its frame names; a device that has started anew knows none, and
 * refuses everything else with status 4.
 *
 *   type          request payload                          reply payload
 *   1 INFO        -                                        version, longest payload, CPUID, counter, counter Hz, address
 *                                                          and size of the memory for LOAD, hash of the model, inputs,
 *                                                          outputs, size of each: u32; then the model's name
 *   2 WRITE       input u32, offset u32, data              -
 *   3 RUN         times u32                                struct link_run, status of the last time, sums of the others
 *   4 READ        output u32, offset u32, size u32         data
 *   5 EXIT        -                                        -
 *   6 LOAD        address u32, data                        -           (data or code, into the memory that INFO names)
 *   7 CALL        function u32, times u32, arguments u32   struct link_run, status is what the function returned
 *   8 PEEK        address u32, size u32                    data
 *   9 OBSERVED    never sent by the host                   number, layer, output, offset: u32; data
 *   0x7F FAULT    never sent by the host                   words, see link_fault; answers any request
 *
 * RUN and CALL are first answered with status 5 and no payload, as soon as they begin.
 *
 * A model compiled with -DTINYML_OBSERVED has OBSERVED frames sent in front of RUN's reply, counted from 0: for every call
 * of a kernel the bytes that it has just written, and where in the layer's output they belong.
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

#define LINK_VERSION 2
#define LINK_MOST_ARGUMENTS 16

/* Longest payload of a request or a reply: the device keeps one request. */
#ifndef LINK_PAYLOAD_BYTES
#define LINK_PAYLOAD_BYTES 1024
#endif

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

/* Payload of the replies to RUN and CALL; 0 where the device does not know. */
struct link_run {
  int32_t status;
  uint32_t stack_bytes;
  uint64_t nanoseconds;
  uint64_t cycles; /* ticks of the counter that INFO names */
};

/* Payload of CALL. Arguments are words, as the procedure call standard passes them. */
struct link_call {
  uint32_t function; /* with the Thumb bit */
  uint32_t times;
  uint32_t arguments[LINK_MOST_ARGUMENTS];
};

enum link_counter { LINK_NO_COUNTER = 0, LINK_DWT_CYCCNT = 1, LINK_SYSTICK = 2 };

/* What INFO says of the device. */
struct link_device {
  uint32_t cpuid;
  uint32_t counter;
  uint32_t counter_hz;
  uint32_t memory_address;
  uint32_t memory_bytes;
};

/* Made for each model (model_io.c); model_info is the model's part of INFO. model_begin is called by INFO, model_map,
 * which fills in addresses that only the model knows, after each RUN. */
extern struct link_buffer model_inputs[];
extern struct link_buffer model_outputs[];
void model_begin(void);
void model_map(void);
extern const uint32_t model_info[];
extern const uint32_t model_info_bytes;
extern const char model_name[];
extern const uint32_t model_name_bytes;
extern struct model_call model_call;
int32_t model_run(void);

/* Made for each platform. Reading and writing do not return when the host is gone. */
void platform_read(void* data, uint32_t size);
void platform_write(const void* data, uint32_t size);
void platform_run(struct link_run* result);

/* A platform without these has no memory for LOAD, and refuses CALL. What was loaded may be code. */
void platform_describe(struct link_device* device);
void platform_loaded(uint32_t address, uint32_t size);
void platform_call(const struct link_call* call, uint32_t count, struct link_run* result);

/* Answer requests until EXIT. */
void link_serve(void);

/* Called by a model that is compiled with -DTINYML_OBSERVED. */
void tinyml_observe(int32_t layer, int32_t output, const void* data, int32_t offset, int32_t size);

/* Tell the host of a fault: registers and status words, at most 16. link_serve may then be called again. */
void link_fault(const uint32_t* words, uint32_t count);

#endif
