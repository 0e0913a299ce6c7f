/* nbdclone: what clients' reads have fetched is kept.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A read is answered before what it fetched is stored, and its buffer is not
 * ours any more then.  So keeping means a copy, and the copies that wait to be
 * stored have a fixed budget (P9).  A few threads store them.
 *
 * Waking a thread costs more than storing a few kilobytes.  So the first one waits
 * for a moment, until there is more to do or no more comes.
 */

#ifndef NBDCLONE_KEEP_H
#define NBDCLONE_KEEP_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "clone.h"

#define KEEP_THREADS 4

struct keep_item;

struct keep {
  struct clone *clone;
  pthread_mutex_t lock; /* protects all below; a leaf */
  pthread_cond_t work;
  struct keep_item *first, **last;
  uint64_t bytes; /* of all items, those being stored too */
  unsigned idle;  /* threads that wait for work */
  bool gathering; /* one of them waits for more */
  uint64_t gather_us;
  bool stop;
  pthread_t threads[KEEP_THREADS];
  unsigned n_threads;
};

/* gather_us: a moment to wait for more when there is little. */
extern void keep_init (struct keep *, struct clone *, uint64_t gather_us);
extern void keep_destroy (struct keep *);

/* 0, or an error number. */
extern int keep_start (struct keep *);

/* Keep the source's bytes of these regions if there is room; takes a copy.
 * Their flight, which has landed, goes on with that copy until it is stored.
 * Returns false, and has done nothing, if there was no room.
 */
extern bool keep_offer (struct keep *, struct regions, const void *data,
                        struct flight *);

/* Store what is waiting and end the threads.  Once only. */
extern void keep_stop (struct keep *);

#endif /* NBDCLONE_KEEP_H */
