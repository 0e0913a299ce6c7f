/* nbdclone: powercut: the layer below is nbdkit's next one.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * One context that all connections and threads share: what one connection has
 * written another one flushes.  nbdkit asserts that its can_* methods have been
 * called before use, so they are, once.  A plugin that is not parallel is
 * called under one lock: nbdkit serializes the requests of clients, but a cut
 * by signal or file comes from a thread of our own.
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "below-nbdkit.h"
#include "cleanup.h"

/* Zeroes to write where the plugin cannot zero. */
#define ZEROES (UINT32_C (256) << 10)

/* What one zero may be at most: nbdkit 1.32's emulation goes wrong above it. */
#define ZERO_MAX (UINT32_C (32) << 20)

struct below_nbdkit {
  struct below below; /* first: the seam */
  nbdkit_next *next;
  bool parallel;
  pthread_mutex_t lock; /* around all calls, if not parallel */
  struct abilities abilities;
  uint8_t *zeroes; /* if it cannot zero */
};

static struct below_nbdkit *
nbdkit_of (struct below *b)
{
  return (struct below_nbdkit *) b;
}

static pthread_mutex_t *
enter (struct below_nbdkit *n)
{
  return n->parallel ? NULL : cleanup_lock (&n->lock);
}

static void
leave (pthread_mutex_t **lock)
{
  if (*lock)
    cleanup_unlock (lock);
}

#define CALL_PLUGIN(n) \
  __attribute__ ((cleanup (leave), unused)) pthread_mutex_t *_plugin = enter (n)

/* The most that one read or write may have. */
static uint32_t
piece (const struct below_nbdkit *n, uint32_t length, uint32_t most)
{
  const uint32_t maximum = n->abilities.maximum;

  if (maximum > 0 && maximum < most)
    most = maximum;
  return length < most ? length : most;
}

static int
nbdkit_read (struct below *b, void *buf, uint32_t length, uint64_t offset,
             int *err)
{
  struct below_nbdkit *n = nbdkit_of (b);
  uint8_t *to = buf;
  uint32_t now;

  CALL_PLUGIN (n);
  for (; length > 0; length -= now, offset += now, to += now) {
    now = piece (n, length, UINT32_MAX);
    if (n->next->pread (n->next, to, now, offset, 0, err) == -1)
      return -1;
  }
  return 0;
}

static int
nbdkit_write (struct below *b, const void *buf, uint32_t length,
              uint64_t offset, int *err)
{
  struct below_nbdkit *n = nbdkit_of (b);
  const uint8_t *from = buf;
  uint32_t now;

  CALL_PLUGIN (n);
  for (; length > 0; length -= now, offset += now, from += now) {
    now = piece (n, length, UINT32_MAX);
    if (n->next->pwrite (n->next, from, now, offset, 0, err) == -1)
      return -1;
  }
  return 0;
}

static int
nbdkit_zero (struct below *b, uint32_t length, uint64_t offset, bool may_trim,
             int *err)
{
  struct below_nbdkit *n = nbdkit_of (b);
  const uint32_t flags = may_trim ? NBDKIT_FLAG_MAY_TRIM : 0;
  uint32_t now;
  int r;

  CALL_PLUGIN (n);
  for (; length > 0; length -= now, offset += now) {
    if (n->zeroes) {
      now = piece (n, length, ZEROES);
      r = n->next->pwrite (n->next, n->zeroes, now, offset, 0, err);
    }
    else {
      now = length < ZERO_MAX ? length : ZERO_MAX;
      r = n->next->zero (n->next, now, offset, flags, err);
    }
    if (r == -1)
      return -1;
  }
  return 0;
}

static int
nbdkit_trim (struct below *b, uint32_t length, uint64_t offset, int *err)
{
  struct below_nbdkit *n = nbdkit_of (b);

  CALL_PLUGIN (n);
  return n->next->trim (n->next, length, offset, 0, err);
}

