/* nbdclone: powercut: a volatile write cache.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Everything may be called by several threads at the same time, and takes the
 * cache's own locks.  Functions that return int return 0, or -1 and an errno in
 * *ERR; after cache_cut that is always EIO.  Ranges must lie on the disk.
 */

#ifndef NBDCLONE_POWERCUT_CACHE_H
#define NBDCLONE_POWERCUT_CACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "destination.h"
#include "choice.h"
#include "chunk.h"

struct cache;

/* A cache for a disk of SIZE bytes that tears at SECTOR_SIZE bytes, a power of
 * two of at least 512.  It takes about LIMIT bytes of memory.  NULL if there is
 * no memory.  BELOW must stay valid until cache_free, which writes nothing.
 */
extern struct cache *cache_new (struct destination *below, uint64_t size,
                                uint32_t sector_size, uint64_t limit);
extern void cache_free (struct cache *);

extern int cache_read (struct cache *, void *buf, uint32_t count,
                       uint64_t offset, int *err);

/* With FUA, the range is durable when it returns; nothing else becomes so. */
extern int cache_write (struct cache *, const void *buf, uint32_t count,
                        uint64_t offset, bool fua, int *err);

/* KIND is not CACHE_WRITE.  What is trimmed reads as zeroes, as long as it is
 * in the cache.
 */
extern int cache_zero (struct cache *, enum cache_kind kind, uint32_t count,
                       uint64_t offset, bool fua, int *err);

/* Make all that was written before durable. */
extern int cache_flush (struct cache *, int *err);

/* Do as the kernel does when it could not write: what is not durable can still
 * be read, but counts as clean, and is never written.
 */
extern void cache_lose (struct cache *);

/* A part of a range: what is there in the cache, or that it has nothing. */
struct cache_extent {
  uint64_t offset, length; /* bytes */
  bool cached;
  enum cache_kind kind; /* if it is cached */
};

/* The first extents of a range, at most MAX (> 0), without a gap.  Returns how
 * many there are.
 */
extern size_t cache_extents (struct cache *, uint64_t count, uint64_t offset,
                             struct cache_extent *extents, size_t max);

struct cache_outcome {
  uint64_t sectors;  /* that were not durable when the power was cut */
  uint64_t kept;     /* of them: where something new has reached the disk */
  uint64_t destaged; /* sectors that were written earlier, for lack of memory */
  int error;         /* the first one of the layer below, or 0 */
};

/* Cut the power: CHOICE says what reaches the layer below, which is then
 * flushed and never written to again.  To be called once.
 */
extern void cache_cut (struct cache *, const struct choice *choice,
                       struct cache_outcome *outcome);

#endif /* NBDCLONE_POWERCUT_CACHE_H */
