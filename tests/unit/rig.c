/* nbdclone: an engine between simulated disks, for tests.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "rig.h"
#include "testing.h"

#define HOUR_US (UINT64_C (3600) * 1000000)

static struct bitmap_file_identity
identity (const struct rig *rig)
{
  return (struct bitmap_file_identity){
    .disk_size = rig->options.disk_size,
    .source_size = rig->options.source_size,
    .region_size = rig->options.region_size,
    .source_name = "source",
  };
}

static void
set_default (uint64_t *value, uint64_t otherwise)
{
  if (*value == 0)
    *value = otherwise;
}

void
rig_init (struct rig *rig, const struct rig_options *options)
{
  struct rig_options *o = &rig->options;
  struct bitmap_file_identity id;

  memset (rig, 0, sizeof *rig);
  if (options)
    *o = *options;
  set_default (&o->source_size, UINT64_C (1) << 20);
  set_default (&o->disk_size, o->source_size);
  set_default (&o->region_size, 4096);
  set_default (&o->commit_interval_us, HOUR_US);
  if (o->block_minimum == 0)
    o->block_minimum = 1;
  if (o->batch == 0)
    o->batch = 64 << 10;
  if (o->threshold == 0)
    o->threshold = 2;

  sim_init (&rig->sim);
  sim_clock_init (&rig->clock);
  sim_destination_init (&rig->destination, &rig->sim, o->disk_size);
  rig->destination.destination.block_minimum = o->block_minimum;
  sim_disk_fill (&rig->destination.disk, RIG_GARBAGE, o->disk_size, 0);
  sim_disk_flush (&rig->destination.disk);
  sim_source_init (&rig->source, &rig->sim, o->source_size);
  id = identity (rig);
  sim_storage_init (&rig->storage, &rig->sim, bitmap_file_size (&id));
  must (bitmap_file_format (&rig->storage.storage, &id) == 0);
}

void
rig_destroy (struct rig *rig)
{
  must (rig->engine == NULL && rig->file == NULL);
  sim_source_destroy (&rig->source);
  sim_destination_destroy (&rig->destination);
  sim_storage_destroy (&rig->storage);
  sim_clock_destroy (&rig->clock);
  sim_destroy (&rig->sim);
}

void
rig_open (struct rig *rig)
{
  const struct geometry g = {
    .size = rig->options.source_size,
    .shift = (unsigned) __builtin_ctzll (rig->options.region_size),
  };
  char why[512];

  rig->file = bitmap_file_open (&rig->storage.storage, why, sizeof why);
  if (rig->file == NULL)
    must_failed (__FILE__, __LINE__, why);
  rig->bitmap = bitmap_new (geometry_regions (&g));
  must (rig->bitmap != NULL);
  if (bitmap_file_load (rig->file, rig->bitmap, why, sizeof why) == -1)
    must_failed (__FILE__, __LINE__, why);
  must (bitmap_file_recover (rig->file) == 0);
}

void
rig_close (struct rig *rig)
{
  bitmap_file_close (rig->file);
  bitmap_free (rig->bitmap);
  rig->file = NULL;
  rig->bitmap = NULL;
}

static void
on_complete (void *opaque)
{
  struct rig *rig = opaque;

  atomic_fetch_add (&rig->completed, 1);
  sim_source_stop (&rig->source);
}

void
rig_start (struct rig *rig)
{
  const struct rig_options *o = &rig->options;
  const struct engine_config config = {
    .batch = o->batch,
    .threshold = o->threshold,
    .rate = o->rate,
    .hydration = o->hydration,
    .on_read = !o->forget_reads,
    .discard_passdown = !o->keep_discarded,
    .commit_interval_us = o->commit_interval_us,
    .complete = on_complete,
    .opaque = rig,
  };

  rig_open (rig);
  rig->source.stopped = false;
  rig->engine =
    engine_new (&config, &rig->destination.destination, &rig->source.source,
                &rig->clock.clock, rig->bitmap, rig->file);
  must (rig->engine != NULL);
  must (engine_start (rig->engine) == 0);
}

void
rig_stop (struct rig *rig)
{
  sim_source_stop (&rig->source);
  engine_close (rig->engine);
  rig->engine = NULL;
  rig_close (rig);
}

void
rig_crash (struct rig *rig, bool (*survives) (void *opaque, size_t i),
           void *opaque)
{
  sim_stop_after (&rig->sim, 0);
  rig_stop (rig);
  sim_disk_cut (&rig->destination.disk, survives, opaque);
  sim_disk_cut (&rig->storage.disk, survives, opaque);
  sim_go_on (&rig->sim);
}

uint64_t
rig_hydrated (struct rig *rig)
{
  const uint64_t regions = bitmap_regions (rig->bitmap);
  uint64_t count = 0, r = 0;

  /* The bits themselves: bitmap_count knows of them a moment later. */
  while (r < regions) {
    bool hydrated;
    const uint64_t n = bitmap_run (rig->bitmap, r, regions, &hydrated);

    count += hydrated ? n : 0;
    r += n;
  }
  return count;
}

