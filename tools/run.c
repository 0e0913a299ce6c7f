/* nbdclone run: start a clone, or go on with one, and serve it.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Everything is checked before anything is touched.  Then come, in this order:
 * the destination, if it is missing; the record which destination it is, so that
 * no bitmap file can be without one; the server, which makes the bitmap file.  A
 * crash between any two of these leaves what the same command starts from
 * again.  A start that fails takes back what it has made.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "identity.h"
#include "local-file.h"
#include "message.h"
#include "run.h"
#include "verbs.h"

/* How long our own server's lock may outlive it; see local-file.h. */
#define UNLOCKED_MS 1000

static int
open_log (struct run *run)
{
  run->log_fd = -1;
  if (!run->daemon)
    return 0;
  run->log_fd = open (run->log,
                      O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC |
                        (run->given_log ? 0 : O_NOFOLLOW),
                      0600);
  if (run->log_fd != -1)
    return 0;
  complain ("--log %s: %s", run->log,
            errno == ELOOP ? "it is a symbolic link" : strerror (errno));
  return EXIT_FAILURE;
}

/* Make what has to be there before the server starts. */
static int
prepare (struct run *run)
{
  int r = open_log (run);

  if (r == 0 && !run->destination.exists) {
    r = destination_create (&run->destination, run->size, run->prealloc);
    run->created = r == 0;
  }
  else if (r == 0 && run->prealloc)
    r = destination_reserve (&run->destination);
  if (r == 0 && run->identity == NULL)
    run->identity = identity_of (&run->destination);
  /* The record of a clone that goes on changes when it is seen to do so. */
  if (r == 0 && !run->resuming) {
    r = identity_save (run->identity_path, run->identity);
    run->recorded = r == 0;
  }
  return r;
}

/* Nothing of ours stays behind when a new clone could not be started; but what
 * another server uses already (under another name) is not ours any more.
 */
static void
take_back (const struct run *run)
{
  const struct destination_file *d = &run->destination;

  if (access (run->bitmap, F_OK) == 0 || errno != ENOENT)
    return;
  if (d->fd != -1 && local_file_lock (d->fd, true, UNLOCKED_MS) == 0 &&
      destination_is_there (d)) {
    if (run->recorded)
      unlink (run->identity_path);
    if (run->created)
      unlink (d->path);
  }
}

static void
unlock_name (struct run *run)
{
  if (run->lock_fd == -1)
    return;
  unlink (run->lock);
  close (run->lock_fd);
  run->lock_fd = -1;
}

static int
serve (struct run *run, int ready_fd)
{
  bool served = false;
  const int r = run_supervise (run, ready_fd, &served);

  if (!served && !run->resuming)
    take_back (run);
  /* For "nbdclone stop", which has opened the file: nobody but our parent gets
   * our exit status.
   */
  dprintf (run->lock_fd, "%d\n", r);
  unlock_name (run);
  return r;
}

/* In the process that was started: wait until the other one serves, or has
 * failed.
 */
static int
wait_for_daemon (pid_t pid, int fd)
{
  char byte;
  int status;

  if (read (fd, &byte, 1) == 1)
    return 0;
  if (waitpid (pid, &status, 0) == pid && WIFEXITED (status) &&
      WEXITSTATUS (status) != 0)
    return WEXITSTATUS (status);
  return EXIT_FAILURE;
}

static int
serve_as_daemon (struct run *run)
{
  int fds[2];
  pid_t pid = -1;

  if (pipe2 (fds, O_CLOEXEC) == 0)
    pid = fork ();
  if (pid == -1) {
    complain ("cannot go to the background: %s", strerror (errno));
    return EXIT_FAILURE;
  }
  if (pid > 0) {
    close (fds[1]);
    close (run->lock_fd); /* the daemon has it, too */
    run->lock_fd = -1;
    return wait_for_daemon (pid, fds[0]);
  }
  close (fds[0]);
  setsid ();
  exit (serve (run, fds[1]));
}

static void
clear (struct run *run)
{
  unlock_name (run);
  uri_free (&run->source);
  destination_clear (&run->destination);
  json_decref (run->identity);
  free (run->host);
  free (run->port);
  free (run->name);
  free (run->directory);
  free (run->bitmap);
  free (run->identity_path);
  free (run->control);
  free (run->socket);
  free (run->record);
  free (run->log);
  free (run->lock);
  free (run->uri);
  free (run->nbdkit);
  free (run->filter);
  free (run->plugin);
}

int
verb_run (int argc, char **argv)
{
  struct run run = { .destination.fd = -1, .lock_fd = -1, .log_fd = -1 };
  int r = run_options (&run, argc, argv);

  if (r == 0) {
    r = run_checks (&run);
    if (r == 0) {
      r = prepare (&run);
      if (r == 0)
        r = run.daemon ? serve_as_daemon (&run) : serve (&run, -1);
      else if (!run.resuming)
        take_back (&run);
    }
  }
  clear (&run);
  return r == -1 ? 0 : r;
}
