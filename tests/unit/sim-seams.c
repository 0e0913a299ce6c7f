/* nbdclone: a simulated machine behind the engine's seams: its devices.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "sim.h"
#include "testing.h"

/* A flush has taken effect; no lock is held. */
static void
after_flush (struct sim_device *d)
{
  if (d->sim->flushed)
    d->sim->flushed (d->sim->opaque, d);
}

/* The bitmap file's storage. */

static struct sim_storage *
storage_of (struct storage *s)
{
  return (struct sim_storage *) s;
}

static int64_t
storage_size (struct storage *storage)
{
  return (int64_t) storage_of (storage)->disk.size;
}

static int
storage_read (struct storage *storage, void *data, size_t length,
              uint64_t offset)
{
  struct sim_storage *s = storage_of (storage);
  uint32_t partial;
  int err;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&s->device.sim->lock);
  err = sim_begin (&s->device, SIM_READ, offset, length, &partial);
  if (err == 0 && (offset > s->disk.size || length > s->disk.size - offset))
    err = EIO;
  if (err == 0)
    memcpy (data, s->disk.bytes + offset, length);
  sim_note (&s->device, SIM_READ, offset, length, 0, err);
  errno = err;
  return err ? -1 : 0;
}

static int64_t
storage_next_data (struct storage *storage, uint64_t offset)
{
  struct sim_storage *s = storage_of (storage);
  const struct sim_disk *d = &s->disk;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&s->device.sim->lock);
  while (offset < d->size) {
    if (d->touched[offset / SIM_TOUCHED])
      return (int64_t) offset;
    offset = (offset / SIM_TOUCHED + 1) * SIM_TOUCHED;
  }
  return (int64_t) d->size;
}

/* One write of a submission. */
static int
storage_write_piece (struct sim_storage *s, const struct storage_write *w)
{
  uint32_t partial;
  int err = sim_begin (&s->device, SIM_WRITE, w->offset, w->length, &partial);

  sim_disk_write (&s->disk, w->data, err ? partial : w->length, w->offset);
  sim_note (&s->device, SIM_WRITE, w->offset, w->length, 0, err);
  return err;
}

static int
storage_sync (struct sim_storage *s)
{
  uint32_t partial;
  int err = sim_begin (&s->device, SIM_FLUSH, 0, 0, &partial);

  if (err == 0)
    sim_disk_flush (&s->disk);
  else if (s->device.sim->changes_left > 0)
    sim_disk_fail_flush (&s->disk);
  sim_note (&s->device, SIM_FLUSH, 0, 0, 0, err);
  return err;
}

static int
storage_write (struct storage *storage, const struct storage_write *writes,
               size_t n, bool sync)
{
  struct sim_storage *s = storage_of (storage);
  int err = 0;
  size_t i;

  pthread_mutex_lock (&s->device.sim->lock);
  for (i = 0; i < n; ++i) {
    const int e = storage_write_piece (s, &writes[i]);

    if (err == 0 || (err == ENOSPC && e))
      err = e;
  }
  if (sync) {
    const int e = storage_sync (s);

    must (e != ENOSPC); /* storage.h: never of a sync */
    if (e)
      err = e;
  }
  pthread_mutex_unlock (&s->device.sim->lock);
  if (sync && err == 0)
    after_flush (&s->device);
  errno = err;
  return err ? -1 : 0;
}

static const struct storage_ops storage_ops = {
  .size = storage_size,
  .read = storage_read,
  .next_data = storage_next_data,
  .write = storage_write,
};

void
sim_storage_init (struct sim_storage *s, struct sim *sim, uint64_t size)
{
  *s = (struct sim_storage){
    .storage = { .ops = &storage_ops },
    .device = { .sim = sim, .name = "storage" },
  };
  sim_disk_init (&s->disk, size);
}

void
sim_storage_destroy (struct sim_storage *s)
{
  sim_disk_destroy (&s->disk);
}

/* The destination. */

static struct sim_destination *
destination_of (struct destination *d)
{
  return (struct sim_destination *) d;
}

