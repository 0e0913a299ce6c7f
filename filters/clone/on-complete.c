/* nbdclone: clone-on-complete: the command that is run at the end.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * It is run when the clone is complete and committed, at least once, until it has
 * exited with 0, which is then recorded in the bitmap file.  A thread of its own
 * starts it and waits for it, so nobody else does.
 *
 * When nbdkit ends the command is given LEAVE_US, so that the success of one that
 * has told nbdkit to end is recorded, and then it is left alone: what takes the
 * filter out may well have to outlive it.  It has not succeeded as far as we know,
 * so the next start runs it again.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "log.h"
#include "on-complete.h"

#define PAUSE_MIN_US UINT64_C (1000000)
#define PAUSE_MAX_US UINT64_C (300000000)
#define LEAVE_US UINT64_C (2000000)

/* How often it is looked whether it has ended: more seldom after a while. */
#define LOOK_MIN_US UINT64_C (5000)
#define LOOK_MAX_US UINT64_C (200000)

struct on_complete {
  const struct params *params;
  struct bitmap_file *file;
  pthread_t thread;
  bool has_thread;
  pthread_mutex_t lock; /* protects all below; a leaf */
  pthread_cond_t changed;
  bool complete;
  bool stop;
  uint64_t stop_us;
};

static uint64_t
now_us (void)
{
  return system_clock.now_us (&system_clock);
}

/* Wait, but no longer than until then, or until it is to be stopped.  Is it? */
static bool
wait_until (struct on_complete *oc, uint64_t until)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&oc->lock);
  while (!oc->stop && now_us () < until)
    system_clock.wait_until (&system_clock, &oc->changed, &oc->lock, until);
  return oc->stop;
}

/* false if it is to be stopped instead. */
static bool
wait_for_the_end (struct on_complete *oc)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&oc->lock);
  while (!oc->complete && !oc->stop)
    pthread_cond_wait (&oc->changed, &oc->lock);
  return !oc->stop;
}

static void
free_strings (char **strings)
{
  size_t i;

  for (i = 0; strings && strings[i]; ++i)
    free (strings[i]);
  free (strings);
}

/* Ours, and what nbdkit has.  NULL without memory. */
static char **
make_environment (const struct on_complete *oc, unsigned attempt)
{
  const struct params *p = oc->params;
  const struct bitmap_file_identity *id = bitmap_file_identity (oc->file);
  size_t n = 0, i = 0;
  char **env;
  bool ok;

  while (environ[n])
    n++;
  env = calloc (n + 8, sizeof *env);
  if (env == NULL)
    return NULL;
  ok = asprintf (&env[i++], "NBDCLONE_SOURCE=%s", p->source.shown) >= 0 &&
       asprintf (&env[i++], "NBDCLONE_SOURCE_SIZE=%" PRIu64, id->source_size) >=
         0 &&
       asprintf (&env[i++], "NBDCLONE_SIZE=%" PRIu64, id->disk_size) >= 0 &&
       asprintf (&env[i++], "NBDCLONE_BITMAP=%s", p->bitmap) >= 0 &&
       asprintf (&env[i++], "NBDCLONE_CONTROL=%s",
                 p->control ? p->control : "") >= 0 &&
       asprintf (&env[i++], "NBDCLONE_PID=%d", (int) getpid ()) >= 0 &&
       asprintf (&env[i++], "NBDCLONE_ATTEMPT=%u", attempt) >= 0;
  for (n = 0; ok && environ[n]; ++n)
    if (strncmp (environ[n], "NBDCLONE_", 9) != 0) {
      env[i] = strdup (environ[n]);
      ok = env[i++] != NULL;
    }
  if (ok)
    return env;
  env[i - 1] = NULL; /* what asprintf leaves after a failure is undefined */
  free_strings (env);
  return NULL;
}

/* In a process group of its own, so that the terminal's ^C is for nbdkit alone;
 * without what nbdkit ignores or blocks; and its output goes where messages go,
 * since nbdkit's standard output may be a client (-s).
 */
static int
spawn (const struct on_complete *oc, unsigned attempt, pid_t *pid)
{
  char *const argv[] = { "sh", "-c", oc->params->on_complete, NULL };
  char **env = make_environment (oc, attempt);
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attr;
  sigset_t signals;
  int r;

  if (env == NULL)
    return ENOMEM;
  posix_spawn_file_actions_init (&files);
  posix_spawn_file_actions_addopen (&files, STDIN_FILENO, "/dev/null", 0, 0);
  posix_spawn_file_actions_adddup2 (&files, STDERR_FILENO, STDOUT_FILENO);
  posix_spawnattr_init (&attr);
  posix_spawnattr_setpgroup (&attr, 0);
  sigemptyset (&signals);
  posix_spawnattr_setsigmask (&attr, &signals);
  sigfillset (&signals);
  posix_spawnattr_setsigdefault (&attr, &signals);
  posix_spawnattr_setflags (&attr, POSIX_SPAWN_SETPGROUP |
                                     POSIX_SPAWN_SETSIGMASK |
                                     POSIX_SPAWN_SETSIGDEF);
  r = posix_spawn (pid, "/bin/sh", &files, &attr, argv, env);
  posix_spawnattr_destroy (&attr);
  posix_spawn_file_actions_destroy (&files);
  free_strings (env);
  return r;
}

