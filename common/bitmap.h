/* nbdclone: the in-memory bitmap, one bit a region: is it hydrated?
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef NBDCLONE_BITMAP_H
#define NBDCLONE_BITMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A chunk is what one block of the bitmap file holds, so that a commit never
 * has to translate: 4096 bytes less the block's header.
 */
#define CHUNK_BYTES 4032
#define CHUNK_WORDS (CHUNK_BYTES / 8)
#define CHUNK_REGIONS (UINT64_C (8) * CHUNK_BYTES)

struct bitmap;

/* A bitmap of that many bits (1 <= regions <= REGIONS_MAX), all clear.  NULL
 * with errno set if there is no memory.  Address space is reserved for all of
 * it; memory is taken only for chunks that are partly set (P9).
 */
extern struct bitmap *bitmap_new (uint64_t regions);
extern void bitmap_free (struct bitmap *);

/* How many bits there are. */
extern uint64_t bitmap_regions (const struct bitmap *);

/* How many are set. */
extern uint64_t bitmap_count (const struct bitmap *);

/* How many chunks there are. */
extern uint64_t bitmap_chunks (const struct bitmap *);

/* How many bits from first on, first < end <= regions, have the same value as
 * bit first: at least 1, at most end - first.  The value goes to *set.  Takes
 * no lock.  A bit that was seen set is set for ever; one that was seen clear
 * may have been set since.
 */
extern uint64_t bitmap_run (const struct bitmap *, uint64_t first, uint64_t end,
                            bool *set);

/* Are all bits of [first, end) set?  Takes no lock. */
extern bool bitmap_all_set (const struct bitmap *, uint64_t first,
                            uint64_t end);

/* Set bits [first, end).  Who sees one of them set also sees all that the
 * caller did before (release; bitmap_run is its acquire).  Any number of
 * threads may set at once.  Calls changed() once for each chunk in which a bit
 * changes, before anybody can see that, with the chunk's lock held: it must not
 * set or copy.  Locks: one chunk's at a time.
 */
extern void bitmap_set (struct bitmap *, uint64_t first, uint64_t end,
                        void (*changed) (void *opaque, uint64_t chunk),
                        void *opaque);

/* Copy the chunk's bits as they are in the file (little-endian, least
 * significant bit first).  before() is called with the chunk's lock held,
 * before the copy is taken: what a caller clears there is set again by any
 * bit that the copy misses.
 */
extern void bitmap_copy_chunk (struct bitmap *, uint64_t chunk,
                               uint8_t bytes[CHUNK_BYTES],
                               void (*before) (void *opaque, uint64_t chunk),
                               void *opaque);

/* Take the chunk's bits from a file's block.  -1 if a bit behind the last
 * region is set.  Only while nobody else uses the bitmap.
 */
extern int bitmap_load_chunk (struct bitmap *, uint64_t chunk,
                              const uint8_t bytes[CHUNK_BYTES]);

/* All bits are set: give back what memory can be given back (P9).  Readers may
 * go on.
 */
extern void bitmap_release_full (struct bitmap *);

#endif /* NBDCLONE_BITMAP_H */
