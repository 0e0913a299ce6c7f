/* nbdclone: a simulated machine behind the engine's seams: the machine itself,
 * its disks and its clock.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#include "cleanup.h"
#include "sim.h"
#include "testing.h"

void
sim_init (struct sim *sim)
{
  *sim = (struct sim){ .changes_left = UINT64_MAX };
  pthread_mutex_init (&sim->lock, NULL);
  clock_cond_init (&sim->changed);
}

void
sim_destroy (struct sim *sim)
{
  free (sim->events);
  pthread_mutex_destroy (&sim->lock);
  pthread_cond_destroy (&sim->changed);
}

/* Do the ranges overlap?  A length of 0: everything. */
static bool
touches (uint64_t a, uint64_t a_length, uint64_t b, uint64_t b_length)
{
  return a_length == 0 || b_length == 0 ||
         (a < b + b_length && b < a + a_length);
}

void
sim_add_fault (struct sim_device *d, struct sim_fault *f)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&d->sim->lock);
  f->hits = f->blocked = 0;
  f->next = d->faults;
  d->faults = f;
}

void
sim_release (struct sim_device *d, struct sim_fault *f, int err)
{
  struct sim_fault **p;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&d->sim->lock);
  for (p = &d->faults; *p && *p != f; p = &(*p)->next)
    continue;
  must (*p == f);
  *p = f->next;
  f->err = err;
  f->block = false;
  pthread_cond_broadcast (&d->sim->changed);
  while (f->blocked > 0)
    pthread_cond_wait (&d->sim->changed, &d->sim->lock);
}

void
sim_wait_blocked (struct sim_device *d, struct sim_fault *f, unsigned n)
{
  struct timespec ts;

  clock_gettime (CLOCK_MONOTONIC, &ts);
  ts.tv_sec += WAIT_SECONDS;
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&d->sim->lock);
  while (f->blocked < n)
    must (pthread_cond_timedwait (&d->sim->changed, &d->sim->lock, &ts) == 0);
}

struct sim_fault *
sim_hit (struct sim_device *d, unsigned op, uint64_t offset, uint64_t length)
{
  struct sim_fault *f;

  for (f = d->faults; f; f = f->next) {
    if (!(f->ops & op) || !touches (f->offset, f->length, offset, length))
      continue;
    if (f->skip > 0) {
      f->skip--;
      continue;
    }
    if (f->times > 0 && f->hits >= f->times)
      continue;
    f->hits++;
    return f;
  }
  return NULL;
}

bool
sim_is_off (struct sim *sim, unsigned op)
{
  if (sim->changes_left == 0)
    return true;
  if (op & SIM_CHANGES) {
    sim->changes++;
    if (sim->changes_left != UINT64_MAX)
      sim->changes_left--;
  }
  return false;
}

int
sim_begin (struct sim_device *d, unsigned op, uint64_t offset, uint64_t length,
           uint32_t *partial)
{
  struct sim_fault *f = sim_hit (d, op, offset, length);
  int err = 0;

  *partial = 0;
  if (f) {
    f->blocked++;
    pthread_cond_broadcast (&d->sim->changed);
    while (f->block)
      pthread_cond_wait (&d->sim->changed, &d->sim->lock);
    f->blocked--;
    pthread_cond_broadcast (&d->sim->changed);
    err = f->err;
    *partial = f->partial;
  }
  if (sim_is_off (d->sim, op)) {
    *partial = 0;
    return EIO;
  }
  return err;
}

void
sim_note (struct sim_device *d, unsigned op, uint64_t offset, uint64_t length,
          unsigned flags, int err)
{
  struct sim *sim = d->sim;

  if (sim->n_events == sim->events_allocated) {
    sim->events_allocated =
      sim->events_allocated ? 2 * sim->events_allocated : 256;
    sim->events =
      realloc (sim->events, sim->events_allocated * sizeof *sim->events);
    must (sim->events != NULL);
  }
  sim->events[sim->n_events++] = (struct sim_event){
    .device = d,
    .op = op,
    .offset = offset,
    .length = length,
    .flags = flags,
    .err = err,
  };
  if (sim->watch)
    sim->watch (sim->opaque, &sim->events[sim->n_events - 1]);
  pthread_cond_broadcast (&sim->changed);
}

void
sim_stop_after (struct sim *sim, uint64_t changes)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&sim->lock);
  sim->changes_left = changes;
}

bool
sim_has_stopped (struct sim *sim)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&sim->lock);
  return sim->changes_left == 0;
}

void
sim_go_on (struct sim *sim)
{
  sim_stop_after (sim, UINT64_MAX);
}

uint64_t
sim_changes (struct sim *sim)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&sim->lock);
  return sim->changes;
}

size_t
sim_mark (struct sim *sim)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&sim->lock);
  return sim->n_events;
}

void
sim_forget (struct sim *sim)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&sim->lock);
  sim->n_events = 0;
}

static bool
event_matches (const struct sim_event *e, const struct sim_device *d,
               unsigned ops, uint64_t offset, uint64_t length)
{
  return e->device == d && (e->op & ops) &&
         touches (e->offset, e->length, offset, length);
}

