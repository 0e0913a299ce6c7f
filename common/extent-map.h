/* nbdclone: where the source is zero, known ahead of the sweep.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A window of the source's extents, contiguous and in order.  It is filled in
 * large pieces ahead of the sweep and forgotten behind it, so that its memory
 * is bounded and the whole disk is never asked for.  Takes no lock: it belongs
 * to whoever sweeps.
 */

#ifndef NBDCLONE_EXTENT_MAP_H
#define NBDCLONE_EXTENT_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "source.h"

#define EXTENT_MAP_MAX 8192

struct extent_map {
  uint64_t from, to; /* what it knows of, bytes */
  size_t count;
  struct {
    uint64_t end; /* offset */
    bool zero;
  } extents[EXTENT_MAP_MAX];
};

/* Forget all, and go on from that offset. */
extern void extent_map_reset (struct extent_map *, uint64_t offset);

/* What is at the offset?  false if it is not known.  Else *zero says whether it
 * reads as zeroes, and *end where that ends, or where the knowledge does.
 */
extern bool extent_map_find (const struct extent_map *, uint64_t offset,
                             bool *zero, uint64_t *end);

/* Forget what is before the offset. */
extern void extent_map_forget (struct extent_map *, uint64_t offset);

/* Room for how many more extents? */
extern size_t extent_map_room (const struct extent_map *);

/* Add n extents that follow at `to`; not more than there is room for. */
extern void extent_map_add (struct extent_map *, const struct source_extent *,
                            size_t n);

#endif /* NBDCLONE_EXTENT_MAP_H */
