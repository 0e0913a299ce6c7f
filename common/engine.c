/* nbdclone: the engine: clients' requests on a disk that is being cloned.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A request is split into runs of regions that are all hydrated or all missing,
 * not into regions.  Hydrated runs, and what lies behind the source's end, go to
 * the destination and meet no lock of ours (P8).  For missing runs:
 *
 *   read     from the source straight into the client's buffer, several pieces
 *            at once, or from whoever is fetching it already (flights.h); what was hydrated meanwhile is read again from the
 *            destination; whole regions are then kept (keep.c), small ones being
 *            fetched whole, and large ones of which only a part was read are
 *            queued for the background, as is what a sequential reader will want
 *            next;
 *   change   (write, zero, trim) whole regions are stored at once, without the
 *            source (P7); the region at either end that is changed in part only
 *            is fetched meanwhile, and stored together with the change.
 *
 * FUA is a change, and then a sync of what has changed (commit.c).
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "copy.h"
#include "engine-private.h"
#include "log.h"
#include "store.h"

/* One command to the source reads at most this much for a client... */
#define PIECE (UINT32_C (1) << 20)

/* ... and so many are in flight for one request. */
#define WINDOW 8

/* So much is worth a commit of its own: the destination writes back beside the
 * copies.
 */
#define ENOUGH (UINT64_C (32) << 20)

/* Regions up to this size are fetched whole when a part of one is read. */
#define WHOLE_MAX (UINT64_C (64) << 10)

/* One zero or trim of the destination is at most this large, or a region. */
#define CHANGE_MAX (UINT32_C (64) << 20)

/* Buffers for partial writes and cache requests come out of this, as long as
 * there is some left, and are this small when there is not (P9).
 */
#define LEND_MAX (UINT64_C (64) << 20)
#define LEND_SMALL (UINT32_C (64) << 10)

/* How much a cache request copies at a time. */
#define CACHE_PIECE (UINT32_C (256) << 10)

/* What a client may be told: ENOTSUP has a meaning of its own in NBD, and only
 * a fast zero may fail with it.
 */
static int
client_error (int err)
{
  return err == 0 || err == ENOTSUP || err == EOPNOTSUPP ? EIO : err;
}

static uint64_t
min64 (uint64_t a, uint64_t b)
{
  return a < b ? a : b;
}

bool
engine_is_complete (struct engine *e)
{
  return clone_complete (&e->clone);
}

/* A client's request needs the source from here ...  Returns since when. */
static uint64_t
client_waits (struct engine *e)
{
  atomic_fetch_add_explicit (&e->clone.clients, 1, memory_order_relaxed);
  return hydrate_yield (&e->hydrate);
}

/* ... to here. */
static void
client_goes_on (struct engine *e)
{
  atomic_fetch_sub_explicit (&e->clone.clients, 1, memory_order_relaxed);
}

/* A piece of a read that is on its way. */
struct piece {
  struct want want;
  uint8_t *region; /* room for a whole one, of which a part is wanted */
};

/* Keep what was fetched, as far as it is worth it, and end its flight. */
static void
keep_flight (struct engine *e, struct flight *flight)
{
  const struct geometry *g = &e->clone.geometry;
  const uint64_t from = flight->offset, length = flight->end - from;
  const struct regions touched = regions_touched (g, from, length);
  struct regions covered = regions_covered (g, from, length);

  if (!e->config.on_read || regions_empty (covered) ||
      !keep_offer (&e->keep, covered,
                   flight->data + (region_start (g, covered.first) - from),
                   flight)) {
    flights_end (&e->clone.flights, flight);
    covered.first = covered.end = touched.end;
  }
  if (e->config.on_read) {
    hydrate_request (&e->hydrate,
                     (struct regions){ touched.first, covered.first }, false);
    hydrate_request (&e->hydrate, (struct regions){ covered.end, touched.end },
                     false);
  }
}

/* Begin to get missing bytes, or the first of them.  Small regions are fetched
 * whole, so that they can be kept.
 */