size_t
sim_count (struct sim *sim, const struct sim_device *d, unsigned ops,
           uint64_t offset, uint64_t length, size_t mark)
{
  size_t i, n = 0;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&sim->lock);
  for (i = mark; i < sim->n_events; ++i)
    n += event_matches (&sim->events[i], d, ops, offset, length);
  return n;
}

size_t
sim_find (struct sim *sim, const struct sim_device *d, unsigned ops,
          uint64_t offset, uint64_t length, size_t mark)
{
  size_t i;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&sim->lock);
  for (i = mark; i < sim->n_events; ++i)
    if (event_matches (&sim->events[i], d, ops, offset, length))
      return i;
  return SIZE_MAX;
}

struct sim_event
sim_event_at (struct sim *sim, size_t position)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&sim->lock);
  must (position < sim->n_events);
  return sim->events[position];
}

static uint64_t
round_up (uint64_t n, uint64_t unit)
{
  return (n + unit - 1) / unit * unit;
}

static void *
reserve (uint64_t bytes)
{
  void *p = mmap (NULL, bytes, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

  must (p != MAP_FAILED);
  return p;
}

static uint64_t
touched_bytes (const struct sim_disk *d)
{
  return d->size / SIM_TOUCHED + 1;
}

void
sim_disk_init (struct sim_disk *d, uint64_t size)
{
  *d = (struct sim_disk){ .size = size };
  d->bytes = reserve (round_up (size, SIM_TOUCHED) + SIM_TOUCHED);
  d->touched = calloc (touched_bytes (d), 1);
  must (d->touched != NULL);
}

void
sim_disk_destroy (struct sim_disk *d)
{
  munmap (d->bytes, round_up (d->size, SIM_TOUCHED) + SIM_TOUCHED);
  free (d->touched);
  free (d->unflushed);
}

/* Is a lost write to the sector still in the way? */
static bool
has_lost (const struct sim_disk *d, uint64_t sector)
{
  size_t i;

  for (i = 0; i < d->n_unflushed; ++i)
    if (d->unflushed[i].lost && d->unflushed[i].sector == sector)
      return true;
  return false;
}

static struct sim_unflushed *
add_unflushed (struct sim_disk *d)
{
  if (d->n_unflushed == d->unflushed_allocated) {
    d->unflushed_allocated =
      d->unflushed_allocated ? 2 * d->unflushed_allocated : 64;
    d->unflushed =
      realloc (d->unflushed, d->unflushed_allocated * sizeof *d->unflushed);
    must (d->unflushed != NULL);
  }
  return &d->unflushed[d->n_unflushed++];
}

/* Write to one sector.  A write that changes nothing does not count as
 * unflushed: whether it survives makes no difference.
 */
static void
write_sector (struct sim_disk *d, uint64_t sector, const uint8_t *data,
              size_t from, size_t length)
{
  uint8_t *bytes = d->bytes + sector * SIM_SECTOR;
  struct sim_unflushed *u = NULL;

  d->touched[sector * SIM_SECTOR / SIM_TOUCHED] = 1;
  if (d->write_through) {
    memcpy (bytes + from, data, length);
    return;
  }
  if (memcmp (bytes + from, data, length) == 0 && !has_lost (d, sector))
    return;
  u = add_unflushed (d);
  u->sector = sector;
  u->lost = false;
  memcpy (u->before, bytes, SIM_SECTOR);
  memcpy (bytes + from, data, length);
  memcpy (u->after, bytes, SIM_SECTOR);
}

void
sim_disk_write (struct sim_disk *d, const void *data, uint64_t length,
                uint64_t offset)
{
  const uint8_t *p = data;

  must (offset <= d->size && length <= d->size - offset);
  while (length > 0) {
    const size_t from = offset % SIM_SECTOR;
    const size_t n = length < SIM_SECTOR - from ? length : SIM_SECTOR - from;

    write_sector (d, offset / SIM_SECTOR, p, from, n);
    p += n;
    offset += n;
    length -= n;
  }
}

void
sim_disk_fill (struct sim_disk *d, uint8_t value, uint64_t length,
               uint64_t offset)
{
  uint8_t sector[SIM_SECTOR];

  memset (sector, value, sizeof sector);
  while (length > 0) {
    const uint64_t left = SIM_SECTOR - offset % SIM_SECTOR;
    const uint64_t n = length < left ? length : left;

    sim_disk_write (d, sector, n, offset);
    offset += n;
    length -= n;
  }
}

void
sim_disk_flush (struct sim_disk *d)
{
  size_t i, j, kept = 0;

  /* What is lost stays lost, unless the sector has been written again. */
  for (i = 0; i < d->n_unflushed; ++i) {
    bool superseded = !d->unflushed[i].lost;

    for (j = i + 1; j < d->n_unflushed && !superseded; ++j)
      superseded = !d->unflushed[j].lost &&
                   d->unflushed[j].sector == d->unflushed[i].sector;
    if (!superseded)
      d->unflushed[kept++] = d->unflushed[i];
  }
  d->n_unflushed = kept;
}

void
sim_disk_fail_flush (struct sim_disk *d)
{
  size_t i;

  for (i = 0; i < d->n_unflushed; ++i)
    d->unflushed[i].lost = true;
}

void
sim_disk_copy (struct sim_disk *to, const struct sim_disk *from)
{
  uint64_t i;

  must (to->size == from->size);
  for (i = 0; i < touched_bytes (from); ++i)
    if (to->touched[i] || from->touched[i])
      memcpy (to->bytes + i * SIM_TOUCHED, from->bytes + i * SIM_TOUCHED,
              SIM_TOUCHED);
  memcpy (to->touched, from->touched, touched_bytes (from));
  to->write_through = from->write_through;
  to->n_unflushed = 0;
  for (i = 0; i < from->n_unflushed; ++i)
    *add_unflushed (to) = from->unflushed[i];
}

void
sim_disk_cut (struct sim_disk *d, bool (*survives) (void *opaque, size_t i),
              void *opaque)
{
  size_t i;

  for (i = d->n_unflushed; i-- > 0;)
    memcpy (d->bytes + d->unflushed[i].sector * SIM_SECTOR,
            d->unflushed[i].before, SIM_SECTOR);
  for (i = 0; i < d->n_unflushed; ++i)
    if (survives (opaque, i))
      memcpy (d->bytes + d->unflushed[i].sector * SIM_SECTOR,
              d->unflushed[i].after, SIM_SECTOR);
  d->n_unflushed = 0;
}

bool
sim_none_survives (void *unused, size_t i)
{
  (void) unused;
  (void) i;
  return false;
}

bool
sim_all_survive (void *unused, size_t i)
{
  (void) unused;
  (void) i;
  return true;
}

bool
sim_survives_mask (void *mask, size_t i)
{
  return (*(const uint64_t *) mask >> (i % 64)) & 1;
}

bool
sim_survives_random (void *random, size_t i)
{
  (void) i;
  return random_one_in (random, 2);
}

/* Who waits for the clock. */
struct sim_sleeper {
  uint64_t until_us;
  pthread_cond_t *cond;
  pthread_mutex_t *lock; /* the sleeper's own */
  struct sim_sleeper *next;
};

static struct sim_clock *
clock_of (struct clock *clock)
{
  return (struct sim_clock *) clock;
}

static uint64_t
clock_now (struct clock *clock)
{
  struct sim_clock *c = clock_of (clock);

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&c->lock);
  return c->now_us;
}

