/* nbdclone: the machine's clock.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <time.h>

#include "clock.h"

static uint64_t
system_now_us (struct clock *clock)
{
  struct timespec ts;

  (void) clock;
  clock_gettime (CLOCK_MONOTONIC, &ts);
  return (uint64_t) ts.tv_sec * 1000000 + (uint64_t) ts.tv_nsec / 1000;
}

static void
system_wait_until (struct clock *clock, pthread_cond_t *cond,
                   pthread_mutex_t *lock, uint64_t until_us)
{
  const struct timespec ts = {
    .tv_sec = (time_t) (until_us / 1000000),
    .tv_nsec = (long) (until_us % 1000000) * 1000,
  };

  (void) clock;
  pthread_cond_timedwait (cond, lock, &ts);
}

struct clock system_clock = {
  .now_us = system_now_us,
  .wait_until = system_wait_until,
};

void
clock_cond_init (pthread_cond_t *cond)
{
  pthread_condattr_t attr;

  pthread_condattr_init (&attr);
  pthread_condattr_setclock (&attr, CLOCK_MONOTONIC);
  pthread_cond_init (cond, &attr);
  pthread_condattr_destroy (&attr);
}
