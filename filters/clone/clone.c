/* nbdclone: nbdkit-clone-filter: nbdkit's side of it.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Nothing is decided here: parameters go to params.c, the start to setup.c, and
 * requests to the engine (common/engine.c).  The destination is reached through
 * one context for all connections (destination-nbdkit.c), so no connection opens
 * the next layer, and `next` is NULL in all callbacks.
 *
 * There are two exports: the disk, under any name, and the map, under its own.
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nbdkit-filter.h>

#include "control.h"
#include "destination-nbdkit.h"
#include "engine.h"
#include "log.h"
#include "params.h"
#include "setup.h"
#include "source-nbd.h"

static struct params params;
static struct setup setup;
static struct control *control; /* or NULL */

/* Notices that nbdkit is shutting down, which waits for its clients; our last
 * commit does not (P10).
 */
static pthread_t watcher;
static bool has_watcher;
static atomic_bool closing;

/* The exit status has to tell that the last commit has failed (lesson 19). */
static bool not_durable;

/* A connection. */
struct handle {
  bool map; /* to the map export */
};

void
log_error (const char *fs, ...)
{
  va_list args;

  va_start (args, fs);
  nbdkit_verror (fs, args);
  va_end (args);
}

void
log_info (const char *fs, ...)
{
  const int err = errno;
  char *line = NULL;
  va_list args;
  int r;

  va_start (args, fs);
  errno = err;
  r = vasprintf (&line, fs, args);
  va_end (args);
  if (r == -1)
    return;
  /* nbdkit 1.32 has no way to tell users what is no error. */
  fprintf (stderr, "nbdkit: clone: %s\n", line);
  free (line);
}

static void
clone_load (void)
{
  params = default_params;
}

static void
clone_unload (void)
{
  params_free (&params);
  /* nbdkit gives filters no other way to say so. */
  if (not_durable)
    exit (EXIT_FAILURE);
}

static int
clone_config (nbdkit_next_config *next, nbdkit_backend *nxdata, const char *key,
              const char *value)
{
  const int r = params_set (&params, key, value);

  if (r)
    return r == 1 ? 0 : -1;
  /* The file plugin's directories need an export name, which a shared context
   * does not have; it would crash (lesson 15).
   */
  if (strcmp (key, "dir") == 0 || strcmp (key, "directory") == 0) {
    nbdkit_error ("%s=%s: a directory of disks cannot be the destination of "
                  "a clone; allowed is one file or device",
                  key, value);
    return -1;
  }
  return next (nxdata, key, value);
}

static int
clone_config_complete (nbdkit_next_config_complete *next,
                       nbdkit_backend *nxdata)
{
  if (params_check (&params) == -1)
    return -1;
  return next (nxdata);
}

static int
clone_get_ready (int thread_model)
{
  if (params.control && control_check (params.control) == -1)
    return -1;
  return setup_get_ready (&setup, &params, thread_model);
}

static void *
watch (void *opaque)
{
  while (!atomic_load (&closing))
    if (nbdkit_nanosleep (1, 0) == -1 && errno == ESHUTDOWN) {
      if (setup.source)
        source_nbd_stop (setup.source);
      engine_quiesce (setup.engine);
      break;
    }
  return opaque;
}

/* The socket comes first, since it may be another server's, and is served
 * last.
 */
static int
start (nbdkit_backend *backend)
{
  if (params.control) {
    control = control_listen (params.control);
    if (control == NULL)
      return -1;
  }
  if (setup_after_fork (&setup, &params, backend) == -1)
    return -1;
  if (control) {
    errno = control_start (control, &setup, &params);
    if (errno) {
      nbdkit_error ("clone-control=%s: %m", params.control);
      return -1;
    }
  }
  return 0;
}

static void
stop_control (void)
{
  control_free (control);
  control = NULL;
}

static int
clone_after_fork (nbdkit_backend *backend)
{
  /* After a failure nbdkit does not call .cleanup. */
  if (start (backend) == -1) {
    stop_control ();
    setup_free (&setup);
    return -1;
  }
  errno = pthread_create (&watcher, NULL, watch, NULL);
  if (errno) {
    nbdkit_error ("pthread_create: %m");
    return -1;
  }
  has_watcher = true;
  return 0;
}