/* Until it is time, or somebody signals the condition for another reason. */
static void
clock_wait_until (struct clock *clock, pthread_cond_t *cond,
                  pthread_mutex_t *lock, uint64_t until_us)
{
  struct sim_clock *c = clock_of (clock);
  struct sim_sleeper self = { until_us, cond, lock, NULL };
  struct sim_sleeper **p;
  bool wait;

  pthread_mutex_lock (&c->lock);
  wait = c->now_us < until_us;
  self.next = c->sleepers;
  c->sleepers = &self;
  pthread_mutex_unlock (&c->lock);

  if (wait)
    pthread_cond_wait (cond, lock);

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&c->lock);
  for (p = &c->sleepers; *p != &self; p = &(*p)->next)
    continue;
  *p = self.next;
}

void
sim_clock_init (struct sim_clock *c)
{
  *c = (struct sim_clock){
    .clock = { .now_us = clock_now, .wait_until = clock_wait_until },
    .now_us = 1000000,
  };
  pthread_mutex_init (&c->lock, NULL);
}

void
sim_clock_destroy (struct sim_clock *c)
{
  must (c->sleepers == NULL);
  pthread_mutex_destroy (&c->lock);
}

/* Set the clock, and wake up those whose time has come.  Their own lock is
 * taken, so that none of them is between looking at the clock and waiting; the
 * clock's is not held meanwhile, since they take it under their own.
 */
static void
set_clock (struct sim_clock *c, uint64_t now_us)
{
  struct sim_sleeper awake[THREADS_MAX];
  unsigned n = 0, i;
  struct sim_sleeper *s;

  pthread_mutex_lock (&c->lock);
  must (now_us >= c->now_us);
  c->now_us = now_us;
  for (s = c->sleepers; s; s = s->next)
    if (s->until_us <= now_us) {
      must (n < THREADS_MAX);
      awake[n++] = *s;
    }
  pthread_mutex_unlock (&c->lock);

  for (i = 0; i < n; ++i) {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (awake[i].lock);
    pthread_cond_broadcast (awake[i].cond);
  }
}

void
sim_clock_advance (struct sim_clock *c, uint64_t us)
{
  set_clock (c, clock_now (&c->clock) + us);
}

bool
sim_clock_skip (struct sim_clock *c, uint64_t limit_us)
{
  const uint64_t now = clock_now (&c->clock);
  uint64_t next = UINT64_MAX;
  const struct sim_sleeper *s;

  pthread_mutex_lock (&c->lock);
  for (s = c->sleepers; s; s = s->next)
    if (s->until_us > now && s->until_us < next)
      next = s->until_us;
  pthread_mutex_unlock (&c->lock);

  if (next == UINT64_MAX || next - now > limit_us)
    return false;
  set_clock (c, next);
  return true;
}
