/* nbdclone: what engine.c and extents.c share.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef NBDCLONE_ENGINE_PRIVATE_H
#define NBDCLONE_ENGINE_PRIVATE_H

#include <pthread.h>

#include "clone.h"
#include "engine.h"
#include "hydrate.h"
#include "keep.h"
#include "readahead.h"

struct engine {
  struct clone clone;
  struct engine_config config;
  struct bitmap_file *file;
  struct keep keep;
  struct hydrate hydrate;
  struct readahead readahead;

  /* Held while the background threads are being stopped, which two threads may
   * want to do.  It is waited for a fetch with this lock held; that is bounded
   * since the source is made to fail its requests before the lock is taken.
   */
  pthread_mutex_t lifecycle;
  bool background; /* the threads of keep and hydrate exist */

  _Atomic uint64_t lent; /* bytes of buffers, see lend_buffer */
};

/* Pieces of large regions keep to the destination's blocks. */
extern uint32_t engine_batch (const struct destination *, uint32_t batch);

/* A stretch of the disk that is all of one kind. */
struct run {
  uint64_t length; /* bytes, > 0 */
  bool hydrated;   /* or behind what is cloned */
};

/* The stretch at the offset, at most `length` bytes of it. */
static inline struct run
run_at (struct engine *e, uint64_t offset, uint64_t length)
{
  struct clone *c = &e->clone;
  const struct geometry *g = &c->geometry;
  struct regions r;
  struct run run;
  uint64_t n;

  if (clone_complete (c) || offset >= g->size)
    return (struct run){ length, true };
  if (length > g->size - offset)
    length = g->size - offset;
  r = regions_touched (g, offset, length);
  n = bitmap_run (c->bitmap, r.first, r.end, &run.hydrated);
  run.length =
    r.first + n == r.end ? length : region_start (g, r.first + n) - offset;
  return run;
}

#endif /* NBDCLONE_ENGINE_PRIVATE_H */
