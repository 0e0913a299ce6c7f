/* The servers of the torture.
 *
 *   nbdkit error, delay, log     the source: it can fail, hang, die and be slow
 *      |
 *   nbdkit clone
 *          powercut, file        the destination
 *          torture-disk.c        what the bitmap file is written through
 *
 * One power domain: what the destination keeps of its cache when the power is
 * cut is for powercut to decide.  The server is killed right after that, and then
 * the bitmap file loses some of what was not synced (torture-disk.c).  What the
 * server does to the bitmap file between the two is as if the power had gone a
 * little later, for the destination does not change any more, and no write or
 * flush is answered with success that needed it.
 *
 * SIGKILL without a cut takes the destination's cache with it: also a power
 * cut, with nothing kept.  That a process dies but not its page cache is a cut
 * that keeps all of the destination's cache, and all of the bitmap file: in this
 * case the journal of what was not synced lives on, for the next cut.
 */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "chance.h"
#include "process.h"
#include "torture-servers.h"

#define SECTOR 512

const char *directory, *clone_filter, *powercut_filter;
char **nbdkit;
char *source_file, *destination_file, *bitmap_file, *clone_socket, *source_log;

const char *const fault_names[FAULTS] = {
  "source errors",      "source killed",    "source stopped",
  "destination errors", "destination full", "failed flushes",
  "bitmap file full",   "bitmap writes",    "bitmap syncs"
};

static char *source_socket, *source_pidfile, *source_errors;
static char *clone_pidfile, *report, *journal;
static char *flag_files[FAULTS]; /* a fault is on while its file exists */
static pid_t source, clone;
static bool source_stopped;
static unsigned source_delay_ms;

static char *
format (const char *fmt, ...)
{
  va_list ap;
  char *s;

  va_start (ap, fmt);
  if (vasprintf (&s, fmt, ap) == -1)
    abort ();
  va_end (ap);
  return s;
}

void
servers_init (void)
{
  source_file = format ("%s/src", directory);
  source_socket = format ("%s/source.sock", directory);
  source_pidfile = format ("%s/source.pid", directory);
  source_log = format ("%s/source.log", directory);
  source_errors = format ("%s/source-errors", directory);
  destination_file = format ("%s/dst", directory);
  bitmap_file = format ("%s/bitmap", directory);
  clone_socket = format ("%s/clone.sock", directory);
  clone_pidfile = format ("%s/clone.pid", directory);
  report = format ("%s/report", directory);
  journal = format ("%s/journal", directory);
  flag_files[SOURCE_ERRORS] = source_errors;
  flag_files[DESTINATION_ERRORS] = format ("%s/destination-errors", directory);
  flag_files[DESTINATION_FULL] = format ("%s/destination-full", directory);
  flag_files[FLUSH_FAILS] = format ("%s/fail-flush", directory);
  flag_files[BITMAP_FULL] = format ("%s.space", journal);
  flag_files[BITMAP_WRITE_FAILS] = format ("%s.write", journal);
  flag_files[BITMAP_SYNC_FAILS] = format ("%s.sync", journal);
  setenv ("TORTURE_JOURNAL", journal, 1);
}

void
servers_end (void)
{
  if (clone > 0)
    kill (clone, SIGKILL);
  if (source > 0)
    kill (source, SIGKILL);
}

static void
start_source (void)
{
  char *rdelay = format ("rdelay=%ums", source_delay_ms);
  char *logfile = format ("logfile=%s", source_log);
  char *errors = format ("error-file=%s", source_errors);
  /* One thread a connection: with more, nbdkit 1.32.5 dies of an assertion now
   * and then, when a client is killed that has several requests in flight.
   */
  char *argv[] = { "nbdkit",
                   "-f",
                   "-t",
                   "1",
                   "-P",
                   source_pidfile,
                   "-U",
                   source_socket,
                   "--filter=log",
                   "--filter=error",
                   "--filter=delay",
                   "file",
                   source_file,
                   rdelay,
                   logfile,
                   "logappend=true",
                   "error=EIO",
                   "error-rate=30%",
                   errors,
                   NULL };
  char *log = format ("%s/source.err", directory);

  unlink (source_socket);
  unlink (source_pidfile);
  source = process_start (argv, log);
  process_ready (source, "the source", source_pidfile);
  free (rdelay);
  free (logfile);
  free (errors);
  free (log);
}

void
source_start (unsigned delay_ms)
{
  source_delay_ms = delay_ms;
  start_source ();
}

bool
source_runs (void)
{
  return source > 0;
}

