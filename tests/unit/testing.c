/* nbdclone: what all unit tests share.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "log.h"
#include "testing.h"

/* No test may take longer, whatever it is built with. */
#define TEST_SECONDS 60

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char *newest_error; /* under lock */
static unsigned errors, infos;

void
must_failed (const char *file, int line, const char *condition)
{
  char *error = last_error ();

  fprintf (stderr, "%s:%d: not true: %s (last error: \"%s\")\n", file, line,
           condition, error);
  abort ();
}

void
nap (void)
{
  const struct timespec ts = { .tv_nsec = 1000 * 1000 };

  nanosleep (&ts, NULL);
}

void
log_error (const char *fs, ...)
{
  char *line;
  va_list args;

  va_start (args, fs);
  if (vasprintf (&line, fs, args) == -1)
    abort ();
  va_end (args);

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&lock);
  free (newest_error);
  newest_error = line;
  errors++;
}

void
log_info (const char *fs, ...)
{
  (void) fs;
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&lock);
  infos++;
}

char *
last_error (void)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&lock);
  return strdup (newest_error ? newest_error : "");
}

bool
last_error_has (const char *part)
{
  CLEANUP_FREE char *error = last_error ();

  return strstr (error, part) != NULL;
}

unsigned
error_count (void)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&lock);
  return errors;
}

unsigned
info_count (void)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&lock);
  return infos;
}

void
forget_messages (void)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&lock);
  free (newest_error);
  newest_error = NULL;
  errors = infos = 0;
}

uint64_t
random_next (struct random *r)
{
  uint64_t z = r->state += UINT64_C (0x9e3779b97f4a7c15);

  z = (z ^ (z >> 30)) * UINT64_C (0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C (0x94d049bb133111eb);
  return z ^ (z >> 31);
}

uint64_t
random_below (struct random *r, uint64_t n)
{
  return random_next (r) % n;
}

bool
random_one_in (struct random *r, uint64_t n)
{
  return random_below (r, n) == 0;
}

void
thread_start (pthread_t *thread, void *(*run) (void *), void *opaque)
{
  must (pthread_create (thread, NULL, run, opaque) == 0);
}

void
thread_join (pthread_t thread)
{
  must (pthread_join (thread, NULL) == 0);
}

struct to_run {
  struct in_thread in_thread;
  void (*run) (struct in_thread *);
};

static void *
run_one (void *opaque)
{
  struct to_run *r = opaque;

  r->run (&r->in_thread);
  return NULL;
}

void
run_threads (unsigned n, void (*run) (struct in_thread *), void *opaque)
{
  struct to_run r[THREADS_MAX];
  unsigned i;

  must (n <= THREADS_MAX);
  for (i = 0; i < n; ++i) {
    r[i] = (struct to_run){ { .opaque = opaque, .self = i }, run };
    thread_start (&r[i].in_thread.thread, run_one, &r[i]);
  }
  for (i = 0; i < n; ++i)
    thread_join (r[i].in_thread.thread);
}

uint64_t
resident_bytes (void)
{
  unsigned long pages = 0;
  FILE *f = fopen ("/proc/self/statm", "r");

  must (f != NULL);
  must (fscanf (f, "%*u %lu", &pages) == 1);
  fclose (f);
  return SLOWER > 1 ? 0 : (uint64_t) pages * (uint64_t) sysconf (_SC_PAGESIZE);
}

struct suite
suite_new (const char *name)
{
  struct suite s = { suite_create (name), tcase_create (name) };

  tcase_set_timeout (s.tests, TEST_SECONDS);
  suite_add_tcase (s.suite, s.tests);
  return s;
}

int
suite_run (struct suite s)
{
  SRunner *runner = srunner_create (s.suite);
  int failed;

  srunner_run_all (runner, CK_ENV);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  forget_messages ();
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