static void
clone_cleanup (nbdkit_backend *backend)
{
  (void) backend;
  atomic_store (&closing, true);
  if (has_watcher)
    pthread_join (watcher, NULL);
  has_watcher = false;
  stop_control ();
  if (!setup_free (&setup)) {
    nbdkit_error ("not all that was hydrated or written could be made durable; "
                  "keep the source and the bitmap file, and start again");
    not_durable = true;
  }
}

static int
clone_list_exports (nbdkit_next_list_exports *next, nbdkit_backend *nxdata,
                    int readonly, int is_tls, struct nbdkit_exports *exports)
{
  (void) next;
  (void) nxdata;
  (void) readonly;
  (void) is_tls;
  if (nbdkit_add_export (exports, "", "the disk") == -1)
    return -1;
  return nbdkit_add_export (exports, params.map_export,
                            "what has been cloned so far");
}

static const char *
clone_default_export (nbdkit_next_default_export *next, nbdkit_backend *nxdata,
                      int readonly, int is_tls)
{
  (void) next;
  (void) nxdata;
  (void) readonly;
  (void) is_tls;
  return "";
}

static void *
clone_open (nbdkit_next_open *next, nbdkit_context *context, int readonly,
            const char *exportname, int is_tls)
{
  struct handle *h = calloc (1, sizeof *h);

  (void) next;
  (void) context;
  (void) readonly;
  (void) is_tls;
  if (h == NULL) {
    nbdkit_error ("calloc: %m");
    return NULL;
  }
  h->map = strcmp (exportname, params.map_export) == 0;
  return h;
}

static void
clone_close (void *handle)
{
  free (handle);
}

static int64_t
clone_get_size (nbdkit_next *next, void *handle)
{
  (void) next;
  (void) handle;
  return (int64_t) setup.destination->size;
}

static const char *
clone_export_description (nbdkit_next *next, void *handle)
{
  const struct handle *h = handle;

  (void) next;
  return h->map ? "what has been cloned so far" : "the disk";
}

static int
clone_block_size (nbdkit_next *next, void *handle, uint32_t *minimum,
                  uint32_t *preferred, uint32_t *maximum)
{
  const uint64_t region = setup.identity.region_size;
  uint32_t wanted = region < 65536 ? (uint32_t) region : 65536;

  (void) next;
  (void) handle;
  destination_nbdkit_block_size (setup.destination, minimum, preferred,
                                 maximum);
  if (*minimum == 0) {
    *minimum = 1;
    *preferred = 4096;
    *maximum = UINT32_MAX;
  }
  /* What is smaller than a region costs a fetch of its rest. */
  if (wanted > *preferred && wanted <= *maximum)
    *preferred = wanted;
  return 0;
}

static int
clone_can_write (nbdkit_next *next, void *handle)
{
  const struct handle *h = handle;

  (void) next;
  return !h->map && destination_nbdkit_can_write (setup.destination);
}

static int
clone_can_flush (nbdkit_next *next, void *handle)
{
  (void) next;
  (void) handle;
  return setup.destination->can_flush;
}

static int
clone_is_rotational (nbdkit_next *next, void *handle)
{
  (void) next;
  (void) handle;
  return destination_nbdkit_is_rotational (setup.destination);
}

static int
clone_can_zero (nbdkit_next *next, void *handle)
{
  return clone_can_write (next, handle) ? NBDKIT_ZERO_NATIVE : NBDKIT_ZERO_NONE;
}

static int
clone_can_fast_zero (nbdkit_next *next, void *handle)
{
  return clone_can_write (next, handle) && setup.destination->can_fast_zero;
}

static int
clone_can_fua (nbdkit_next *next, void *handle)
{
  return clone_can_write (next, handle) && setup.destination->can_flush
           ? NBDKIT_FUA_NATIVE
           : NBDKIT_FUA_NONE;
}

/* Extents are always known, if only as data; and all connections share one
 * context, so a flush of one covers the others (multi-conn).
 */
static int
clone_can_always (nbdkit_next *next, void *handle)
{
  (void) next;
  (void) handle;
  return 1;
}

static int
clone_can_cache (nbdkit_next *next, void *handle)
{
  (void) next;
  (void) handle;
  return NBDKIT_CACHE_NATIVE;
}

