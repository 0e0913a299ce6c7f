/* Servers as processes of a test program, and how such a program fails. */

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "process.h"

unsigned bound_s = 60;
void (*failing) (void);

void
fail (const char *fmt, ...)
{
  va_list ap;

  printf ("%s: FAIL: ", program_invocation_short_name);
  va_start (ap, fmt);
  vprintf (fmt, ap);
  va_end (ap);
  printf ("\n");
  if (failing)
    failing ();
  exit (EXIT_FAILURE);
}

uint64_t
seconds (void)
{
  struct timespec t;

  clock_gettime (CLOCK_MONOTONIC, &t);
  return t.tv_sec;
}

void
sleep_ms (unsigned ms)
{
  const struct timespec t = { ms / 1000, ms % 1000 * 1000000 };

  nanosleep (&t, NULL);
}

pid_t
process_start (char *const argv[], const char *log_file)
{
  const pid_t pid = fork ();

  if (pid == -1)
    fail ("fork: %m");
  if (pid == 0) {
    int fd = open (log_file, O_WRONLY | O_CREAT | O_APPEND, 0600);

    dup2 (fd, STDERR_FILENO);
    execvp (argv[0], argv);
    _exit (127);
  }
  return pid;
}

void
process_ready (pid_t pid, const char *name, const char *pidfile)
{
  const uint64_t end = seconds () + bound_s;
  struct stat st;
  int status;

  while (stat (pidfile, &st) == -1 || st.st_size == 0) {
    if (waitpid (pid, &status, WNOHANG) == pid)
      fail ("%s has not started: wait status %x", name, status);
    if (seconds () > end)
      fail ("%s is not ready after %u s", name, bound_s);
    sleep_ms (1);
  }
}

int
process_end (pid_t pid, const char *name)
{
  const uint64_t end = seconds () + bound_s;
  int status;

  while (waitpid (pid, &status, WNOHANG) != pid) {
    if (seconds () > end)
      fail ("%s has not stopped after %u s", name, bound_s);
    sleep_ms (1);
  }
  return status;
}
