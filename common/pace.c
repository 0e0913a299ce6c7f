/* nbdclone: how much the background may have in flight.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "pace.h"

/* Throughput is measured over at least this time, and a latency. */
#define INTERVAL_US UINT64_C (20000)

/* How long a latency is remembered, once or twice. */
#define MEMORY_US UINT64_C (10000000)

static uint64_t
shortest_us (const struct pace *p)
{
  return p->shortest_us[0] < p->shortest_us[1] ? p->shortest_us[0]
                                               : p->shortest_us[1];
}

static uint64_t
delay_us (const struct pace *p)
{
  const uint64_t shortest = shortest_us (p);

  return shortest > PACE_DELAY_US ? shortest : PACE_DELAY_US;
}

void
pace_init (struct pace *p, uint64_t first, uint64_t most)
{
  *p = (struct pace){
    .window = first < most ? first : most,
    .most = most,
    .shortest_us = { UINT64_MAX, UINT64_MAX },
    .warming = true,
  };
}

void
pace_bound (struct pace *p, uint64_t most)
{
  p->most = most;
  if (p->window > most)
    p->window = most;
}

void
pace_idle (struct pace *p, uint64_t now_us)
{
  p->since_us = now_us;
  p->warming = true;
}

uint64_t
pace_line (const struct pace *p)
{
  const uint64_t shortest = shortest_us (p);

  if (shortest == UINT64_MAX)
    return 0;
  return (uint64_t) ((double) p->window * (double) shortest /
                     (double) (shortest + delay_us (p)));
}

uint64_t
pace_limit (struct pace *p, uint64_t now_us, bool yield)
{
  const uint64_t shortest = shortest_us (p);
  uint64_t slice_us = 5 * INTERVAL_US; /* enough to measure in, see below */

  if (now_us < p->drain_until_us) {
    pace_idle (p, now_us);
    return pace_line (p);
  }
  if (shortest != UINT64_MAX)
    slice_us += 3 * shortest;
  if (yield && now_us % (PACE_YIELD * slice_us) >= slice_us) {
    pace_idle (p, now_us);
    return p->window / PACE_YIELD;
  }
  return p->window;
}

static void
note_latency (struct pace *p, uint64_t latency_us, uint64_t now_us)
{
  if (latency_us == 0)
    latency_us = 1;
  if (now_us >= p->turn_us) {
    if (p->turn_us && shortest_us (p) != UINT64_MAX)
      p->drain_until_us = now_us + shortest_us (p) + delay_us (p);
    p->turn_us = now_us + MEMORY_US;
    p->shortest_us[1] = p->shortest_us[0];
    p->shortest_us[0] = UINT64_MAX;
  }
  if (latency_us < p->shortest_us[0])
    p->shortest_us[0] = latency_us;
}

void
pace_copied (struct pace *p, uint64_t bytes, uint64_t began_us, uint64_t now_us)
{
  const uint64_t latency_us = now_us - began_us;
  uint64_t elapsed_us;

  double window;

  note_latency (p, latency_us, now_us);
  if (p->warming) {
    /* What ends now began when more or less than now was in flight. */
    if (began_us < p->since_us)
      return;
    p->warming = false;
    p->bytes = 0;
    p->since_us = now_us;
    return;
  }
  p->bytes += bytes;
  elapsed_us = now_us - p->since_us;
  if (elapsed_us < INTERVAL_US || elapsed_us < latency_us)
    return;
  window = (double) p->bytes / (double) elapsed_us *
           (double) (shortest_us (p) + delay_us (p));
  p->window = window < (double) p->most ? (uint64_t) window : p->most;
  if (p->window < PACE_WINDOW_MIN)
    p->window = PACE_WINDOW_MIN;
  p->bytes = 0;
  p->since_us = now_us;
}
