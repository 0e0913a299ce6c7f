/* nbdclone run: from the server's start to its end.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * nbdkit is a child, in a process group of its own: what a terminal sends comes
 * here and is passed on in order.  SIGTERM, SIGINT and SIGHUP stop it; it then
 * makes a last commit, waits until its clients have hung up, and ends (P10).  A
 * second one kills it, and nothing is lost that was flushed.
 *
 * The disk can be used when its control socket answers: the filter does that
 * last.  Everything here waits in one poll(2).
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "identity.h"
#include "message.h"
#include "notify.h"
#include "printable.h"
#include "run.h"
#include "verbs.h"
#include "watch.h"

#define STARTING_MS 20
#define RECONNECT_MS 1000
#define PATIENCE_US UINT64_C (2000000) /* until we say why it does not end */
#define LINE_SIZE 4096
#define READS_MAX 64 /* more than a pipe holds, in any case */

struct supervisor {
  const struct run *run;
  int ready_fd;
  pid_t pid;
  int signal_fd, output_fd;
  char line[LINE_SIZE]; /* of the server's output, not complete yet */
  size_t length;
  struct watch watch;
  bool watching;
  bool served;
  bool ended; /* complete, or failed, has been dealt with */
  unsigned stops;
  uint64_t stopped_us;
  bool explained; /* why it does not end */
  bool exited;
  int status; /* of the child */
};

static uint64_t
now_us (void)
{
  return system_clock.now_us (&system_clock);
}

/* How nbdkit 1.32 says that it was told to stop; see nbdkit-clone-filter(1).  It
 * looks like an error and is none.
 */
static bool
means_nothing (const char *line)
{
  return strstr (line, "error: aborting sleep because of server shut down");
}

/* Pass on what the server has printed, in whole lines. */
static void
pass_on (struct supervisor *s, bool all)
{
  char *end, when[MESSAGE_TIME_MAX];

  s->line[s->length] = 0;
  while ((end = memchr (s->line, '\n', s->length)) != NULL ||
         (all && s->length > 0)) {
    const size_t n = end ? (size_t) (end - s->line) : s->length;
    const size_t taken = n + (end != NULL);

    s->line[n] = 0;
    progress_hide (&s->watch.progress);
    if (!means_nothing (s->line))
      fprintf (stderr, "%s%s\n", message_time (when), make_printable (s->line));
    s->length -= taken;
    memmove (s->line, s->line + taken, s->length);
    s->line[s->length] = 0;
  }
}

static void
read_output (struct supervisor *s)
{
  ssize_t n = 1;
  unsigned i;

  /* It may print faster than that: signals and clients have their turn. */
  for (i = 0; i < READS_MAX; ++i) {
    n = read (s->output_fd, s->line + s->length, LINE_SIZE - 1 - s->length);
    if (n <= 0)
      break;
    s->length += (size_t) n;
    pass_on (s, s->length == LINE_SIZE - 1);
  }
  if (n == 0) {
    close (s->output_fd);
    s->output_fd = -1;
  }
}

static void
stop (struct supervisor *s)
{
  if (s->stops++ == 0) {
    s->stopped_us = now_us ();
    notify_manager ("STOPPING=1");
    kill (s->pid, SIGTERM);
  }
  else
    kill (s->pid, SIGKILL);
}

static void
read_signals (struct supervisor *s)
{
  struct signalfd_siginfo info;

  while (read (s->signal_fd, &info, sizeof info) == sizeof info)
    if (info.ssi_signo != SIGCHLD)
      stop (s);
  if (waitpid (s->pid, &s->status, WNOHANG) == s->pid)
    s->exited = true;
}

/* What others find this server by. */
static void
write_record (const struct run *run)
{
  json_t *record = need (
    json_pack ("{s:s, s:i, s:s, s:s, s:s, s:s, s:s}", "name", run->name, "pid",
               (int) getpid (), "destination", run->destination.path, "bitmap",
               run->bitmap, "source", run->source.shown, "uri", run->uri,
               "control", run->control));
  CLEANUP_FREE char *created = format ("%s.new", run->record);

  if (run->port == NULL && run->sockets == 0)
    json_object_set_new (record, "socket", json_string (run->socket));
  if (json_dump_file (record, created, JSON_INDENT (2)) == -1 ||
      rename (created, run->record) == -1)
    note ("%s: cannot write it: %s; \"nbdclone list\" will know less",
          run->record, strerror (errno));
  json_decref (record);
}

/* The disk can be used: tell whoever waits for that. */
static void
begin_service (struct supervisor *s)
{
  const struct run *run = s->run;

  s->served = true;
  if (run->resuming)
    (void) identity_save (run->identity_path, run->identity);
  write_record (run);
  printf ("%s: the disk is %s\n", run->name, run->uri);
  fflush (stdout);
  notify_manager ("READY=1");
  if (s->ready_fd != -1) {
    dup2 (run->log_fd, STDOUT_FILENO);
    dup2 (run->log_fd, STDERR_FILENO);
    message_with_times ();
    progress_init (&s->watch.progress, stdout);
    s->watch.known = false; /* what was known has gone with it */
    if (write (s->ready_fd, "", 1) == -1) {
      note ("who started this has been interrupted: stopping");
      stop (s);
    }
    close (s->ready_fd);
    s->ready_fd = -1;
  }
}

/* The first time that it is complete, or that it has failed. */
static void
end_of_clone (struct supervisor *s)
{
  const struct run *run = s->run;
  const bool complete = strcmp (s->watch.progress.state, "complete") == 0;

  s->ended = true;
  progress_hide (&s->watch.progress);
  if (complete)
    note ("%s: complete: %s is a plain copy now; once this server is stopped, "
          "use it as it is, and remove %s and %s",
          run->name, run->destination.path, run->bitmap, run->identity_path);
  else
    complain ("%s: the clone has failed: nothing can be written any more; stop "
              "this server, see to the disks, and run the same command again: "
              "it goes on at the last commit",
              run->name);
  if (run->exit_when_complete && s->stops == 0)
    stop (s);
}

