/* The clone filter against a model in memory.
 *
 * Usage: differential OPTION=VALUE... -- NBDKIT-COMMAND
 *
 * Two clients send random requests, several at a time, whose ranges do not
 * overlap (their regions may).  Now and then the server is stopped, or killed
 * with SIGKILL while requests are in flight, and started again with other
 * parameters.
 *
 * The model is the disk's newest bytes, and what is known of each region:
 *
 *   first_ack    when the first request that changed it was answered; 0: none
 *   committed    a FLUSH that was sent later than that, or a FUA request to the
 *                region, has been answered, or the server was stopped in order
 *
 * What P4 allows after SIGKILL, which the page cache survives: every write that
 * was answered has reached the destination, and what may be lost is the
 * region's bit, if it was not committed.  So, a region at a time,
 *
 *   - either all its bytes are the newest, where those of a request that was
 *     not answered may be old or new, one by one;
 *   - or, unless it is committed, all its bytes below the source's end are the
 *     source's, and those beyond it (they are the destination's own) are as in
 *     the first case.
 *
 * After an orderly stop the disk equals the model.  The destination holds 0xdb
 * at first, which neither model has below the source's end, so P1 is checked
 * by the way.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <libnbd.h>

#define CLIENTS 2
#define MAX_IN_FLIGHT 12
#define MAX_EXTENTS 4096
#define KIB 1024
#define MIB (1024 * 1024)

enum kind { READ, WRITE, ZERO, TRIM, FLUSH, CACHE, EXTENTS };
static const char *const kind_names[] = { "read",  "write", "zero",   "trim",
                                          "flush", "cache", "extents" };

/* A request; buf is what is written or read. */
struct request {
  enum kind kind;
  uint64_t offset, count;
  uint32_t flags;
  uint64_t sent; /* value of the clock */
  unsigned char *buf;
  uint32_t extents[2 * MAX_EXTENTS];
  size_t nr_extents;
  bool busy, answered;
  int error;
};

/* Options. */
static const char *source_file, *destination_file, *socket_path, *pidfile;
static const char *log_file;
static uint64_t region_size, nr_operations, seed;
static unsigned bound_s = 60;
static char **command;

/* The model. */
static uint64_t size, source_size, nr_regions;
static unsigned char *newest, *original;
static uint64_t *first_ack;
static uint64_t *committed; /* the number of the operation, or 0 */
static uint64_t clock_now;  /* counts requests sent and answered */

/* The world. */
static struct request requests[MAX_IN_FLIGHT];
static struct nbd_handle *clients[CLIENTS];
static pid_t server;
static uint64_t operation; /* number of the current one */
static uint64_t nr_kills, nr_stops, nr_reverted;
static unsigned depth; /* most requests in flight */
static bool frozen;    /* no hydration but by writes */

static void __attribute__ ((noreturn, format (printf, 1, 2)))
fail (const char *fmt, ...)
{
  va_list ap;

  printf ("differential: FAIL: seed=%" PRIu64 " region-size=%" PRIu64
          " size=%" PRIu64 " source-size=%" PRIu64 " operation %" PRIu64 ": ",
          seed, region_size, size, source_size, operation);
  va_start (ap, fmt);
  vprintf (fmt, ap);
  va_end (ap);
  printf ("\n");
  if (server > 0)
    kill (server, SIGKILL);
  exit (EXIT_FAILURE);
}

static uint64_t
least (uint64_t a, uint64_t b)
{
  return a < b ? a : b;
}