static void
start_piece (struct engine *e, struct piece *p, uint8_t *buf, uint64_t length,
             uint64_t offset, uint64_t since_us)
{
  struct clone *c = &e->clone;
  const struct geometry *g = &c->geometry;
  const uint64_t region = region_of (g, offset);
  uint64_t from = offset, end = offset + min64 (length, PIECE);

  p->region = NULL;
  if (e->config.on_read && geometry_region_size (g) <= WHOLE_MAX) {
    const struct regions covered = regions_covered (g, offset, end - offset);

    if (covered.first == region && !regions_empty (covered))
      end = region_start (g, covered.end);
    else
      p->region = malloc (geometry_region_size (g));
  }
  if (p->region) {
    from = region_start (g, region);
    end = min64 (end, region_start (g, region + 1));
  }
  p->want = (struct want){
    .buf = buf,
    .offset = offset,
    .length = (uint32_t) (end - offset),
    .since_us = since_us,
  };
  if (p->region)
    want_start (c, &p->want, p->region, from, region_start (g, region + 1));
  else
    want_start (c, &p->want, buf, from, end);
}

/* Wait for a piece.  What has become hydrated since is newer at the
 * destination; the rest must have come from the source, and then *since_us is
 * now: the rest of the request has not been waited for in vain.
 */
static int
finish_piece (struct engine *e, struct piece *p, uint64_t *since_us, int *err)
{
  struct destination *d = e->clone.destination;
  struct want *w = &p->want;
  struct flight *flight = &w->fetch.flight;
  const uint64_t end = w->offset + w->length;
  uint64_t at = w->offset;
  const int fetch_error = want_finish (&e->clone, w);
  int ret = 0;

  if (fetch_error == 0)
    *since_us = e->clone.clock->now_us (e->clone.clock);
  while (at < end && ret == 0) {
    const struct run run = run_at (e, at, end - at);

    if (run.hydrated) {
      if (w->role == FLIGHT_OWN) /* nobody may look while this changes */
        flights_end (&e->clone.flights, flight);
      ret = d->ops->read (d, w->buf + (at - w->offset), (uint32_t) run.length,
                          at, err);
    }
    else if (fetch_error) {
      *err = EIO;
      ret = -1;
    }
    at += run.length;
  }
  /* The bytes of what is hydrated are not the source's, but neither are they
   * stored (store.c), and whoever else looks at them looks at the bits, too.
   */
  if (fetch_error == 0 && w->role == FLIGHT_OWN)
    keep_flight (e, flight);
  free (p->region);
  return ret;
}

/* Read a request that is not all hydrated. */
static int
read_mixed (struct engine *e, uint8_t *buf, uint32_t length, uint64_t offset,
            int *err)
{
  struct destination *d = e->clone.destination;
  const uint64_t end = offset + length;
  struct piece pieces[WINDOW];
  unsigned started = 0, finished = 0;
  uint64_t at = offset;
  uint64_t since_us = client_waits (e);
  int ret = 0;

  while (at < end && ret == 0) {
    const struct run run = run_at (e, at, end - at);
    uint8_t *to = buf + (at - offset);

    if (run.hydrated) {
      if (started > finished) /* others may ride on it (flights.h) */
        source_leave (e->clone.source);
      ret = d->ops->read (d, to, (uint32_t) run.length, at, err);
      at += run.length;
    }
    else {
      struct piece *p = &pieces[started % WINDOW];

      if (started - finished == WINDOW)
        ret = finish_piece (e, &pieces[finished++ % WINDOW], &since_us, err);
      start_piece (e, p, to, run.length, at, since_us);
      started++;
      at += p->want.length;
    }
  }
  while (finished < started) {
    int piece_err;

    if (finish_piece (e, &pieces[finished++ % WINDOW], &since_us, &piece_err) ==
        -1) {
      *err = piece_err;
      ret = -1;
    }
  }
  client_goes_on (e);
  return ret;
}

/* Fetch ahead of a client that reads one thing after the other.  It is a part of
 * the background, and off with it.
 */
static void
read_ahead (struct engine *e, uint32_t length, uint64_t offset)
{
  const struct geometry *g = &e->clone.geometry;
  uint64_t from, to;

  if (e->config.on_read && hydrate_is_sweeping (&e->hydrate) &&
      offset < g->size &&
      readahead_note (&e->readahead, offset, length, g->size, &from, &to))
    hydrate_request (&e->hydrate, regions_touched (g, from, to - from), true);
}

