/* nbdclone: hydration in the background.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * `threshold` threads each do one piece of work at a time; what is next, sweep.c
 * decides, under one lock.
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
#include "sweep.h"

#define LOOK_US UINT64_C (5000)

/* What fills the line is divided by this at most for the sake of clients on
 * hydrated regions, so that a long line is never left empty.
 */
#define LEAST_PART 8

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
  courtesy_init (&h->courtesy);
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
has_room (struct hydrate *h, uint64_t now, bool yield, unsigned share)
{
  uint64_t limit = pace_limit (&h->pace, now, yield);

  if (share < COURTESY_ALL) {
    const uint64_t least = pace_line (&h->pace) / LEAST_PART;

    pace_idle (&h->pace, now);
    if (share == 0)
      return false;
    limit = limit / COURTESY_ALL * share;
    if (limit < least)
      limit = least;
  }
  return h->in_flight == 0 || h->in_flight < limit;
}

/* Take what is next and there is room for. */
static bool
take (struct hydrate *h, uint64_t now, struct work *work)
{
  bool taken;

  if (h->n_active >= h->threshold || !has_room (h, now, false, COURTESY_ALL))
    return false;
  taken = sweep_take_wish (h, work);
  if (!taken && hydrate_is_sweeping (h)) {
    if (!has_room (h, now, clients_need_it (h, now),
                   courtesy_share (&h->courtesy, now, h->in_flight == 0)))
      return false;
    taken = sweep_take (h, work);
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
      work->piece = sweep_piece_size (h);
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
    else if (hydrate_is_sweeping (h) && h->courtesy.phase != COURTESY_RUN &&
             !h->looking) {
      /* One of those who wait sees to it that the pause ends. */
      h->looking = true;
      idle (h, now + LOOK_US);
      h->looking = false;
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
      sweep_ask_extents (h, work.map_offset);
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
  /* To all: one may be waiting between two pieces of a large region. */
  pthread_cond_broadcast (&h->wake);
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
hydrate_source_changed (struct hydrate *h)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&h->lock);
  h->map_useless = false;
  if (h->unpark_us)
    h->unpark_us = h->clone->clock->now_us (h->clone->clock);
  pthread_cond_broadcast (&h->wake);
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
hydrate_client_begins (struct hydrate *h, uint64_t length)
{
  struct clock *clock = h->clone->clock;

  if (length > COURTESY_SMALL || !hydrate_is_sweeping (h) ||
      clone_complete (h->clone))
    return 0;
  return clock->now_us (clock);
}

void
hydrate_client_ends (struct hydrate *h, uint64_t began_us)
{
  struct clock *clock = h->clone->clock;

  if (began_us)
    courtesy_note (&h->courtesy, clock->now_us (clock) - began_us);
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