/* Wait until it has ended.  false if it is left running. */
static bool
wait_for_command (struct on_complete *oc, pid_t pid, int *status)
{
  uint64_t look_us = LOOK_MIN_US;

  for (;;) {
    const pid_t r = waitpid (pid, status, WNOHANG);

    if (r != 0 && !(r == -1 && errno == EINTR)) {
      if (r == -1) /* somebody else has taken its status */
        *status = 0x7f00;
      return true;
    }
    if (wait_until (oc, now_us () + look_us)) {
      if (now_us () >= oc->stop_us + LEAVE_US)
        return false;
      usleep ((useconds_t) LOOK_MIN_US);
    }
    if (look_us < LOOK_MAX_US)
      look_us *= 2;
  }
}

enum result { SUCCEEDED, FAILED, LEFT };

static enum result
run (struct on_complete *oc, unsigned attempt, char *why, size_t why_size)
{
  int status;
  pid_t pid;
  const int r = spawn (oc, attempt, &pid);

  if (r) {
    snprintf (why, why_size, "cannot start it: %s", strerror (r));
    return FAILED;
  }
  if (!wait_for_command (oc, pid, &status)) {
    log_info ("clone-on-complete: process %d still runs and is left alone; "
              "the next start runs the command again",
              (int) pid);
    return LEFT;
  }
  if (WIFEXITED (status) && WEXITSTATUS (status) == 0)
    return SUCCEEDED;
  if (WIFEXITED (status))
    snprintf (why, why_size, "exit status %d", WEXITSTATUS (status));
  else
    snprintf (why, why_size, "ended by signal %d", WTERMSIG (status));
  return FAILED;
}

static void *
on_complete_thread (void *opaque)
{
  struct on_complete *oc = opaque;
  uint64_t pause_us = PAUSE_MIN_US;
  unsigned attempt;
  char why[256];

  if (!wait_for_the_end (oc))
    return NULL;
  for (attempt = 1;; ++attempt) {
    switch (run (oc, attempt, why, sizeof why)) {
    case SUCCEEDED:
      if (bitmap_file_announce (oc->file) == -1)
        log_error ("clone-on-complete: the command has succeeded, but that "
                   "cannot be recorded (%m): the next start runs it again");
      return NULL;
    case LEFT:
      return NULL;
    case FAILED:
      log_error ("clone-on-complete: %s; trying again in %" PRIu64 " s", why,
                 pause_us / 1000000);
    }
    if (wait_until (oc, now_us () + pause_us))
      return NULL;
    pause_us = pause_us * 2 < PAUSE_MAX_US ? pause_us * 2 : PAUSE_MAX_US;
  }
}

struct on_complete *
on_complete_start (const struct params *params, struct bitmap_file *file)
{
  struct on_complete *oc = calloc (1, sizeof *oc);
  int r;

  if (oc == NULL)
    return NULL;
  oc->params = params;
  oc->file = file;
  /* Where it is ignored, nobody gets to know how a command has ended. */
  signal (SIGCHLD, SIG_DFL);
  pthread_mutex_init (&oc->lock, NULL);
  clock_cond_init (&oc->changed);
  r = pthread_create (&oc->thread, NULL, on_complete_thread, oc);
  oc->has_thread = r == 0;
  if (r) {
    on_complete_free (oc);
    errno = r;
    return NULL;
  }
  return oc;
}

void
on_complete_now (struct on_complete *oc)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&oc->lock);
  oc->complete = true;
  pthread_cond_broadcast (&oc->changed);
}

void
on_complete_stop (struct on_complete *oc)
{
  if (oc == NULL || !oc->has_thread)
    return;
  pthread_mutex_lock (&oc->lock);
  oc->stop = true;
  oc->stop_us = now_us ();
  pthread_cond_broadcast (&oc->changed);
  pthread_mutex_unlock (&oc->lock);
  pthread_join (oc->thread, NULL);
  oc->has_thread = false;
}

void
on_complete_free (struct on_complete *oc)
{
  if (oc == NULL)
    return;
  on_complete_stop (oc);
  pthread_mutex_destroy (&oc->lock);
  pthread_cond_destroy (&oc->changed);
  free (oc);
}
