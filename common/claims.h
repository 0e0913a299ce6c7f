/* nbdclone: who may write to regions that are not hydrated yet.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Hydrated regions need no guard: their bit never goes back (P2), so whoever
 * saw it set may use the destination for ever.  For the others there is one
 * rule, and all else follows from it:
 *
 *   Who writes to a region that is not hydrated, or sets its bit, holds a claim
 *   on it, and looks at the bit after the claim was granted.
 *
 * A claim is on a range of regions and excludes all claims that overlap.  It is
 * taken when the bytes to be stored are at hand and given back when they are
 * stored: it lasts a write to the destination, never a fetch.  So
 *
 * - a fetch holds nothing, and a writer of whole regions overtakes it without
 *   knowing of it (P7).  When the fetch ends, whoever wanted to store its result
 *   claims the regions, finds the bits set, and throws the result away;
 * - a partial write first fetches the rest of its region, then claims.  If the
 *   bit is still clear it stores region and write as one; if not, it gives the
 *   claim back and writes its own bytes on top, like to any hydrated region;
 * - while a claim is held, nobody else can change the bits in its range: to
 *   look and to act are one step (lesson 11).
 *
 * A holder claims nothing more and waits for nothing but the destination
 * (lesson 9), so there is no deadlock.  Nobody waits for ever: each overlapping
 * claim that goes first either hydrates its regions, which can happen but once,
 * or has failed.
 *
 * Why not a "fetching" state for each region, as in dm-clone's hydration lists?
 * Because then writers would have to take regions away from fetches, and fetches
 * to learn of it; here there is nothing to take away.
 */

#ifndef NBDCLONE_CLAIMS_H
#define NBDCLONE_CLAIMS_H

#include <pthread.h>

#include "region.h"

/* A claim lives in its holder's memory while it is held. */
struct claim {
  struct regions regions;
  struct claim *next, **self; /* list of the claims that are held */
};

struct claims {
  pthread_mutex_t lock; /* protects all below; a leaf */
  pthread_cond_t released;
  struct claim *held; /* short: at most one a thread */
  unsigned waiting;
};

extern void claims_init (struct claims *);
extern void claims_destroy (struct claims *);

/* Wait until nobody has a claim that overlaps, then hold one on these regions
 * (not empty).  The caller holds no other claim and no lock.
 */
extern void claim_regions (struct claims *, struct claim *, struct regions);

extern void claim_release (struct claims *, struct claim *);

#endif /* NBDCLONE_CLAIMS_H */