bool
rig_is_hydrated (struct rig *rig, uint64_t first, uint64_t end)
{
  return bitmap_all_set (rig->bitmap, first, end);
}

/* Are the bytes the source's, or all of that value? */
static bool
are (struct rig *rig, const uint8_t *bytes, bool source, uint8_t value,
     uint64_t offset, uint64_t length)
{
  uint64_t i;

  for (i = 0; i < length; ++i)
    if (bytes[i] != (source ? rig->source.bytes[offset + i] : value))
      return false;
  return true;
}

static bool
reads (struct rig *rig, bool source, uint8_t value, uint64_t offset,
       uint64_t length)
{
  CLEANUP_FREE uint8_t *buf = malloc (length);
  int err;

  must (buf != NULL);
  return engine_read (rig->engine, buf, (uint32_t) length, offset, &err) == 0 &&
         are (rig, buf, source, value, offset, length);
}

bool
rig_reads_source (struct rig *rig, uint64_t offset, uint64_t length)
{
  return reads (rig, true, 0, offset, length);
}

bool
rig_reads (struct rig *rig, uint8_t value, uint64_t offset, uint64_t length)
{
  return reads (rig, false, value, offset, length);
}

bool
rig_stores_source (struct rig *rig, uint64_t offset, uint64_t length)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&rig->sim.lock);
  return are (rig, rig->destination.disk.bytes + offset, true, 0, offset,
              length);
}

bool
rig_stores (struct rig *rig, uint8_t value, uint64_t offset, uint64_t length)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&rig->sim.lock);
  return are (rig, rig->destination.disk.bytes + offset, false, value, offset,
              length);
}

static int
write_bytes (struct rig *rig, uint8_t value, uint64_t offset, uint64_t length,
             bool fua)
{
  CLEANUP_FREE uint8_t *buf = malloc (length);
  int err = 0;

  must (buf != NULL);
  memset (buf, value, length);
  return engine_write (rig->engine, buf, (uint32_t) length, offset, fua,
                       &err) == 0
           ? 0
           : err;
}

int
rig_write (struct rig *rig, uint8_t value, uint64_t offset, uint64_t length)
{
  return write_bytes (rig, value, offset, length, false);
}

int
rig_write_fua (struct rig *rig, uint8_t value, uint64_t offset, uint64_t length)
{
  return write_bytes (rig, value, offset, length, true);
}

int
rig_zero (struct rig *rig, uint64_t offset, uint64_t length)
{
  int err = 0;

  return engine_zero (rig->engine, (uint32_t) length, offset, false, false,
                      false, &err) == 0
           ? 0
           : err;
}

int
rig_trim (struct rig *rig, uint64_t offset, uint64_t length)
{
  int err = 0;

  return engine_trim (rig->engine, (uint32_t) length, offset, false, &err) == 0
           ? 0
           : err;
}

int
rig_flush (struct rig *rig)
{
  int err = 0;

  return engine_flush (rig->engine, &err) == 0 ? 0 : err;
}

int
rig_read (struct rig *rig, uint64_t offset, uint64_t length)
{
  CLEANUP_FREE uint8_t *buf = malloc (length);
  int err = 0;

  must (buf != NULL);
  return engine_read (rig->engine, buf, (uint32_t) length, offset, &err) == 0
           ? 0
           : err;
}

int
rig_cache (struct rig *rig, uint64_t offset, uint64_t length)
{
  int err = 0;

  return engine_cache (rig->engine, (uint32_t) length, offset, &err) == 0 ? 0
                                                                          : err;
}

static void *
request_thread (void *opaque)
{
  struct request *r = opaque;
  CLEANUP_FREE uint8_t *buf = malloc (r->length + 1);
  int err = 0;

  must (buf != NULL);
  switch (r->kind) {
  case REQUEST_READ:
    if (engine_read (r->rig->engine, buf, (uint32_t) r->length, r->offset,
                     &err) == 0) {
      err = 0;
      r->as_expected =
        are (r->rig, buf, r->value == 0, r->value, r->offset, r->length);
    }
    break;
  case REQUEST_WRITE:
    err = rig_write (r->rig, r->value, r->offset, r->length);
    break;
  case REQUEST_FUA:
    err = rig_write_fua (r->rig, r->value, r->offset, r->length);
    break;
  case REQUEST_FLUSH:
    err = rig_flush (r->rig);
    break;
  }
  r->err = err;
  atomic_store (&r->ended, true);
  return NULL;
}

void
request_start (struct request *r)
{
  thread_start (&r->thread, request_thread, r);
}

int
request_finish (struct request *r)
{
  thread_join (r->thread);
  return r->err;
}
