/* nbdclone: powercut: what is in the cache, and where.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * No locks here: cache.c has them.
 */

#ifndef NBDCLONE_POWERCUT_CHUNK_H
#define NBDCLONE_POWERCUT_CHUNK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "choice.h"

/* How many sectors one chunk covers, a multiple of 64. */
#define CHUNK_SECTORS 512u

enum cache_kind { CACHE_WRITE, CACHE_ZERO, CACHE_ZERO_MAY_TRIM, CACHE_TRIM };

/* What one request has put into one chunk.  Only "live" and what follows
 * changes once it is in the table.
 */
struct piece {
  struct origin origin; /* the request; the number counts insertions */
  uint64_t chunk;       /* the chunk's number */
  enum cache_kind kind;
  uint32_t first, count;             /* sectors within the chunk */
  size_t bytes;                      /* that it takes in memory */
  uint8_t *data;                     /* COUNT sectors; NULL if it is zeroes */
  uint64_t live[CHUNK_SECTORS / 64]; /* one bit a sector of the chunk */
  uint32_t live_count;
  bool lost; /* by a failed flush: still read, but never written */
};

/* CHUNK_SECTORS sectors of which some are in the cache. */
struct chunk {
  uint64_t number;
  struct piece **pieces; /* oldest first */
  size_t count, allocated;
};

/* All chunks that have pieces, by number. */
struct table {
  struct chunk **chunks;
  size_t count, allocated;
  uint64_t bytes; /* that they take in memory */
  /* How often something was removed: has the layer below changed? */
  uint64_t removals;
};

/* The piece in each sector of a chunk, or NULL. */
typedef const struct piece *chunk_map[CHUNK_SECTORS];

/* A piece that is not yet in the table, with all sectors live; with data (all
 * zero) if it is a CACHE_WRITE.  NULL if there is no memory.
 */
extern struct piece *piece_new (enum cache_kind kind, uint64_t chunk,
                                uint32_t first, uint32_t count,
                                uint32_t sector_size);
extern void piece_free (struct piece *);

static inline bool
piece_is_live (const struct piece *p, uint32_t sector)
{
  return p->live[sector / 64] >> (sector % 64) & 1;
}

/* The first chunk with this number or a higher one, or NULL. */
extern struct chunk *table_next (const struct table *, uint64_t number);

/* The chunk with this number, or NULL. */
extern struct chunk *table_find (const struct table *, uint64_t number);

/* Make sure that the next PIECES insertions into this chunk cannot fail.  0, or
 * -1 if there is no memory.
 */
extern int table_reserve (struct table *, uint64_t number, size_t pieces);

/* Room must have been reserved.  The table owns the piece from now on. */
extern void table_insert (struct table *, struct piece *);

/* Forget what requests up to NUMBER have put into these sectors of a chunk.
 * Frees what becomes empty.
 */
extern void table_forget (struct table *, uint64_t chunk, uint32_t first,
                          uint32_t count, uint64_t number);

extern void table_clear (struct table *);

/* The newest piece of each sector in [FIRST, END) by a request up to NUMBER. */
extern void chunk_newest (const struct chunk *, uint32_t first, uint32_t end,
                          uint64_t number, chunk_map);

/* The one that CHOICE leaves there.  Returns how many sectors had a piece that
 * was not lost.
 */
extern uint64_t chunk_choose (const struct chunk *, const struct choice *,
                              chunk_map);

/* The length of the run of sectors with the same piece (or none) that begins at
 * FIRST and ends before END.
 */
extern uint32_t chunk_run (const chunk_map, uint32_t first, uint32_t end);

#endif /* NBDCLONE_POWERCUT_CHUNK_H */
