/* nbdclone: what the background copies next.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * This order:
 *
 *   1. what clients asked for (a queue of limited length);
 *   2. the sweep: a cursor that goes from the start of the disk to its end and
 *      takes what the bitmap shows as missing and nobody is copying just now.
 *
 * The sweep asks the source for its extents well ahead, and what they say is
 * zero is not fetched.
 *
 * When the cursor has reached the end and the last copy has ended, the round is
 * over.  What is missing then has failed, or was passed over because a client
 * was fetching it, and the next round finds it; that one passes nothing over, or
 * a region that clients fetch all the time would never be copied (lesson 20).  So
 * failures need no list: a batch that the source could not read is split until
 * only bad regions are left out (lesson 21), and they just stay missing.  After a
 * round with failures there is a pause, longer each time, and after
 * MAX_FAILED_ROUNDS of them in a row what is left is parked: it is tried again
 * every few minutes only.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>

#include "cleanup.h"
#include "log.h"
#include "store.h"
#include "sweep.h"

#define MAX_FAILED_ROUNDS 5
#define ROUND_PAUSE_US UINT64_C (1000000)    /* after the first; doubles */
#define PARKED_PAUSE_US UINT64_C (300000000) /* what was given up on */

/* The smallest copy that is worth a command of its own, if clients need not ask
 * for less.
 */
#define COPY_MIN (UINT64_C (64) << 10)

/* Extents are asked for in pieces of this size (NBD's lengths have 32 bits),
 * when less than the second is known ahead of the cursor.
 */
#define MAP_PIECE (UINT64_C (0x100000000) - (1 << 20))
#define MAP_AHEAD (UINT64_C (256) << 20)
#define MAP_ANSWER_MAX 4096

/* How many regions the sweep looks at in one step, with the lock held. */
#define LOOK_MAX (UINT64_C (1) << 20)

/* Between two rounds without a failure.  The last bits of a round may be set
 * but not be counted yet.
 */
#define BREATH_US UINT64_C (1000)

uint64_t
sweep_piece_size (const struct hydrate *h)
{
  const uint64_t batch = h->clone->batch;
  uint64_t size = h->pace.window / COPIES;

  if (h->rate && h->rate / 8 < size)
    size = h->rate / 8;
  size &= ~(COPY_MIN - 1);
  if (size < COPY_MIN)
    size = COPY_MIN;
  return size < batch ? size : batch;
}

/* Most bytes in one copy. */
static uint64_t
copy_size (const struct hydrate *h)
{
  const uint64_t region = geometry_region_size (&h->clone->geometry);
  const uint64_t piece = sweep_piece_size (h);

  return piece < region ? region : piece;
}

/* The first regions of `in` that are in flight as a whole, empty if there are
 * none.  What is in flight in part remains to be copied.
 */
static struct regions
regions_in_flight (struct hydrate *h, struct regions in)
{
  const struct geometry *g = &h->clone->geometry;
  const uint64_t end = region_start (g, in.end);
  uint64_t at = region_start (g, in.first), from;
  struct regions covered = { 0, 0 };

  while (regions_empty (covered) &&
         flights_find (&h->clone->flights, at, end, &from, &at))
    covered = regions_covered (g, from, at - from);
  return covered;
}

/* Is somebody copying region r, or, unless that does not count, a client
 * fetching it?  Then *end is where that ends.  If not, it is where the next of
 * them begins, at most as far as it was.
 */
static bool
is_active (struct hydrate *h, uint64_t r, bool insist, uint64_t *end)
{
  struct regions fetched;
  unsigned i;

  for (i = 0; i < h->n_threads; ++i) {
    const struct regions a = h->threads[i].active;

    if (regions_empty (a))
      continue;
    if (a.first <= r && r < a.end) {
      *end = a.end;
      return true;
    }
    if (r < a.first && a.first < *end)
      *end = a.first;
  }
  if (insist)
    return false;
  fetched = regions_in_flight (h, (struct regions){ r, *end });
  if (regions_empty (fetched))
    return false;
  if (fetched.first == r) {
    h->passed_over = true;
    *end = fetched.end;
    return true;
  }
  *end = fetched.first;
  return false;
}