int
engine_read (struct engine *e, void *buf, uint32_t length, uint64_t offset,
             int *err)
{
  struct destination *d = e->clone.destination;
  const struct run run = run_at (e, offset, length);
  int r;

  if (run.hydrated && run.length == length) {
    const uint64_t began_us = hydrate_client_begins (&e->hydrate, length);

    r = d->ops->read (d, buf, length, offset, err);
    hydrate_client_ends (&e->hydrate, began_us);
  }
  else {
    read_ahead (e, length, offset);
    r = read_mixed (e, buf, length, offset, err);
  }
  if (r == -1)
    *err = client_error (*err);
  return r;
}

/* A buffer for a copy. */
struct loan {
  uint8_t *buf;
  uint32_t size;
};

/* Lend a buffer of the wanted size (at most a batch), or a small one if there is
 * too little left.  false with *err set if there is no memory.
 */
static bool
lend_buffer (struct engine *e, struct loan *l, uint64_t wanted, int *err)
{
  const uint32_t batch = e->clone.batch;
  const uint32_t most = batch < LEND_SMALL ? LEND_SMALL : batch;

  l->size = (uint32_t) min64 (wanted, most);
  if (atomic_fetch_add_explicit (&e->lent, l->size, memory_order_relaxed) +
          l->size >
        LEND_MAX &&
      l->size > LEND_SMALL) {
    atomic_fetch_sub_explicit (&e->lent, l->size - LEND_SMALL,
                               memory_order_relaxed);
    l->size = LEND_SMALL;
  }
  l->buf = malloc (l->size);
  if (l->buf)
    return true;
  atomic_fetch_sub_explicit (&e->lent, l->size, memory_order_relaxed);
  *err = ENOMEM;
  return false;
}

static void
return_buffer (struct engine *e, struct loan *l)
{
  free (l->buf);
  l->buf = NULL;
  atomic_fetch_sub_explicit (&e->lent, l->size, memory_order_relaxed);
}

/* The part of a change that begins skip bytes into it. */
static struct change
change_from (const struct change *change, uint64_t skip)
{
  struct change rest = *change;

  if (rest.data)
    rest.data += skip;
  if (skip)
    rest.flags &= ~DESTINATION_FAST_ZERO;
  return rest;
}

/* A region of which only a part is changed. */
struct part {
  uint64_t region;
  uint64_t offset; /* of the change */
  uint32_t length;
  struct loan loan;
  bool fetching; /* the whole region, into the loan */
  struct want want;
};

/* Start to fetch the region that a part is in, if it fits into a buffer. */
static int
part_start (struct engine *e, struct part *p, int *err)
{
  struct clone *c = &e->clone;
  const uint64_t start = region_start (&c->geometry, p->region);
  const uint64_t size = region_start (&c->geometry, p->region + 1) - start;

  if (!lend_buffer (e, &p->loan, size, err))
    return -1;
  p->fetching = size <= p->loan.size;
  if (p->fetching) {
    p->want = (struct want){
      .buf = p->loan.buf,
      .offset = start,
      .length = (uint32_t) size,
      .since_us = c->clock->now_us (c->clock),
    };
    want_start (c, &p->want, p->loan.buf, start, start + size);
  }
  return 0;
}

/* Wait for the source's bytes of all of the region. */
static bool
part_fetched (struct engine *e, struct part *p)
{
  struct clone *c = &e->clone;
  const uint64_t start = p->want.offset;
  const uint64_t end = region_start (&c->geometry, p->region + 1);
  bool ok;

  do {
    ok = want_finish (c, &p->want) == 0;
    if (p->want.role == FLIGHT_OWN) /* the change goes into these bytes */
      flights_end (&c->flights, &p->want.fetch.flight);
    p->want.offset += p->want.length;
    p->want.length = (uint32_t) (end - p->want.offset);
    p->want.buf = p->loan.buf + (p->want.offset - start);
    p->want.since_us = c->clock->now_us (c->clock);
    if (ok && p->want.length)
      want_start (c, &p->want, p->want.buf, p->want.offset, end);
  } while (ok && p->want.length);
  return ok;
}

/* Wait for the region and store it with the change.  A region that is too large
 * for that becomes hydrated first, in pieces.
 */
static int
part_finish (struct engine *e, struct part *p, const struct change *change,
             int *err)
{
  struct clone *c = &e->clone;
  const struct regions region = { p->region, p->region + 1 };
  int r = -1;

  *err = EIO;
  if (!p->fetching) {
    if (copy_regions (c, region, p->loan.buf, p->loan.size, NULL, err) ==
        COPY_OK)
      r = store_hydrated (c, change, p->offset, p->length, err);
  }
  else if (part_fetched (e, p))
    r = store_part (c, change, p->offset, p->length, p->loan.buf, err);
  else if (bitmap_all_set (c->bitmap, region.first, region.end))
    r = store_hydrated (c, change, p->offset, p->length, err);
  return_buffer (e, &p->loan);
  return r;
}

