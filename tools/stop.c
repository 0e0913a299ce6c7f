/* nbdclone stop: stop a server, and wait until it has ended.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "arguments.h"
#include "cleanup.h"
#include "instance.h"
#include "message.h"
#include "talk.h"
#include "verbs.h"

#define TIMEOUT_S 60

static const char help[] =
  "Usage: nbdclone stop [--timeout SECONDS] INSTANCE\n"
  "Stop a server: it makes a last commit, waits until its clients have hung up,\n"
  "and ends.  \"nbdclone run\" then goes on where it was.  If the last commit has\n"
  "failed, the exit status is not 0.\n"
  "\n"
  "  --timeout SECONDS  wait no longer than this for the end, 60 if not given;\n"
  "                     the server still ends when its clients have hung up\n";

/* A descriptor that can be read when the process has ended, or -1. */
static int
open_process (pid_t pid)
{
  return pid > 0 ? (int) syscall (SYS_pidfd_open, pid, 0) : -1;
}

/* false if it has not ended in time. */
static bool
wait_for_end (int fd, double seconds)
{
  struct pollfd p = { .fd = fd, .events = POLLIN };
  const int ms = seconds * 1000 < INT_MAX ? (int) (seconds * 1000) : -1;

  return fd == -1 || poll (&p, 1, ms) == 1;
}

/* Are we part of the server's command of clone-on-complete?  It waits for us. */
static bool
waits_for_us (pid_t server)
{
  const char *pid = getenv ("NBDCLONE_PID");

  return pid && strtol (pid, NULL, 10) == server;
}

/* The file into which "nbdclone run" writes how it has ended, before it removes
 * it.  -1 if the server was started in another way.
 */
static int
open_result (const struct instance *i)
{
  CLEANUP_FREE char *path = instance_file (i, ".lock");

  return open (path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
}

/* Has the last commit succeeded?  0, or an exit status after a message. */
static int
look_at_result (const struct instance *i, int fd)
{
  char text[16];
  const ssize_t n = pread (fd, text, sizeof text - 1, 0);
  int status;

  text[n > 0 ? n : 0] = 0;
  status = n > 0 ? atoi (text) : EXIT_FAILURE;
  if (status == 0)
    return 0;
  complain (
    "%s: it has ended, but not in order: its last commit has failed, or "
    "it was killed; its own messages say more; keep the source and the "
    "bitmap file, and start it again: it goes on at the last commit",
    i->name);
  return status == EXIT_CLONE_FAILED ? status : EXIT_FAILURE;
}

static int
stop (const struct instance *i, struct talk *t, double seconds)
{
  const pid_t pid = talk_pid (t);
  const int server = open_process (pid);
  /* Who has started it tidies up behind it, and says how it has ended. */
  const int starter = open_process (
    (pid_t) json_integer_value (json_object_get (i->record, "pid")));
  const int result = starter != -1 ? open_result (i) : -1;
  int r = talk_ask (t, "status", NULL, TALK_TIMEOUT_MS, NULL);

  /* It has answered, so it was this process that has the number. */
  if (r == 0 && (server == -1 || syscall (SYS_pidfd_send_signal, server,
                                          SIGTERM, NULL, 0) == -1)) {
    complain ("%s: cannot stop process %d: %s", i->name, (int) pid,
              strerror (errno));
    r = EXIT_FAILURE;
  }
  else if (r)
    complain ("%s: %s", i->name, t->error);
  /* As long as we are connected it has a reason to stay. */
  talk_end (t);
  if (r == 0 && !waits_for_us (pid)) {
    if (!wait_for_end (server, seconds) || !wait_for_end (starter, seconds)) {
      complain (
        "%s: it still makes its last commit, or waits until its clients "
        "have hung up; disconnect them, or kill process %d, and what "
        "they have not flushed may be lost",
        i->name, (int) pid);
      r = EXIT_TIMED_OUT;
    }
    else if (result != -1)
      r = look_at_result (i, result);
  }
  if (server != -1)
    close (server);
  if (starter != -1)
    close (starter);
  if (result != -1)
    close (result);
  return r;
}

int
verb_stop (int argc, char **argv)
{
  double seconds = TIMEOUT_S;
  const struct arguments accepted = {
    .help = help,
    .wanted = "one INSTANCE is wanted",
    .min = 1,
    .max = 1,
    .timeout = &seconds,
  };
  struct instance i;
  struct talk t;
  int r = arguments_read (&accepted, argc, argv);

  if (r != -1)
    return r;
  r = instance_connect (argv[optind], &i, &t);
  if (r)
    return r;
  r = stop (&i, &t, seconds);
  instance_clear (&i);
  return r;
}
