/* nbdclone: the seam to the source.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * In production an NBD server (filters/clone/source-nbd.c), in tests a
 * simulated disk.
 */

#ifndef NBDCLONE_SOURCE_H
#define NBDCLONE_SOURCE_H

#include <semaphore.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct source_request;

/* One extent of the source: length bytes, type of EXTENT_HOLE, EXTENT_ZERO. */
struct source_extent {
  uint64_t length;
  unsigned type;
};

struct source {
  const struct source_ops *ops;
  uint64_t size; /* bytes */
};

struct source_ops {
  /* Start to read the request's range into its buffer. */
  void (*read) (struct source *, struct source_request *);

  /* Start to ask for the extents from the request's offset on: at least one,
   * not beyond the range, consecutive.  EOPNOTSUPP if the source cannot say.
   */
  void (*extents) (struct source *, struct source_request *);

  /* The caller is going to wait for this request of his, and nothing else, until
   * it is done: now he may do some of the source's work, and spare a thread of
   * the source to be woken for it.  Returns when it is done, or when somebody
   * else is going to see to it.  Without a request: he does not wait yet, but
   * others may wait for what he has started.  May be NULL.
   */
  void (*help) (struct source *, struct source_request *);
};

/* A request belongs to the caller, who sets the first part, until done () is
 * called, once, from any thread, perhaps even before read () has returned.
 * done () may take only leaf locks and may not call the source.  Then error is
 * 0, or EIO if the source itself has failed this range, or ENOTCONN if there
 * was no source to ask for too long, or ESHUTDOWN if it has been stopped.
 */
struct source_request {
  uint64_t offset;               /* bytes, inside the source */
  uint64_t length;               /* bytes, > 0; at most 32 MiB to read */
  void *buf;                     /* to read into, or */
  struct source_extent *extents; /* room for max_extents */
  size_t max_extents;
  bool patient; /* extents: wait for a source that is away, as reads do */
  bool urgent;  /* a client waits: goes ahead of what the background wants */
  uint64_t since_us; /* CLOCK_MONOTONIC: has been waited for since, or 0 */
  size_t n_extents;  /* out: how many there are */
  void (*done) (struct source_request *);
  void *opaque; /* the caller's */
  int error;    /* out */

  /* The source's own. */
  atomic_uint unfinished; /* commands to come */
  atomic_int failure;
  void *connection; /* where the last command was sent */
  bool alone;       /* the caller cannot help, or does not any more */
};

/* A request with somebody who waits for it. */
struct source_wait {
  struct source_request request;
  sem_t ended;
};

static inline void
source_wait_done (struct source_request *r)
{
  struct source_wait *w = (struct source_wait *) r;

  sem_post (&w->ended);
}

static inline void
source_start_extents (struct source *s, struct source_wait *w,
                      struct source_extent *extents, size_t max, bool patient,
                      uint64_t length, uint64_t offset)
{
  w->request = (struct source_request){
    .offset = offset,
    .length = length,
    .extents = extents,
    .max_extents = max,
    .patient = patient,
    .done = source_wait_done,
  };
  sem_init (&w->ended, 0, 0);
  s->ops->extents (s, &w->request);
}

/* The caller has started something, and does other things before he waits. */
static inline void
source_leave (struct source *s)
{
  if (s->ops->help)
    s->ops->help (s, NULL);
}

/* Wait for what was started; returns its error. */
static inline int
source_finish (struct source *s, struct source_wait *w)
{
  if (s->ops->help)
    s->ops->help (s, &w->request);
  while (sem_wait (&w->ended) == -1)
    continue;
  sem_destroy (&w->ended);
  return w->request.error;
}

#endif /* NBDCLONE_SOURCE_H */