static int
nbdkit_flush (struct below *b, int *err)
{
  struct below_nbdkit *n = nbdkit_of (b);

  if (!n->abilities.can_flush)
    return 0;
  CALL_PLUGIN (n);
  return n->next->flush (n->next, 0, err);
}

static const struct below_ops nbdkit_ops = {
  .read = nbdkit_read,
  .write = nbdkit_write,
  .zero = nbdkit_zero,
  .trim = nbdkit_trim,
  .flush = nbdkit_flush,
};

int
below_nbdkit_extents (struct below *b, uint32_t count, uint64_t offset,
                      uint32_t flags, struct nbdkit_extents *extents, int *err)
{
  struct below_nbdkit *n = nbdkit_of (b);

  CALL_PLUGIN (n);
  return n->next->extents (n->next, count, offset, flags, extents, err);
}

int
below_nbdkit_cache (struct below *b, uint32_t count, uint64_t offset, int *err)
{
  struct below_nbdkit *n = nbdkit_of (b);

  CALL_PLUGIN (n);
  return n->next->cache (n->next, count, offset, 0, err);
}

const struct abilities *
below_nbdkit_abilities (struct below *b)
{
  return &nbdkit_of (b)->abilities;
}

/* 0, or -1 after an error message. */
static int
ask_abilities (nbdkit_next *next, struct abilities *a)
{
  const int64_t size = next->get_size (next);
  const int write = next->can_write (next);
  const int flush = next->can_flush (next);
  const int rotational = next->is_rotational (next);
  const int trim = next->can_trim (next);
  const int zero = next->can_zero (next);
  const int fast_zero = next->can_fast_zero (next);
  const int extents = next->can_extents (next);
  const int cache = next->can_cache (next);

  if (size == -1 || write == -1 || flush == -1 || rotational == -1 ||
      trim == -1 || zero == -1 || fast_zero == -1 || extents == -1 ||
      cache == -1 || next->can_fua (next) == -1 ||
      next->can_multi_conn (next) == -1 ||
      next->block_size (next, &a->minimum, &a->preferred, &a->maximum) == -1)
    return -1;
  a->size = (uint64_t) size;
  a->can_write = write;
  a->can_flush = flush;
  a->is_rotational = rotational;
  a->can_trim = trim;
  a->can_zero = zero;
  a->can_fast_zero = fast_zero;
  a->can_extents = extents;
  a->can_cache = cache;
  return 0;
}

/* 0, or -1 after an error message. */
static int
make_zeroes (struct below_nbdkit *n)
{
  if (n->abilities.can_zero != NBDKIT_ZERO_NONE)
    return 0;
  n->zeroes = calloc (ZEROES, 1);
  if (n->zeroes == NULL) {
    nbdkit_error ("calloc: %m");
    return -1;
  }
  return 0;
}

struct below *
below_nbdkit_open (nbdkit_backend *backend, bool parallel)
{
  struct below_nbdkit *n = calloc (1, sizeof *n);

  if (n == NULL) {
    nbdkit_error ("calloc: %m");
    return NULL;
  }
  n->below.ops = &nbdkit_ops;
  n->parallel = parallel;
  pthread_mutex_init (&n->lock, NULL);
  n->next = nbdkit_next_context_open (backend, 0, "", 1);
  if (n->next == NULL) {
    free (n);
    return NULL;
  }
  if (n->next->prepare (n->next) == -1) {
    nbdkit_next_context_close (n->next);
    free (n);
    return NULL;
  }
  if (ask_abilities (n->next, &n->abilities) == -1 || make_zeroes (n) == -1) {
    below_nbdkit_close (&n->below);
    return NULL;
  }
  return &n->below;
}

void
below_nbdkit_close (struct below *b)
{
  struct below_nbdkit *n;

  if (b == NULL)
    return;
  n = nbdkit_of (b);
  n->next->finalize (n->next);
  nbdkit_next_context_close (n->next);
  pthread_mutex_destroy (&n->lock);
  free (n->zeroes);
  free (n);
}
