/* The whole stack under load, with power cuts, kills and faults at random.
 *
 * Usage: torture OPTION=VALUE... -- NBDKIT-COMMAND
 *
 * One disk after the other is cloned, each in a number of lives.  In each life
 * several clients send random requests (requests.c), while the source or a disk
 * may be made to fail; and each ends with a power cut, with SIGKILL, or with
 * SIGTERM (torture-servers.c says what survives what).  Then the clone is
 * started again, now and then more than once, as the next cut may come during
 * recovery; and while it is at rest, all that can be seen is compared with what
 * the model (torture-model.c) allows:
 *
 *   - what is read is the destination's content where the map export says that
 *     it is hydrated, else the source's: P1;
 *   - each byte of that, so also each byte of the destination file in a region
 *     whose bit is set, is one that it may be: P3, P4, and P2, since an
 *     invented bit would show the garbage that was there first;
 *   - no region is missing whose bit has to be durable: P2, P4;
 *   - the source was sent nothing but what may be sent: P6.
 *
 * While it runs: every request is answered (within a bound that only ends
 * hangs); reads and extents are true; a request fails only if there is a
 * reason, in particular whole regions are written while the source is away
 * (P7); and after a flush has failed all but reads fail (P5).
 *
 * Everything that is decided is decided by the seed: the disk, how each life
 * goes, and its requests, but for those that would overlap with what happens to
 * be in flight.  Which thread is faster is not decided here, so the same seed
 * gives the same failure often, not always.  Disk number N of seed S is disk
 * number 0 of seed S + N.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "chance.h"
#include "process.h"
#include "torture.h"

struct model model;
struct clients clients;
bool had_fault[FAULTS];
bool ending;
struct figures figures;

/* Options. */
static uint64_t first_seed = 1, time_s = 60;

static uint64_t disk_seed;
static unsigned life; /* of this disk */
static struct plan plan;

/* From here on the dice do not depend on how often they were thrown before,
 * which may depend on how fast a thread was.
 */
static void
new_chances (unsigned operation)
{
  chance_seed ((disk_seed << 24) + (life << 16) + operation);
}

static void
when_failing (void)
{
  servers_end ();
  printf ("torture: disk %" PRIu64 ": size=%" PRIu64 " source-size=%" PRIu64
          " region-size=%" PRIu64 ", life %u, among the %s\n",
          disk_seed - first_seed, model.size, model.source_size,
          model.region_size, life, end_names[plan.end]);
  printf ("torture: to try again: make torture TIME=60 SEED=%" PRIu64 "\n",
          disk_seed);
}