/* Store a change of whole regions, in pieces. */
static int
change_whole (struct engine *e, const struct change *change, struct regions r,
              int *err)
{
  struct clone *c = &e->clone;
  const struct geometry *g = &c->geometry;
  const uint64_t start = region_start (g, r.first);
  uint64_t most = CHANGE_MAX >> g->shift;

  if (most == 0)
    most = 1;
  while (!regions_empty (r)) {
    const uint64_t end = min64 (r.first + most, r.end);
    const uint64_t from = region_start (g, r.first);
    const struct change piece = change_from (change, from - start);

    if (store_change (c, &piece, from,
                      (uint32_t) (region_start (g, end) - from), err) == -1)
      return -1;
    r.first = end;
  }
  return 0;
}

/* Change a range that was missing throughout when we looked. */
static int
change_missing (struct engine *e, const struct change *change, uint64_t offset,
                uint64_t length, int *err)
{
  const struct geometry *g = &e->clone.geometry;
  const uint64_t end = offset + length;
  const struct regions touched = regions_touched (g, offset, length);
  const struct regions covered = regions_covered (g, offset, length);
  struct part parts[2];
  unsigned n = 0, started, i;
  int ret = 0;

  for (i = 0; i < 2; ++i) {
    const uint64_t r = i == 0 ? touched.first : touched.end - 1;
    const uint64_t from = region_start (g, r);
    const uint64_t to = region_start (g, r + 1);

    if ((r >= covered.first && r < covered.end) ||
        (n > 0 && parts[0].region == r))
      continue;
    parts[n].region = r;
    parts[n].offset = offset > from ? offset : from;
    parts[n].length = (uint32_t) (min64 (end, to) - parts[n].offset);
    n++;
  }

  if (n > 0)
    client_waits (e);
  for (started = 0; started < n && ret == 0; started += ret == 0)
    ret = part_start (e, &parts[started], err);
  if (ret == 0 && !regions_empty (covered)) {
    const struct change whole =
      change_from (change, region_start (g, covered.first) - offset);

    ret = change_whole (e, &whole, covered, err);
  }
  for (i = 0; i < started; ++i) {
    const struct change part = change_from (change, parts[i].offset - offset);
    int part_err;

    if (part_finish (e, &parts[i], &part, &part_err) == -1) {
      *err = part_err;
      ret = -1;
    }
  }
  if (n > 0)
    client_goes_on (e);
  return ret;
}

/* Change any range. */
static int
change_range (struct engine *e, const struct change *change, uint32_t length,
              uint64_t offset, int *err)
{
  uint64_t done = 0;

  if (commit_failed (&e->clone.commit)) {
    *err = EIO; /* P5 */
    return -1;
  }
  while (done < length) {
    const struct change rest = change_from (change, done);
    struct run run = run_at (e, offset + done, length - done);
    int r;

    if (run.hydrated) {
      uint64_t began_us;

      if (change->kind != CHANGE_WRITE)
        run.length = min64 (run.length, CHANGE_MAX);
      began_us = hydrate_client_begins (&e->hydrate, run.length);
      r = store_hydrated (&e->clone, &rest, offset + done,
                          (uint32_t) run.length, err);
      hydrate_client_ends (&e->hydrate, began_us);
    }
    else
      r = change_missing (e, &rest, offset + done, run.length, err);
    if (r == -1)
      return -1;
    done += run.length;
  }
  return 0;
}

/* Make a range durable that has just been changed. */
static int
sync_range (struct engine *e, uint32_t length, uint64_t offset, int *err)
{
  struct clone *c = &e->clone;
  struct regions r = { 0, 0 };
  int sync_err;

  if (!clone_complete (c) && offset < c->geometry.size)
    r = regions_touched (&c->geometry, offset,
                         min64 (length, c->geometry.size - offset));
  sync_err = commit_sync_regions (&c->commit, r.first, r.end);
  if (sync_err) {
    *err = sync_err;
    return -1;
  }
  return 0;
}

