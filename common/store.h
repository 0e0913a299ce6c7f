/* nbdclone: bytes into regions that are not hydrated.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * All that claims.h demands is done in here: claim, look at the bits, write to
 * the destination, set the bits, release.  Nobody else writes to a region that
 * is not hydrated.
 *
 * All functions return 0, or -1 with *err set to the destination's error.
 */

#ifndef NBDCLONE_STORE_H
#define NBDCLONE_STORE_H

#include "clone.h"

/* What a client wants done to a range. */
struct change {
  enum { CHANGE_WRITE, CHANGE_ZERO, CHANGE_TRIM } kind;
  const uint8_t *data; /* CHANGE_WRITE: for the whole range */
  unsigned flags;      /* CHANGE_ZERO: the destination's flags */
  bool passdown;       /* CHANGE_TRIM: may give up the space */
};

/* Do it to bytes that are hydrated. */
extern int store_hydrated (struct clone *, const struct change *,
                           uint64_t offset, uint32_t length, int *err);

/* Do it to whole regions, that may be hydrated or not; they are afterwards.
 * offset and length are those regions'.
 */
extern int store_change (struct clone *, const struct change *, uint64_t offset,
                         uint32_t length, int *err);

/* Do it to a part of one region; `region` has the source's bytes of all of it
 * and is changed.
 */
extern int store_part (struct clone *, const struct change *, uint64_t offset,
                       uint32_t length, uint8_t *region, int *err);

/* Keep the source's bytes of these regions, as far as they are not hydrated
 * yet.  Stretches of zeroes are zeroed, not written.
 */
extern int store_fetched (struct clone *, struct regions, const uint8_t *data,
                          int *err);

/* The same for a piece of a region that is larger than a fetch; without data
 * the source is zero there.  The pieces come in order; `last` says that this is
 * the last one.  *hydrated says that the region is hydrated already, and no more
 * pieces are wanted.
 */
extern int store_piece (struct clone *, uint64_t region, const uint8_t *data,
                        uint64_t offset, uint32_t length, bool last,
                        bool *hydrated, int *err);

/* The source is zero in these regions (at most STORE_ZERO_MAX bytes, or one
 * region): make the destination so where it is not hydrated yet.  Nothing is
 * written where it says that it is zero already.
 */
#define STORE_ZERO_MAX (UINT32_C (64) << 20)
extern int store_zeroes (struct clone *, struct regions, int *err);

#endif /* NBDCLONE_STORE_H */