/* Whole blocks of zeroes become holes. */
static void
write_file (const char *name, const unsigned char *data, uint64_t length)
{
  static const unsigned char zeroes[4096];
  const int fd = open (name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

  if (fd == -1 || ftruncate (fd, length) == -1)
    fail ("%s: %m", name);
  for (uint64_t at = 0; at < length; at += sizeof zeroes) {
    const size_t n = least (sizeof zeroes, length - at);

    if (memcmp (data + at, zeroes, n) != 0 &&
        pwrite (fd, data + at, n, at) != (ssize_t) n)
      fail ("%s: %m", name);
  }
  close (fd);
}

/* Data and zeroes. */
static void
fill_source (unsigned char *data, uint64_t length)
{
  uint64_t at = 0;

  while (at < length) {
    static const uint64_t most[] = { 700, 5000, 70000, 300000 };
    const uint64_t n = least (up_to (most[up_to (3)]) + 1, length - at);
    const bool zero = percent (25);

    for (uint64_t i = 0; i < n; ++i)
      data[at + i] = zero ? 0 : any () % 200 + 1;
    at += n;
  }
}

static uint64_t
choose_size (uint64_t region_size)
{
  static const unsigned char odd[] = { 1, 2, 63, 64, 65 };
  const unsigned dice = up_to (99);
  uint64_t size;

  if (dice < 15) /* less than a region or a few of them */
    size = up_to (3 * region_size) + 1;
  else if (dice < 40)
    size = odd[up_to (4)] * region_size + up_to (2) - 1;
  else
    size = up_to (4 * MIB) + 1;
  return least (size, 6 * MIB + 1);
}

/* A new disk. */
static void
make_disk (void)
{
  static const unsigned shifts[] = { 12, 12, 12, 13, 14, 16, 18, 20 };
  const uint64_t region_size = UINT64_C (1) << shifts[up_to (7)];
  const uint64_t size = choose_size (region_size);
  uint64_t source_size = size;
  unsigned char *source = malloc (size);

  if (percent (50))
    source_size = percent (50) ? up_to (size - 1) + 1
                               : size - least (size - 1, up_to (region_size));
  memset (source, GARBAGE, size);
  write_file (destination_file, source, size);
  fill_source (source, source_size);
  write_file (source_file, source, source_size);
  unlink (bitmap_file);
  bitmap_cut (); /* forgets the journal */

  model_init (&model, size, source_size, region_size, source);
  clients = (struct clients){
    .size = size,
    .source_size = source_size,
    .region_size = region_size,
    .socket_path = clone_socket,
    .answer = check_answer,
  };
  figures.disks++;
}

static void
begin_fault (enum fault fault)
{
  had_fault[fault] = true;
  figures.faults[fault]++;
  fault_begin (fault);
}

static void
switch_faults (unsigned operation)
{
  for (int i = 0; i < FAULTS; ++i) {
    if (!plan.faulty[i])
      continue;
    if (operation == plan.from[i])
      begin_fault (i);
    if (operation == plan.to[i])
      fault_end (i);
  }
}

static void
end_faults (void)
{
  for (int i = 0; i < FAULTS; ++i)
    if (plan.faulty[i])
      fault_end (i);
}

static bool
any_fault (void)
{
  for (int i = 0; i < FAULTS; ++i)
    if (had_fault[i])
      return true;
  return false;
}

/* The clients at work; false: the power was cut. */
static bool
work (void)
{
  for (unsigned i = 0; i <= plan.operations; ++i) {
    switch_faults (i);
    new_chances (i + 1);
    clients_operate (&clients);
    if (clone_is_cut ())
      return false;
  }
  return true;
}

/* What was not answered is uncertain. */
static void
abandon_requests (void)
{
  for (int i = 0; i < IN_FLIGHT_MAX; ++i)
    if (clients.requests[i].busy && changes (&clients.requests[i]))
      model_uncertain (&model, &clients.requests[i]);
  clients_forget (&clients);
}

static void
kill_clone (void)
{
  clone_kill ();
  clients_hang_up (&clients);
  abandon_requests ();
}

/* After a cut the server goes on for a while, and is stopped like any other;
 * but nothing can be made durable any more.
 */
static void
linger (void)
{
  for (unsigned i = up_to (30); i > 0; --i)
    clients_operate (&clients);
}

/* SIGTERM, before or after the clients go; true: all is durable. */
static bool
stop_clone (bool must_succeed)
{
  const bool early = percent (50);
  int status;

  if (early) {
    /* nbdkit does not answer what it reads after the signal. */
    ending = true;
    clone_terminate ();
    clients_hang_up (&clients);
  }
  else {
    clients_drain (&clients, 0);
    clients_close (&clients);
    clone_terminate ();
  }
  abandon_requests ();
  status = clone_end ();
  if (must_succeed && status != 0)
    fail ("the clone stopped with status %d, but there was no fault", status);
  if (status == 0 && !clone_is_cut ())
    model_flushed (&model, UINT64_MAX);
  return status == 0;
}

/* The end of a life; true: what is not durable now will never be. */
static bool
die (bool cut)
{
  bool durable = true;

  figures.ends[plan.end]++;
  switch (plan.end) {
  case CUT:
  case CUT_SIGNAL:
  case PROCESS:
    ending = true;
    if (!cut)
      clone_cut ();
    if (plan.linger && plan.end != PROCESS)
      linger ();
    if (plan.linger && plan.end != PROCESS && percent (50))
      stop_clone (false);
    else
      kill_clone ();
    durable = plan.end != PROCESS;
    break;
  case KILL:
    ending = true;
    kill_clone ();
    break;
  case TERM:
    durable = stop_clone (!any_fault ());
    break;
  case ENDS:
    abort ();
  }
  if (durable && plan.end != TERM)
    figures.taken_back += bitmap_cut ();
  else
    bitmap_keep ();
  return durable;
}

/* Start the clone, and kill it while it is at that, some time between the first
 * instruction and (mostly) its being ready; the power goes too if the
 * last end was a power cut as well.
 */
static void
cut_recovery (bool power)
{
  const struct conditions c = at_rest ();

  figures.recoveries++;
  clone_launch (&c);
  sleep_ms (up_to (30));
  clone_kill ();
  if (power)
    figures.taken_back += bitmap_cut ();
  else
    bitmap_keep ();
}

/* After the end of a life: start again, look, and stop. */
static void
look (bool durable)
{
  struct conditions c;

  if (!source_runs ())
    source_start (0);
  while (percent (15))
    cut_recovery (durable);
  c = at_rest ();
  clone_launch (&c);
  clone_ready ();
  ending = false;
  clients_connect (&clients, 1, 1);
  check_disk (durable);
  if (percent (50)) {
    clients_close (&clients);
    clone_kill ();
  }
  else
    stop_clone (true);
}

static void
live (void)
{
  bool cut, durable;

  figures.lives++;
  life++;
  new_chances (0);
  memset (had_fault, 0, sizeof had_fault);
  ending = false;
  checks_begin ();
  choose_plan (&plan);

  source_kill ();
  source_start (plan.source_delay_ms);
  if (plan.source_is_down && life > 1) {
    plan.faulty[SOURCE_KILLED] = true;
    begin_fault (SOURCE_KILLED);
  }
  if (plan.conditions.failing_flush) {
    had_fault[FLUSH_FAILS] = true;
    figures.faults[FLUSH_FAILS]++;
  }
  clone_launch (&plan.conditions);
  clone_ready ();
  clients.fua_percent = plan.fua_percent;
  clients_connect (&clients, plan.clients, plan.depth);
  cut = !work ();
  new_chances (UINT16_MAX);
  durable = die (cut);
  end_faults ();
  new_chances (UINT16_MAX - 1);
  look (durable);
}

static void
torture_disk (void)
{
  unsigned lives;

  life = 0;
  new_chances (0);
  make_disk ();
  for (lives = up_to (9) + 1; lives > 0; --lives) {
    live ();
    if (model_is_complete (&model)) {
      figures.complete++;
      if (percent (70))
        break;
    }
  }
  source_check_log ();
  source_kill ();
  model_free (&model);
}

static void
print_figures (uint64_t elapsed_s)
{
  printf ("torture: seed %" PRIu64 ": %" PRIu64 " s, %" PRIu64
          " disks, %" PRIu64 " lives, complete after %" PRIu64 "\n",
          first_seed, elapsed_s, figures.disks, figures.lives,
          figures.complete);
  for (int i = 0; i < ENDS; ++i)
    printf ("  %8" PRIu64 " %s\n", figures.ends[i], end_names[i]);
  printf ("  %8" PRIu64 " kills during recovery\n", figures.recoveries);
  printf ("  %8" PRIu64 " writes of the bitmap file, a sector each, taken "
          "back\n",
          figures.taken_back);
  for (int i = 0; i < FAULTS; ++i)
    printf ("  %8" PRIu64 " faults: %s\n", figures.faults[i], fault_names[i]);
  for (int i = 0; i < KINDS; ++i)
    printf ("  %8" PRIu64 " requests: %s\n", figures.operations[i],
            kind_names[i]);
  printf ("  %8" PRIu64 " requests failed, and had to or could\n",
          figures.errors);
  printf ("  %8" PRIu64 " lives with a failed flush\n", figures.failed_flushes);
  printf ("  %8" PRIu64 " checks: %" PRIu64 " reads, %" PRIu64
          " answers on extents, %" PRIu64 " regions after a restart\n",
          figures.reads + figures.extents + figures.regions, figures.reads,
          figures.extents, figures.regions);
  printf ("         0 violations\n");
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
    if (strcmp (argv[i], "time") == 0)
      time_s = strtoull (value, NULL, 10);
    else if (strcmp (argv[i], "seed") == 0)
      first_seed = strtoull (value, NULL, 10);
    else if (strcmp (argv[i], "bound") == 0)
      bound_s = strtoul (value, NULL, 10);
    else if (strcmp (argv[i], "directory") == 0)
      directory = value;
    else if (strcmp (argv[i], "clone") == 0)
      clone_filter = value;
    else if (strcmp (argv[i], "powercut") == 0)
      powercut_filter = value;
    else
      fail ("%s: unknown option", argv[i]);
  }
  if (i + 1 >= argc || !directory || !clone_filter || !powercut_filter)
    fail ("an option is missing");
  nbdkit = argv + i + 1;
}

int
main (int argc, char *argv[])
{
  uint64_t start, elapsed;

  setvbuf (stdout, NULL, _IOLBF, 0);
  signal (SIGPIPE, SIG_IGN);
  parse_options (argc, argv);
  servers_init ();
  failing = when_failing;
  start = seconds ();
  for (disk_seed = first_seed; (elapsed = seconds () - start) < time_s;
       ++disk_seed)
    torture_disk ();
  print_figures (elapsed);
  return EXIT_SUCCESS;
}