/* A change, and FUA if wanted. */
static int
change_and_sync (struct engine *e, const struct change *change, uint32_t length,
                 uint64_t offset, bool fua, int *err)
{
  int r = change_range (e, change, length, offset, err);

  if (r == 0 && fua)
    r = sync_range (e, length, offset, err);
  if (r == -1 && !(change->flags & DESTINATION_FAST_ZERO))
    *err = client_error (*err);
  return r;
}

int
engine_write (struct engine *e, const void *buf, uint32_t length,
              uint64_t offset, bool fua, int *err)
{
  const struct change change = { .kind = CHANGE_WRITE, .data = buf };

  return change_and_sync (e, &change, length, offset, fua, err);
}

/* Would zeroing this range need the source? */
static bool
needs_source (struct engine *e, uint64_t offset, uint64_t length)
{
  const struct geometry *g = &e->clone.geometry;
  struct regions touched, covered;
  uint64_t n = length;

  if (clone_complete (&e->clone) || offset >= g->size)
    return false;
  n = min64 (n, g->size - offset);
  touched = regions_touched (g, offset, n);
  covered = regions_covered (g, offset, n);
  return ((touched.first < covered.first || regions_empty (covered)) &&
          !bitmap_all_set (e->clone.bitmap, touched.first,
                           touched.first + 1)) ||
         ((covered.end < touched.end || regions_empty (covered)) &&
          !bitmap_all_set (e->clone.bitmap, touched.end - 1, touched.end));
}

int
engine_zero (struct engine *e, uint32_t length, uint64_t offset, bool may_trim,
             bool fast, bool fua, int *err)
{
  struct change change = { .kind = CHANGE_ZERO };

  if (fast) {
    if (!e->clone.destination->can_fast_zero ||
        needs_source (e, offset, length)) {
      *err = ENOTSUP;
      return -1;
    }
    change.flags |= DESTINATION_FAST_ZERO;
  }
  if (may_trim)
    change.flags |= DESTINATION_MAY_TRIM;
  return change_and_sync (e, &change, length, offset, fua, err);
}

int
engine_trim (struct engine *e, uint32_t length, uint64_t offset, bool fua,
             int *err)
{
  const struct change change = {
    .kind = CHANGE_TRIM,
    .passdown = e->config.discard_passdown,
  };

  return change_and_sync (e, &change, length, offset, fua, err);
}

int
engine_flush (struct engine *e, int *err)
{
  const int r = commit_sync (&e->clone.commit);

  if (r) {
    *err = r;
    return -1;
  }
  return 0;
}

/* Hydrate a missing run. */
static int
cache_missing (struct engine *e, uint64_t offset, uint64_t length,
               const struct loan *loan, int *err)
{
  struct clone *c = &e->clone;
  const struct geometry *g = &c->geometry;
  struct regions r = regions_touched (g, offset, length);
  uint64_t most = loan->size >> g->shift;

  if (most == 0)
    most = 1;
  while (!regions_empty (r)) {
    bool hydrated;
    const uint64_t n =
      bitmap_run (c->bitmap, r.first, min64 (r.first + most, r.end), &hydrated);

    if (!hydrated && copy_regions (c, (struct regions){ r.first, r.first + n },
                                   loan->buf, loan->size, NULL, err) != COPY_OK)
      return -1;
    r.first += n;
  }
  return 0;
}

int
engine_cache (struct engine *e, uint32_t length, uint64_t offset, int *err)
{
  struct destination *d = e->clone.destination;
  struct loan loan = { NULL, 0 };
  uint64_t done = 0;
  int r = 0;

  client_waits (e);
  while (done < length && r == 0) {
    const struct run run = run_at (e, offset + done, length - done);

    if (!run.hydrated) {
      if (loan.buf == NULL && !lend_buffer (e, &loan, CACHE_PIECE, err))
        r = -1;
      else
        r = cache_missing (e, offset + done, run.length, &loan, err);
    }
    done += run.length;
  }
  if (loan.buf)
    return_buffer (e, &loan);
  client_goes_on (e);
  if (r == 0 && d->can_cache)
    r = d->ops->cache (d, length, offset, err);
  if (r == -1)
    *err = client_error (*err);
  return r;
}

/* End the threads of keep and hydrate, once. */
static void
stop_background (struct engine *e)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&e->lifecycle);
  if (!e->background)
    return;
  hydrate_stop (&e->hydrate);
  keep_stop (&e->keep);
  e->background = false;
}