bool
sweep_take_wish (struct hydrate *h, struct work *work)
{
  const uint64_t most = copy_size (h) >> h->clone->geometry.shift;

  while (h->queue_count > 0) {
    const struct hydrate_wish *wish = &h->queue[h->queue_first];
    struct regions *q = &h->queue[h->queue_first].regions;
    uint64_t end = q->end;
    bool hydrated = true;
    uint64_t n = 0;

    if (wish->ahead && !hydrate_is_sweeping (h))
      q->first = q->end;
    if (!regions_empty (*q)) {
      if (is_active (h, q->first, false, &end)) {
        q->first = end;
        continue;
      }
      n = bitmap_run (h->clone->bitmap, q->first, end, &hydrated);
      if (!hydrated && n > most)
        n = most;
    }
    work->regions = (struct regions){ q->first, q->first + n };
    q->first += n;
    if (regions_empty (*q)) {
      h->queue_first = (h->queue_first + 1) % HYDRATE_QUEUE_MAX;
      h->queue_count--;
    }
    if (!hydrated) {
      work->kind = WORK_COPY;
      work->swept = false;
      return true;
    }
  }
  return false;
}

static void
begin_round (struct hydrate *h)
{
  h->round_failures = 0;
  h->insist = h->passed_over;
  h->passed_over = false;
  h->source_complained = false;
  h->cursor = 0;
  extent_map_reset (&h->map, 0);
  pthread_cond_broadcast (&h->wake);
}

/* All copies of a round have ended: begin the next one, or not. */
static void
end_round (struct hydrate *h)
{
  const uint64_t missing =
    bitmap_regions (h->clone->bitmap) - bitmap_count (h->clone->bitmap);

  if (missing == 0)
    return;
  if (h->round_failures == 0) {
    h->failed_rounds = 0;
    h->pause_until_us = h->clone->clock->now_us (h->clone->clock) +
                        (h->passed_over ? YIELD_US : BREATH_US);
  }
  else {
    h->failed_rounds++;
    if (h->failed_rounds >= MAX_FAILED_ROUNDS) {
      h->unpark_us =
        h->clone->clock->now_us (h->clone->clock) + PARKED_PAUSE_US;
      if (h->parked != missing)
        log_error ("gave up on %" PRIu64 " regions for now, after %u attempts: "
                   "the source or the destination fails there; they are tried "
                   "again every five minutes, and by a client's read",
                   missing, h->failed_rounds);
      h->parked = missing;
      return;
    }
    h->pause_until_us = h->clone->clock->now_us (h->clone->clock) +
                        (ROUND_PAUSE_US << (h->failed_rounds - 1));
  }
  h->parked = 0;
  begin_round (h);
}

/* What do the source's extents say about the region at the cursor?  Shortens
 * the range to what is of one kind.  false if they have to be asked for first.
 */
static bool
apply_map (struct hydrate *h, struct regions *r, bool *zero)
{
  const struct geometry *g = &h->clone->geometry;
  const uint64_t offset = region_start (g, r->first);
  uint64_t end;

  *zero = false;
  if (h->map_useless)
    return true;
  if (!extent_map_find (&h->map, offset, zero, &end)) {
    if (!h->map_busy)
      extent_map_reset (&h->map, offset);
    return false;
  }
  if (*zero) {
    const struct regions covered = regions_covered (g, offset, end - offset);

    if (!regions_empty (covered)) {
      if (covered.end < r->end)
        r->end = covered.end;
      return true;
    }
    *zero = false; /* the region is zero in part */
    end = region_start (g, r->first + 1);
  }
  /* Data up to the next extent that is zero, and the region in between. */
  if (end < region_start (g, r->end))
    r->end = regions_touched (g, offset, end - offset).end;
  return true;
}

