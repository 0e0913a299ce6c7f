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
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "chance.h"
#include "process.h"
#include "requests.h"

#define CLIENTS 2
#define DEPTH_MAX 12

/* Options. */
static const char *source_file, *destination_file, *socket_path, *pidfile;
static const char *log_file;
static uint64_t region_size, nr_operations, seed;
static char **command;

/* The model. */
static uint64_t size, source_size, nr_regions;
static unsigned char *newest, *original;
static uint64_t *first_ack;
static uint64_t *committed; /* the number of the operation, or 0 */

/* The world. */
static struct clients clients;
static pid_t server;
static uint64_t operation; /* number of the current one */
static uint64_t nr_kills, nr_stops, nr_reverted;
static bool frozen;  /* no hydration but by writes */
static bool killing; /* errors mean nothing, and their requests stay busy */

static void
when_failing (void)
{
  printf ("differential: seed=%" PRIu64 " region-size=%" PRIu64 " size=%" PRIu64
          " source-size=%" PRIu64 " operation %" PRIu64 "\n",
          seed, region_size, size, source_size, operation);
  if (server > 0)
    kill (server, SIGKILL);
}

/* Start the server with clone-hydration=HYDRATION and so on, and wait until it
 * listens.
 */
static void
start (bool hydration, bool on_read)
{
  static const char *const batches[] = { "64K", "1M", "4M" };
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
  server = process_start (argv, log_file);
  process_ready (server, "the server", pidfile);
}

/* Wait for the end of the server and return its wait status. */
static int
wait_server (void)
{
  const int status = process_end (server, "the server");

  server = 0;
  return status;
}

static void
connect_clients (void)
{
  clients_connect (&clients, CLIENTS, up_to (DEPTH_MAX - 1) + 1);
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
      first_ack[i] = clients.clock;
    if (r->flags & LIBNBD_CMD_FLAG_FUA)
      commit (i);
  }
}

static bool
is_zero (uint64_t offset)
{
  return newest[offset] == 0;
}

static bool
answer (struct request *r)
{
  if (r->error != 0) {
    if (killing)
      return false;
    if (!(r->error == ENOTSUP && r->flags & LIBNBD_CMD_FLAG_FAST_ZERO))
      fail ("%s of %" PRIu64 " bytes at %" PRIu64 ": %s", kind_names[r->kind],
            r->count, r->offset, strerror (r->error));
  }
  else if (r->kind == READ)
    check_read (r);
  else if (r->kind == EXTENTS)
    check_extents (r, is_zero);
  else if (r->kind != CACHE)
    note_answer (r);
  return true;
}

/* Whether byte AT may be NOW: the newest, or from a request that was in flight
 * when the server was killed.
 */
static bool
plausible (uint64_t at, unsigned char now)
{
  if (now == newest[at])
    return true;
  for (int i = 0; i < IN_FLIGHT_MAX; ++i) {
    const struct request *r = &clients.requests[i];

    if (r->busy && changes (r) && overlap (r, at, at + 1) &&
        now == byte_of (r, at))
      return true;
  }
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
    first_ack[i] = ++clients.clock;
  memcpy (newest + start, now, end - start);
}

/* What the map export says of each region; the bytes it has are compared with
 * the model, which is right only while the server is frozen.
 */
static void
check_map (void)
{
  struct nbd_handle *nbd = clients_connect_to (&clients, "hydration");
  struct request *r = calloc (1, sizeof *r);
  unsigned char *buf = malloc (region_size);

  while (r->offset < size) {
    const uint64_t i = r->offset / region_size;
    bool hydrated;
    uint64_t at;

    r->count = least (region_size, size - r->offset);
    ask_extents (nbd, r);
    if (nbd_pread (nbd, buf, r->count, r->offset, 0) == -1)
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

    if (nbd_pread (clients.handles[0], buf,
                   least (n * region_size, size - start), start, 0) == -1)
      fail ("read at %" PRIu64 " after the start: %s", start, nbd_get_error ());
    for (uint64_t j = 0; j < n; ++j)
      resolve_region (i + j, buf + j * region_size);
    i += n;
  }
  free (buf);
  clients_forget (&clients);
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
  killing = true;
  clients_hang_up (&clients);
  killing = false;
}

/* SIGTERM, before or after the clients go.  All bits are committed then. */
static void
stop_server (void)
{
  const bool early = percent (50);
  int status;

  nr_stops++;
  clients_drain (&clients, 0);
  if (early)
    kill (server, SIGTERM);
  clients_close (&clients);
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
    ask_extents (nbd, r);
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
  nbd = clients_connect_to (&clients, "hydration");
  while (!complete (nbd)) {
    if (seconds () > end)
      fail ("hydration is not complete after %u s", bound_s);
    sleep_ms (10);
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

  clients = (struct clients){
    .size = size,
    .source_size = source_size,
    .region_size = region_size,
    .socket_path = socket_path,
    .fua_percent = 10,
    .answer = answer,
  };
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
  failing = when_failing;
  chance_seed (seed);
  make_model ();

  start_any ();
  for (operation = 1; operation <= nr_operations; ++operation) {
    if (up_to (149) == 0)
      crash ();
    else if (up_to (399) == 0)
      restart ();
    clients_operate (&clients);
  }
  finish ();
  printf ("seed %" PRIu64 ", region size %" PRIu64 ": %" PRIu64
          " operations, %" PRIu64 " kills, %" PRIu64 " stops, %" PRIu64
          " regions back at the source's bytes\n",
          seed, region_size, nr_operations, nr_kills, nr_stops, nr_reverted);
  return EXIT_SUCCESS;
}
