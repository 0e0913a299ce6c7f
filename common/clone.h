/* nbdclone: what all parts of the engine share.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Layers, each using those above it only:
 *
 *   region, bitmap, claims, group,    know nothing of disks
 *   flights, pace
 *   bitmap-file, commit               what is durable
 *   store                             bytes into regions that are not hydrated
 *   copy                              fetch from the source, and store
 *   keep, extent-map, hydrate         copies in the background
 *   engine                            the clients' requests
 */

#ifndef NBDCLONE_CLONE_H
#define NBDCLONE_CLONE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "bitmap.h"
#include "claims.h"
#include "clock.h"
#include "commit.h"
#include "destination.h"
#include "flights.h"
#include "region.h"
#include "source.h"

struct clone {
  /* Set before the first request, then constant.  The geometry's size is what
   * is cloned: the source's size, rounded up to the destination's minimum
   * block (but not beyond its end).  The bytes between the two are the
   * destination's before and after.  All that lies behind counts as hydrated.
   */
  struct geometry geometry;
  struct destination *destination;
  struct source *source; /* NULL if it is complete from the start */
  struct clock *clock;
  struct bitmap *bitmap;
  _Atomic uint32_t batch; /* bytes; most that one fetch may move; may change */

  struct claims claims;
  struct flights flights;
  struct commit commit;

  atomic_bool complete;     /* all hydrated and committed; never reset */
  _Atomic uint32_t clients; /* clients' requests that need the source */
  _Atomic uint64_t bytes_fetched;
};

/* Is all of it hydrated and committed? */
static inline bool
clone_complete (struct clone *c)
{
  /* Acquire: pairs with the release in engine.c. */
  return atomic_load_explicit (&c->complete, memory_order_acquire);
}

#endif /* NBDCLONE_CLONE_H */
