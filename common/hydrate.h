/* nbdclone: hydration in the background.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The order of copies, and what happens when they fail: see hydrate.c.
 */

#ifndef NBDCLONE_HYDRATE_H
#define NBDCLONE_HYDRATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "clone.h"
#include "copy.h"
#include "courtesy.h"
#include "extent-map.h"
#include "pace.h"

#define HYDRATE_QUEUE_MAX 1024
#define HYDRATE_THRESHOLD_MAX 256

/* One of the threads. */
struct hydrate_thread {
  struct copy_pace pace; /* first */
  struct hydrate *hydrate;
  pthread_t thread;
  struct regions active; /* what it copies; under the lock; empty if nothing */
  bool swept;            /* by the sweep, not for a client; so too */
  uint64_t began_us;     /* the piece that it copies */
};

/* Regions that are to be copied before the sweep comes to them. */
struct hydrate_wish {
  struct regions regions;
  bool ahead; /* nobody has asked for them yet */
};

struct hydrate {
  struct clone *clone;

  pthread_mutex_t lock; /* protects all below; before claims' and
                                   commit's locks, never held over I/O */
  pthread_cond_t wake;
  bool stop;

  unsigned threshold;   /* most copies in flight */
  uint64_t rate;        /* bytes a second, 0 = no limit */
  atomic_bool sweeping; /* or serve only what clients asked for; relaxed, and
                           written under the lock */

  struct hydrate_wish queue[HYDRATE_QUEUE_MAX]; /* a ring */
  size_t queue_first, queue_count;

  unsigned n_active;  /* threads that copy */
  uint64_t in_flight; /* bytes, of their pieces */
  struct pace pace;
  struct courtesy courtesy;
  bool looking;  /* one waits for the end of a pause for its sake */
  unsigned idle; /* threads that wait */

  uint64_t cursor;         /* of the sweep, a region */
  uint64_t round_failures; /* regions that failed since it began */
  unsigned failed_rounds;  /* in a row that ended with failures */
  uint64_t unpark_us;      /* when what is parked is tried again */
  uint64_t parked;         /* regions given up on for now */
  bool source_complained;  /* logged already in this round */
  bool destination_complained;

  bool passed_over; /* regions in this round, as clients fetch them */
  bool insist;      /* the sweep passes nothing over in this round */

  uint64_t pause_until_us;
  uint64_t rate_next_us; /* when the rate allows the next copy */

  struct extent_map map;
  bool map_busy;    /* somebody is asking for extents */
  bool map_useless; /* the source cannot say */

  _Atomic uint64_t client_us; /* when a client last needed the source */

  struct hydrate_thread *threads; /* HYDRATE_THRESHOLD_MAX of them */
  unsigned n_threads;             /* that have been started */
};

/* 0, or an error number.  The threads exist as soon as hydrate_start. */
extern int hydrate_init (struct hydrate *, struct clone *, unsigned threshold,
                         uint64_t rate, bool sweeping);
extern void hydrate_destroy (struct hydrate *);
extern int hydrate_start (struct hydrate *);

/* Copy these regions next, `ahead` of any need for them only while it is not
 * paused.  False, and forgotten, if too much is asked for already.
 */
extern bool hydrate_request (struct hydrate *, struct regions, bool ahead);

/* Pause and resume the sweep and what is read ahead; clients get what they need.
 */
extern void hydrate_sweep (struct hydrate *, bool sweeping);

/* Is it not paused?  Takes no lock. */
extern bool hydrate_is_sweeping (const struct hydrate *);

/* Change the limits.  A larger threshold makes threads; 0, or an error number. */
extern int hydrate_set (struct hydrate *, unsigned threshold, uint32_t batch,
                        uint64_t rate);

/* The source is another server now: what the old one could not do says nothing
 * any more.
 */
extern void hydrate_source_changed (struct hydrate *);

/* What it does now. */
struct hydrate_status {
  unsigned threshold;
  uint64_t rate;
  unsigned in_flight; /* copies */
  uint64_t parked;    /* regions */
};
extern void hydrate_look (struct hydrate *, struct hydrate_status *);

/* A client's request to hydrated regions, of so many bytes, begins: the time, or
 * 0 if it is not to be measured; and ends.
 */
extern uint64_t hydrate_client_begins (struct hydrate *, uint64_t length);
extern void hydrate_client_ends (struct hydrate *, uint64_t began_us);

/* A client needs the source now: the background makes room.  Returns the time. */
extern uint64_t hydrate_yield (struct hydrate *);

/* End the threads.  Once only.  Waits for what they fetch: the source has to
 * fail it, if it hangs.
 */
extern void hydrate_stop (struct hydrate *);

#endif /* NBDCLONE_HYDRATE_H */
