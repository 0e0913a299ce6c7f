/* nbdclone: what clients notice of the background.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "courtesy.h"

#define SLACK_US 100 /* below that it is noise */

#define GROWTH_MAX 1.1 /* of the share, in an interval */

#define INTERVAL_US UINT64_C (20000)
#define REQUESTS 8
#define LONG_US UINT64_C (500000)

#define PROBE_US UINT64_C (10000000)
#define SOON_US UINT64_C (1000000)

void
courtesy_init (struct courtesy *c)
{
  *c = (struct courtesy){ .share = COURTESY_ALL };
}

static void
begin_interval (struct courtesy *c, uint64_t now_us)
{
  c->since_us = now_us;
  /* In this order: rather too short a mean than too long a one. */
  c->total_then_us = atomic_load_explicit (&c->total_us, memory_order_relaxed);
  c->requests_then = atomic_load_explicit (&c->requests, memory_order_relaxed);
}

static void
begin_phase (struct courtesy *c, int phase, uint64_t now_us)
{
  c->phase = phase;
  c->phase_us = now_us;
  begin_interval (c, now_us);
}

static void
run (struct courtesy *c, uint64_t now_us, uint64_t next_probe_us)
{
  c->next_probe_us = next_probe_us;
  begin_phase (c, COURTESY_RUN, now_us);
}

/* Is an interval over?  Then its mean. */
static bool
interval_over (struct courtesy *c, uint64_t now_us, uint64_t *mean_us)
{
  const uint64_t requests =
    atomic_load_explicit (&c->requests, memory_order_relaxed) -
    c->requests_then;
  const uint64_t total_us =
    atomic_load_explicit (&c->total_us, memory_order_relaxed) -
    c->total_then_us;

  if (now_us < c->since_us + INTERVAL_US ||
      (requests < REQUESTS && now_us < c->since_us + LONG_US) || requests < 2)
    return false;
  *mean_us = total_us / requests;
  begin_interval (c, now_us);
  return true;
}

static void
set_share (struct courtesy *c, unsigned share)
{
  c->share = share < COURTESY_LEAST ? COURTESY_LEAST
             : share > COURTESY_ALL ? COURTESY_ALL
                                    : share;
}

static void
adapt (struct courtesy *c, uint64_t mean_us, uint64_t now_us)
{
  const double may_wait = (double) (c->alone_us + SLACK_US);
  const double waits = (double) mean_us - (double) c->alone_us;
  double factor = waits > 0 ? may_wait / waits : GROWTH_MAX;

  if (factor < 1 && c->share == COURTESY_LEAST &&
      c->next_probe_us > now_us + SOON_US)
    c->next_probe_us = now_us + SOON_US;
  if (factor > GROWTH_MAX)
    factor = GROWTH_MAX;
  set_share (c, (unsigned) (factor * c->share) + (factor > 1));
}

unsigned
courtesy_share (struct courtesy *c, uint64_t now_us, bool quiet)
{
  uint64_t mean_us;

  if (c->phase == COURTESY_DRAIN && quiet)
    begin_phase (c, COURTESY_PROBE, now_us);
  if (c->phase == COURTESY_RUN) {
    if (interval_over (c, now_us, &mean_us)) {
      if (now_us >= c->next_probe_us)
        begin_phase (c, COURTESY_DRAIN, now_us);
      else
        adapt (c, mean_us, now_us);
    }
    else if (now_us >= c->since_us + LONG_US) {
      /* Clients are idle. */
      c->share = COURTESY_ALL;
      run (c, now_us, 0);
    }
  }
  else if (c->phase == COURTESY_PROBE && interval_over (c, now_us, &mean_us)) {
    c->alone_us = mean_us;
    run (c, now_us, now_us + PROBE_US);
  }
  else if (now_us >= c->phase_us + LONG_US) {
    /* Too much is in flight, or clients have become idle. */
    set_share (c, c->share / 2);
    run (c, now_us, now_us + SOON_US);
  }
  return c->phase == COURTESY_RUN ? c->share : 0;
}
