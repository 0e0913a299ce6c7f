/* nbdclone: powercut: one request on its way into the cache.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Functions that return int return 0, or -1 and an errno in *ERR.
 */

#ifndef NBDCLONE_POWERCUT_BATCH_H
#define NBDCLONE_POWERCUT_BATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cache-private.h"

/* A sector of which a request covers only the bytes [FROM, TO). */
struct edge {
  struct piece *piece;
  uint64_t sector; /* of the disk */
  uint32_t from, to;
  bool valid;        /* is "below" what the layer below had... */
  uint64_t removals; /* ... when the table had this count? */
  uint8_t *below;    /* a sector */
};

/* What one request puts into the table, all of it at once. */
struct batch {
  struct piece **pieces;
  size_t count, allocated;
  bool inserted;           /* the pieces are the table's */
  uint64_t bytes;          /* that they take in memory */
  uint64_t first, sectors; /* that it covers */
  struct edge edges[2];
  unsigned edge_count;
};

/* For a request that changes the bytes [OFFSET, END). */
extern void batch_init (struct cache *, struct batch *, uint64_t offset,
                        uint64_t end);

/* Frees the pieces too, unless they are the table's. */
extern void batch_free (struct batch *);
#define CLEANUP_BATCH __attribute__ ((cleanup (batch_free)))

/* Make its pieces.  KIND is not CACHE_WRITE. */
extern int batch_write (struct cache *, struct batch *, const uint8_t *buf,
                        uint64_t offset, uint64_t end, int *err);
extern int batch_zero (struct cache *, struct batch *, enum cache_kind kind,
                       uint64_t offset, uint64_t end, int *err);

/* Put them into the table, all at once.  May read below, and takes the
 * cache's lock.
 */
extern int batch_insert (struct cache *, struct batch *, int *err);

#endif /* NBDCLONE_POWERCUT_BATCH_H */
