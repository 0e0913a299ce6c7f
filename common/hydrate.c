/* nbdclone: hydration in the background.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * `threshold` threads each do one piece of work at a time.  What is next is
 * decided under one lock, in this order:
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
 *
 * A copy that failed because the source is away or the destination is full puts
 * the cursor back and makes all wait for a moment.  It is nobody's failure.
 *
 * How much is in flight, pace.h decides.  While clients need the source, the
 * sweep yields; what they asked for does not.  The moment of the last need counts
 * too, since a client that waits for one answer before it asks again would look
 * idle between the two.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "copy.h"
#include "hydrate.h"
#include "log.h"
#include "store.h"

#define MAX_FAILED_ROUNDS 5
#define ROUND_PAUSE_US UINT64_C (1000000)    /* after the first; doubles */
#define PARKED_PAUSE_US UINT64_C (300000000) /* what was given up on */
#define TROUBLE_PAUSE_US UINT64_C (1000000)  /* source away, destination full */
#define YIELD_US UINT64_C (20000)

/* The smallest copy that is worth a command of its own, if clients need not ask
 * for less, and how many of them the window is made of where it is small.
 */
#define COPY_MIN (UINT64_C (64) << 10)
#define COPIES 4

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

struct work {
  enum { WORK_COPY, WORK_ZERO, WORK_EXTENTS } kind;
  struct regions regions;
  uint64_t piece;      /* bytes that are copied at a time */
  uint32_t room;       /* bytes of buffer: the batch */
  bool swept;          /* by the sweep, not for a client */
  uint64_t map_offset; /* WORK_EXTENTS */
};

int
hydrate_init (struct hydrate *h, struct clone *clone, unsigned threshold,
              uint64_t rate, bool sweeping)
{
  assert (threshold > 0 && threshold <= HYDRATE_THRESHOLD_MAX);
  *h = (struct hydrate){
    .clone = clone,
    .threshold = threshold,
    .rate = rate,
    .sweeping = sweeping,
  };
  pthread_mutex_init (&h->lock, NULL);
  clock_cond_init (&h->wake);
  pace_init (&h->pace, COPIES * (uint64_t) clone->batch,
             threshold * (uint64_t) clone->batch);
  h->threads = calloc (HYDRATE_THRESHOLD_MAX, sizeof *h->threads);
  if (h->threads == NULL) {
    hydrate_destroy (h);
    return ENOMEM;
  }
  return 0;
}

void
hydrate_destroy (struct hydrate *h)
{
  assert (h->n_threads == 0);
  free (h->threads);
  pthread_mutex_destroy (&h->lock);
  pthread_cond_destroy (&h->wake);
}

/* Most bytes that are fetched at a time: no more than an eighth of a second's
 * worth where there is a rate limit, so that it is kept evenly, and several of
 * them to the window.
 */
static uint64_t
piece_size (const struct hydrate *h)
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
  const uint64_t piece = piece_size (h);

  return piece < region ? region : piece;
}

static uint64_t
bytes_of (const struct hydrate *h, struct regions r)
{
  const struct geometry *g = &h->clone->geometry;

  return region_start (g, r.end) - region_start (g, r.first);
}

/* How much of this work is in flight at a time. */
static uint64_t
weight (const struct hydrate *h, const struct work *work)
{
  const uint64_t bytes = bytes_of (h, work->regions);

  if (work->kind != WORK_COPY)
    return 0;
  return bytes < work->piece ? bytes : work->piece;
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

/* The next piece that clients have asked for and that is still missing. */
static bool
take_from_queue (struct hydrate *h, struct work *work)
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

/* The sweep's next piece; false if there is none now. */
static bool
take_from_sweep (struct hydrate *h, struct work *work)
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
    begin_round (h);
  }
  return false;
}

/* Do clients need the source? */
static bool
clients_need_it (struct hydrate *h, uint64_t now)
{
  const uint64_t client =
    atomic_load_explicit (&h->client_us, memory_order_relaxed);

  return atomic_load_explicit (&h->clone->clients, memory_order_relaxed) > 0 ||
         (client && now < client + YIELD_US);
}

