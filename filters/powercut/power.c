/* nbdclone: powercut: when requests fail, and when the power is cut.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 *   on ──power_cut──▶ cutting ──survivors written, report made──▶ off
 *
 * Requests that come when the power is not on, and those that were being
 * served, are answered with an error, but not before it is off: a client that
 * has seen this error knows that the layer below will not change any more.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <nbdkit-filter.h>

#include "cleanup.h"
#include "power.h"
#include "random.h"

void
power_init (struct power *p, const struct params *params)
{
  *p = (struct power){ .params = params };
  pthread_mutex_init (&p->lock, NULL);
  pthread_cond_init (&p->settled, NULL);
}

void
power_destroy (struct power *p)
{
  pthread_cond_destroy (&p->settled);
  pthread_mutex_destroy (&p->lock);
}

/* If the power is not on, wait until it is off, and return true.  With p->lock
 * held.
 */
static bool
wait_if_cut (struct power *p)
{
  if (p->state == POWER_ON)
    return false;
  while (p->state != POWER_OFF)
    pthread_cond_wait (&p->settled, &p->lock);
  return true;
}

bool
power_is_cut (struct power *p)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&p->lock);
  return wait_if_cut (p);
}

/* One line, in a file that appears complete or not at all. */
static void
write_report (const char *path, const char *line)
{
  CLEANUP_FREE char *name = NULL;
  const ssize_t length = (ssize_t) strlen (line);
  int fd;

  if (asprintf (&name, "%s.XXXXXX", path) == -1) {
    name = NULL;
    nbdkit_error ("asprintf: %m");
    return;
  }
  fd = mkstemp (name);
  if (fd == -1) {
    nbdkit_error ("%s: %m", name);
    return;
  }
  if (write (fd, line, (size_t) length) != length || close (fd) == -1 ||
      rename (name, path) == -1) {
    nbdkit_error ("%s: %m", path);
    unlink (name);
  }
}

static void
settle (struct power *p, const char *trigger, uint64_t number)
{
  struct cache_outcome outcome;
  struct choice choice;
  char line[256];

  choice_init (&choice, p->params->seed, p->params->keep);
  cache_cut (p->cache, &choice, &outcome);
  if (outcome.error)
    nbdkit_error ("writing what survives the power cut: %s",
                  strerror (outcome.error));
  snprintf (line, sizeof line,
            "trigger=%s request=%" PRIu64 " seed=%" PRIu64
            " keep=%s kept=%" PRIu64 " sectors=%" PRIu64 " destaged=%" PRIu64
            "\n",
            trigger, number, p->params->seed, choice_name (&choice),
            outcome.kept, outcome.sectors, outcome.destaged);
  fprintf (stderr, "nbdkit: powercut: power cut: %s", line);
  if (p->params->report)
    write_report (p->params->report, line);
}

/* The number of the request at which the power is cut, or 0 if it is not on. */
static uint64_t
begin_cut (struct power *p, uint64_t number)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&p->lock);
  if (wait_if_cut (p))
    return UINT64_MAX;
  p->state = POWER_CUTTING;
  return number ? number : p->requests;
}

static void
end_cut (struct power *p)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&p->lock);
  p->state = POWER_OFF;
  pthread_cond_broadcast (&p->settled);
}

void
power_cut (struct power *p, const char *trigger, uint64_t number)
{
  number = begin_cut (p, number);
  if (number == UINT64_MAX)
    return;
  settle (p, trigger, number);
  end_cut (p);
}

/* Number the request, and decide whether it is the last one.  False if the
 * power has been cut.
 */
static bool
enter (struct power *p, struct request *request)
{
  const struct params *params = p->params;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&p->lock);
  if (wait_if_cut (p))
    return false;
  request->number = ++p->requests;
  if ((request->kinds & params->kinds) == 0)
    return true;
  p->counted++;
  request->last =
    p->counted == params->at ||
    random_chance (random_number (params->seed, RANDOM_CUT, p->counted, 0),
                   params->probability);
  return true;
}

/* Would all flushes fail from now on? */
static bool
flushes_fail (struct power *p)
{
  const struct params *params = p->params;

  if (params->fail_flush_file && access (params->fail_flush_file, F_OK) == 0)
    return true;
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&p->lock);
  return params->fail_flush_for_ever && p->flushes + 1 >= params->fail_flush;
}

int
power_begin (struct power *p, struct request *request, unsigned kinds,
             uint64_t offset, uint64_t count, int *err)
{
  const struct params *params = p->params;
  uint64_t delay_us;
  int error;

  *request = (struct request){
    .kinds = kinds,
    .offset = offset,
    .count = count,
  };
  if (params->file && access (params->file, F_OK) == 0)
    power_cut (p, "file", 0);
  if (!enter (p, request)) {
    *err = params->error;
    return -1;
  }
  if (request->last)
    return 0;
  rules_apply (&params->rules, params->seed, request, &delay_us, &error);
  if (delay_us > 0 &&
      nbdkit_nanosleep ((unsigned) (delay_us / 1000000),
                        (unsigned) (delay_us % 1000000 * 1000)) == -1)
    error = errno;
  if (error == 0 && (kinds & REQUEST_FUA) && flushes_fail (p))
    error = EIO;
  if (error) {
    *err = error;
    return power_end (p, request, -1, err);
  }
  return 0;
}

int
power_end (struct power *p, const struct request *request, int r, int *err)
{
  if (request->last)
    power_cut (p, "request", request->number);
  if (power_is_cut (p)) {
    *err = p->params->error;
    return -1;
  }
  return r;
}

/* Does the flush that comes now fail? */
static bool
this_flush_fails (struct power *p)
{
  const struct params *params = p->params;
  const bool fails = flushes_fail (p);

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&p->lock);
  p->flushes++;
  return fails || p->flushes == params->fail_flush;
}

int
power_flush (struct power *p, int *err)
{
  if (!this_flush_fails (p))
    return cache_flush (p->cache, err);
  if (p->params->failed_flush_drops)
    cache_lose (p->cache);
  *err = EIO;
  return -1;
}
