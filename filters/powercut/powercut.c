/* nbdclone: nbdkit-powercut-filter: nbdkit's side of it.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A destination with a volatile write cache whose power can be cut.  Nothing is
 * decided here: what is volatile and what is durable to the cache (cache.c),
 * what survives to the choice (choice.c), and when the power is cut or a
 * request fails to power.c.
 *
 * The layer below is reached through one context for all connections
 * (../next/destination-nbdkit.c), so no connection opens it, and `next` is NULL in all
 * callbacks.
 */

#include <config.h>

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include <nbdkit-filter.h>

#include "destination-nbdkit.h"
#include "cache.h"
#include "params.h"
#include "power.h"
#include "request.h"
#include "watch.h"

/* What tearing a request means, at least. */
#define SECTOR_SIZE 512

static struct powercut {
  struct params params;
  bool parallel; /* the plugin */
  struct watch watch;
  struct destination *below;
  struct power power;
} powercut;

static void
powercut_load (void)
{
  powercut.params = default_params;
  power_init (&powercut.power, &powercut.params);
}

static void
powercut_unload (void)
{
  power_destroy (&powercut.power);
  params_free (&powercut.params);
}

static int
powercut_config (nbdkit_next_config *next, nbdkit_backend *nxdata,
                 const char *key, const char *value)
{
  const int r = params_set (&powercut.params, key, value);

  if (r)
    return r == 1 ? 0 : -1;
  /* The file plugin's directories need an export name, which a shared context
   * does not have; it would crash.
   */
  if (strcmp (key, "dir") == 0 || strcmp (key, "directory") == 0) {
    nbdkit_error ("%s=%s: a directory of disks does not work with powercut; "
                  "allowed is one file or device",
                  key, value);
    return -1;
  }
  return next (nxdata, key, value);
}

static int
powercut_get_ready (int thread_model)
{
  struct powercut *p = &powercut;

  if (params_check (&p->params) == -1)
    return -1;
  p->parallel = thread_model == NBDKIT_THREAD_MODEL_PARALLEL;
  p->watch.signal = p->params.signal;
  p->watch.file = p->params.file;
  return watch_prepare (&p->watch);
}

static void
cut (void *opaque, const char *trigger)
{
  power_cut (opaque, trigger, 0);
}

static int
powercut_after_fork (nbdkit_backend *backend)
{
  struct powercut *p = &powercut;
  uint32_t sector_size = SECTOR_SIZE;

  p->below = destination_nbdkit_open (backend, p->parallel);
  if (p->below == NULL)
    return -1;
  if (p->below->block_minimum > sector_size)
    sector_size = p->below->block_minimum;
  p->power.cache =
    cache_new (p->below, p->below->size, sector_size, p->params.cache_size);
  if (p->power.cache == NULL) {
    nbdkit_error ("calloc: %m");
    return -1;
  }
  p->watch.cut = cut;
  p->watch.opaque = &p->power;
  return watch_start (&p->watch);
}

/* nbdkit stops, the power stays on: what is in the cache is written. */
static void
powercut_cleanup (nbdkit_backend *backend)
{
  struct powercut *p = &powercut;
  int err;

  (void) backend;
  watch_stop (&p->watch);
  if (p->power.cache && destination_nbdkit_can_write (p->below) &&
      !power_is_cut (&p->power) && cache_flush (p->power.cache, &err) == -1)
    nbdkit_error ("writing what is in the cache: %s", strerror (err));
  cache_free (p->power.cache);
  p->power.cache = NULL;
  destination_nbdkit_close (p->below);
  p->below = NULL;
}

static int
powercut_list_exports (nbdkit_next_list_exports *next, nbdkit_backend *nxdata,
                       int readonly, int is_tls, struct nbdkit_exports *exports)
{
  (void) next;
  (void) nxdata;
  (void) readonly;
  (void) is_tls;
  return nbdkit_add_export (exports, "", NULL);
}

static const char *
powercut_default_export (nbdkit_next_default_export *next,
                         nbdkit_backend *nxdata, int readonly, int is_tls)
{
  (void) next;
  (void) nxdata;
  (void) readonly;
  (void) is_tls;
  return "";
}

static void *
powercut_open (nbdkit_next_open *next, nbdkit_context *context, int readonly,
               const char *exportname, int is_tls)
{
  (void) next;
  (void) context;
  (void) readonly;
  (void) exportname;
  (void) is_tls;
  return NBDKIT_HANDLE_NOT_NEEDED;
}

static int64_t
powercut_get_size (nbdkit_next *next, void *handle)
{
  (void) next;
  (void) handle;
  return (int64_t) powercut.below->size;
}

static const char *
powercut_export_description (nbdkit_next *next, void *handle)
{
  (void) next;
  (void) handle;
  return "a disk with a volatile cache";
}

static int
powercut_block_size (nbdkit_next *next, void *handle, uint32_t *minimum,
                     uint32_t *preferred, uint32_t *maximum)
{
  (void) next;
  (void) handle;
  destination_nbdkit_block_size (powercut.below, minimum, preferred, maximum);
  return 0;
}

