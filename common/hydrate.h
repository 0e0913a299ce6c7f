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
  uint64_t began_us;     /* the piece that it copies */
};

struct hydrate {
  struct clone *clone;
  unsigned threshold; /* most copies in flight */
  uint64_t rate;      /* bytes a second, 0 = no limit */
  bool sweeping;      /* or serve only what clients asked for */

  pthread_mutex_t lock; /* protects all below; before claims' and
                                   commit's locks, never held over I/O */
  pthread_cond_t wake;
  bool stop;

  struct regions queue[HYDRATE_QUEUE_MAX]; /* a ring */
  size_t queue_first, queue_count;

  unsigned n_active;  /* threads that copy */
  uint64_t in_flight; /* bytes, of their pieces */
  struct pace pace;
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

  struct hydrate_thread *threads; /* `threshold` of them */
  unsigned n_threads;             /* that have been started */
};

/* 0, or an error number.  The threads exist as soon as hydrate_start. */
extern int hydrate_init (struct hydrate *, struct clone *, unsigned threshold,
                         uint64_t rate, bool sweeping);
extern void hydrate_destroy (struct hydrate *);
extern int hydrate_start (struct hydrate *);

/* Copy these regions next; forgotten if too much is asked for already. */
extern void hydrate_request (struct hydrate *, struct regions);

/* A client needs the source now: the background makes room.  Returns the time. */
extern uint64_t hydrate_yield (struct hydrate *);

/* End the threads.  Once only.  Waits for what they fetch: the source has to
 * fail it, if it hangs.
 */
extern void hydrate_stop (struct hydrate *);

#endif /* NBDCLONE_HYDRATE_H */