/* Start an operation; checks that the engine keeps to destination.h. */
static int
destination_begin (struct sim_destination *d, unsigned op, uint64_t offset,
                   uint64_t length, uint32_t *partial)
{
  const struct destination *pub = &d->destination;

  must (op == SIM_FLUSH || length > 0);
  must (offset <= pub->size && length <= pub->size - offset);
  must (offset % pub->block_minimum == 0 && length % pub->block_minimum == 0);
  return sim_begin (&d->device, op, offset, length, partial);
}

static int
destination_end (struct sim_destination *d, unsigned op, uint64_t offset,
                 uint64_t length, unsigned flags, int error, int *err)
{
  sim_note (&d->device, op, offset, length, flags, error);
  if (error == 0)
    return 0;
  *err = error;
  return -1;
}

static void
set_types (uint8_t *types, unsigned type, uint64_t length, uint64_t offset)
{
  const uint64_t first = offset / SIM_SECTOR;

  memset (types + first, (int) type,
          (offset + length + SIM_SECTOR - 1) / SIM_SECTOR - first);
}

static int
destination_read (struct destination *destination, void *buf, uint32_t length,
                  uint64_t offset, int *err)
{
  struct sim_destination *d = destination_of (destination);
  uint32_t partial;
  int error;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&d->device.sim->lock);
  error = destination_begin (d, SIM_READ, offset, length, &partial);
  if (error == 0)
    memcpy (buf, d->disk.bytes + offset, length);
  return destination_end (d, SIM_READ, offset, length, 0, error, err);
}

static int
destination_write (struct destination *destination, const void *buf,
                   uint32_t length, uint64_t offset, int *err)
{
  struct sim_destination *d = destination_of (destination);
  uint32_t partial;
  int error;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&d->device.sim->lock);
  error = destination_begin (d, SIM_WRITE, offset, length, &partial);
  sim_disk_write (&d->disk, buf, error ? partial : length, offset);
  set_types (d->types, 0, error ? partial : length, offset);
  return destination_end (d, SIM_WRITE, offset, length, 0, error, err);
}

static int
destination_zero (struct destination *destination, uint32_t length,
                  uint64_t offset, unsigned flags, int *err)
{
  struct sim_destination *d = destination_of (destination);
  uint32_t partial;
  int error;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&d->device.sim->lock);
  must (!(flags & DESTINATION_FAST_ZERO) || destination->can_fast_zero);
  error = destination_begin (d, SIM_ZERO, offset, length, &partial);
  if (error == 0) {
    sim_disk_fill (&d->disk, 0, length, offset);
    set_types (d->types,
               flags & DESTINATION_MAY_TRIM ? EXTENT_HOLE | EXTENT_ZERO
                                            : EXTENT_ZERO,
               length, offset);
  }
  must (error != ENOTSUP || (flags & DESTINATION_FAST_ZERO));
  return destination_end (d, SIM_ZERO, offset, length, flags, error, err);
}

static int
destination_trim (struct destination *destination, uint32_t length,
                  uint64_t offset, int *err)
{
  struct sim_destination *d = destination_of (destination);
  uint32_t partial;
  int error;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&d->device.sim->lock);
  must (destination->can_trim);
  error = destination_begin (d, SIM_TRIM, offset, length, &partial);
  if (error == 0) {
    sim_disk_fill (&d->disk, SIM_TRIMMED, length, offset);
    set_types (d->types, EXTENT_HOLE, length, offset);
  }
  return destination_end (d, SIM_TRIM, offset, length, 0, error, err);
}

static int
destination_flush (struct destination *destination, int *err)
{
  struct sim_destination *d = destination_of (destination);
  uint32_t partial;
  int error, r;

  pthread_mutex_lock (&d->device.sim->lock);
  error = destination_begin (d, SIM_FLUSH, 0, 0, &partial);
  if (error == 0 && destination->can_flush)
    sim_disk_flush (&d->disk);
  else if (d->device.sim->changes_left > 0)
    sim_disk_fail_flush (&d->disk);
  r = destination_end (d, SIM_FLUSH, 0, 0, 0, error, err);
  pthread_mutex_unlock (&d->device.sim->lock);
  if (r == 0)
    after_flush (&d->device);
  return r;
}

