/* nbdclone: what the background copies next.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * All of this but sweep_ask_extents is called with hydrate's lock held.
 */

#ifndef NBDCLONE_SWEEP_H
#define NBDCLONE_SWEEP_H

#include "hydrate.h"

/* For how long the source counts as needed after a client's need. */
#define YIELD_US UINT64_C (20000)

/* For how long nobody tries when the source is away or the destination full. */
#define TROUBLE_PAUSE_US UINT64_C (1000000)

/* So many copies the window is made of where it is small. */
#define COPIES 4

/* One piece of work. */
struct work {
  enum { WORK_COPY, WORK_ZERO, WORK_EXTENTS } kind;
  struct regions regions;
  uint64_t piece;      /* bytes that are copied at a time */
  uint32_t room;       /* bytes of buffer: the batch */
  bool swept;          /* by the sweep, not for a client */
  uint64_t map_offset; /* WORK_EXTENTS */
};

/* Most bytes that are fetched at a time: no more than an eighth of a second's
 * worth where there is a rate limit, so that it is kept evenly, and several of
 * them to the window.
 */
extern uint64_t sweep_piece_size (const struct hydrate *);

/* The next piece that clients have asked for and that is still missing; false if
 * there is none.
 */
extern bool sweep_take_wish (struct hydrate *, struct work *);

/* The sweep's next piece; false if there is none now. */
extern bool sweep_take (struct hydrate *, struct work *);

/* Ask the source for its extents from this offset on, and note them. */
extern void sweep_ask_extents (struct hydrate *, uint64_t offset);

#endif /* NBDCLONE_SWEEP_H */