/* May one more copy be in flight? */
static bool
has_room (struct hydrate *h, uint64_t now, bool yield)
{
  return h->in_flight == 0 || h->in_flight < pace_limit (&h->pace, now, yield);
}

/* Take what is next and there is room for. */
static bool
take (struct hydrate *h, uint64_t now, struct work *work)
{
  bool taken;

  if (h->n_active >= h->threshold || !has_room (h, now, false))
    return false;
  taken = take_from_queue (h, work);
  if (!taken && hydrate_is_sweeping (h)) {
    if (!has_room (h, now, clients_need_it (h, now)))
      return false;
    taken = take_from_sweep (h, work);
  }
  if (!taken)
    pace_idle (&h->pace, now);
  return taken;
}

/* Until when must we wait before a copy may begin?  0 if it may now, UINT64_MAX
 * if until something happens.
 */
static uint64_t
wait_for (struct hydrate *h, uint64_t now)
{
  struct clone *c = h->clone;

  if (commit_failed (&c->commit))
    return UINT64_MAX;
  if (h->pause_until_us) {
    if (now < h->pause_until_us)
      return h->pause_until_us;
    h->pause_until_us = 0;
  }
  if (h->rate && now < h->rate_next_us)
    return h->rate_next_us;
  return 0;
}

static void
account_rate (struct hydrate *h, uint64_t now, uint64_t bytes)
{
  if (h->rate == 0)
    return;
  if (h->rate_next_us < now)
    h->rate_next_us = now;
  h->rate_next_us += (uint64_t) ((double) bytes * 1e6 / (double) h->rate);
}

/* There was nothing to take, or no room: until when?  Whose copy ends takes the
 * next one and wakes another thread up if there is room for two.
 */
static uint64_t
idle_until (const struct hydrate *h, uint64_t now)
{
  if (h->pause_until_us)
    return h->pause_until_us;
  if (hydrate_is_sweeping (h) && h->unpark_us > now)
    return h->unpark_us;
  return UINT64_MAX;
}

static void
idle (struct hydrate *h, uint64_t until)
{
  struct clock *clock = h->clone->clock;

  h->idle++;
  if (until == UINT64_MAX)
    pthread_cond_wait (&h->wake, &h->lock);
  else
    clock->wait_until (clock, &h->wake, &h->lock, until);
  h->idle--;
}

/* Wait for work and take it; false when it is time to end. */
static bool
next_work (struct hydrate_thread *self, struct work *work)
{
  struct hydrate *h = self->hydrate;
  struct clock *clock = h->clone->clock;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&h->lock);
  while (!h->stop) {
    const uint64_t now = clock->now_us (clock);
    const uint64_t until = wait_for (h, now);

    if (until) {
      pace_idle (&h->pace, now);
      idle (h, until);
    }
    else if (take (h, now, work)) {
      work->piece = piece_size (h);
      work->room = h->clone->batch;
      if (work->kind != WORK_EXTENTS) {
        self->active = work->regions;
        self->swept = work->swept;
        h->n_active++;
        h->in_flight += weight (h, work);
      }
      if (work->kind == WORK_COPY)
        account_rate (h, now, weight (h, work));
      self->began_us = now;
      if (h->idle > 0 && h->in_flight < h->pace.window)
        pthread_cond_signal (&h->wake);
      return true;
    }
    else
      idle (h, idle_until (h, now));
  }
  return false;
}

/* Has the copy to end before its region does? */
static bool
is_cut_short (struct hydrate_thread *self)
{
  struct hydrate *h = self->hydrate;

  return h->stop || (self->swept && !hydrate_is_sweeping (h));
}

