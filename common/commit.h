/* nbdclone: commit: destination flush, then bitmap file write and sync.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The rules are in commit.c.
 */

#ifndef NBDCLONE_COMMIT_H
#define NBDCLONE_COMMIT_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bitmap-file.h"
#include "bitmap.h"
#include "clock.h"
#include "destination.h"
#include "group.h"

struct commit {
  struct bitmap *bitmap;
  struct bitmap_file *file;
  struct destination *destination;
  struct clock *clock;
  uint64_t enough;

  struct group flushes; /* of the destination */
  struct group commits;
  atomic_bool failed; /* P5; never reset */

  /* Chunks with bits that are in no commit yet, oldest first.  Leaf lock. */
  pthread_mutex_t lock;
  uint64_t *next;               /* per chunk: 0, or it is listed (see .c) */
  uint64_t first, last;         /* chunks + 1, or 0 */
  uint64_t listed;              /* how many */
  bool *in_taken;               /* per chunk */
  _Atomic uint64_t uncommitted; /* listed + n_taken; written under lock */

  /* What the commit that is going on has taken; only the one who runs it
   * touches these, but n_taken changes under lock.
   */
  uint64_t *taken;
  size_t n_taken;
  uint8_t (*blocks)[BITMAP_FILE_BLOCK];

  /* The thread that commits every so often. */
  pthread_t thread;
  bool has_thread;
  pthread_cond_t wake;  /* with lock */
  bool stop;            /* under lock */
  bool poked;           /* under lock */
  uint64_t interval_us; /* under lock */
  bool (*committed) (void *opaque);
  void *opaque;
  _Atomic uint64_t count; /* commits that wrote to the bitmap file */
  _Atomic uint64_t begun; /* regions hydrated when the last one began */

  /* Figures for whoever looks. */
  _Atomic uint64_t durable; /* at least so many regions are durable */
  _Atomic uint64_t last_us; /* how long the last commit took */
};

/* 0, or -1 with errno set.  What is in the file counts as committed.  When so
 * many regions, `enough`, have become hydrated since the last commit began, the
 * next one is due.
 */
extern int commit_init (struct commit *, struct bitmap *, struct bitmap_file *,
                        struct destination *, struct clock *, uint64_t enough);
extern void commit_destroy (struct commit *);

/* For bitmap_set: bits of this chunk have changed. */
extern void commit_changed (void *commit, uint64_t chunk);

/* Regions have become hydrated: commit soon if they are all or many.  With no
 * lock held.
 */
extern void commit_hydrated (struct commit *);

/* Has a flush or a sync failed (P5)? */
extern bool commit_failed (struct commit *);

/* Are there bits that are not durable? */
extern bool commit_pending (struct commit *);

/* FLUSH: when this returns 0, all that was written to the destination and all
 * bits that were set before the call are durable (P4).  Otherwise an error
 * number: EIO after a failure that is for good, ENOSPC if the bitmap file could
 * not grow.
 */
extern int commit_sync (struct commit *);

/* FUA: the same for what was written to [first, end) regions only: the bitmap
 * file is written if they may have bits that are not durable.
 */
extern int commit_sync_regions (struct commit *, uint64_t first, uint64_t end);

/* The destination alone. */
extern int commit_flush (struct commit *);

/* Start a thread that commits when bits have been pending for interval_us, and
 * when poked.  Calls committed () after each time that it has looked, with no
 * lock held; if that returns true the thread is not needed any more and ends.
 * 0, or an error number.
 */
extern int commit_start (struct commit *, uint64_t interval_us,
                         bool (*committed) (void *opaque), void *opaque);
extern void commit_poke (struct commit *);

/* The same, with another interval; from any thread. */
extern void commit_set_interval (struct commit *, uint64_t interval_us);
extern uint64_t commit_interval (struct commit *);

/* End the thread.  May be called when there is none. */
extern void commit_stop (struct commit *);

#endif /* NBDCLONE_COMMIT_H */