static int
powercut_can_write (nbdkit_next *next, void *handle)
{
  (void) next;
  (void) handle;
  return destination_nbdkit_can_write (powercut.below);
}

/* Also if the plugin cannot flush: the cache can. */
static int
powercut_can_flush (nbdkit_next *next, void *handle)
{
  (void) next;
  (void) handle;
  return 1;
}

static int
powercut_is_rotational (nbdkit_next *next, void *handle)
{
  (void) next;
  (void) handle;
  return destination_nbdkit_is_rotational (powercut.below);
}

static int
powercut_can_trim (nbdkit_next *next, void *handle)
{
  (void) next;
  (void) handle;
  return destination_nbdkit_can_write (powercut.below) &&
         powercut.below->can_trim;
}

static int
powercut_can_zero (nbdkit_next *next, void *handle)
{
  (void) next;
  (void) handle;
  return destination_nbdkit_can_write (powercut.below) ? NBDKIT_ZERO_NATIVE
                                                       : NBDKIT_ZERO_NONE;
}

/* The cache takes any zero fast; but to offer that only makes sense if clients
 * gain by it in the end.
 */
static int
powercut_can_fast_zero (nbdkit_next *next, void *handle)
{
  (void) next;
  (void) handle;
  return destination_nbdkit_can_write (powercut.below) &&
         powercut.below->can_fast_zero;
}

static int
powercut_can_extents (nbdkit_next *next, void *handle)
{
  (void) next;
  (void) handle;
  return powercut.below->can_extents;
}

static int
powercut_can_fua (nbdkit_next *next, void *handle)
{
  (void) next;
  (void) handle;
  return destination_nbdkit_can_write (powercut.below) ? NBDKIT_FUA_NATIVE
                                                       : NBDKIT_FUA_NONE;
}

/* One cache for all connections: a flush on one covers them all. */
static int
powercut_can_multi_conn (nbdkit_next *next, void *handle)
{
  (void) next;
  (void) handle;
  return 1;
}

static int
powercut_can_cache (nbdkit_next *next, void *handle)
{
  (void) next;
  (void) handle;
  return powercut.below->can_cache ? NBDKIT_CACHE_NATIVE : NBDKIT_CACHE_EMULATE;
}

static int
powercut_pread (nbdkit_next *next, void *handle, void *buf, uint32_t count,
                uint64_t offset, uint32_t flags, int *err)
{
  struct power *power = &powercut.power;
  struct request request;
  int r = -1;

  (void) next;
  (void) handle;
  (void) flags;
  if (power_begin (power, &request, REQUEST_READ, offset, count, err) == -1)
    return -1;
  if (!request.last)
    r = cache_read (power->cache, buf, count, offset, err);
  return power_end (power, &request, r, err);
}

static unsigned
fua_kind (uint32_t flags)
{
  return flags & NBDKIT_FLAG_FUA ? REQUEST_FUA : 0;
}

static int
powercut_pwrite (nbdkit_next *next, void *handle, const void *buf,
                 uint32_t count, uint64_t offset, uint32_t flags, int *err)
{
  struct power *power = &powercut.power;
  const unsigned fua = fua_kind (flags);
  struct request request;
  int r;

  (void) next;
  (void) handle;
  if (power_begin (power, &request, REQUEST_WRITE | fua, offset, count, err) ==
      -1)
    return -1;
  r = cache_write (power->cache, buf, count, offset, fua && !request.last, err);
  return power_end (power, &request, r, err);
}

static int
zero_or_trim (enum request_kind request_kind, enum cache_kind cache_kind,
              uint32_t count, uint64_t offset, uint32_t flags, int *err)
{
  struct power *power = &powercut.power;
  const unsigned fua = fua_kind (flags);
  struct request request;
  int r;

  if (power_begin (power, &request, request_kind | fua, offset, count, err) ==
      -1)
    return -1;
  r = cache_zero (power->cache, cache_kind, count, offset, fua && !request.last,
                  err);
  return power_end (power, &request, r, err);
}

static int
powercut_zero (nbdkit_next *next, void *handle, uint32_t count, uint64_t offset,
               uint32_t flags, int *err)
{
  const bool may_trim = flags & NBDKIT_FLAG_MAY_TRIM;

  (void) next;
  (void) handle;
  return zero_or_trim (REQUEST_ZERO,
                       may_trim ? CACHE_ZERO_MAY_TRIM : CACHE_ZERO, count,
                       offset, flags, err);
}

static int
powercut_trim (nbdkit_next *next, void *handle, uint32_t count, uint64_t offset,
               uint32_t flags, int *err)
{
  (void) next;
  (void) handle;
  return zero_or_trim (REQUEST_TRIM, CACHE_TRIM, count, offset, flags, err);
}

static int
powercut_flush (nbdkit_next *next, void *handle, uint32_t flags, int *err)
{
  struct power *power = &powercut.power;
  struct request request;
  int r = -1;

  (void) next;
  (void) handle;
  (void) flags;
  if (power_begin (power, &request, REQUEST_FLUSH, 0, 0, err) == -1)
    return -1;
  if (!request.last)
    r = power_flush (power, err);
  return power_end (power, &request, r, err);
}

