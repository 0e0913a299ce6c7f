/* nbdclone run: nbdkit, with the filter and a plugin.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "cleanup.h"
#include "message.h"
#include "run.h"
#include "verbs.h"

/* For requests that wait for the source, and for those that do not have to (P8);
 * nbdkit's own default is 16 a connection.
 */
#define THREADS "64"

/* Where a module is: in the tree that this program was built in, if it is still
 * there, or where it is installed.  NULL if it is in neither.
 */
static char *
find_module (const char *built, const char *installed)
{
  CLEANUP_FREE char *exe = realpath ("/proc/self/exe", NULL);
  char *path;

  if (exe) {
    path = format ("%s/%s", dirname (exe), built);
    if (access (path, R_OK) == 0)
      return path;
    free (path);
  }
  return access (installed, R_OK) == 0 ? format ("%s", installed) : NULL;
}

/* A program, as a shell finds it.  NULL if there is none. */
static char *
find_program (const char *name)
{
  const char *path = getenv ("PATH");

  if (strchr (name, '/'))
    return access (name, X_OK) == 0 ? format ("%s", name) : NULL;
  while (path && *path) {
    const size_t length = strcspn (path, ":");
    char *program = format ("%.*s/%s", (int) length, path, name);

    if (length > 0 && access (program, X_OK) == 0)
      return program;
    free (program);
    path += length + (path[length] == ':');
  }
  return NULL;
}

int
run_find_server (struct run *run)
{
  const char *nbdkit = getenv ("NBDKIT");

  if (nbdkit == NULL || *nbdkit == 0)
    nbdkit = "nbdkit";
  run->nbdkit = find_program (nbdkit);
  if (run->nbdkit == NULL) {
    complain ("%s: there is no such program; install nbdkit, or set NBDKIT to "
              "its path",
              nbdkit);
    return EXIT_FAILURE;
  }
  run->filter = find_module ("../filters/clone/.libs/nbdkit-clone-filter.so",
                             FILTERDIR "/nbdkit-clone-filter.so");
  if (run->filter == NULL) {
    complain ("%s: the filter is not there; \"make install\" puts it there",
              FILTERDIR "/nbdkit-clone-filter.so");
    return EXIT_FAILURE;
  }
  run->plugin = find_module ("../plugin/.libs/nbdkit-uring-plugin.so",
                             PLUGINDIR "/nbdkit-uring-plugin.so");
  run->plugin_is_uring = run->plugin != NULL;
  if (run->plugin == NULL)
    run->plugin = format ("file");
  return 0;
}

struct arguments {
  char **list; /* ends with NULL */
  size_t n;
};

static void add (struct arguments *, const char *fs, ...)
  __attribute__ ((format (printf, 2, 3)));

static void
add (struct arguments *a, const char *fs, ...)
{
  va_list args;

  a->list = need (reallocarray (a->list, a->n + 2, sizeof *a->list));
  va_start (args, fs);
  if (vasprintf (&a->list[a->n], fs, args) == -1)
    a->list[a->n] = NULL;
  va_end (args);
  need (a->list[a->n++]);
  a->list[a->n] = NULL;
}

/* What is given behind "--" stands before the filter, so that filters in it are
 * between the clients and the clone; and before all that was checked, so that it
 * cannot take its place.
 */
static char **
server_arguments (const struct run *run)
{
  const struct destination_file *d = &run->destination;
  struct arguments a = { NULL, 0 };
  int i;

  add (&a, "%s", run->nbdkit);
  add (&a, "-f");
  add (&a, "-t");
  add (&a, THREADS);
  add (&a, "%s", run->plugin);
  if (run->plugin_is_uring && run->prealloc)
    add (&a, "prealloc=falloc");
  for (i = 0; i < run->n_more; ++i)
    add (&a, "%s", run->more[i]);
  if (run->port) {
    if (run->host) {
      add (&a, "-i");
      add (&a, "%s", run->host);
    }
    add (&a, "-p");
    add (&a, "%s", run->port);
  }
  else if (run->sockets == 0) {
    add (&a, "-U");
    add (&a, "%s", run->socket);
  }
  add (&a, "file=%s", d->path);
  /* The plugin opens it by name, and it has to be what was checked. */
  if (run->plugin_is_uring)
    add (&a, "identity=%" PRIu64 ":%" PRIu64,
         (uint64_t) (d->is_device ? d->st.st_rdev : d->st.st_dev),
         d->is_device ? 0 : (uint64_t) d->st.st_ino);
  add (&a, "--filter=%s", run->filter);
  add (&a, "clone-source=%s", run->source.uri);
  add (&a, "clone-bitmap=%s", run->bitmap);
  if (run->must_resume)
    add (&a, "clone-bitmap-mode=resume");
  add (&a, "clone-control=%s", run->control);
  return a.list;
}

/* In the child. */
static void __attribute__ ((noreturn))
become_server (const struct run *run, char **arguments, int output_fd,
               const sigset_t *mask, pid_t parent)
{
  const int null_fd = open ("/dev/null", O_RDWR | O_CLOEXEC);
  char pid[32];

  /* Signals of the terminal are for our parent, which passes them on in order;
   * and a server that nobody looks after any more stops.
   */
  setpgid (0, 0);
  prctl (PR_SET_PDEATHSIG, SIGTERM);
  if (getppid () != parent)
    _exit (EXIT_FAILURE);
  signal (SIGPIPE, SIG_DFL);
  sigprocmask (SIG_SETMASK, mask, NULL);
  dup2 (null_fd, STDIN_FILENO);
  dup2 (output_fd, STDOUT_FILENO);
  dup2 (output_fd, STDERR_FILENO);
  if (run->sockets > 0) {
    snprintf (pid, sizeof pid, "%d", (int) getpid ());
    setenv ("LISTEN_PID", pid, 1);
  }
  unsetenv ("NOTIFY_SOCKET");
  execv (arguments[0], arguments);
  complain ("%s: %s", arguments[0], strerror (errno));
  _exit (EXIT_FAILURE);
}

pid_t
run_start_server (const struct run *run, int *output_fd, const sigset_t *mask)
{
  char **arguments = server_arguments (run);
  const pid_t parent = getpid ();
  pid_t pid = -1;
  int fds[2];
  size_t i;

  if (pipe2 (fds, O_CLOEXEC) == 0) {
    fflush (stdout);
    pid = fork ();
    if (pid == 0)
      become_server (run, arguments, fds[1], mask, parent);
    close (fds[1]);
    *output_fd = fds[0];
    if (pid == -1)
      close (fds[0]);
  }
  if (pid == -1)
    complain ("cannot start %s: %s", run->nbdkit, strerror (errno));
  for (i = 0; arguments[i]; ++i)
    free (arguments[i]);
  free (arguments);
  return pid;
}
