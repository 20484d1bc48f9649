#include "link.h"

enum { INFO = 1, WRITE = 2, RUN = 3, READ = 4, EXIT = 5, FAULT = 0x7F, REPLY = 0x80 };
enum { OK = 0, BAD_CRC = 1, BAD_REQUEST = 2, OUT_OF_RANGE = 3 };

struct header {
  uint8_t type;
  uint8_t status;
  uint16_t zero;
  uint32_t size;
};

struct place {
  uint32_t index;
  uint32_t offset;
  uint32_t size; /* READ only */
};

static uint16_t crc_add(uint16_t crc, const void* data, uint32_t size) {
  static const uint16_t table[16] = {0x0000, 0x1021, 0x2042, 0x3063, 0x4084, 0x50a5, 0x60c6, 0x70e7,
                                     0x8108, 0x9129, 0xa14a, 0xb16b, 0xc18c, 0xd1ad, 0xe1ce, 0xf1ef};
  const uint8_t* byte = data;
  for (; size; size--, byte++) {
    crc = (uint16_t)((crc << 4) ^ table[(crc >> 12) ^ (*byte >> 4)]);
    crc = (uint16_t)((crc << 4) ^ table[(crc >> 12) ^ (*byte & 15)]);
  }
  return crc;
}

static void send(uint8_t type, uint8_t status, const void* data, uint32_t size) {
  static const uint8_t start[2] = {0xAA, 0x55};
  const struct header header = {type, status, 0, size};
  const uint16_t crc = crc_add(crc_add(0xFFFF, &header, sizeof header), data, size);
  platform_write(start, sizeof start);
  platform_write(&header, sizeof header);
  if (size) platform_write(data, size);
  platform_write(&crc, sizeof crc);
}

static uint16_t receive(uint16_t crc, void* data, uint32_t size) {
  platform_read(data, size);
  return crc_add(crc, data, size);
}

static uint16_t receive_header(struct header* header) {
  uint8_t byte = 0, previous;
  do { /* whatever is not a frame is noise on the line */
    previous = byte;
    platform_read(&byte, 1);
  } while (previous != 0xAA || byte != 0x55);
  return receive(0xFFFF, header, sizeof *header);
}

static uint16_t skip(uint16_t crc, uint32_t size) {
  uint8_t byte;
  for (; size; size--) crc = receive(crc, &byte, 1);
  return crc;
}

static int crc_matches(uint16_t crc) {
  uint16_t sent;
  platform_read(&sent, sizeof sent);
  return crc == sent;
}

static uint8_t* find(const struct link_buffer* buffers, uint32_t count, const struct place* place) {
  if (place->index >= count || place->offset > buffers[place->index].size) return 0;
  if (place->size > buffers[place->index].size - place->offset) return 0;
  return buffers[place->index].data + place->offset;
}

/* The data goes into the model's buffer before its CRC is known; the host repeats a WRITE that failed. */
static uint8_t answer_write(uint16_t crc, uint32_t size) {
  struct place place = {0, 0, 0};
  const uint32_t head = 2 * sizeof(uint32_t);
  if (size < head) return crc_matches(skip(crc, size)) ? BAD_REQUEST : BAD_CRC;
  crc = receive(crc, &place, head);
  place.size = size - head;
  uint8_t* target = find(model_inputs, model_info[1], &place);
  crc = target ? receive(crc, target, place.size) : skip(crc, place.size);
  if (!crc_matches(crc)) return BAD_CRC;
  return target ? OK : OUT_OF_RANGE;
}

static void answer_read(uint16_t crc, uint32_t size) {
  struct place place = {0, 0, 0};
  const int valid = size == sizeof place;
  crc = valid ? receive(crc, &place, sizeof place) : skip(crc, size);
  const uint8_t* source = valid ? find(model_outputs, model_info[2], &place) : 0;
  const uint8_t status = !crc_matches(crc) ? BAD_CRC : !valid ? BAD_REQUEST : source ? OK : OUT_OF_RANGE;
  send(READ | REPLY, status, source, status == OK ? place.size : 0);
}

static void answer_run(void) {
  struct link_run result = {0, 0, 0};
  platform_run(&result);
  model_map();
  send(RUN | REPLY, OK, &result, sizeof result);
}

void link_serve(void) {
  model_map();
  for (;;) {
    struct header header;
    uint16_t crc = receive_header(&header);
    const uint8_t type = header.type;
    if (type == WRITE) {
      send(WRITE | REPLY, answer_write(crc, header.size), 0, 0);
    } else if (type == READ) {
      answer_read(crc, header.size);
    } else if (!crc_matches(skip(crc, header.size))) {
      send(type | REPLY, BAD_CRC, 0, 0);
    } else if (type == INFO) {
      send(INFO | REPLY, OK, model_info, model_info_bytes);
    } else if (type == RUN) {
      answer_run();
    } else {
      send(type | REPLY, type == EXIT ? OK : BAD_REQUEST, 0, 0);
      if (type == EXIT) return;
    }
  }
}

void link_fault(const uint32_t* words, uint32_t count) { send(FAULT, OK, words, count * sizeof *words); }
