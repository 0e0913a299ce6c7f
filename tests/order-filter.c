/* nbdkit filter "order": records the order of things at the destination.
 *
 * It stands below the clone filter.  Parameters:
 *
 *   order-dir=DIR       DIR/log gets a line for the begin and the end of each
 *                       write, zero, trim and flush:
 *
 *                         NUMBER OPERATION begin|end OFFSET COUNT FUA ERROR
 *
 *   order-bitmap=FILE   and DIR/NUMBER a copy of FILE as it is at that time:
 *                       before the operation has reached the plugin, and
 *                       after the plugin but before the clone filter knows
 *
 * While these files exist, they do this to what begins after "begin" has been
 * recorded, or go on until the server is shut down:
 *
 *   DIR/hold-flush      flushes wait
 *   DIR/hold-write      writes, zeroes and trims wait
 *   DIR/fail-flush      flushes fail with EIO
 */

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-filter.h>

static char *directory, *bitmap;
static int directory_fd = -1, log_fd = -1;

/* Held while a line and a copy are made: their numbers are their order. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static unsigned number;

static int
order_config (nbdkit_next_config *next, nbdkit_backend *nxdata, const char *key,
              const char *value)
{
  if (strcmp (key, "order-dir") == 0) {
    directory = nbdkit_realpath (value);
    return directory ? 0 : -1;
  }
  if (strcmp (key, "order-bitmap") == 0) {
    bitmap = nbdkit_absolute_path (value);
    return bitmap ? 0 : -1;
  }
  return next (nxdata, key, value);
}

static int
order_get_ready (int thread_model)
{
  (void) thread_model;
  if (directory == NULL) {
    nbdkit_error ("order-dir is missing");
    return -1;
  }
  directory_fd = open (directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory_fd >= 0)
    log_fd = openat (directory_fd, "log",
                     O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (log_fd == -1) {
    nbdkit_error ("%s: %m", directory);
    return -1;
  }
  return 0;
}

static void
order_unload (void)
{
  if (log_fd >= 0)
    close (log_fd);
  if (directory_fd >= 0)
    close (directory_fd);
  free (directory);
  free (bitmap);
}

static void
copy_bitmap (const char *name)
{
  char buf[65536];
  ssize_t n;
  int from = open (bitmap, O_RDONLY | O_CLOEXEC);
  int to =
    openat (directory_fd, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

  if (from == -1 || to == -1)
    abort ();
  while ((n = read (from, buf, sizeof buf)) > 0)
    if (write (to, buf, n) != n)
      abort ();
  close (from);
  close (to);
}

static void
record (const char *operation, bool begin, uint64_t offset, uint32_t count,
        uint32_t flags, int error)
{
  char line[128], name[16];
  int length;

  pthread_mutex_lock (&lock);
  number++;
  if (bitmap) {
    snprintf (name, sizeof name, "%u", number);
    copy_bitmap (name);
  }
  length =
    snprintf (line, sizeof line, "%u %s %s %llu %lu %d %d\n", number, operation,
              begin ? "begin" : "end", (unsigned long long) offset,
              (unsigned long) count, (flags & NBDKIT_FLAG_FUA) != 0, error);
  if (write (log_fd, line, length) != length)
    abort ();
  pthread_mutex_unlock (&lock);
}

static bool
exists (const char *name)
{
  return faccessat (directory_fd, name, F_OK, 0) == 0;
}

static void
hold (const char *name)
{
  while (exists (name))
    if (nbdkit_nanosleep (0, 2000000) == -1)
      break;
}

static int
order_pwrite (nbdkit_next *next, void *handle, const void *buf, uint32_t count,
              uint64_t offset, uint32_t flags, int *err)
{
  int r;

  (void) handle;
  record ("write", true, offset, count, flags, 0);
  hold ("hold-write");
  r = next->pwrite (next, buf, count, offset, flags, err);
  record ("write", false, offset, count, flags, r == -1 ? *err : 0);
  return r;
}

static int
order_zero (nbdkit_next *next, void *handle, uint32_t count, uint64_t offset,
            uint32_t flags, int *err)
{
  int r;

  (void) handle;
  record ("zero", true, offset, count, flags, 0);
  hold ("hold-write");
  r = next->zero (next, count, offset, flags, err);
  record ("zero", false, offset, count, flags, r == -1 ? *err : 0);
  return r;
}

static int
order_trim (nbdkit_next *next, void *handle, uint32_t count, uint64_t offset,
            uint32_t flags, int *err)
{
  int r;

  (void) handle;
  record ("trim", true, offset, count, flags, 0);
  hold ("hold-write");
  r = next->trim (next, count, offset, flags, err);
  record ("trim", false, offset, count, flags, r == -1 ? *err : 0);
  return r;
}

static int
order_flush (nbdkit_next *next, void *handle, uint32_t flags, int *err)
{
  int r;

  (void) handle;
  record ("flush", true, 0, 0, 0, 0);
  hold ("hold-flush");
  if (exists ("fail-flush")) {
    *err = EIO;
    nbdkit_error ("flush: made to fail");
    r = -1;
  }
  else
    r = next->flush (next, flags, err);
  record ("flush", false, 0, 0, 0, r == -1 ? *err : 0);
  return r;
}

static struct nbdkit_filter filter = {
  .name = "order",
  .longname = "record the order of requests (for tests)",
  .config = order_config,
  .config_help = "order-dir=DIR  order-bitmap=FILE",
  .get_ready = order_get_ready,
  .unload = order_unload,
  .pwrite = order_pwrite,
  .zero = order_zero,
  .trim = order_trim,
  .flush = order_flush,
};

NBDKIT_REGISTER_FILTER (filter)
