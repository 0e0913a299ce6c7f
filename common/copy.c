/* nbdclone: fetch from the source, and store.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A fetch holds no claim (see claims.h); what it brought is stored only where
 * nobody was faster.  A fetch that failed is never stored (lesson 16).
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "copy.h"
#include "store.h"

/* How many extents are asked for at a time within a large region. */
#define PIECES_EXTENTS 64

/* Read [from, to) of the destination's last block, in which the source ends. */
static int
read_tail (struct clone *c, void *buf, uint64_t from, uint64_t to, int *err)
{
  struct destination *d = c->destination;
  const uint64_t start = from & ~(uint64_t) (d->block_minimum - 1);
  CLEANUP_FREE uint8_t *block = malloc (c->geometry.size - start);

  if (block == NULL) {
    *err = ENOMEM;
    return -1;
  }
  if (d->ops->read (d, block, (uint32_t) (c->geometry.size - start), start,
                    err) == -1)
    return -1;
  memcpy (buf, block + (from - start), to - from);
  return 0;
}

/* The source has answered. */
static void
fetch_done (struct source_request *r)
{
  struct fetch *f = (struct fetch *) r;

  flights_land (f->flights, &f->flight, r->error);
  source_wait_done (r);
}

void
fetch_start (struct clone *c, struct fetch *f, struct purpose purpose,
             void *buf, uint64_t length, uint64_t offset)
{
  const uint64_t end = offset + length;
  uint64_t from_source = 0;

  f->flights = &c->flights;
  f->started = false;
  f->err = 0;
  if (offset < c->source->size)
    from_source = end < c->source->size ? length : c->source->size - offset;
  if (from_source < length &&
      read_tail (c, (uint8_t *) buf + from_source, offset + from_source, end,
                 &f->err) == -1)
    from_source = 0;
  f->started = from_source > 0;
  if (!f->started) {
    flights_land (f->flights, &f->flight, f->err);
    return;
  }
  f->wait.request = (struct source_request){
    .offset = offset,
    .length = from_source,
    .buf = buf,
    .urgent = purpose.client,
    .since_us = purpose.since_us,
    .done = fetch_done,
  };
  sem_init (&f->wait.ended, 0, 0);
  c->source->ops->read (c->source, &f->wait.request);
}

int
fetch_finish (struct clone *c, struct fetch *f)
{
  int err;

  if (!f->started)
    return f->err ? EIO : 0; /* not to be taken for the source's absence */
  err = source_finish (c->source, &f->wait);
  if (err == 0)
    atomic_fetch_add_explicit (&c->bytes_fetched, f->wait.request.length,
                               memory_order_relaxed);
  return err;
}

void
want_start (struct clone *c, struct want *w, uint8_t *data, uint64_t from,
            uint64_t to)
{
  struct flight *flight = &w->fetch.flight;

  *flight = (struct flight){ .offset = from, .end = to, .data = data };
  w->role = flights_join (&c->flights, flight, &w->rider, w->buf, w->offset,
                          &w->length);
  if (w->role == FLIGHT_OWN)
    fetch_start (c, &w->fetch, (struct purpose){ true, w->since_us }, data,
                 flight->end - from, from);
}

/* Fetch just what is wanted. */
static int
want_alone (struct clone *c, struct want *w)
{
  struct fetch f = { .flight = { .listed = false } };

  w->role = FLIGHT_LANDED; /* there is no flight of ours any more */
  fetch_start (c, &f, (struct purpose){ true, w->since_us }, w->buf, w->length,
               w->offset);
  return fetch_finish (c, &f);
}

int
want_finish (struct clone *c, struct want *w)
{
  const struct flight *flight = &w->fetch.flight;
  const uint8_t *data;
  int err;

  switch (w->role) {
  case FLIGHT_LANDED:
    return 0;
  case FLIGHT_RIDE:
    /* Its failure is not ours: it was for more than we want, or has been waited
     * for longer.
     */
    return rider_wait (&w->rider) == 0 ? 0 : want_alone (c, w);
  case FLIGHT_OWN:
    err = fetch_finish (c, &w->fetch);
    if (err && flight->end - flight->offset > w->length)
      return want_alone (c, w);
    data = flight->data + (w->offset - flight->offset);
    if (err == 0 && data != w->buf)
      memcpy (w->buf, data, w->length);
    return err;
  }
  abort ();
}

static enum copy_result
source_result (int err)
{
  switch (err) {
  case 0:
    return COPY_OK;
  case ENOTCONN:
    return COPY_SOURCE_AWAY;
  case ESHUTDOWN:
    return COPY_STOPPED;
  default:
    return COPY_SOURCE_BAD;
  }
}

static enum copy_result
destination_result (int err)
{
  return err == ENOSPC || err == EDQUOT ? COPY_DESTINATION_FULL
                                        : COPY_DESTINATION_BAD;
}