static uint32_t
extent_type (enum cache_kind kind)
{
  switch (kind) {
  case CACHE_WRITE:
    return 0;
  case CACHE_ZERO:
    return NBDKIT_EXTENT_ZERO;
  default:
    return NBDKIT_EXTENT_ZERO | NBDKIT_EXTENT_HOLE;
  }
}

/* An answer of the layer below on its way into ours. */
struct answer {
  struct nbdkit_extents *extents;
  uint64_t end; /* where it has ended so far */
  int err;
};

static int
add_extent_below (void *opaque, uint64_t offset, uint64_t length, unsigned type)
{
  struct answer *a = opaque;
  uint32_t nbdkit_type = 0;

  if (type & EXTENT_HOLE)
    nbdkit_type |= NBDKIT_EXTENT_HOLE;
  if (type & EXTENT_ZERO)
    nbdkit_type |= NBDKIT_EXTENT_ZERO;
  if (nbdkit_add_extent (a->extents, offset, length, nbdkit_type) == -1) {
    a->err = errno;
    return -1;
  }
  a->end = offset + length;
  return 0;
}

/* Add what the layer below says of a range.  *END is where its answer ended. */
static int
add_extents_below (const struct cache_extent *e, struct nbdkit_extents *extents,
                   uint64_t *end, int *err)
{
  struct answer a = { .extents = extents, .end = e->offset };
  int r = powercut.below->ops->extents (powercut.below, (uint32_t) e->length,
                                        e->offset, add_extent_below, &a, err);

  if (a.err) {
    *err = a.err;
    r = -1;
  }
  *end = a.end;
  return r;
}

/* What is cached is data or zeroes, whatever the layer below says. */
static int
add_extents (uint32_t count, uint64_t offset, uint32_t flags,
             struct nbdkit_extents *extents, int *err)
{
  struct cache_extent parts[256];
  const bool one = flags & NBDKIT_FLAG_REQ_ONE;
  const size_t n = cache_extents (powercut.power.cache, count, offset, parts,
                                  sizeof parts / sizeof parts[0]);
  uint64_t end;
  size_t i;

  for (i = 0; i < n && (i == 0 || !one); ++i) {
    const struct cache_extent *e = &parts[i];

    if (e->cached) {
      if (nbdkit_add_extent (extents, e->offset, e->length,
                             extent_type (e->kind)) == -1) {
        *err = errno;
        return -1;
      }
      continue;
    }
    if (add_extents_below (e, extents, &end, err) == -1)
      return -1;
    /* A short answer makes ours short. */
    if (end < e->offset + e->length)
      break;
  }
  return 0;
}

static int
powercut_extents (nbdkit_next *next, void *handle, uint32_t count,
                  uint64_t offset, uint32_t flags,
                  struct nbdkit_extents *extents, int *err)
{
  struct power *power = &powercut.power;
  struct request request;
  int r = -1;

  (void) next;
  (void) handle;
  if (power_begin (power, &request, REQUEST_EXTENTS, offset, count, err) == -1)
    return -1;
  if (!request.last)
    r = add_extents (count, offset, flags, extents, err);
  return power_end (power, &request, r, err);
}

static int
powercut_cache (nbdkit_next *next, void *handle, uint32_t count,
                uint64_t offset, uint32_t flags, int *err)
{
  struct power *power = &powercut.power;
  struct request request;
  int r = -1;

  (void) next;
  (void) handle;
  (void) flags;
  if (power_begin (power, &request, REQUEST_CACHE, offset, count, err) == -1)
    return -1;
  if (!request.last)
    r = powercut.below->ops->cache (powercut.below, count, offset, err);
  return power_end (power, &request, r, err);
}

static struct nbdkit_filter filter = {
  .name = "powercut",
  .longname = "nbdkit powercut filter",
  .description = "A volatile write cache whose power can be cut.",
  .load = powercut_load,
  .unload = powercut_unload,
  .config = powercut_config,
  .config_help = params_help,
  .get_ready = powercut_get_ready,
  .after_fork = powercut_after_fork,
  .cleanup = powercut_cleanup,
  .list_exports = powercut_list_exports,
  .default_export = powercut_default_export,
  .open = powercut_open,
  .get_size = powercut_get_size,
  .export_description = powercut_export_description,
  .block_size = powercut_block_size,
  .can_write = powercut_can_write,
  .can_flush = powercut_can_flush,
  .is_rotational = powercut_is_rotational,
  .can_trim = powercut_can_trim,
  .can_zero = powercut_can_zero,
  .can_fast_zero = powercut_can_fast_zero,
  .can_extents = powercut_can_extents,
  .can_fua = powercut_can_fua,
  .can_multi_conn = powercut_can_multi_conn,
  .can_cache = powercut_can_cache,
  .pread = powercut_pread,
  .pwrite = powercut_pwrite,
  .flush = powercut_flush,
  .trim = powercut_trim,
  .zero = powercut_zero,
  .extents = powercut_extents,
  .cache = powercut_cache,
};

NBDKIT_REGISTER_FILTER (filter)
