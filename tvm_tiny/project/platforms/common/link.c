#include "link.h"

enum { INFO = 1, WRITE, RUN, READ, EXIT, LOAD, CALL, PEEK, OBSERVED, FAULT = 0x7F, REPLY = 0x80 };
enum { OK = 0, DAMAGED = 1, BAD_REQUEST = 2, OUT_OF_RANGE = 3, NO_SESSION = 4, BEGUN = 5 };
enum { END = 0xC0, ESC = 0xDB, ESC_END = 0xDC, ESC_ESC = 0xDD };
enum { WORD = sizeof(uint32_t), OUT_BYTES = 128, KEPT_WORDS = 16 };

struct header {
  uint8_t type;
  uint8_t status;
  uint16_t sequence;
  uint16_t size;
  uint16_t session;
};

struct place {
  uint32_t index;
  uint32_t offset;
  uint32_t size;
};

/* The request that is answered, or the frame that is arriving. */
static struct {
  struct header header;
  uint32_t payload[LINK_PAYLOAD_BYTES / WORD + 1]; /* and the CRC */
} request;
static uint16_t session; /* 0 until INFO begins one */

/* The answer to a request that may not be executed twice. */
static struct {
  struct header header; /* type 0: none */
  uint32_t words[KEPT_WORDS];
} kept;

static uint32_t observed; /* frames since RUN began */

static uint8_t out[OUT_BYTES];
static uint32_t out_bytes;

static uint32_t crc_add(uint32_t crc, const void* data, uint32_t size) {
  static const uint32_t table[16] = {0x00000000, 0x1db71064, 0x3b6e20c8, 0x26d930ac, 0x76dc4190, 0x6b6b51f4,
                                     0x4db26158, 0x5005713c, 0xedb88320, 0xf00f9344, 0xd6d6a3e8, 0xcb61b38c,
                                     0x9b64c2b0, 0x86d3d2d4, 0xa00ae278, 0xbdbdf21c};
  const uint8_t* byte = data;
  for (; size; size--, byte++) {
    crc = (crc >> 4) ^ table[(crc ^ *byte) & 15];
    crc = (crc >> 4) ^ table[(crc ^ (uint32_t)(*byte >> 4)) & 15];
  }
  return crc;
}

static void put(uint8_t byte) {
  out[out_bytes++] = byte;
  if (out_bytes == OUT_BYTES) {
    platform_write(out, out_bytes);
    out_bytes = 0;
  }
}

static uint32_t put_escaped(uint32_t crc, const void* data, uint32_t size) {
  const uint8_t* byte = data;
  for (uint32_t i = 0; i < size; i++) {
    if (byte[i] == END || byte[i] == ESC) put(ESC);
    put(byte[i] == END ? ESC_END : byte[i] == ESC ? ESC_ESC : byte[i]);
  }
  return crc_add(crc, data, size);
}

static uint32_t begin_frame(const struct header* header) {
  put(END);
  return put_escaped(~0u, header, sizeof *header);
}

static void end_frame(uint32_t crc) {
  crc = ~crc;
  put_escaped(0, &crc, sizeof crc);
  put(END);
  platform_write(out, out_bytes);
  out_bytes = 0;
}

static struct header reply_header(uint8_t type, uint8_t status, uint32_t size) {
  const struct header header = {type, status, request.header.sequence, (uint16_t)size, request.header.session};
  return header;
}

static void send(uint8_t status, const void* data, uint32_t size) {
  const struct header header = reply_header(request.header.type | REPLY, status, size);
  end_frame(put_escaped(begin_frame(&header), data, size));
}

static void send_kept(void) { end_frame(put_escaped(begin_frame(&kept.header), kept.words, kept.header.size)); }

static void keep_and_send(uint8_t type, const void* data, uint32_t size) {
  uint8_t* to = (uint8_t*)kept.words;
  if (size > sizeof kept.words) size = sizeof kept.words;
  for (uint32_t i = 0; i < size; i++) to[i] = ((const uint8_t*)data)[i];
  kept.header = reply_header(type, OK, size);
  send_kept();
}

