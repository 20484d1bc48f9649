/* Reads from flash behind small caches: how many of them have to wait. A cache has lines of one flash read, sets of up to
 * four lines, and replaces the one not used for longest.
 */
#ifndef TVM_TINY_FLASH_H
#define TVM_TINY_FLASH_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

enum { CACHE_WAYS = 4 };

struct cache {
  uint64_t* lines; /* [sets][CACHE_WAYS], latest first; address of a line + 1 */
  unsigned sets, ways;
};

static inline void cache_make(struct cache* cache, unsigned lines) {
  if (lines == 0) lines = 1; /* the last read stays in the flash's own buffer */
  cache->ways = lines < CACHE_WAYS ? lines : CACHE_WAYS;
  cache->sets = lines / cache->ways;
  cache->lines = calloc((size_t)cache->sets * CACHE_WAYS, sizeof *cache->lines);
  if (!cache->lines) abort();
}

/* Read line number `line`; whether that had to wait. */
static inline bool cache_miss(struct cache* cache, uint64_t line) {
  uint64_t* set = &cache->lines[line % cache->sets * CACHE_WAYS];
  unsigned way = 0;
  while (way < cache->ways && set[way] != line + 1) way++;
  const bool miss = way == cache->ways;
  if (miss) way--;
  for (; way > 0; way--) set[way] = set[way - 1];
  set[0] = line + 1;
  return miss;
}

#endif