void
source_kill (void)
{
  int status;

  if (source == 0)
    return;
  kill (source, SIGKILL);
  status = process_end (source, "the source");
  source = 0;
  source_stopped = false;
  if (!WIFSIGNALED (status) || WTERMSIG (status) != SIGKILL)
    fail ("the source had ended, with wait status %x", status);
}

void
source_check_log (void)
{
  FILE *f = fopen (source_log, "r");
  char line[4096];

  if (f == NULL)
    fail ("%s: %m", source_log);
  while (fgets (line, sizeof line, f))
    if (strstr (line, " Write id=") || strstr (line, " Zero id=") ||
        strstr (line, " Trim id=") || strstr (line, " Flush id="))
      fail ("P6: the source was sent this: %s", line);
  fclose (f);
  unlink (source_log);
}

void
fault_begin (enum fault fault)
{
  if (fault == SOURCE_KILLED)
    source_kill ();
  else if (fault == SOURCE_STOPPED) {
    if (source > 0)
      kill (source, SIGSTOP);
    source_stopped = true;
  }
  else
    close (open (flag_files[fault], O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
}

void
fault_end (enum fault fault)
{
  if (fault == SOURCE_KILLED) {
    if (source == 0)
      start_source ();
  }
  else if (fault == SOURCE_STOPPED) {
    if (source > 0)
      kill (source, SIGCONT);
    source_stopped = false;
  }
  else
    unlink (flag_files[fault]);
}

void
clone_launch (const struct conditions *c)
{
  char *argv[64], *sync_ms, *log = format ("%s/clone.err", directory);
  size_t n = 0, own;

  while (nbdkit[n]) {
    argv[n] = nbdkit[n];
    n++;
  }
  own = n;
  argv[n++] = strdup ("-f");
  argv[n++] = strdup ("-t");
  argv[n++] = strdup ("32");
  argv[n++] = strdup ("-P");
  argv[n++] = strdup (clone_pidfile);
  argv[n++] = strdup ("-U");
  argv[n++] = strdup (clone_socket);
  argv[n++] = format ("--filter=%s", clone_filter);
  argv[n++] = format ("--filter=%s", powercut_filter);
  argv[n++] = strdup ("file");
  argv[n++] = strdup (destination_file);
  argv[n++] = format ("clone-source=nbd+unix:///?socket=%s", source_socket);
  argv[n++] = format ("clone-bitmap=%s", bitmap_file);
  argv[n++] = format ("clone-region-size=%" PRIu64, c->region_size);
  argv[n++] = format ("clone-hydration=%d", !c->frozen && c->hydration);
  argv[n++] = format ("clone-on-read=%d", !c->frozen && c->on_read);
  argv[n++] = format ("clone-discard-passdown=%d", c->discard_passdown);
  argv[n++] = format ("clone-batch=%s", c->batch);
  argv[n++] = format ("clone-threshold=%u", c->threshold);
  argv[n++] = format ("clone-connections=%u", c->connections);
  argv[n++] = format ("clone-commit-interval=%s", c->commit_interval);
  argv[n++] = format ("clone-source-timeout=%s", c->source_timeout);
  argv[n++] = format ("powercut-seed=%" PRIu64, c->seed);
  argv[n++] = format ("powercut-keep=%s", c->keep);
  argv[n++] = strdup ("powercut-signal=USR1");
  argv[n++] = format ("powercut-report=%s", report);
  argv[n++] = format ("powercut-fail-flush-file=%s", flag_files[FLUSH_FAILS]);
  argv[n++] =
    format ("powercut-error=EIO:kinds=read,write,zero,trim:range=%" PRIu64
            "+%" PRIu64 ":file=%s",
            c->bad_start, c->bad_length, flag_files[DESTINATION_ERRORS]);
  argv[n++] =
    format ("powercut-error=ENOSPC:kinds=write,zero:range=%" PRIu64 "+%" PRIu64
            ":file=%s",
            c->bad_start, c->bad_length, flag_files[DESTINATION_FULL]);
  if (c->write_delay_ms)
    argv[n++] = format ("powercut-delay=0.%03u:kinds=write,zero:rate=0.5",
                        c->write_delay_ms);
  if (c->cut_at) {
    argv[n++] = format ("powercut-at=%u", c->cut_at);
    argv[n++] = format ("powercut-kinds=%s", c->cut_kinds);
  }
  if (c->failing_flush)
    argv[n++] = format ("powercut-fail-flush=%u", c->failing_flush);
  argv[n] = NULL;

  unlink (clone_pidfile);
  unlink (clone_socket);
  unlink (report);
  sync_ms = format ("%u", c->sync_ms);
  setenv ("TORTURE_SYNC_MS", sync_ms, 1);
  free (sync_ms);
  clone = process_start (argv, log);
  while (n-- > own)
    free (argv[n]);
  free (log);
}

void
clone_ready (void)
{
  process_ready (clone, "the clone", clone_pidfile);
}

bool
clone_is_cut (void)
{
  return access (report, F_OK) == 0;
}

void
clone_cut (void)
{
  const uint64_t end = seconds () + bound_s;

  kill (clone, SIGUSR1);

  while (!clone_is_cut ()) {
    if (seconds () > end)
      fail ("the power is not cut after %u s", bound_s);
    sleep_ms (1);
  }
}

/* An io_uring writer that was killed may go on writing for some milliseconds,
 * and holds the lock for as long.
 */
static void
wait_for_lock (void)
{
  const uint64_t end = seconds () + bound_s;
  const int fd = open (bitmap_file, O_RDWR | O_CLOEXEC);

  if (fd == -1) {
    if (errno != ENOENT)
      fail ("%s: %m", bitmap_file);
    return;
  }
  while (flock (fd, LOCK_EX | LOCK_NB) == -1) {
    if (seconds () > end)
      fail ("%s is still locked after %u s", bitmap_file, bound_s);
    sleep_ms (1);
  }
  close (fd);
}

void
clone_kill (void)
{
  int status;

  kill (clone, SIGKILL);
  status = process_end (clone, "the clone");
  clone = 0;
  if (!WIFSIGNALED (status) || WTERMSIG (status) != SIGKILL)
    fail ("the clone had ended, with wait status %x", status);
  wait_for_lock ();
}

void
clone_terminate (void)
{
  kill (clone, SIGTERM);
}

int
clone_end (void)
{
  const int status = process_end (clone, "the clone");

  clone = 0;
  if (!WIFEXITED (status))
    fail ("the clone ended with wait status %x", status);
  wait_for_lock ();
  return WEXITSTATUS (status);
}

/* A whole file, or NULL if it does not exist. */
static unsigned char *
read_file (const char *name, size_t *length)
{
  const int fd = open (name, O_RDONLY | O_CLOEXEC);
  unsigned char *data;
  struct stat st;

  if (fd == -1 && errno == ENOENT)
    return NULL;
  if (fd == -1 || fstat (fd, &st) == -1)
    fail ("%s: %m", name);
  data = malloc (st.st_size + 1);
  if (read (fd, data, st.st_size) != st.st_size)
    fail ("%s: %m", name);
  close (fd);
  *length = st.st_size;
  return data;
}

/* The offset and the length of the record at AT; false: there is none, or half
 * of one; then its write has not begun.
 */
static bool
record_at (const unsigned char *records, size_t length, size_t at,
           uint64_t head[2])
{
  if (length < at + 16)
    return false;
  memcpy (head, records + at, 16);
  return length - at - 16 >= head[1];
}

void
bitmap_keep (void)
{
  size_t length = 0, at = 0;
  unsigned char *records = read_file (journal, &length);
  uint64_t head[2];

  while (record_at (records, length, at, head))
    at += 16 + head[1];
  if (at < length && truncate (journal, at) == -1)
    fail ("%s: %m", journal);
  free (records);
}

/* From the last write to the first: of each sector, either it survives, and
 * with it all that was written there before; or it is taken back.
 */
uint64_t
bitmap_cut (void)
{
  const unsigned survives = up_to (4) * 25; /* percent */
  size_t length = 0, bitmap_length = 0, at = 0, n = 0;
  unsigned char *records = read_file (journal, &length);
  unsigned char *bitmap = read_file (bitmap_file, &bitmap_length);
  size_t *starts = malloc ((length / 16 + 1) * sizeof *starts);
  bool *settled = calloc (bitmap_length / SECTOR + 1, sizeof *settled);
  uint64_t head[2], taken_back = 0;
  int fd;

  while (record_at (records, length, at, head)) {
    starts[n++] = at;
    at += 16 + head[1];
  }
  while (n-- > 0) {
    memcpy (head, records + starts[n], 16);
    for (uint64_t i = 0; i < head[1]; i += SECTOR) {
      const uint64_t offset = head[0] + i;

      if (settled[offset / SECTOR])
        continue;
      if (percent (survives))
        settled[offset / SECTOR] = true;
      else {
        memcpy (bitmap + offset, records + starts[n] + 16 + i, SECTOR);
        taken_back++;
      }
    }
  }
  if (taken_back) {
    fd = open (bitmap_file, O_WRONLY | O_CLOEXEC);
    if (fd == -1 ||
        write (fd, bitmap, bitmap_length) != (ssize_t) bitmap_length)
      fail ("%s: %m", bitmap_file);
    close (fd);
  }
  unlink (journal);
  free (records);
  free (bitmap);
  free (starts);
  free (settled);
  return taken_back;
}