/* Take the next frame; whether it is a request. */
static int receive(void) {
  uint8_t* const bytes = (uint8_t*)&request;
  uint32_t size = 0;
  int escaped = 0, valid = 1;
  for (;;) {
    uint8_t byte;
    platform_read(&byte, 1);
    if (byte == END && !size && valid) continue;
    if (byte == END) break;
    if (byte == ESC) {
      valid &= !escaped;
      escaped = 1;
      continue;
    }
    if (escaped) {
      valid &= byte == ESC_END || byte == ESC_ESC;
      byte = byte == ESC_END ? END : ESC;
      escaped = 0;
    }
    valid &= size < sizeof request;
    if (valid) bytes[size++] = byte;
  }
  const uint32_t around = sizeof request.header + WORD;
  if (!valid || escaped || size < around || request.header.size != size - around) return 0;
  const uint32_t crc = ~crc_add(~0u, &request, size - WORD);
  uint32_t difference = 0;
  for (uint32_t i = 0; i < WORD; i++) difference |= bytes[size - WORD + i] ^ (crc >> 8 * i & 0xFF);
  return !difference;
}

__attribute__((weak)) void platform_describe(struct link_device* device) { (void)device; }

__attribute__((weak)) void platform_loaded(uint32_t address, uint32_t size) {
  (void)address;
  (void)size;
}

__attribute__((weak)) void platform_call(const struct link_call* call, uint32_t count, struct link_run* result) {
  (void)call;
  (void)count;
  result->status = -1;
}

static struct link_device describe(void) {
  struct link_device device = {0, LINK_NO_COUNTER, 0, 0, 0};
  platform_describe(&device);
  return device;
}

static void answer_info(void) {
  const struct link_device device = describe();
  const uint32_t words[] = {LINK_VERSION, LINK_PAYLOAD_BYTES};
  session = request.header.session;
  model_begin();
  const struct header header =
      reply_header(INFO | REPLY, OK, sizeof words + sizeof device + model_info_bytes + model_name_bytes);
  uint32_t crc = begin_frame(&header);
  crc = put_escaped(crc, words, sizeof words);
  crc = put_escaped(crc, &device, sizeof device);
  crc = put_escaped(crc, model_info, model_info_bytes);
  end_frame(put_escaped(crc, model_name, model_name_bytes));
}

static uint8_t* find(const struct link_buffer* buffers, uint32_t count, const struct place* place) {
  if (place->index >= count || place->offset > buffers[place->index].size) return 0;
  if (place->size > buffers[place->index].size - place->offset) return 0;
  return buffers[place->index].data + place->offset;
}

static void copy(uint8_t* to, const void* from, uint32_t size) {
  for (uint32_t i = 0; i < size; i++) to[i] = ((const uint8_t*)from)[i];
}

static uint8_t answer_write(uint32_t size) {
  if (size < 2 * WORD) return BAD_REQUEST;
  const struct place place = {request.payload[0], request.payload[1], size - 2 * WORD};
  uint8_t* const to = find(model_inputs, model_info[1], &place);
  if (!to) return OUT_OF_RANGE;
  copy(to, request.payload + 2, place.size);
  return OK;
}

static void answer_read(uint32_t size) {
  const struct place place = {request.payload[0], request.payload[1], request.payload[2]};
  const uint8_t* const from = find(model_outputs, model_info[2], &place);
  uint8_t status = !from || place.size > LINK_PAYLOAD_BYTES ? OUT_OF_RANGE : OK;
  if (size != sizeof place) status = BAD_REQUEST;
  send(status, from, status == OK ? place.size : 0);
}

