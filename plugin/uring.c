/* nbdclone: nbdkit-uring-plugin: a local file or block device.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * This file speaks nbdkit and does nothing else.  The file is opened and locked
 * before nbdkit listens (disk.c), and is the same for all connections: hence
 * multi-conn, and a flush on one of them covers all.  Requests become system
 * calls or pieces in a ring in transfer.c and lanes.c, zeroes and trims in
 * zero.c.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "disk.h"
#include "extents.h"
#include "lanes.h"
#include "log.h"
#include "params.h"
#include "transfer.h"
#include "zero.h"

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

static struct uring {
  struct params params;
  struct disk disk;
  bool is_open;
} uring;

/* What a connection has. */
struct handle {
  bool readonly;
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
  fprintf (stderr, "nbdkit: uring: %s\n", line);
  free (line);
}

static int
uring_config (const char *key, const char *value)
{
  return params_set (&uring.params, key, value);
}

static int
uring_config_complete (void)
{
  return params_check (&uring.params);
}

static int
uring_get_ready (void)
{
  /* A limit on the size of files is an error like any other, not our death. */
  signal (SIGXFSZ, SIG_IGN);
  if (disk_open (&uring.disk, &uring.params) == -1)
    return -1;
  uring.is_open = true;
  return 0;
}

static int
uring_after_fork (void)
{
  if (!uring.disk.direct)
    return 0;
  uring.disk.lanes = lanes_new (uring.disk.fd);
  if (uring.disk.lanes == NULL) {
    nbdkit_error ("no memory for buffers: %m");
    return -1;
  }
  return 0;
}

static void
uring_unload (void)
{
  if (uring.is_open) {
    lanes_free (uring.disk.lanes);
    disk_close (&uring.disk);
  }
  params_free (&uring.params);
}

static void *
uring_open (int readonly)
{
  struct handle *h = malloc (sizeof *h);

  if (h == NULL) {
    nbdkit_error ("malloc: %m");
    return NULL;
  }
  h->readonly = readonly;
  return h;
}

static void
uring_close (void *handle)
{
  free (handle);
}

static int64_t
uring_get_size (void *handle)
{
  (void) handle;
  return (int64_t) uring.disk.size;
}

static int
uring_block_size (void *handle, uint32_t *minimum, uint32_t *preferred,
                  uint32_t *maximum)
{
  (void) handle;
  *minimum = 1;
  *preferred = uring.disk.preferred_block;
  *maximum = UINT32_MAX;
  return 0;
}

static int
uring_can_write (void *handle)
{
  const struct handle *h = handle;

  return uring.disk.writable && !h->readonly;
}

static int
uring_is_rotational (void *handle)
{
  (void) handle;
  return uring.disk.rotational;
}

static int
uring_can_multi_conn (void *handle)
{
  (void) handle;
  return 1;
}

static int
uring_can_fua (void *handle)
{
  (void) handle;
  return NBDKIT_FUA_NATIVE;
}

static int
uring_can_fast_zero (void *handle)
{
  (void) handle;
  return 1;
}

static int
uring_can_extents (void *handle)
{
  (void) handle;
  return extents_known (&uring.disk);
}

/* With direct, the page cache is none of the client's. */
static int
uring_can_cache (void *handle)
{
  (void) handle;
  return uring.disk.direct ? NBDKIT_CACHE_NONE : NBDKIT_CACHE_NATIVE;
}

/* The answer to a request that has ended with this error number. */
static int
answer (const char *what, uint32_t count, uint64_t offset, int err)
{
  if (err == 0)
    return 0;
  errno = err;
  nbdkit_error ("%s: %s of %" PRIu32 " bytes at %" PRIu64 ": %m",
                uring.params.file, what, count, offset);
  errno = err;
  return -1;
}

static int
uring_pread (void *handle, void *buf, uint32_t count, uint64_t offset,
             uint32_t flags)
{
  (void) handle;
  (void) flags;
  return answer ("read", count, offset,
                 transfer_read (&uring.disk, buf, count, offset));
}

static int
uring_pwrite (void *handle, const void *buf, uint32_t count, uint64_t offset,
              uint32_t flags)
{
  (void) handle;
  return answer (
    "write", count, offset,
    transfer_write (&uring.disk, buf, count, offset, flags & NBDKIT_FLAG_FUA));
}

static int
sync_all (void)
{
  return fdatasync (uring.disk.fd) == -1 ? errno : 0;
}

static int
uring_flush (void *handle, uint32_t flags)
{
  (void) handle;
  (void) flags;
  errno = sync_all ();
  if (errno == 0)
    return 0;
  errno = disk_error (&uring.disk, errno, 0);
  nbdkit_error ("%s: flush: %m", uring.params.file);
  return -1;
}

static int
uring_zero (void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
  const bool fast = flags & NBDKIT_FLAG_FAST_ZERO;
  int err =
    zero_range (&uring.disk, count, offset, flags & NBDKIT_FLAG_MAY_TRIM, fast);

  (void) handle;
  /* Nothing that anybody needs to read about. */
  if (fast && err == EOPNOTSUPP) {
    errno = err;
    return -1;
  }
  if (!err && (flags & NBDKIT_FLAG_FUA))
    err = sync_all ();
  return answer ("zero", count, offset, err);
}

static int
uring_trim (void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
  int err = zero_trim (&uring.disk, count, offset);

  (void) handle;
  if (!err && (flags & NBDKIT_FLAG_FUA))
    err = sync_all ();
  return answer ("trim", count, offset, err);
}

static int
uring_extents (void *handle, uint32_t count, uint64_t offset, uint32_t flags,
               struct nbdkit_extents *extents)
{
  int err = 0;

  (void) handle;
  if (extents_add (&uring.disk, count, offset, flags & NBDKIT_FLAG_REQ_ONE,
                   extents) == -1)
    err = errno;
  return answer ("extents", count, offset, err);
}

/* Only starts to read: the client need not wait for that. */
static int
uring_cache (void *handle, uint32_t count, uint64_t offset, uint32_t flags)
{
  (void) handle;
  (void) flags;
  return answer (
    "cache", count, offset,
    posix_fadvise (uring.disk.fd, (off_t) offset, count, POSIX_FADV_WILLNEED));
}

static struct nbdkit_plugin plugin = {
  .name = "uring",
  .longname = "nbdkit uring plugin",
  .version = PACKAGE_VERSION,
  .description = "Serve a local file or block device through io_uring.",
  .unload = uring_unload,
  .config = uring_config,
  .config_complete = uring_config_complete,
  .config_help = params_help,
  .magic_config_key = "file",
  .get_ready = uring_get_ready,
  .after_fork = uring_after_fork,
  .open = uring_open,
  .close = uring_close,
  .get_size = uring_get_size,
  .block_size = uring_block_size,
  .can_write = uring_can_write,
  .is_rotational = uring_is_rotational,
  .can_multi_conn = uring_can_multi_conn,
  .can_fua = uring_can_fua,
  .can_fast_zero = uring_can_fast_zero,
  .can_extents = uring_can_extents,
  .can_cache = uring_can_cache,
  .pread = uring_pread,
  .pwrite = uring_pwrite,
  .flush = uring_flush,
  .zero = uring_zero,
  .trim = uring_trim,
  .extents = uring_extents,
  .cache = uring_cache,
  .errno_is_preserved = 1,
};

NBDKIT_REGISTER_PLUGIN (plugin)