/* copy_pace: between two pieces of a large region. */
static bool
next_piece (struct copy_pace *pace, uint64_t bytes)
{
  struct hydrate_thread *self = (struct hydrate_thread *) pace;
  struct hydrate *h = self->hydrate;
  struct clock *clock = h->clone->clock;
  uint64_t now;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&h->lock);
  now = clock->now_us (clock);
  pace_copied (&h->pace, bytes, self->began_us, now);
  while (!is_cut_short (self) && h->rate && now < h->rate_next_us) {
    clock->wait_until (clock, &h->wake, &h->lock, h->rate_next_us);
    now = clock->now_us (clock);
  }
  account_rate (h, now, bytes);
  self->began_us = now;
  return !is_cut_short (self);
}

/* Copy; what the source cannot read is split until only bad regions are left
 * out.  Returns how many, or stops at any other failure.
 */
static uint64_t
copy_what_can_be (struct hydrate_thread *self, struct regions r, uint8_t *buf,
                  uint64_t piece, enum copy_result *result, int *err)
{
  uint64_t bad = 0;

  *result = copy_regions (self->hydrate->clone, r, buf, (uint32_t) piece,
                          &self->pace, err);
  if (*result == COPY_SOURCE_BAD && r.end - r.first > 1) {
    const uint64_t middle = r.first + (r.end - r.first) / 2;

    bad = copy_what_can_be (self, (struct regions){ r.first, middle }, buf,
                            piece, result, err);
    if (*result == COPY_OK || *result == COPY_SOURCE_BAD) {
      const enum copy_result first = *result;

      bad += copy_what_can_be (self, (struct regions){ middle, r.end }, buf,
                               piece, result, err);
      if (*result == COPY_OK)
        *result = first;
    }
    return bad;
  }
  return *result == COPY_SOURCE_BAD ? r.end - r.first : 0;
}

/* Note how a copy ended. */
static void
finish_copy (struct hydrate_thread *self, const struct work *work,
             enum copy_result result, uint64_t bad, int err)
{
  struct hydrate *h = self->hydrate;
  struct clone *c = h->clone;
  const uint64_t offset = region_start (&c->geometry, work->regions.first);

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&h->lock);
  self->active = (struct regions){ 0, 0 };
  h->n_active--;
  h->in_flight -= weight (h, work);

  switch (result) {
  case COPY_OK:
    h->destination_complained = false;
    if (work->kind == WORK_COPY)
      pace_copied (&h->pace, weight (h, work), self->began_us,
                   c->clock->now_us (c->clock));
    break;
  case COPY_STOPPED:
    break;
  case COPY_SOURCE_BAD:
    if (!h->source_complained)
      log_error ("the source cannot read %" PRIu64 " of the regions from "
                 "offset %" PRIu64 " on; it will be asked again",
                 bad, offset);
    h->source_complained = true;
    break;
  case COPY_DESTINATION_BAD:
    bad = work->regions.end - work->regions.first;
    /* fall through */
  case COPY_DESTINATION_FULL:
    errno = err;
    if (!h->destination_complained)
      log_error ("cannot write to the destination at offset %" PRIu64 ": %m; "
                 "hydration will try again",
                 offset);
    h->destination_complained = true;
    /* fall through */
  case COPY_SOURCE_AWAY:
    if (result != COPY_DESTINATION_BAD)
      h->pause_until_us = c->clock->now_us (c->clock) + TROUBLE_PAUSE_US;
    break;
  }
  if (work->swept) {
    h->round_failures += bad;
    if ((result == COPY_SOURCE_AWAY || result == COPY_DESTINATION_FULL ||
         result == COPY_STOPPED) &&
        work->regions.first < h->cursor) {
      h->cursor = work->regions.first;
      pthread_cond_broadcast (&h->wake);
    }
  }
}

/* Ask for the next extents ahead. */
static void
ask_extents (struct hydrate *h, uint64_t offset)
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
    err = source_finish (&wait);
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