/* How far the sectors from offset on have one type. */
static uint64_t
type_length (const uint8_t *types, uint64_t offset, uint64_t end)
{
  uint64_t at = offset;

  while (at < end && types[at / SIM_SECTOR] == types[offset / SIM_SECTOR])
    at = (at / SIM_SECTOR + 1) * SIM_SECTOR;
  return (at < end ? at : end) - offset;
}

static int
destination_extents (struct destination *destination, uint32_t length,
                     uint64_t offset,
                     int (*found) (void *opaque, uint64_t offset,
                                   uint64_t length, unsigned type),
                     void *opaque, int *err)
{
  struct sim_destination *d = destination_of (destination);
  const uint64_t end = offset + length;
  uint32_t partial;
  int error;

  pthread_mutex_lock (&d->device.sim->lock);
  must (destination->can_extents);
  error = destination_begin (d, SIM_EXTENTS, offset, length, &partial);
  error =
    destination_end (d, SIM_EXTENTS, offset, length, 0, error, err) ? -1 : 0;
  while (error == 0 && offset < end) {
    const unsigned type = d->types[offset / SIM_SECTOR];
    const uint64_t n = type_length (d->types, offset, end);

    /* found () may call us. */
    pthread_mutex_unlock (&d->device.sim->lock);
    error = found (opaque, offset, n, type) ? -1 : 0;
    pthread_mutex_lock (&d->device.sim->lock);
    offset += n;
  }
  pthread_mutex_unlock (&d->device.sim->lock);
  return error;
}

static int
destination_cache (struct destination *destination, uint32_t length,
                   uint64_t offset, int *err)
{
  struct sim_destination *d = destination_of (destination);
  uint32_t partial;
  int error;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&d->device.sim->lock);
  must (destination->can_cache);
  error = destination_begin (d, SIM_CACHE, offset, length, &partial);
  return destination_end (d, SIM_CACHE, offset, length, 0, error, err);
}

static const struct destination_ops destination_ops = {
  .read = destination_read,
  .write = destination_write,
  .zero = destination_zero,
  .trim = destination_trim,
  .flush = destination_flush,
  .extents = destination_extents,
  .cache = destination_cache,
};

void
sim_destination_init (struct sim_destination *d, struct sim *sim, uint64_t size)
{
  *d = (struct sim_destination){
    .destination = {
      .ops = &destination_ops,
      .size = size,
      .block_minimum = 1,
      .can_flush = true,
      .can_trim = true,
      .can_fast_zero = true,
      .can_extents = true,
      .can_cache = true,
    },
    .device = { .sim = sim, .name = "destination" },
  };
  sim_disk_init (&d->disk, size);
  d->types = calloc (size / SIM_SECTOR + 1, 1);
  must (d->types != NULL);
}

void
sim_destination_destroy (struct sim_destination *d)
{
  sim_disk_destroy (&d->disk);
  free (d->types);
}

void
sim_destination_type (struct sim_destination *d, unsigned type, uint64_t length,
                      uint64_t offset)
{
  set_types (d->types, type, length, offset);
}

/* The source. */

struct sim_waiting {
  struct source_request *request;
  struct sim_fault *fault;
  unsigned op;
  pthread_t thread;
  struct sim_source *source;
  struct sim_waiting *next;
};

static struct sim_source *
source_of (struct source *s)
{
  return (struct sim_source *) s;
}

/* Under lock: answer a request, all but done (). */
static void
source_answer (struct sim_source *s, struct source_request *r, unsigned op,
               int error)
{
  const uint64_t end = r->offset + r->length;
  uint64_t at = r->offset;

  if (s->stopped)
    error = ESHUTDOWN;
  else if (error == 0 && op == SIM_READ)
    memcpy (r->buf, s->bytes + r->offset, r->length);
  else if (error == 0 && s->no_extents)
    error = EOPNOTSUPP;
  else if (error == 0)
    for (r->n_extents = 0; r->n_extents < r->max_extents && at < end;
         r->n_extents++) {
      const uint64_t n = type_length (s->types, at, end);

      r->extents[r->n_extents] =
        (struct source_extent){ n, s->types[at / SIM_SECTOR] };
      at += n;
    }
  r->error = error;
  sim_note (&s->device, op, r->offset, r->length, 0, error);
}

