/* nbdclone: many callers share one run of something slow.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A flush covers whatever was written before it began.  So whoever wants one
 * may share it with all others, as long as it begins after he asked for it.
 * Runs never overlap; while one is going on, all who arrive wait for the next.
 * The first of them to notice that the last run has ended does the next one.
 */

#ifndef NBDCLONE_GROUP_H
#define NBDCLONE_GROUP_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct group {
  pthread_mutex_t lock; /* protects all below; a leaf */
  pthread_cond_t ended;
  bool running;
  uint64_t runs;      /* how many have ended */
  uint64_t last_good; /* the last one of them that returned 0 */
  int last_error;     /* what the last one returned */
};

extern void group_init (struct group *);
extern void group_destroy (struct group *);

/* Returns after a run of run (opaque) that began after this call: 0 if it or a
 * later one has returned 0, else what the last one returned.  Holds no lock
 * while it runs.
 */
extern int group_run (struct group *, int (*run) (void *opaque), void *opaque);

#endif /* NBDCLONE_GROUP_H */
