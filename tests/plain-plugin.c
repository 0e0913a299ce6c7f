/* nbdkit plugin "plain": a file, with nothing but reads and writes.
 *
 * Parameters:
 *
 *   plain-file=FILE     its size is the disk's; what is written as zeroes
 *                       becomes a hole, so that large tests stay small
 *   plain-flush=BOOL    whether it can flush (true)
 *   plain-model=N       the thread model, 0 (connections) to 3 (parallel)
 *   plain-bad=OFFSET    reads of the byte at OFFSET fail with EIO
 *   plain-bad-error=N   or with this error
 *   plain-fail=TRIGGER  while the file TRIGGER exists, writes fail with the
 *                       error whose number is in it
 *   plain-broken=CALL   this call fails: open, get_size, can_flush, can_extents
 *                       or can_multi_conn
 *   plain-hole=BOOL     extents say: one hole,zero from end to end, as long as
 *                       the request and more (the disk is not read for that)
 *
 * It stops the server, loudly, if more requests are in it at a time than its
 * thread model allows.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#define THREAD_MODEL NBDKIT_THREAD_MODEL_PARALLEL

static char *file, *trigger;
static const char *broken = "";
static int fd = -1, flush = true, model = 3, hole;
static int64_t bad = -1;
static int bad_error = EIO;
static atomic_int inside;

static int
plain_config (const char *key, const char *value)
{
  if (strcmp (key, "plain-file") == 0)
    return (file = nbdkit_realpath (value)) ? 0 : -1;
  if (strcmp (key, "plain-fail") == 0)
    return (trigger = nbdkit_absolute_path (value)) ? 0 : -1;
  if (strcmp (key, "plain-broken") == 0)
    return broken = value, 0;
  if (strcmp (key, "plain-flush") == 0)
    return (flush = nbdkit_parse_bool (value)) == -1 ? -1 : 0;
  if (strcmp (key, "plain-hole") == 0)
    return (hole = nbdkit_parse_bool (value)) == -1 ? -1 : 0;
  if (strcmp (key, "plain-model") == 0)
    return nbdkit_parse_int (key, value, &model);
  if (strcmp (key, "plain-bad") == 0)
    return (bad = nbdkit_parse_size (value)) == -1 ? -1 : 0;
  if (strcmp (key, "plain-bad-error") == 0)
    return nbdkit_parse_int (key, value, &bad_error);
  nbdkit_error ("unknown parameter %s", key);
  return -1;
}

static int
plain_thread_model (void)
{
  return model;
}

static int
plain_get_ready (void)
{
  fd = open (file, O_RDWR | O_CLOEXEC);
  if (fd == -1) {
    nbdkit_error ("%s: %m", file);
    return -1;
  }
  return 0;
}

static void
plain_unload (void)
{
  if (fd >= 0)
    close (fd);
  free (file);
  free (trigger);
}

static void
enter (void)
{
  if (atomic_fetch_add (&inside, 1) > 0 &&
      model <= NBDKIT_THREAD_MODEL_SERIALIZE_ALL_REQUESTS) {
    nbdkit_error ("plain: two requests at a time");
    abort ();
  }
}

static void
leave (void)
{
  atomic_fetch_sub (&inside, 1);
}

static bool
is_broken (const char *call)
{
  if (strcmp (call, broken) != 0)
    return false;
  nbdkit_error ("plain: %s is broken", call);
  return true;
}

static void *
plain_open (int readonly)
{
  (void) readonly;
  return is_broken ("open") ? NULL : NBDKIT_HANDLE_NOT_NEEDED;
}

static int64_t
plain_get_size (void *handle)
{
  struct stat st;

  (void) handle;
  if (is_broken ("get_size"))
    return -1;
  return fstat (fd, &st) == -1 ? -1 : st.st_size;
}

static int
plain_can_flush (void *handle)
{
  (void) handle;
  return is_broken ("can_flush") ? -1 : flush;
}

static int
plain_can_extents (void *handle)
{
  (void) handle;
  return is_broken ("can_extents") ? -1 : hole;
}

/* Requests on one connection at a time are no harm to a plugin that is
 * serialized, so multi-conn it is.
 */
static int
plain_can_multi_conn (void *handle)
{
  (void) handle;
  return is_broken ("can_multi_conn") ? -1 : 1;
}

static int
plain_pread (void *handle, void *buf, uint32_t count, uint64_t offset,
             uint32_t flags)
{
  ssize_t n = 0;

  (void) handle;
  (void) flags;
  if (bad >= 0 && offset <= (uint64_t) bad && (uint64_t) bad < offset + count) {
    nbdkit_set_error (bad_error);
    nbdkit_error ("plain: bad byte at %lld", (long long) bad);
    return -1;
  }
  enter ();
  while (count > 0 && (n = pread (fd, buf, count, offset)) > 0) {
    buf = (char *) buf + n;
    count -= n;
    offset += n;
  }
  leave ();
  return count > 0 ? -1 : 0;
}

/* The error that writes are to fail with now, or 0. */
static int
write_error (void)
{
  char buf[16] = "";
  int trigger_fd;
  ssize_t n;

  if (trigger == NULL || (trigger_fd = open (trigger, O_RDONLY)) == -1)
    return 0;
  n = read (trigger_fd, buf, sizeof buf - 1);
  close (trigger_fd);
  return n > 0 ? atoi (buf) : EIO;
}

static bool
is_zero (const char *buf, uint32_t count)
{
  return count > 0 && buf[0] == 0 && memcmp (buf, buf + 1, count - 1) == 0;
}

static int
plain_pwrite (void *handle, const void *buf, uint32_t count, uint64_t offset,
              uint32_t flags)
{
  ssize_t n = 0;
  const int error = write_error ();

  (void) handle;
  (void) flags;
  if (error) {
    nbdkit_set_error (error);
    nbdkit_error ("plain: made to fail");
    return -1;
  }
  enter ();
  if (is_zero (buf, count) &&
      fallocate (fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset,
                 count) == 0)
    count = 0;
  while (count > 0 && (n = pwrite (fd, buf, count, offset)) > 0) {
    buf = (const char *) buf + n;
    count -= n;
    offset += n;
  }
  leave ();
  return count > 0 ? -1 : 0;
}

static int
plain_flush (void *handle, uint32_t flags)
{
  int r;

  (void) handle;
  (void) flags;
  enter ();
  r = fdatasync (fd);
  leave ();
  return r;
}

static int
plain_extents (void *handle, uint32_t count, uint64_t offset, uint32_t flags,
               struct nbdkit_extents *extents)
{
  (void) count;
  (void) flags;
  return nbdkit_add_extent (extents, offset, plain_get_size (handle) - offset,
                            NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO);
}

static struct nbdkit_plugin plugin = {
  .name = "plain",
  .longname = "reads and writes of a file (for tests)",
  .config = plain_config,
  .config_help = "plain-file=FILE",
  .thread_model = plain_thread_model,
  .get_ready = plain_get_ready,
  .unload = plain_unload,
  .open = plain_open,
  .get_size = plain_get_size,
  .can_flush = plain_can_flush,
  .can_extents = plain_can_extents,
  .can_multi_conn = plain_can_multi_conn,
  .pread = plain_pread,
  .pwrite = plain_pwrite,
  .flush = plain_flush,
  .extents = plain_extents,
};

NBDKIT_REGISTER_PLUGIN (plugin)