/* Random numbers: splitmix64. */
static uint64_t
any (void)
{
  static uint64_t state;
  static bool seeded;
  uint64_t z;

  if (!seeded) {
    state = seed;
    seeded = true;
  }
  z = (state += UINT64_C (0x9e3779b97f4a7c15));
  z = (z ^ (z >> 30)) * UINT64_C (0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C (0x94d049bb133111eb);
  return z ^ (z >> 31);
}

static uint64_t
up_to (uint64_t max)
{
  return any () % (max + 1);
}

static bool
percent (unsigned n)
{
  return up_to (99) < n;
}

static uint64_t
seconds (void)
{
  struct timespec t;

  clock_gettime (CLOCK_MONOTONIC, &t);
  return t.tv_sec;
}

/* Start the server with clone-hydration=HYDRATION and so on, and wait until it
 * listens.
 */
static void
start (bool hydration, bool on_read)
{
  static const char *const batches[] = { "64K", "1M", "4M" };
  const uint64_t end = seconds () + bound_s;
  char parameters[5][64];
  char *argv[64];
  size_t n = 0, i;

  frozen = !hydration && !on_read;
  sprintf (parameters[0], "clone-hydration=%d", hydration);
  sprintf (parameters[1], "clone-on-read=%d", on_read);
  sprintf (parameters[2], "clone-batch=%s", batches[up_to (2)]);
  sprintf (parameters[3], "clone-connections=%d", (int) up_to (3) + 1);
  sprintf (parameters[4], "clone-discard-passdown=%d", (int) up_to (1));

  for (i = 0; command[i]; ++i)
    argv[n++] = command[i];
  for (i = 0; i < 5; ++i)
    argv[n++] = parameters[i];
  argv[n] = NULL;

  unlink (pidfile);
  unlink (socket_path);
  server = fork ();
  if (server == 0) {
    int fd = open (log_file, O_WRONLY | O_CREAT | O_APPEND, 0600);

    dup2 (fd, STDERR_FILENO);
    execvp (argv[0], argv);
    _exit (127);
  }

  for (;;) {
    struct stat st;
    int status;

    if (stat (pidfile, &st) == 0 && st.st_size > 0)
      break;
    if (waitpid (server, &status, WNOHANG) == server)
      fail ("the server has not started: wait status %x", status);
    if (seconds () > end)
      fail ("the server is not ready after %u s", bound_s);
    nanosleep (&(struct timespec){ .tv_nsec = 2000000 }, NULL);
  }
}

/* Wait for the end of the server and return its wait status. */
static int
wait_server (void)
{
  const uint64_t end = seconds () + bound_s;
  int status;

  while (waitpid (server, &status, WNOHANG) != server) {
    if (seconds () > end)
      fail ("the server has not stopped after %u s", bound_s);
    nanosleep (&(struct timespec){ .tv_nsec = 2000000 }, NULL);
  }
  server = 0;
  return status;
}

static struct nbd_handle *
connect_to (const char *export)
{
  struct nbd_handle *nbd = nbd_create ();

  if (nbd == NULL || nbd_set_export_name (nbd, export) == -1 ||
      nbd_add_meta_context (nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) == -1 ||
      nbd_connect_unix (nbd, socket_path) == -1)
    fail ("connect: %s", nbd_get_error ());
  if ((uint64_t) nbd_get_size (nbd) != size)
    fail ("the size is %" PRIi64, nbd_get_size (nbd));
  return nbd;
}

static void
connect_clients (void)
{
  for (int i = 0; i < CLIENTS; ++i)
    clients[i] = connect_to ("");
  if (nbd_can_multi_conn (clients[0]) != 1)
    fail ("multi-conn is not advertised, with a plugin that has it");
  depth = up_to (MAX_IN_FLIGHT - 1) + 1;
}

static void
close_clients (void)
{
  for (int i = 0; i < CLIENTS; ++i) {
    nbd_close (clients[i]);
    clients[i] = NULL;
  }
}

static bool
changes (const struct request *r)
{
  return r->kind == WRITE || r->kind == ZERO || r->kind == TRIM;
}

static bool
overlap (const struct request *r, uint64_t start, uint64_t end)
{
  return r->kind != FLUSH && r->offset < end && start < r->offset + r->count;
}

/* What the request leaves at offset. */
static unsigned char
byte_of (const struct request *r, uint64_t offset)
{
  return r->kind == WRITE ? r->buf[offset - r->offset] : 0;
}

static void
check_read (const struct request *r)
{
  for (uint64_t i = 0; i < r->count; ++i)
    if (r->buf[i] != newest[r->offset + i])
      fail ("read of %" PRIu64 " bytes at %" PRIu64 ": byte %" PRIu64
            " is %02x, but the newest is %02x and the source's %02x",
            r->count, r->offset, r->offset + i, r->buf[i],
            newest[r->offset + i], original[r->offset + i]);
}

static void
check_extents (const struct request *r)
{
  uint64_t at = r->offset;

  for (size_t i = 0; i < r->nr_extents; i += 2) {
    const uint64_t end = at + r->extents[i];
    const uint32_t flags = r->extents[i + 1];

    if (end > r->offset + r->count)
      fail ("extents of %" PRIu64 " bytes at %" PRIu64
            " go beyond, to %" PRIu64,
            r->count, r->offset, end);
    if (flags == LIBNBD_STATE_HOLE)
      fail ("a hole at %" PRIu64 " that is not zero", at);
    if (flags & LIBNBD_STATE_ZERO)
      for (; at < end; ++at)
        if (newest[at] != 0)
          fail ("extents say zero, but byte %" PRIu64 " is %02x", at,
                newest[at]);
    at = end;
  }
  if (at == r->offset)
    fail ("no extents for %" PRIu64 " bytes at %" PRIu64, r->count, r->offset);
}

static void
commit (uint64_t i)
{
  if (committed[i] == 0)
    committed[i] = operation;
}

/* A request that changes something, or a flush, has been answered. */
static void
note_answer (const struct request *r)
{
  const uint64_t end = least (r->offset + r->count, source_size);

  clock_now++;
  if (r->kind == FLUSH) {
    for (uint64_t i = 0; i < nr_regions; ++i)
      if (first_ack[i] != 0 && first_ack[i] < r->sent)
        commit (i);
    return;
  }
  for (uint64_t i = 0; i < r->count; ++i)
    newest[r->offset + i] = byte_of (r, r->offset + i);
  /* What lies wholly beyond the source's end does not hydrate anything. */
  for (uint64_t at = r->offset; at < end;
       at = (at / region_size + 1) * region_size) {
    const uint64_t i = at / region_size;

    if (first_ack[i] == 0)
      first_ack[i] = clock_now;
    if (r->flags & LIBNBD_CMD_FLAG_FUA)
      commit (i);
  }
}

/* Look at the requests that have been answered.  While the server is being
 * killed, errors mean nothing, and their requests stay busy.
 */
static void
collect (bool killing)
{
  for (int i = 0; i < MAX_IN_FLIGHT; ++i) {
    struct request *r = &requests[i];

    if (!r->busy || !r->answered)
      continue;
    if (r->error != 0) {
      if (killing)
        continue;
      if (!(r->error == ENOTSUP && r->flags & LIBNBD_CMD_FLAG_FAST_ZERO))
        fail ("%s of %" PRIu64 " bytes at %" PRIu64 ": %s", kind_names[r->kind],
              r->count, r->offset, strerror (r->error));
    }
    else if (r->kind == READ)
      check_read (r);
    else if (r->kind == EXTENTS)
      check_extents (r);
    else if (r->kind != CACHE)
      note_answer (r);
    free (r->buf);
    r->buf = NULL;
    r->busy = false;
  }
}

static unsigned
in_flight (void)
{
  unsigned n = 0;

  for (int i = 0; i < MAX_IN_FLIGHT; ++i)
    n += requests[i].busy;
  return n;
}

/* Move bytes to and from the server, once; false: all connections are dead. */
static bool
pump (int timeout_ms)
{
  struct pollfd fds[CLIENTS];
  bool alive = false;

  for (int i = 0; i < CLIENTS; ++i) {
    const unsigned direction = nbd_aio_get_direction (clients[i]);

    fds[i].fd = -1;
    fds[i].events = fds[i].revents = 0;
    if (nbd_aio_is_dead (clients[i]) || nbd_aio_is_closed (clients[i]))
      continue;
    alive = true;
    fds[i].fd = nbd_aio_get_fd (clients[i]);
    if (direction & LIBNBD_AIO_DIRECTION_READ)
      fds[i].events |= POLLIN;
    if (direction & LIBNBD_AIO_DIRECTION_WRITE)
      fds[i].events |= POLLOUT;
  }
  if (!alive)
    return false;
  if (poll (fds, CLIENTS, timeout_ms) == -1 && errno != EINTR)
    fail ("poll: %s", strerror (errno));
  for (int i = 0; i < CLIENTS; ++i) {
    const unsigned direction = nbd_aio_get_direction (clients[i]);

    if (fds[i].revents & (POLLIN | POLLHUP | POLLERR) &&
        direction & LIBNBD_AIO_DIRECTION_READ)
      nbd_aio_notify_read (clients[i]);
    else if (fds[i].revents & (POLLOUT | POLLHUP | POLLERR) &&
             direction & LIBNBD_AIO_DIRECTION_WRITE)
      nbd_aio_notify_write (clients[i]);
  }
  return true;
}

/* Wait until at most N requests are in flight. */
static void
drain (unsigned n)
{
  uint64_t end = seconds () + bound_s;

  collect (false);
  while (in_flight () > n) {
    if (seconds () > end)
      fail ("%u requests not answered after %u s", in_flight (), bound_s);
    if (!pump (1000))
      fail ("the server has hung up");
    collect (false);
  }
}

static int
on_answer (void *opaque, int *error)
{
  struct request *r = opaque;

  r->answered = true;
  r->error = *error;
  return 1;
}

static int
on_extents (void *opaque, const char *context, uint64_t offset,
            uint32_t *entries, size_t n, int *error)
{
  struct request *r = opaque;

  if (strcmp (context, LIBNBD_CONTEXT_BASE_ALLOCATION) == 0 &&
      offset == r->offset && n <= 2 * MAX_EXTENTS) {
    memcpy (r->extents, entries, n * sizeof entries[0]);
    r->nr_extents = n;
  }
  (void) error;
  return 0;
}

static uint64_t
choose_count (void)
{
  const unsigned dice = up_to (999);

  if (dice < 400)
    return up_to (599) + 1;
  if (dice < 600)
    return up_to (least (3 * region_size, 256 * KIB)) + 1;
  if (dice < 750)
    return least (region_size * (up_to (7) + 1), 2 * MIB);
  if (dice < 970)
    return up_to (128 * KIB) + 1;
  if (dice < 997)
    return up_to (2 * MIB) + 1;
  return up_to (32 * MIB - 1) + 1;
}

/* A range: often at or around the edge of a region or the source's end. */
static void
choose_range (struct request *r)
{
  const unsigned dice = up_to (99);

  r->count = least (choose_count (), size);
  r->offset = up_to (size - r->count);
  if (dice < 30)
    r->offset -= r->offset % region_size;
  else if (dice < 45)
    r->offset = r->offset - r->offset % region_size + up_to (6);
  else if (dice < 55)
    r->offset = source_size - least (source_size, up_to (2 * r->count));
  else if (dice < 60)
    r->offset = size - r->count;
  r->offset = least (r->offset, size - 1);
  r->count = least (r->count, size - r->offset);
}

static void
choose (struct request *r)
{
  const unsigned dice = up_to (99);

  *r = (struct request){ .busy = true };
  r->kind = dice < 30   ? READ
            : dice < 62 ? WRITE
            : dice < 72 ? ZERO
            : dice < 82 ? TRIM
            : dice < 88 ? FLUSH
            : dice < 91 ? CACHE
                        : EXTENTS;
  if (r->kind == FLUSH)
    return;
  choose_range (r);
  if (changes (r) && percent (10))
    r->flags |= LIBNBD_CMD_FLAG_FUA;
  if (r->kind == ZERO && percent (50))
    r->flags |= LIBNBD_CMD_FLAG_NO_HOLE;
  if (r->kind == ZERO && percent (20) && nbd_can_fast_zero (clients[0]) == 1)
    r->flags |= LIBNBD_CMD_FLAG_FAST_ZERO;
  if (r->kind == EXTENTS && percent (20))
    r->flags |= LIBNBD_CMD_FLAG_REQ_ONE;
}

/* Whether R could see or hide the effect of another request in flight. */
static bool
conflicts (const struct request *r)
{
  if (r->kind == FLUSH)
    return false;
  for (int i = 0; i < MAX_IN_FLIGHT; ++i) {
    const struct request *other = &requests[i];

    if (other != r && other->busy &&
        overlap (other, r->offset, r->offset + r->count) &&
        (changes (other) || changes (r)))
      return true;
  }
  return false;
}

static void
send_request (struct request *r, struct nbd_handle *nbd)
{
  nbd_completion_callback done = { .callback = on_answer, .user_data = r };
  nbd_extent_callback extents = { .callback = on_extents, .user_data = r };
  int64_t cookie = -1;

  r->sent = ++clock_now;
  if (r->kind == READ || r->kind == WRITE) {
    r->buf = malloc (r->count);
    memset (r->buf, 0xee, r->count);
  }
  if (r->kind == WRITE) {
    /* Never 0 nor 0xdb, and most often different from byte to byte. */
    const uint64_t noise = any ();

    for (uint64_t i = 0; i < r->count; ++i)
      r->buf[i] = (noise >> (i % 8 * 8)) % 101 + i % 97 + 1;
  }

  switch (r->kind) {
  case READ:
    cookie = nbd_aio_pread (nbd, r->buf, r->count, r->offset, done, r->flags);
    break;
  case WRITE:
    cookie = nbd_aio_pwrite (nbd, r->buf, r->count, r->offset, done, r->flags);
    break;
  case ZERO:
    cookie = nbd_aio_zero (nbd, r->count, r->offset, done, r->flags);
    break;
  case TRIM:
    cookie = nbd_aio_trim (nbd, r->count, r->offset, done, r->flags);
    break;
  case FLUSH:
    cookie = nbd_aio_flush (nbd, done, r->flags);
    break;
  case CACHE:
    cookie = nbd_aio_cache (nbd, r->count, r->offset, done, r->flags);
    break;
  case EXTENTS:
    cookie =
      nbd_aio_block_status (nbd, r->count, r->offset, extents, done, r->flags);
    break;
  }
  if (cookie == -1)
    fail ("%s of %" PRIu64 " bytes at %" PRIu64 ": %s", kind_names[r->kind],
          r->count, r->offset, nbd_get_error ());
}

/* One random request. */
static void
operate (void)
{
  struct request *r = requests;

  drain (depth - 1);
  while (r->busy)
    r++;
  do
    choose (r);
  while (conflicts (r));
  send_request (r, clients[up_to (CLIENTS - 1)]);
  pump (0);
  collect (false);
}

/* Whether byte AT may be NOW: the newest, or from a request that was in flight
 * when the server was killed.
 */
static bool
plausible (uint64_t at, unsigned char now)
{
  if (now == newest[at])
    return true;
  for (int i = 0; i < MAX_IN_FLIGHT; ++i)
    if (requests[i].busy && changes (&requests[i]) &&
        overlap (&requests[i], at, at + 1) && now == byte_of (&requests[i], at))
      return true;
  return false;
}

/* Compare region I, which now reads as NOW, with what P4 allows, and let the
 * model follow it.
 */
static void
resolve_region (uint64_t i, const unsigned char *now)
{
  const uint64_t start = i * region_size;
  const uint64_t end = least (start + region_size, size);
  uint64_t at, not_newest = end, not_source = end;

  if (memcmp (now, newest + start, end - start) == 0) {
    /* Lost or not, that cannot be seen here. */
    if (!committed[i] && start < source_size &&
        memcmp (now, original + start, least (end, source_size) - start) == 0)
      first_ack[i] = 0;
    return;
  }
  for (at = end; at-- > start;) {
    if (!plausible (at, now[at - start]))
      not_newest = at;
    if (at < source_size ? now[at - start] != original[at] : not_newest == at)
      not_source = at;
  }
  if (not_newest < end && (committed[i] || not_source < end))
    fail ("after a restart, region %" PRIu64 " (committed at operation %" PRIu64
          ") is neither the newest: byte"
          " %" PRIu64 " is %02x, not %02x; nor the source's: byte %" PRIi64,
          i, committed[i], not_newest, now[not_newest - start],
          newest[not_newest], not_source == end ? -1 : (int64_t) not_source);
  if (not_newest < end)
    nr_reverted++;
  /* Where both are possible, e.g. because a trim was in flight and the source
   * is zero there, the bit may be lost.
   */
  if (committed[i] == 0 && not_source == end)
    first_ack[i] = 0;
  else if (first_ack[i] == 0)
    first_ack[i] = ++clock_now;
  memcpy (newest + start, now, end - start);
}

/* What the map export says of each region; the bytes it has are compared with
 * the model, which is right only while the server is frozen.
 */
static void
check_map (void)
{
  struct nbd_handle *nbd = connect_to ("hydration");
  struct request *r = calloc (1, sizeof *r);
  unsigned char *buf = malloc (region_size);

  while (r->offset < size) {
    const uint64_t i = r->offset / region_size;
    bool hydrated;
    uint64_t at;

    r->count = least (region_size, size - r->offset);
    if (nbd_block_status (
          nbd, r->count, r->offset,
          (nbd_extent_callback){ .callback = on_extents, .user_data = r },
          0) == -1 ||
        nbd_pread (nbd, buf, r->count, r->offset, 0) == -1)
      fail ("map export: %s", nbd_get_error ());
    hydrated = r->extents[1] == 0;
    if (!hydrated && r->offset >= source_size)
      fail ("the map has region %" PRIu64 " beyond the source's end missing",
            i);
    if (!hydrated && committed[i])
      fail ("the map has region %" PRIu64
            " missing, but it was committed (operation"
            " %" PRIu64 ")",
            i, committed[i]);
    for (at = 0; at < r->count; ++at) {
      const uint64_t where = r->offset + at;
      const bool beyond = where >= source_size;

      if (!hydrated && !beyond && newest[where] != original[where])
        fail ("the map has region %" PRIu64 " missing, but it reads as %02x", i,
              newest[where]);
      if (!(beyond && r->extents[0] <= at) &&
          buf[at] != (hydrated ? newest[where] : 0))
        fail ("map export, %s region: byte %" PRIu64 " is %02x, not %02x",
              hydrated ? "hydrated" : "missing", where, buf[at],
              hydrated ? newest[where] : 0);
    }
    r->offset += r->count;
  }
  free (buf);
  free (r);
  nbd_close (nbd);
}

/* Read the whole disk, a few regions at a time. */
static void
check_disk (void)
{
  unsigned char *buf = malloc (8 * MIB);
  const uint64_t most = 8 * MIB / region_size;
  uint64_t i = 0;

  while (i < nr_regions) {
    const uint64_t n = least (up_to (most - 1) + 1, nr_regions - i);
    const uint64_t start = i * region_size;

    if (nbd_pread (clients[0], buf, least (n * region_size, size - start),
                   start, 0) == -1)
      fail ("read at %" PRIu64 " after the start: %s", start, nbd_get_error ());
    for (uint64_t j = 0; j < n; ++j)
      resolve_region (i + j, buf + j * region_size);
    i += n;
  }
  free (buf);
  for (int j = 0; j < MAX_IN_FLIGHT; ++j) {
    free (requests[j].buf);
    requests[j] = (struct request){ .busy = false };
  }
}

/* SIGKILL with requests in flight.  Those stay busy for check_disk. */
static void
kill_server (void)
{
  int status;

  nr_kills++;
  kill (server, SIGKILL);
  status = wait_server ();
  if (!WIFSIGNALED (status) || WTERMSIG (status) != SIGKILL)
    fail ("the server had ended, with wait status %x", status);
  /* What it has still answered counts. */
  while (pump (1000))
    collect (true);
  collect (true);
  close_clients ();
}

/* SIGTERM, before or after the clients go.  All bits are committed then. */
static void
stop_server (void)
{
  const bool early = percent (50);
  int status;

  nr_stops++;
  drain (0);
  if (early)
    kill (server, SIGTERM);
  close_clients ();
  if (!early)
    kill (server, SIGTERM);
  status = wait_server ();
  if (!WIFEXITED (status) || WEXITSTATUS (status) != 0)
    fail ("the server stopped with wait status %x", status);
  for (uint64_t i = 0; i < nr_regions; ++i)
    if (first_ack[i] != 0)
      commit (i);
}

static void
start_any (void)
{
  start (percent (60), percent (70));
  connect_clients ();
}

/* Kill, and look at what is left: at rest most of the time, and otherwise
 * while hydration goes on at once.
 */
static void
crash (void)
{
  kill_server ();
  if (percent (30)) {
    start_any ();
    check_disk ();
    return;
  }
  start (false, false);
  connect_clients ();
  check_disk ();
  check_map ();
  if (percent (50)) {
    if (percent (50))
      kill_server ();
    else
      stop_server ();
    start_any ();
    check_disk ();
  }
}

static void
restart (void)
{
  stop_server ();
  start_any ();
  if (percent (30))
    check_disk ();
  if (frozen)
    check_map ();
}

static bool
complete (struct nbd_handle *nbd)
{
  struct request *r = calloc (1, sizeof *r);
  bool data = true;

  while (data && r->offset < size) {
    r->count = size - r->offset;
    if (nbd_block_status (
          nbd, r->count, r->offset,
          (nbd_extent_callback){ .callback = on_extents, .user_data = r },
          0) == -1)
      fail ("map export: %s", nbd_get_error ());
    data = r->extents[1] == 0;
    r->offset += r->extents[0];
  }
  free (r);
  return data;
}

/* To the end: complete, stop, and compare the plain destination. */
static void
finish (void)
{
  const uint64_t end = seconds () + bound_s;
  struct nbd_handle *nbd;
  unsigned char *buf = malloc (size);
  int fd;

  stop_server ();
  start (true, true);
  connect_clients ();
  nbd = connect_to ("hydration");
  while (!complete (nbd)) {
    if (seconds () > end)
      fail ("hydration is not complete after %u s", bound_s);
    nanosleep (&(struct timespec){ .tv_nsec = 10000000 }, NULL);
  }
  nbd_close (nbd);
  stop_server ();

  fd = open (destination_file, O_RDONLY);
  if (fd == -1 || read (fd, buf, size) != (ssize_t) size)
    fail ("%s: %s", destination_file, strerror (errno));
  close (fd);
  for (uint64_t i = 0; i < size; ++i)
    if (buf[i] != newest[i])
      fail ("destination: byte %" PRIu64 " is %02x, not %02x", i, buf[i],
            newest[i]);
  free (buf);
}

static void
make_model (void)
{
  struct stat st;
  int fd;

  if (stat (destination_file, &st) == -1)
    fail ("%s: %s", destination_file, strerror (errno));
  size = st.st_size;
  if (stat (source_file, &st) == -1)
    fail ("%s: %s", source_file, strerror (errno));
  source_size = st.st_size;
  nr_regions = (size + region_size - 1) / region_size;

  newest = malloc (size);
  original = malloc (size);
  first_ack = calloc (nr_regions, sizeof first_ack[0]);
  committed = calloc (nr_regions, sizeof committed[0]);
  memset (original, 0xdb, size);
  fd = open (source_file, O_RDONLY);
  if (fd == -1 || read (fd, original, source_size) != (ssize_t) source_size)
    fail ("%s: %s", source_file, strerror (errno));
  close (fd);
  memcpy (newest, original, size);
}

static void
parse_options (int argc, char **argv)
{
  int i;

  for (i = 1; i < argc && strcmp (argv[i], "--") != 0; ++i) {
    char *value = strchr (argv[i], '=');

    if (value == NULL)
      fail ("%s: no value", argv[i]);
    *value++ = 0;
    if (strcmp (argv[i], "source") == 0)
      source_file = value;
    else if (strcmp (argv[i], "destination") == 0)
      destination_file = value;
    else if (strcmp (argv[i], "socket") == 0)
      socket_path = value;
    else if (strcmp (argv[i], "pidfile") == 0)
      pidfile = value;
    else if (strcmp (argv[i], "log") == 0)
      log_file = value;
    else if (strcmp (argv[i], "region-size") == 0)
      region_size = strtoull (value, NULL, 10);
    else if (strcmp (argv[i], "operations") == 0)
      nr_operations = strtoull (value, NULL, 10);
    else if (strcmp (argv[i], "seed") == 0)
      seed = strtoull (value, NULL, 10);
    else if (strcmp (argv[i], "bound") == 0)
      bound_s = strtoul (value, NULL, 10);
    else
      fail ("%s: unknown option", argv[i]);
  }
  if (i + 1 >= argc || !source_file || !destination_file || !socket_path ||
      !pidfile || !log_file || !region_size)
    fail ("an option is missing");
  command = argv + i + 1;
}

int
main (int argc, char *argv[])
{
  setvbuf (stdout, NULL, _IOLBF, 0);
  signal (SIGPIPE, SIG_IGN);
  parse_options (argc, argv);
  make_model ();

  start_any ();
  for (operation = 1; operation <= nr_operations; ++operation) {
    if (up_to (149) == 0)
      crash ();
    else if (up_to (399) == 0)
      restart ();
    operate ();
  }
  finish ();
  printf ("seed %" PRIu64 ", region size %" PRIu64 ": %" PRIu64
          " operations, %" PRIu64 " kills, %" PRIu64 " stops, %" PRIu64
          " regions back at the source's bytes\n",
          seed, region_size, nr_operations, nr_kills, nr_stops, nr_reverted);
  return EXIT_SUCCESS;
}