/* Fetch for a copy.  If that is a success, the flight is to be ended. */
static enum copy_result
fetch (struct clone *c, struct fetch *f, bool client, uint8_t *buf,
       uint64_t length, uint64_t offset)
{
  uint64_t done = 0;

  if (!client) {
    flights_begin (&c->flights, &f->flight, buf, offset, length);
    fetch_start (c, f, (struct purpose){ .client = false }, buf, length,
                 offset);
    return source_result (fetch_finish (c, f));
  }
  while (done < length) {
    struct want w = {
      .buf = buf + done,
      .offset = offset + done,
      .length = (uint32_t) (length - done),
      .since_us = c->clock->now_us (c->clock),
    };
    int err;

    want_start (c, &w, w.buf, w.offset, offset + length);
    err = want_finish (c, &w);
    if (w.role == FLIGHT_OWN)
      flights_end (&c->flights, &w.fetch.flight);
    if (err)
      return source_result (err);
    done += w.length;
  }
  f->flight = (struct flight){ .listed = false };
  return COPY_OK;
}

/* What the source says about a large region. */
struct pieces {
  struct source_extent extents[PIECES_EXTENTS];
  size_t count, next;
  uint64_t end; /* of the current extent, an offset */
  bool zero;    /* the current extent is */
};

/* Go on to the next extent, or, if there is none, ask for those from `at` to
 * `end`.  What the source cannot say is data.
 */
static enum copy_result
next_extent (struct clone *c, struct pieces *p, uint64_t at, uint64_t end)
{
  struct source_wait wait;

  if (p->next == p->count) {
    p->next = p->count = 0;
    p->end = at;
    if (at < c->source->size) {
      const uint64_t last = end < c->source->size ? end : c->source->size;

      source_start_extents (c->source, &wait, p->extents, PIECES_EXTENTS, true,
                            last - at, at);
      switch (source_finish (c->source, &wait)) {
      case 0:
        p->count = wait.request.n_extents;
        break;
      case ENOTCONN:
        return COPY_SOURCE_AWAY;
      case ESHUTDOWN:
        return COPY_STOPPED;
      }
    }
  }
  if (p->count == 0) {
    p->zero = false;
    p->end = end;
    return COPY_OK;
  }
  p->zero = p->extents[p->next].type & EXTENT_ZERO;
  p->end += p->extents[p->next].length;
  p->next++;
  return COPY_OK;
}

/* The length of the next piece, a multiple of the destination's blocks if the
 * region does not end before.  The current extent ends behind `at`.
 */
static uint64_t
piece_length (const struct clone *c, const struct pieces *p, uint64_t at,
              uint64_t end, uint32_t most, bool *zero)
{
  const uint64_t block = c->destination->block_minimum > REGION_SIZE_MIN
                           ? c->destination->block_minimum
                           : REGION_SIZE_MIN;
  uint64_t until = p->end;

  *zero = p->zero;
  if (until < end && *zero) {
    until &= ~(block - 1);
    *zero = until > at;
  }
  if (until < end && !*zero)
    until = (p->end + block - 1) & ~(block - 1);
  if (until > end)
    until = end;
  if (*zero)
    most = STORE_ZERO_MAX;
  return until - at < most ? until - at : most;
}

/* A region that is larger than the buffer, in pieces. */
static enum copy_result
copy_large_region (struct clone *c, uint64_t region, uint8_t *buf,
                   uint32_t buf_size, struct copy_pace *pace, int *err)
{
  const uint64_t end = region_start (&c->geometry, region + 1);
  uint64_t at = region_start (&c->geometry, region);
  struct pieces pieces = { .end = at };
  enum copy_result result;
  bool hydrated = false;

  while (at < end && !hydrated) {
    struct fetch f;
    bool zero;
    uint64_t n;
    int r;

    while (pieces.end <= at) {
      result = next_extent (c, &pieces, at, end);
      if (result != COPY_OK)
        return result;
    }
    n = piece_length (c, &pieces, at, end, buf_size, &zero);
    if (!zero) {
      result = fetch (c, &f, pace == NULL, buf, n, at);
      if (result != COPY_OK)
        return result;
    }
    r = store_piece (c, region, zero ? NULL : buf, at, (uint32_t) n,
                     at + n == end, &hydrated, err);
    if (!zero)
      flights_end (&c->flights, &f.flight);
    if (r == -1)
      return destination_result (*err);
    at += n;
    if (pace && !zero && at < end && !pace->next_piece (pace, n))
      return COPY_STOPPED;
  }
  return COPY_OK;
}

enum copy_result
copy_regions (struct clone *c, struct regions r, uint8_t *buf,
              uint32_t buf_size, struct copy_pace *pace, int *err)
{
  const uint64_t start = region_start (&c->geometry, r.first);
  const uint64_t length = region_start (&c->geometry, r.end) - start;
  enum copy_result result;
  struct fetch f;

  *err = EIO;
  if (length > buf_size)
    result = copy_large_region (c, r.first, buf, buf_size, pace, err);
  else {
    result = fetch (c, &f, pace == NULL, buf, length, start);
    if (result == COPY_OK) {
      if (store_fetched (c, r, buf, err) == -1)
        result = destination_result (*err);
      flights_end (&c->flights, &f.flight);
    }
  }
  /* Somebody may have been faster, who did not need the source. */
  return bitmap_all_set (c->bitmap, r.first, r.end) ? COPY_OK : result;
}