static void *
hydrate_thread (void *opaque)
{
  struct hydrate_thread *self = opaque;
  struct hydrate *h = self->hydrate;
  CLEANUP_FREE uint8_t *buf = NULL;
  uint32_t room = 0; /* bytes of it */
  struct work work;

  while (next_work (self, &work)) {
    enum copy_result result;
    uint64_t bad = 0;
    int err = 0;

    if (room != work.room) { /* the batch has changed */
      free (buf);
      buf = malloc (work.room);
      room = buf ? work.room : 0;
    }

    switch (work.kind) {
    case WORK_EXTENTS:
      ask_extents (h, work.map_offset);
      continue;
    case WORK_ZERO:
      result = COPY_OK;
      if (store_zeroes (h->clone, work.regions, &err) == -1)
        result = err == ENOSPC || err == EDQUOT ? COPY_DESTINATION_FULL
                                                : COPY_DESTINATION_BAD;
      break;
    default:
      if (buf == NULL) {
        err = ENOMEM;
        result = COPY_SOURCE_AWAY; /* it is tried again */
        break;
      }
      bad =
        copy_what_can_be (self, work.regions, buf, work.piece, &result, &err);
      break;
    }
    finish_copy (self, &work, result, bad, err);
  }
  return NULL;
}

/* Under the lock. */
static int
start_threads (struct hydrate *h)
{
  while (h->n_threads < h->threshold) {
    struct hydrate_thread *t = &h->threads[h->n_threads];
    int r;

    t->pace.next_piece = next_piece;
    t->hydrate = h;
    r = pthread_create (&t->thread, NULL, hydrate_thread, t);
    if (r)
      return r;
    h->n_threads++;
  }
  return 0;
}

int
hydrate_start (struct hydrate *h)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&h->lock);
  return start_threads (h);
}

bool
hydrate_request (struct hydrate *h, struct regions r, bool ahead)
{
  if (regions_empty (r))
    return true;
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&h->lock);
  if (h->stop || h->queue_count == HYDRATE_QUEUE_MAX)
    return false;
  h->queue[(h->queue_first + h->queue_count) % HYDRATE_QUEUE_MAX] =
    (struct hydrate_wish){ r, ahead };
  h->queue_count++;
  pthread_cond_signal (&h->wake);
  return true;
}

bool
hydrate_is_sweeping (const struct hydrate *h)
{
  return atomic_load_explicit (&h->sweeping, memory_order_relaxed);
}

void
hydrate_sweep (struct hydrate *h, bool sweeping)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&h->lock);
  atomic_store_explicit (&h->sweeping, sweeping, memory_order_relaxed);
  pthread_cond_broadcast (&h->wake);
}

int
hydrate_set (struct hydrate *h, unsigned threshold, uint32_t batch,
             uint64_t rate)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&h->lock);
  assert (threshold > 0 && threshold <= HYDRATE_THRESHOLD_MAX);
  h->threshold = threshold;
  h->clone->batch = batch;
  pace_bound (&h->pace, threshold * (uint64_t) batch);
  if (rate != h->rate) /* what the old one makes wait need not wait so long */
    h->rate_next_us = 0;
  h->rate = rate;
  pthread_cond_broadcast (&h->wake);
  /* There are none before the start, nor for what is complete. */
  return h->stop || h->n_threads == 0 ? 0 : start_threads (h);
}

void
hydrate_look (struct hydrate *h, struct hydrate_status *s)
{
  const uint64_t missing =
    bitmap_regions (h->clone->bitmap) - bitmap_count (h->clone->bitmap);

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&h->lock);
  *s = (struct hydrate_status){
    .threshold = h->threshold,
    .rate = h->rate,
    .in_flight = h->n_active,
    /* Clients may have hydrated some of them since. */
    .parked = h->parked < missing ? h->parked : missing,
  };
}

uint64_t
hydrate_yield (struct hydrate *h)
{
  struct clock *clock = h->clone->clock;
  const uint64_t now = clock->now_us (clock);

  atomic_store_explicit (&h->client_us, now, memory_order_relaxed);
  return now;
}

void
hydrate_stop (struct hydrate *h)
{
  pthread_mutex_lock (&h->lock);
  h->stop = true;
  pthread_cond_broadcast (&h->wake);
  pthread_mutex_unlock (&h->lock);
  while (h->n_threads > 0)
    pthread_join (h->threads[--h->n_threads].thread, NULL);
}
