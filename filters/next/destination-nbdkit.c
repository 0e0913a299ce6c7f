/* nbdclone: the destination is nbdkit's next layer.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * One context that all connections and threads share (lesson 15).  nbdkit
 * asserts that its can_* methods have been called before use, so they are, once.
 * It takes an error number that is there before a write, zero or trim for the
 * plugin's own, so it must find 0.
 * A plugin that is not parallel is called under one lock: nbdkit serializes the
 * requests of clients, but does not know of our threads.
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "destination-nbdkit.h"

/* What one zero may be at most: nbdkit's emulation for plugins that have none
 * goes wrong above it (lesson 15).
 */
#define ZERO_MAX (UINT32_C (64) << 20)

/* Zeroes to write where there is no other way. */
#define ZEROES (UINT32_C (1) << 20)

struct nbdkit_destination {
  struct destination destination; /* first: the seam */
  nbdkit_next *next;
  bool parallel;
  pthread_mutex_t lock; /* around all calls, if not parallel */
  bool can_write;
  bool is_rotational;
  int can_zero;                         /* NBDKIT_ZERO_... */
  uint32_t minimum, preferred, maximum; /* block sizes, or 0 */
  uint8_t *zeroes;                      /* if it cannot zero */
};

static struct nbdkit_destination *
nbdkit_of (struct destination *d)
{
  return (struct nbdkit_destination *) d;
}

static pthread_mutex_t *
enter (struct nbdkit_destination *n)
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

/* How much of a read or write the plugin takes at once. */
static uint32_t
at_once (const struct nbdkit_destination *n, uint32_t length)
{
  return n->maximum && length > n->maximum ? n->maximum : length;
}

static int
nbdkit_read (struct destination *d, void *buf, uint32_t length, uint64_t offset,
             int *err)
{
  struct nbdkit_destination *n = nbdkit_of (d);
  uint8_t *p = buf;
  int r;

  do {
    const uint32_t now = at_once (n, length);

    CALL_PLUGIN (n);
    r = n->next->pread (n->next, p, now, offset, 0, err);
    p += now;
    offset += now;
    length -= now;
  } while (r == 0 && length > 0);
  return r;
}

static int
nbdkit_write (struct destination *d, const void *buf, uint32_t length,
              uint64_t offset, int *err)
{
  struct nbdkit_destination *n = nbdkit_of (d);
  const uint8_t *p = buf;
  int r;

  *err = 0;
  do {
    const uint32_t now = at_once (n, length);

    CALL_PLUGIN (n);
    r = n->next->pwrite (n->next, p, now, offset, 0, err);
    p += now;
    offset += now;
    length -= now;
  } while (r == 0 && length > 0);
  return r;
}

static int
zero_once (struct nbdkit_destination *n, uint32_t length, uint64_t offset,
           uint32_t flags, int *err)
{
  if (n->can_zero == NBDKIT_ZERO_NONE)
    return nbdkit_write (&n->destination, n->zeroes, length, offset, err);
  *err = 0;
  CALL_PLUGIN (n);
  return n->next->zero (n->next, length, offset, flags, err);
}

static int
nbdkit_zero (struct destination *d, uint32_t length, uint64_t offset,
             unsigned flags, int *err)
{
  struct nbdkit_destination *n = nbdkit_of (d);
  const uint32_t most = n->can_zero == NBDKIT_ZERO_NONE ? ZEROES : ZERO_MAX;
  uint32_t nbdkit_flags = 0;

  if (flags & DESTINATION_MAY_TRIM)
    nbdkit_flags |= NBDKIT_FLAG_MAY_TRIM;
  if (flags & DESTINATION_FAST_ZERO)
    nbdkit_flags |= NBDKIT_FLAG_FAST_ZERO;
  while (length > 0) {
    const uint32_t now = length < most ? length : most;

    if (zero_once (n, now, offset, nbdkit_flags, err) == -1)
      return -1;
    /* Only the first piece may refuse: later ones must not, since it would
     * have done something by then.
     */
    nbdkit_flags &= ~NBDKIT_FLAG_FAST_ZERO;
    offset += now;
    length -= now;
  }
  return 0;
}

static int
nbdkit_trim (struct destination *d, uint32_t length, uint64_t offset, int *err)
{
  struct nbdkit_destination *n = nbdkit_of (d);

  *err = 0;
  CALL_PLUGIN (n);
  return n->next->trim (n->next, length, offset, 0, err);
}

static int
nbdkit_flush (struct destination *d, int *err)
{
  struct nbdkit_destination *n = nbdkit_of (d);

  if (!d->can_flush)
    return 0;
  CALL_PLUGIN (n);
  return n->next->flush (n->next, 0, err);
}

