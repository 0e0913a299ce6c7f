/* nbdclone: seeing and steering the engine while it runs.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * All of it may be called from any thread, with no lock held, and takes none
 * for longer than a few instructions: nobody who looks waits for I/O, and
 * looking changes nothing (lesson 22).
 */

#ifndef NBDCLONE_STEER_H
#define NBDCLONE_STEER_H

#include "engine.h"

enum engine_state {
  ENGINE_HYDRATING,
  ENGINE_PAUSED,
  ENGINE_COMPLETE, /* and committed */
  ENGINE_FAILED,   /* P5 */
};

/* What can be changed. */
struct engine_limits {
  uint32_t batch;     /* bytes, 4096..32 MiB */
  unsigned threshold; /* 1..HYDRATE_THRESHOLD_MAX */
  uint64_t rate;      /* bytes a second, 0 = no limit */
  uint64_t commit_interval_us;
};

/* Taken one after the other: they need not be of one moment, but none of them
 * ever goes back (but in_flight and parked), and committed <= hydrated.
 */
struct engine_status {
  enum engine_state state;
  struct engine_limits limits;
  uint64_t size;        /* of the disk, bytes */
  uint64_t region_size; /* bytes */
  uint64_t regions, hydrated;
  uint64_t committed; /* of those at least so many are durable */
  unsigned in_flight; /* copies in the background */
  uint64_t parked;    /* regions given up on for now */
  uint64_t bytes_fetched;
  uint64_t commits; /* that wrote to the bitmap file */
  uint64_t last_commit_us;
};

extern void engine_look (struct engine *, struct engine_status *);

/* Pause and resume what is copied before anybody needs it. */
extern void engine_pause (struct engine *, bool pause);

/* The source is another server now. */
extern void engine_source_changed (struct engine *);

/* Takes effect at once, but for copies in flight.  0, or an error number. */
extern int engine_set_limits (struct engine *, const struct engine_limits *);

/* Hydrate this range before the rest.  false if so much has been asked for
 * already that it cannot be remembered.
 */
extern bool engine_hydrate (struct engine *, uint64_t length, uint64_t offset);

#endif /* NBDCLONE_STEER_H */