static int
clone_pread (nbdkit_next *next, void *handle, void *buf, uint32_t count,
             uint64_t offset, uint32_t flags, int *err)
{
  const struct handle *h = handle;

  (void) next;
  (void) flags;
  if (h->map)
    return engine_map_read (setup.engine, buf, count, offset, err);
  return engine_read (setup.engine, buf, count, offset, err);
}

static int
clone_pwrite (nbdkit_next *next, void *handle, const void *buf, uint32_t count,
              uint64_t offset, uint32_t flags, int *err)
{
  (void) next;
  (void) handle;
  return engine_write (setup.engine, buf, count, offset,
                       flags & NBDKIT_FLAG_FUA, err);
}

static int
clone_flush (nbdkit_next *next, void *handle, uint32_t flags, int *err)
{
  (void) next;
  (void) handle;
  (void) flags;
  return engine_flush (setup.engine, err);
}

static int
clone_trim (nbdkit_next *next, void *handle, uint32_t count, uint64_t offset,
            uint32_t flags, int *err)
{
  (void) next;
  (void) handle;
  return engine_trim (setup.engine, count, offset, flags & NBDKIT_FLAG_FUA,
                      err);
}

static int
clone_zero (nbdkit_next *next, void *handle, uint32_t count, uint64_t offset,
            uint32_t flags, int *err)
{
  (void) next;
  (void) handle;
  return engine_zero (setup.engine, count, offset, flags & NBDKIT_FLAG_MAY_TRIM,
                      flags & NBDKIT_FLAG_FAST_ZERO, flags & NBDKIT_FLAG_FUA,
                      err);
}

static int
add_extent (void *opaque, uint64_t offset, uint64_t length, unsigned type)
{
  uint32_t nbdkit_type = 0;

  if (type & EXTENT_HOLE)
    nbdkit_type |= NBDKIT_EXTENT_HOLE;
  if (type & EXTENT_ZERO)
    nbdkit_type |= NBDKIT_EXTENT_ZERO;
  return nbdkit_add_extent (opaque, offset, length, nbdkit_type);
}

static int
clone_extents (nbdkit_next *next, void *handle, uint32_t count, uint64_t offset,
               uint32_t flags, struct nbdkit_extents *extents, int *err)
{
  const struct handle *h = handle;
  const bool one = flags & NBDKIT_FLAG_REQ_ONE;
  int r;

  (void) next;
  errno = 0;
  if (h->map)
    r = engine_map_extents (setup.engine, count, offset, one, add_extent,
                            extents);
  else
    r = engine_extents (setup.engine, count, offset, one, add_extent, extents,
                        err);
  if (r == -1)
    *err = errno ? errno : EIO;
  return r;
}

static int
clone_cache (nbdkit_next *next, void *handle, uint32_t count, uint64_t offset,
             uint32_t flags, int *err)
{
  const struct handle *h = handle;

  (void) next;
  (void) flags;
  if (h->map)
    return 0;
  return engine_cache (setup.engine, count, offset, err);
}

static struct nbdkit_filter filter = {
  .name = "clone",
  .longname = "nbdkit clone filter",
  .description = "Use a remote disk while it is being cloned.",
  .load = clone_load,
  .unload = clone_unload,
  .config = clone_config,
  .config_complete = clone_config_complete,
  .config_help = params_help,
  .get_ready = clone_get_ready,
  .after_fork = clone_after_fork,
  .cleanup = clone_cleanup,
  .list_exports = clone_list_exports,
  .default_export = clone_default_export,
  .open = clone_open,
  .close = clone_close,
  .get_size = clone_get_size,
  .export_description = clone_export_description,
  .block_size = clone_block_size,
  .can_write = clone_can_write,
  .can_flush = clone_can_flush,
  .is_rotational = clone_is_rotational,
  .can_trim = clone_can_write,
  .can_zero = clone_can_zero,
  .can_fast_zero = clone_can_fast_zero,
  .can_extents = clone_can_always,
  .can_fua = clone_can_fua,
  .can_multi_conn = clone_can_always,
  .can_cache = clone_can_cache,
  .pread = clone_pread,
  .pwrite = clone_pwrite,
  .flush = clone_flush,
  .trim = clone_trim,
  .zero = clone_zero,
  .extents = clone_extents,
  .cache = clone_cache,
};

NBDKIT_REGISTER_FILTER (filter)
