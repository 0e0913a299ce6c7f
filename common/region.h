/* nbdclone: region arithmetic.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A region is the unit in which validity is tracked.  All arithmetic is on 64
 * bits (lesson 4) and half-open ranges [start, end).  Two ways to round:
 *
 *   touched   the regions that have at least one byte in the range;
 *   covered   the regions that lie wholly inside it.
 *
 * The last region may be short; a range that reaches the end of the clone
 * covers it.  A range inside one region covers nothing: the result is empty,
 * never a range whose start lies behind its end (lesson 3).
 */

#ifndef NBDCLONE_REGION_H
#define NBDCLONE_REGION_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#define REGION_SIZE_MIN UINT64_C (4096)
#define REGION_SIZE_MAX UINT64_C (1073741824)

/* Most regions in one clone: what bounds the address space that the bitmap
 * reserves (one bit a region, 128 GiB).
 */
#define REGIONS_MAX (UINT64_C (1) << 40)

/* How the cloned bytes are divided.  Never changes once set. */
struct geometry {
  uint64_t size;  /* bytes that are cloned, >= 0 */
  unsigned shift; /* log2 of the region size, 12..30 */
};

/* Regions [first, end). */
struct regions {
  uint64_t first;
  uint64_t end;
};

static inline uint64_t
geometry_region_size (const struct geometry *g)
{
  return UINT64_C (1) << g->shift;
}

/* How many regions there are. */
static inline uint64_t
geometry_regions (const struct geometry *g)
{
  return (g->size >> g->shift) +
         ((g->size & (geometry_region_size (g) - 1)) != 0);
}

/* The first byte of region r; of the region behind the last one, the end. */
static inline uint64_t
region_start (const struct geometry *g, uint64_t r)
{
  assert (r <= geometry_regions (g));
  return r == geometry_regions (g) ? g->size : r << g->shift;
}

static inline uint64_t
region_of (const struct geometry *g, uint64_t offset)
{
  assert (offset < g->size);
  return offset >> g->shift;
}

static inline bool
regions_empty (struct regions r)
{
  return r.first >= r.end;
}

/* The regions with at least one byte in [offset, offset + length);
 * 0 < length, offset + length <= size.
 */
static inline struct regions
regions_touched (const struct geometry *g, uint64_t offset, uint64_t length)
{
  assert (length > 0 && offset < g->size && length <= g->size - offset);
  return (struct regions){ offset >> g->shift,
                           ((offset + length - 1) >> g->shift) + 1 };
}

/* The regions that lie wholly in [offset, offset + length); same limits.  An
 * empty result has first == end.
 */
static inline struct regions
regions_covered (const struct geometry *g, uint64_t offset, uint64_t length)
{
  struct regions r = regions_touched (g, offset, length);

  if (offset != region_start (g, r.first))
    r.first++;
  if (offset + length != region_start (g, r.end))
    r.end--;
  if (r.first > r.end)
    r.end = r.first;
  return r;
}

#endif /* NBDCLONE_REGION_H */
