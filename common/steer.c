/* nbdclone: seeing and steering the engine while it runs.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdatomic.h>

#include "engine-private.h"
#include "steer.h"

static enum engine_state
state_of (struct engine *e)
{
  /* Also of what was complete before (P5). */
  if (commit_failed (&e->clone.commit))
    return ENGINE_FAILED;
  if (clone_complete (&e->clone))
    return ENGINE_COMPLETE;
  return hydrate_is_sweeping (&e->hydrate) ? ENGINE_HYDRATING : ENGINE_PAUSED;
}

void
engine_look (struct engine *e, struct engine_status *s)
{
  struct clone *c = &e->clone;
  struct hydrate_status h;

  hydrate_look (&e->hydrate, &h);
  *s = (struct engine_status){
    .limits = {
      .batch = c->batch,
      .threshold = h.threshold,
      .rate = h.rate,
      .commit_interval_us = commit_interval (&c->commit),
    },
    .size = c->destination->size,
    .region_size = geometry_region_size (&c->geometry),
    .regions = bitmap_regions (c->bitmap),
    .in_flight = h.in_flight,
    .parked = h.parked,
    .bytes_fetched =
      atomic_load_explicit (&c->bytes_fetched, memory_order_relaxed),
    .commits = atomic_load_explicit (&c->commit.count, memory_order_relaxed),
    .last_commit_us =
      atomic_load_explicit (&c->commit.last_us, memory_order_relaxed),
    .state = state_of (e),
  };
  /* In this order: what is committed was hydrated before. */
  s->committed =
    atomic_load_explicit (&c->commit.durable, memory_order_acquire);
  s->hydrated = bitmap_count (c->bitmap);
  if (clone_complete (c))
    s->committed = s->hydrated;
}

void
engine_pause (struct engine *e, bool pause)
{
  hydrate_sweep (&e->hydrate, !pause);
}

void
engine_source_changed (struct engine *e)
{
  hydrate_source_changed (&e->hydrate);
}

int
engine_set_limits (struct engine *e, const struct engine_limits *limits)
{
  struct clone *c = &e->clone;

  if (limits->commit_interval_us != commit_interval (&c->commit))
    commit_set_interval (&c->commit, limits->commit_interval_us);
  return hydrate_set (&e->hydrate, limits->threshold,
                      engine_batch (c->destination, limits->batch),
                      limits->rate);
}

bool
engine_hydrate (struct engine *e, uint64_t length, uint64_t offset)
{
  const struct geometry *g = &e->clone.geometry;

  if (clone_complete (&e->clone) || offset >= g->size)
    return true;
  if (length > g->size - offset)
    length = g->size - offset;
  return hydrate_request (&e->hydrate, regions_touched (g, offset, length),
                          false);
}