static void
show (struct supervisor *s)
{
  struct progress *p = &s->watch.progress;
  char text[PROGRESS_TEXT_MAX];

  if (!s->watch.known)
    return;
  if (s->stops == 0)
    progress_show (p);
  if (getenv ("NOTIFY_SOCKET") && s->stops == 0) {
    CLEANUP_FREE char *line = format ("STATUS=%s", progress_text (p, text));

    notify_manager (line);
  }
  if (progress_has_ended (p) && !s->ended)
    end_of_clone (s);
}

static void
follow (struct supervisor *s)
{
  if (!s->watching)
    s->watching = watch_begin (&s->watch, s->run->control) == 0 &&
                  talk_pid (&s->watch.talk) == s->pid; /* not another's */
  else if (watch_for (&s->watch, 0) == 0) {
    if (s->watch.known && !s->served)
      begin_service (s);
    show (s);
    return;
  }
  else
    s->watching = false;
  if (!s->watching)
    watch_end (&s->watch);
}

static int
timeout_ms (const struct supervisor *s)
{
  if (!s->served)
    return STARTING_MS;
  return s->watching ? WATCH_TICK_MS : RECONNECT_MS;
}

/* Wait until something happens, and do what it wants. */
static void
step (struct supervisor *s)
{
  struct pollfd fds[] = {
    { .fd = s->signal_fd, .events = POLLIN },
    { .fd = s->output_fd, .events = POLLIN },
    { .fd = s->watching ? s->watch.talk.fd : -1, .events = POLLIN },
  };

  poll (fds, sizeof fds / sizeof fds[0], timeout_ms (s));
  if (s->output_fd != -1)
    read_output (s);
  read_signals (s);
  if (!s->exited)
    follow (s);
  if (s->stops > 0 && !s->explained &&
      now_us () > s->stopped_us + PATIENCE_US) {
    s->explained = true;
    progress_hide (&s->watch.progress);
    note ("%s: nbdkit makes its last commit and waits until its clients have "
          "hung up; a second signal (Ctrl-C) ends it at once, and what they "
          "have not flushed may be lost",
          s->run->name);
  }
}

/* What the end of the server means. */
static int
result_of (const struct supervisor *s)
{
  const char *again = "run the same command again, it goes on where it was";
  const char *name = s->run->name;
  const bool complete = strcmp (s->watch.progress.state, "complete") == 0;

  if (WIFSIGNALED (s->status) && WTERMSIG (s->status) == SIGTERM &&
      s->stops > 0 && !s->served) {
    note ("%s: stopped while it was starting", name);
    return 0;
  }
  if (WIFSIGNALED (s->status)) {
    complain ("%s: nbdkit was ended by signal %d (%s); %s", name,
              WTERMSIG (s->status), strsignal (WTERMSIG (s->status)), again);
    return EXIT_FAILURE;
  }
  if (WEXITSTATUS (s->status) != 0 && s->served)
    complain (
      "%s: nbdkit ended with status %d: its last commit has failed, see "
      "above; %s",
      name, WEXITSTATUS (s->status), again);
  if (strcmp (s->watch.progress.state, "failed") == 0)
    return EXIT_CLONE_FAILED;
  if (WEXITSTATUS (s->status) != 0)
    return EXIT_FAILURE;
  if (!complete)
    note ("%s: stopped; %s", name, again);
  return 0;
}

/* Remove a socket to which nobody listens. */
static void
remove_dead (const char *path)
{
  struct stat st;
  struct talk t;

  if (lstat (path, &st) == -1 || !S_ISSOCK (st.st_mode))
    return;
  if (talk_connect (&t, path) != 0 && t.dead)
    unlink (path);
  talk_end (&t);
}

static void
remove_sockets (const struct run *run)
{
  if (run->port == NULL && run->sockets == 0)
    remove_dead (run->socket);
  remove_dead (run->control);
}

int
run_supervise (const struct run *run, int ready_fd, bool *served)
{
  struct supervisor s = { .run = run, .ready_fd = ready_fd };
  sigset_t ours, before;
  struct sigaction hangup;

  sigemptyset (&ours);
  sigaddset (&ours, SIGTERM);
  sigaddset (&ours, SIGINT);
  if (sigaction (SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler != SIG_IGN)
    sigaddset (&ours, SIGHUP); /* not with nohup(1) */
  sigaddset (&ours, SIGCHLD);
  sigprocmask (SIG_BLOCK, &ours, &before);
  signal (SIGPIPE, SIG_IGN); /* who reads our output may go */
  s.signal_fd = signalfd (-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK);
  if (s.signal_fd == -1) {
    complain ("signalfd: %s", strerror (errno));
    return EXIT_FAILURE;
  }
  progress_init (&s.watch.progress, stdout);
  remove_sockets (run);
  s.pid = run_start_server (run, &s.output_fd, &before);
  if (s.pid == -1)
    return EXIT_FAILURE;
  fcntl (s.output_fd, F_SETFL, O_NONBLOCK);
  while (!s.exited)
    step (&s);

  /* What it has printed at last; a child of its own may still have the pipe. */
  if (s.output_fd != -1)
    read_output (&s);
  pass_on (&s, true);
  progress_hide (&s.watch.progress);
  watch_end (&s.watch);
  remove_sockets (run);
  if (s.served)
    unlink (run->record);
  *served = s.served;
  return result_of (&s);
}