static int
nbdkit_extents (struct destination *d, uint32_t length, uint64_t offset,
                int (*found) (void *opaque, uint64_t offset, uint64_t length,
                              unsigned type),
                void *opaque, int *err)
{
  struct nbdkit_destination *n = nbdkit_of (d);
  struct nbdkit_extents *extents = nbdkit_extents_new (offset, offset + length);
  size_t i, count;
  int r;

  if (extents == NULL) {
    *err = errno;
    return -1;
  }
  {
    CALL_PLUGIN (n);
    r = n->next->extents (n->next, length, offset, 0, extents, err);
  }
  count = r == 0 ? nbdkit_extents_count (extents) : 0;
  for (i = 0; i < count; ++i) {
    const struct nbdkit_extent e = nbdkit_get_extent (extents, i);
    unsigned type = 0;

    if (e.type & NBDKIT_EXTENT_HOLE)
      type |= EXTENT_HOLE;
    if (e.type & NBDKIT_EXTENT_ZERO)
      type |= EXTENT_ZERO;
    if (found (opaque, e.offset, e.length, type))
      break;
  }
  nbdkit_extents_free (extents);
  return r;
}

static int
nbdkit_cache (struct destination *d, uint32_t length, uint64_t offset, int *err)
{
  struct nbdkit_destination *n = nbdkit_of (d);

  CALL_PLUGIN (n);
  return n->next->cache (n->next, length, offset, 0, err);
}

static const struct destination_ops nbdkit_ops = {
  .read = nbdkit_read,
  .write = nbdkit_write,
  .zero = nbdkit_zero,
  .trim = nbdkit_trim,
  .flush = nbdkit_flush,
  .extents = nbdkit_extents,
  .cache = nbdkit_cache,
};

/* Ask for all that the plugin can do.  0, or -1 after an error message. */
static int
ask_abilities (struct nbdkit_destination *n)
{
  struct destination *d = &n->destination;
  nbdkit_next *next = n->next;
  const int64_t size = next->get_size (next);
  const int write = next->can_write (next);
  const int flush = next->can_flush (next);
  const int rotational = next->is_rotational (next);
  const int trim = next->can_trim (next);
  const int fast_zero = next->can_fast_zero (next);
  const int extents = next->can_extents (next);
  const int fua = next->can_fua (next);
  const int cache = next->can_cache (next);

  n->can_zero = next->can_zero (next);
  if (size == -1 || write == -1 || flush == -1 || rotational == -1 ||
      trim == -1 || n->can_zero == -1 || fast_zero == -1 || extents == -1 ||
      fua == -1 || cache == -1 || next->can_multi_conn (next) == -1 ||
      next->block_size (next, &n->minimum, &n->preferred, &n->maximum) == -1)
    return -1;

  n->can_write = write;
  n->is_rotational = rotational;
  d->size = (uint64_t) size;
  d->block_minimum = n->minimum ? n->minimum : 1;
  d->can_flush = flush;
  d->can_trim = trim;
  d->can_fast_zero = fast_zero && n->can_zero != NBDKIT_ZERO_NONE;
  d->can_extents = extents;
  d->can_cache = cache == NBDKIT_CACHE_NATIVE;
  if (n->can_zero == NBDKIT_ZERO_NONE) {
    n->zeroes = calloc (ZEROES, 1);
    if (n->zeroes == NULL) {
      nbdkit_error ("calloc: %m");
      return -1;
    }
  }
  return 0;
}

struct destination *
destination_nbdkit_open (nbdkit_backend *backend, bool parallel)
{
  struct nbdkit_destination *n = calloc (1, sizeof *n);

  if (n == NULL) {
    nbdkit_error ("calloc: %m");
    return NULL;
  }
  n->destination.ops = &nbdkit_ops;
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
  if (ask_abilities (n) == -1) {
    destination_nbdkit_close (&n->destination);
    return NULL;
  }
  return &n->destination;
}

void
destination_nbdkit_close (struct destination *d)
{
  struct nbdkit_destination *n;

  if (d == NULL)
    return;
  n = nbdkit_of (d);
  n->next->finalize (n->next);
  nbdkit_next_context_close (n->next);
  pthread_mutex_destroy (&n->lock);
  free (n->zeroes);
  free (n);
}

bool
destination_nbdkit_can_write (struct destination *d)
{
  return nbdkit_of (d)->can_write;
}

bool
destination_nbdkit_is_rotational (struct destination *d)
{
  return nbdkit_of (d)->is_rotational;
}

void
destination_nbdkit_block_size (struct destination *d, uint32_t *minimum,
                               uint32_t *preferred, uint32_t *maximum)
{
  const struct nbdkit_destination *n = nbdkit_of (d);

  *minimum = n->minimum;
  *preferred = n->preferred;
  *maximum = n->maximum;
}