static struct work
extents_work (struct hydrate *h)
{
  h->map_busy = true;
  return (struct work){ .kind = WORK_EXTENTS, .map_offset = h->map.to };
}

bool
sweep_take (struct hydrate *h, struct work *work)
{
  struct clone *c = h->clone;
  const struct geometry *g = &c->geometry;
  const uint64_t regions = bitmap_regions (c->bitmap);

  while (h->cursor < regions) {
    struct regions r = { h->cursor, regions };
    bool hydrated, zero;
    uint64_t most;

    if (r.end - r.first > LOOK_MAX)
      r.end = r.first + LOOK_MAX;

    r.end = r.first + bitmap_run (c->bitmap, r.first, r.end, &hydrated);
    if (hydrated || is_active (h, r.first, h->insist, &r.end)) {
      h->cursor = r.end;
      continue;
    }
    if (!apply_map (h, &r, &zero)) {
      if (h->map_busy)
        return false; /* the answer wakes us up */
      *work = extents_work (h);
      return true;
    }
    extent_map_forget (&h->map, region_start (g, r.first));
    if (!h->map_useless && !h->map_busy && h->map.to < c->source->size &&
        h->map.to < region_start (g, r.first) + MAP_AHEAD &&
        extent_map_room (&h->map) >= MAP_ANSWER_MAX) {
      *work = extents_work (h);
      return true;
    }

    most = (zero ? STORE_ZERO_MAX : copy_size (h)) >> g->shift;
    if (most == 0)
      most = 1;
    if (r.end - r.first > most)
      r.end = r.first + most;
    h->cursor = r.end;
    *work = (struct work){
      .kind = zero ? WORK_ZERO : WORK_COPY,
      .regions = r,
      .swept = true,
    };
    return true;
  }

  if (h->n_active > 0)
    return false;
  if (h->unpark_us == 0)
    end_round (h);
  else if (c->clock->now_us (c->clock) >= h->unpark_us) {
    /* One round, in which whatever works again is copied. */
    h->unpark_us = 0;
    h->failed_rounds = MAX_FAILED_ROUNDS - 1;
    h->pause_until_us = c->clock->now_us (c->clock) + BREATH_US;
    begin_round (h);
  }
  return false;
}

void
sweep_ask_extents (struct hydrate *h, uint64_t offset)
{
  struct source *s = h->clone->source;
  CLEANUP_FREE struct source_extent *extents =
    calloc (MAP_ANSWER_MAX, sizeof *extents);
  const uint64_t left = s->size - offset;
  const uint64_t length = left < MAP_PIECE ? left : MAP_PIECE;
  struct source_wait wait;
  uint64_t now_us;
  uint64_t said = 0; /* bytes that the answer is about */
  size_t n = 0, i;
  int err = ENOMEM;

  if (extents) {
    source_start_extents (s, &wait, extents, MAP_ANSWER_MAX, true, length,
                          offset);
    err = source_finish (s, &wait);
    n = wait.request.n_extents;
    for (i = 0; err == 0 && i < n; ++i)
      said += extents[i].length;
    if (said == left)
      said = UINT64_MAX; /* it is all that there is to say */
  }

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&h->lock);
  h->map_busy = false;
  now_us = h->clone->clock->now_us (h->clone->clock);
  if (err == EOPNOTSUPP)
    h->map_useless = true;
  else if (err == ENOTCONN)
    h->pause_until_us = now_us + TROUBLE_PAUSE_US;
  else if (h->map.to == offset) {
    if (err == 0 && said >= COPY_MIN)
      extent_map_add (&h->map, extents, n);
    else {
      /* It cannot say, or no more than would take forever: then it is data. */
      const struct source_extent data = { length < MAP_AHEAD ? length
                                                             : MAP_AHEAD,
                                          0 };
      extent_map_add (&h->map, &data, 1);
    }
  }
  pthread_cond_broadcast (&h->wake);
}