static uint8_t answer_load(uint32_t size) {
  if (size < WORD) return BAD_REQUEST;
  const struct link_device device = describe();
  const uint32_t offset = request.payload[0] - device.memory_address;
  if (offset > device.memory_bytes || size - WORD > device.memory_bytes - offset) return OUT_OF_RANGE;
  copy((uint8_t*)(uintptr_t)request.payload[0], request.payload + 1, size - WORD);
  platform_loaded(request.payload[0], size - WORD);
  return OK;
}

static void answer_peek(uint32_t size) {
  const int valid = size == 2 * WORD && request.payload[1] <= LINK_PAYLOAD_BYTES;
  send(valid ? OK : BAD_REQUEST, (const void*)(uintptr_t)request.payload[0], valid ? request.payload[1] : 0);
}

static void answer_run(uint32_t size) {
  struct link_run sum = {0, 0, 0, 0};
  if (size != WORD) {
    send(BAD_REQUEST, 0, 0);
    return;
  }
  observed = 0;
  send(BEGUN, 0, 0);
  for (uint32_t times = request.payload[0]; times; times--) {
    struct link_run result = {0, 0, 0, 0};
    platform_run(&result);
    model_map();
    sum.status = result.status;
    if (result.stack_bytes > sum.stack_bytes) sum.stack_bytes = result.stack_bytes;
    sum.nanoseconds += result.nanoseconds;
    sum.cycles += result.cycles;
  }
  keep_and_send(RUN | REPLY, &sum, sizeof sum);
}

static void answer_call(uint32_t size) {
  const uint32_t fixed = 2 * WORD;
  struct link_run result = {0, 0, 0, 0};
  if (size < fixed || size > sizeof(struct link_call) || size % WORD || !describe().memory_bytes) {
    send(BAD_REQUEST, 0, 0);
    return;
  }
  send(BEGUN, 0, 0);
  platform_call((const struct link_call*)(const void*)request.payload, (size - fixed) / WORD, &result);
  keep_and_send(CALL | REPLY, &result, sizeof result);
}

/* Answer the request that has arrived; 0 after EXIT. */
static int answer(void) {
  const uint8_t type = request.header.type;
  const uint32_t size = request.header.size;
  if (type != INFO && (request.header.session != session || !session)) {
    send(NO_SESSION, 0, 0);
    return 1;
  }
  if (type != INFO && kept.header.type && kept.header.sequence == request.header.sequence) {
    send_kept();
    return 1;
  }
  kept.header.type = 0; /* the host has it: it has gone on */
  if (type == INFO) {
    answer_info();
  } else if (type == WRITE) {
    send(answer_write(size), 0, 0);
  } else if (type == RUN) {
    answer_run(size);
  } else if (type == READ) {
    answer_read(size);
  } else if (type == LOAD) {
    send(answer_load(size), 0, 0);
  } else if (type == CALL) {
    answer_call(size);
  } else if (type == PEEK) {
    answer_peek(size);
  } else {
    send(type == EXIT ? OK : BAD_REQUEST, 0, 0);
    return type != EXIT;
  }
  return 1;
}

void link_serve(void) {
  for (;;) {
    if (!receive()) {
      request.header.type = 0;
      send(DAMAGED, 0, 0);
    } else if (!answer()) {
      session = 0;
      return;
    }
  }
}

void tinyml_observe(int32_t layer, int32_t output, const void* data, int32_t offset, int32_t size) {
  const uint8_t* from = data;
  while (size > 0) {
    const uint32_t place[] = {observed++, (uint32_t)layer, (uint32_t)output, (uint32_t)offset};
    const int32_t most = LINK_PAYLOAD_BYTES - sizeof place, part = size < most ? size : most;
    const struct header header = reply_header(OBSERVED | REPLY, OK, (uint32_t)part + sizeof place);
    end_frame(put_escaped(put_escaped(begin_frame(&header), place, sizeof place), from, (uint32_t)part));
    from += part;
    offset += part;
    size -= part;
  }
}

void link_fault(const uint32_t* words, uint32_t count) {
  out_bytes = 0;
  keep_and_send(FAULT, words, count * WORD);
}