/* After each commit: is this the end? */
static bool
after_commit (void *opaque)
{
  struct engine *e = opaque;
  struct clone *c = &e->clone;

  if (clone_complete (c) || commit_failed (&c->commit) ||
      bitmap_count (c->bitmap) < bitmap_regions (c->bitmap) ||
      commit_pending (&c->commit))
    return false;
  if (e->config.complete)
    e->config.complete (e->config.opaque);
  stop_background (e);
  /* Release: pairs with the acquire in clone_complete. */
  atomic_store_explicit (&c->complete, true, memory_order_release);
  bitmap_release_full (c->bitmap);
  log_info ("the clone is complete: %" PRIu64 " regions, %" PRIu64
            " bytes fetched",
            bitmap_regions (c->bitmap),
            atomic_load_explicit (&c->bytes_fetched, memory_order_relaxed));
  if (e->config.completed)
    e->config.completed (e->config.opaque);
  return true;
}

uint32_t
engine_batch (const struct destination *d, uint32_t batch)
{
  return (batch + d->block_minimum - 1) & ~(d->block_minimum - 1);
}

struct engine *
engine_new (const struct engine_config *config, struct destination *destination,
            struct source *source, struct clock *clock, struct bitmap *bitmap,
            struct bitmap_file *file)
{
  const struct bitmap_file_identity *id = bitmap_file_identity (file);
  const uint64_t block = destination->block_minimum;
  struct engine *e = calloc (1, sizeof *e);
  struct clone *c;

  if (e == NULL)
    return NULL;
  e->config = *config;
  e->file = file;
  c = &e->clone;
  c->geometry.shift = (unsigned) __builtin_ctzll (id->region_size);
  c->geometry.size =
    min64 ((id->source_size + block - 1) & ~(block - 1), destination->size);
  c->destination = destination;
  c->source = source;
  c->clock = clock;
  c->bitmap = bitmap;
  c->batch = engine_batch (destination, config->batch);
  assert (geometry_regions (&c->geometry) == bitmap_regions (bitmap));
  claims_init (&c->claims);
  flights_init (&c->flights);
  pthread_mutex_init (&e->lifecycle, NULL);
  keep_init (&e->keep, c, config->gather_us);
  readahead_init (&e->readahead);
  if (commit_init (&c->commit, bitmap, file, destination, clock,
                   ENOUGH >> c->geometry.shift) == -1) {
    free (e);
    return NULL;
  }
  c->commit.interval_us = config->commit_interval_us;
  errno = hydrate_init (&e->hydrate, c, config->threshold, config->rate,
                        config->hydration);
  if (errno) {
    commit_destroy (&c->commit);
    free (e);
    return NULL;
  }
  if (bitmap_count (bitmap) == bitmap_regions (bitmap)) {
    atomic_store_explicit (&c->complete, true, memory_order_release);
    bitmap_release_full (bitmap);
  }
  return e;
}

int
engine_start (struct engine *e)
{
  int r;

  if (clone_complete (&e->clone))
    return 0;
  assert (e->clone.source);
  e->background = true;
  r = keep_start (&e->keep);
  if (r == 0)
    r = hydrate_start (&e->hydrate);
  if (r == 0)
    r = commit_start (&e->clone.commit, e->config.commit_interval_us,
                      after_commit, e);
  return r;
}

void
engine_quiesce (struct engine *e)
{
  stop_background (e);
  if (!clone_complete (&e->clone) && !commit_failed (&e->clone.commit))
    (void) commit_sync (&e->clone.commit);
}

bool
engine_close (struct engine *e)
{
  struct clone *c;
  bool durable;

  if (e == NULL)
    return true;
  c = &e->clone;
  engine_quiesce (e);
  commit_stop (&c->commit);
  durable = !commit_failed (&c->commit) && !commit_pending (&c->commit);
  if (durable && bitmap_file_mark_clean (e->file) == -1) {
    log_error ("marking the bitmap file as clean: %m");
    durable = false;
  }
  hydrate_destroy (&e->hydrate);
  keep_destroy (&e->keep);
  readahead_destroy (&e->readahead);
  commit_destroy (&c->commit);
  flights_destroy (&c->flights);
  claims_destroy (&c->claims);
  pthread_mutex_destroy (&e->lifecycle);
  free (e);
  return durable;
}
