/* nbdclone: powercut: what the parts of the cache share.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef NBDCLONE_POWERCUT_CACHE_PRIVATE_H
#define NBDCLONE_POWERCUT_CACHE_PRIVATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "cache.h"

struct cache {
  struct destination *below;
  uint64_t size; /* bytes */
  uint32_t sector_size;
  uint64_t limit; /* bytes of memory */

  /* Held by the one who writes below.  Taken before LOCK. */
  pthread_mutex_t io;

  /* Protects all that follows; held for no I/O. */
  pthread_mutex_t lock;
  struct table table;
  uint64_t number;   /* of the last request inserted */
  uint64_t destaged; /* sectors */
  bool cut;
};

static inline int
set_error (int error, int *err)
{
  *err = error;
  return -1;
}

static inline uint64_t
min (uint64_t a, uint64_t b)
{
  return a < b ? a : b;
}

/* The last sector may be short. */
static inline uint32_t
clip (const struct cache *c, uint64_t offset, uint64_t length)
{
  return (uint32_t) min (length, c->size - offset);
}

#endif /* NBDCLONE_POWERCUT_CACHE_PRIVATE_H */