/* Waits in place of a request that is blocked. */
static void *
source_wait_thread (void *opaque)
{
  struct sim_waiting *w = opaque;
  struct sim_source *s = w->source;
  pthread_mutex_t *lock = &s->device.sim->lock;

  pthread_mutex_lock (lock);
  while (w->fault->block && !s->stopped)
    pthread_cond_wait (&s->device.sim->changed, lock);
  source_answer (s, w->request, w->op, w->fault->err);
  w->fault->blocked--;
  pthread_cond_broadcast (&s->device.sim->changed);
  pthread_mutex_unlock (lock);
  w->request->done (w->request);
  return NULL;
}

static void
source_start (struct source *source, struct source_request *r, unsigned op)
{
  struct sim_source *s = source_of (source);
  struct sim_fault *f;

  pthread_mutex_lock (&s->device.sim->lock);
  must (r->length > 0 && r->offset < source->size &&
        r->length <= source->size - r->offset);
  must (op == SIM_EXTENTS || r->length <= UINT64_C (32) << 20);
  f = sim_hit (&s->device, op, r->offset, r->length);
  if (f && f->block && !s->stopped) {
    struct sim_waiting *w = malloc (sizeof *w);

    must (w != NULL);
    *w = (struct sim_waiting){ r, f, op, 0, s, s->waiting };
    s->waiting = w;
    f->blocked++;
    thread_start (&w->thread, source_wait_thread, w);
    pthread_cond_broadcast (&s->device.sim->changed);
    pthread_mutex_unlock (&s->device.sim->lock);
    return;
  }
  source_answer (s, r, op, f ? f->err : 0);
  pthread_mutex_unlock (&s->device.sim->lock);
  r->done (r);
}

static void
source_read (struct source *source, struct source_request *r)
{
  source_start (source, r, SIM_READ);
}

static void
source_extents (struct source *source, struct source_request *r)
{
  source_start (source, r, SIM_EXTENTS);
}

static const struct source_ops source_ops = {
  .read = source_read,
  .extents = source_extents,
};

uint8_t
sim_source_byte (uint64_t offset)
{
  const uint64_t x = (offset / 8 + 1) * UINT64_C (0x9e3779b97f4a7c15);

  /* Never zero, and none of the bytes that tests fill with. */
  return (uint8_t) (1 + ((x >> (8 * (offset % 8))) & 0x3f));
}

void
sim_source_init (struct sim_source *s, struct sim *sim, uint64_t size)
{
  uint64_t i;

  *s = (struct sim_source){
    .source = { .ops = &source_ops, .size = size },
    .device = { .sim = sim, .name = "source" },
  };
  s->bytes = malloc (size);
  s->types = calloc (size / SIM_SECTOR + 1, 1);
  must (s->bytes != NULL && s->types != NULL);
  for (i = 0; i < size; ++i)
    s->bytes[i] = sim_source_byte (i);
}

void
sim_source_destroy (struct sim_source *s)
{
  sim_source_stop (s);
  while (s->waiting) {
    struct sim_waiting *w = s->waiting;

    thread_join (w->thread);
    s->waiting = w->next;
    free (w);
  }
  free (s->bytes);
  free (s->types);
}

void
sim_source_zero (struct sim_source *s, uint64_t length, uint64_t offset,
                 bool told)
{
  const uint64_t first = (offset + SIM_SECTOR - 1) / SIM_SECTOR;
  const uint64_t end = offset + length == s->source.size
                         ? s->source.size / SIM_SECTOR + 1
                         : (offset + length) / SIM_SECTOR;

  memset (s->bytes + offset, 0, length);
  if (told && first < end)
    memset (s->types + first, EXTENT_HOLE | EXTENT_ZERO, end - first);
}

void
sim_source_stop (struct sim_source *s)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&s->device.sim->lock);
  s->stopped = true;
  pthread_cond_broadcast (&s->device.sim->changed);
}
