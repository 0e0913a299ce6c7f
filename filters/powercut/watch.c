/* nbdclone: powercut: cuts that do not come from a request.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include <nbdkit-filter.h>

#include "watch.h"

/* How often to look for the file.  Each request looks as well, so this is only
 * for disks that nobody uses.  (inotify does not see files that appear on
 * network file systems.)
 */
#define FILE_INTERVAL_MS 10

/* A signal's handler is told nothing about whom it is for. */
static int signal_pipe = -1;

static void
handle_signal (int signal)
{
  const int err = errno;
  ssize_t r = write (signal_pipe, "s", 1);

  /* If the pipe is full, there is one already. */
  (void) r;
  (void) signal;
  errno = err;
}

int
watch_prepare (struct watch *w)
{
  struct sigaction action = {
    .sa_handler = handle_signal,
    .sa_flags = SA_RESTART,
  };

  if (w->signal == 0 && w->file == NULL)
    return 0;
  if (pipe2 (w->pipe, O_CLOEXEC | O_NONBLOCK) == -1) {
    nbdkit_error ("pipe2: %m");
    return -1;
  }
  w->prepared = true;
  if (w->signal == 0)
    return 0;
  signal_pipe = w->pipe[1];
  if (sigaction (w->signal, &action, NULL) == -1) {
    nbdkit_error ("sigaction: %m");
    return -1;
  }
  return 0;
}

static void *
watch_thread (void *opaque)
{
  struct watch *w = opaque;
  struct pollfd fd = { .fd = w->pipe[0], .events = POLLIN };
  sigset_t set;
  char what;

  if (w->signal) {
    sigemptyset (&set);
    sigaddset (&set, w->signal);
    pthread_sigmask (SIG_UNBLOCK, &set, NULL);
  }
  for (;;) {
    poll (&fd, 1, w->file ? FILE_INTERVAL_MS : -1);
    if (read (fd.fd, &what, 1) == 1) {
      if (what == 's')
        w->cut (w->opaque, "signal");
      break;
    }
    if (w->file && access (w->file, F_OK) == 0) {
      w->cut (w->opaque, "file");
      break;
    }
  }
  return NULL;
}

int
watch_start (struct watch *w)
{
  sigset_t set;

  if (!w->prepared)
    return 0;
  if (w->signal) {
    /* nbdkit's threads inherit this, so that none of a plugin's system calls is
     * interrupted.
     */
    sigemptyset (&set);
    sigaddset (&set, w->signal);
    pthread_sigmask (SIG_BLOCK, &set, NULL);
  }
  errno = pthread_create (&w->thread, NULL, watch_thread, w);
  if (errno) {
    nbdkit_error ("pthread_create: %m");
    return -1;
  }
  w->started = true;
  return 0;
}

void
watch_stop (struct watch *w)
{
  ssize_t r;

  if (!w->prepared)
    return;
  if (w->started) {
    r = write (w->pipe[1], "q", 1);
    (void) r;
    pthread_join (w->thread, NULL);
  }
  /* A signal that comes now must still not end the process. */
  if (w->signal)
    signal (w->signal, SIG_IGN);
  close (w->pipe[0]);
  close (w->pipe[1]);
  w->prepared = w->started = false;
}
