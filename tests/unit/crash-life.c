/* nbdclone: crashes of a whole clone: one process' life.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "copy.h"
#include "crash.h"
#include "testing.h"

#define ALL_REGIONS UINT32_MAX
#define PART_OFFSET UINT64_C (1280)
#define PART_LENGTH UINT64_C (1536)

static void *
grow (void *p, size_t *allocated, size_t wanted, size_t size)
{
  if (wanted <= *allocated)
    return p;
  *allocated = 2 * wanted;
  p = realloc (p, *allocated * size);
  must (p != NULL);
  return p;
}

static struct tape_entry *
add_entry (struct life *l)
{
  struct tape *t = &l->tape;

  t->entries = grow (t->entries, &t->allocated, t->n + 1, sizeof *t->entries);
  t->entries[t->n] = (struct tape_entry){ .promise = l->model.now };
  return &t->entries[t->n++];
}

/* The model's promises have changed: become stronger, or not. */
static void
note_promise (struct crash *c, bool stronger)
{
  if (c->recording)
    add_entry (c->recording)->stronger = stronger;
}

/* P3, in memory: no bit is set before its region has been written. */
static void
check_order (struct crash *c, const struct sim_event *event)
{
  const struct promise *now = &c->recording->model.now;
  const uint32_t regions =
    model_touched (&c->shape, event->offset, event->length) & ~now->hydrated;
  unsigned i;

  for (i = 0; i < c->shape.n_slots; ++i)
    if ((regions & (UINT32_C (1) << i)) &&
        bitmap_all_set (c->rig.bitmap, c->shape.slots[i],
                        c->shape.slots[i] + 1))
      crash_failed (c, "P3: a bit is set, and its region is written after");
}

/* Called by the machine for each operation, under its lock. */
static void
watch (void *opaque, const struct sim_event *event)
{
  struct crash *c = opaque;
  const bool storage = event->device == &c->rig.storage.device;
  struct tape_entry *e;
  struct tape *t;

  if (event->device == &c->rig.source.device &&
      !(event->op & (SIM_READ | SIM_EXTENTS)))
    crash_failed (c, "P6: the source got another command than a read");
  if (c->recording == NULL || !(event->op & SIM_CHANGES) || event->err)
    return;
  if (!storage && event->op != SIM_FLUSH)
    check_order (c, event);
  t = &c->recording->tape;
  e = add_entry (c->recording);
  e->change = true;
  e->storage = storage;
  e->op = event->op;
  e->offset = event->offset;
  e->length = event->length;
  e->at = t->n_bytes;
  if (event->op == SIM_FLUSH)
    return;
  t->bytes =
    grow (t->bytes, &t->bytes_allocated, t->n_bytes + event->length, 1);
  memcpy (
    t->bytes + t->n_bytes,
    (storage ? c->rig.storage.disk.bytes : c->rig.destination.disk.bytes) +
      event->offset,
    event->length);
  t->n_bytes += event->length;
}

/* Set up. */

static void
life_init (struct life *l, const struct crash *c)
{
  memset (l, 0, sizeof *l);
  sim_disk_init (&l->destination, c->shape.disk_size);
  sim_disk_init (&l->storage, c->rig.storage.disk.size);
  model_init (&l->model, &c->shape);
}

static void
life_destroy (struct life *l)
{
  sim_disk_destroy (&l->destination);
  sim_disk_destroy (&l->storage);
  model_destroy (&l->model);
  free (l->tape.entries);
  free (l->tape.bytes);
}

void
life_copy_disks (struct life *to, const struct life *from)
{
  sim_disk_copy (&to->destination, &from->destination);
  sim_disk_copy (&to->storage, &from->storage);
}

/* Fill the windows with garbage, or with the source's bytes where the world
 * begins hydrated.
 */
static void
fill_destination (struct crash *c)
{
  struct sim_disk *d = &c->rig.destination.disk;
  unsigned i;

  for (i = 0; i < c->shape.n_windows; ++i)
    sim_disk_fill (d, RIG_GARBAGE, c->shape.windows[i].length,
                   c->shape.windows[i].offset);
  for (i = 0; c->world->hydrated && i < c->shape.n_slots; ++i) {
    const uint64_t r = c->shape.slots[i], offset = r * MODEL_REGION;

    if (r == c->world->places[0] || r == c->world->places[1])
      continue;
    sim_disk_write (d, c->rig.source.bytes + offset,
                    offset + MODEL_REGION > c->shape.source_size
                      ? c->shape.source_size - offset
                      : MODEL_REGION,
                    offset);
    c->seen |= UINT32_C (1) << i;
  }
  sim_disk_flush (d);
}

/* The bitmap file of a world that begins hydrated. */
static void
commit_all_but_places (struct crash *c)
{
  const uint64_t chunks = (c->world->regions - 1) / CHUNK_REGIONS + 1;
  uint8_t (*blocks)[BITMAP_FILE_BLOCK] =
    aligned_alloc (BITMAP_FILE_BLOCK, chunks * BITMAP_FILE_BLOCK);
  uint64_t r, i;

  must (blocks != NULL);
  rig_open (&c->rig);
  for (r = 0; r < c->world->regions; ++r)
    if (r != c->world->places[0] && r != c->world->places[1])
      bitmap_set (c->rig.bitmap, r, r + 1, NULL, NULL);
  for (i = 0; i < chunks; ++i) {
    bitmap_copy_chunk (c->rig.bitmap, i, blocks[i] + BITMAP_FILE_BLOCK_HEADER,
                       NULL, NULL);
    must (bitmap_file_commit (c->rig.file, &i, &blocks[i], 1) == 0);
  }
  rig_close (&c->rig);
  free (blocks);
}

/* What a client sees at first. */
static void
first_version (struct crash *c)
{
  struct model *m = &c->start.model;
  uint8_t *v = model_newest (m);
  unsigned i;

  memset (v, RIG_GARBAGE, c->shape.bytes);
  for (i = 0; i < c->shape.n_windows; ++i) {
    const struct model_window *w = &c->shape.windows[i];

    memcpy (v + w->at, c->rig.source.bytes + w->offset,
            w->offset + w->length > c->shape.source_size
              ? c->shape.source_size - w->offset
              : w->length);
  }
  m->now.hydrated = m->now.must = m->now.may = c->seen;
}

void
crash_init (struct crash *c, const struct crash_world *world)
{
  struct rig *rig = &c->rig;
  struct bitmap_file_identity id = { .region_size = MODEL_REGION,
                                     .source_name = "source" };
  unsigned i;

  memset (c, 0, sizeof *c);
  c->world = world;
  model_disk_init (&c->shape, world->regions, world->missing, world->extra);
  c->shape.outside = world->hydrated;
  c->found = malloc (c->shape.bytes);
  must (c->found != NULL);

  rig->options.source_size = id.source_size = c->shape.source_size;
  rig->options.disk_size = id.disk_size = c->shape.disk_size;
  rig->options.region_size = MODEL_REGION;
  sim_init (&rig->sim);
  sim_clock_init (&rig->clock);
  sim_destination_init (&rig->destination, &rig->sim, id.disk_size);
  sim_source_init (&rig->source, &rig->sim, id.source_size);
  if (world->zero)
    sim_source_zero (&rig->source,
                     world->places[1] + 1 == world->regions
                       ? id.source_size - world->places[1] * MODEL_REGION
                       : MODEL_REGION,
                     world->places[1] * MODEL_REGION, true);
  fill_destination (c);
  sim_storage_init (&rig->storage, &rig->sim, bitmap_file_size (&id));
  must (bitmap_file_format (&rig->storage.storage, &id) == 0);
  if (world->hydrated)
    commit_all_but_places (c);

  life_init (&c->start, c);
  life_init (&c->after_cut, c);
  for (i = 0; i < CRASH_LIVES; ++i)
    life_init (&c->lives[i], c);
  sim_disk_copy (&c->start.destination, &rig->destination.disk);
  sim_disk_copy (&c->start.storage, &rig->storage.disk);
  first_version (c);
  rig->sim.watch = watch;
  rig->sim.opaque = c;
}

void
crash_destroy (struct crash *c)
{
  unsigned i;

  c->rig.sim.watch = NULL;
  for (i = 0; i < CRASH_LIVES; ++i)
    life_destroy (&c->lives[i]);
  life_destroy (&c->start);
  life_destroy (&c->after_cut);
  rig_destroy (&c->rig);
  free (c->found);
}

void
crash_set_types (struct crash *c)
{
  static const uint8_t zeroes[SIM_SECTOR];
  struct sim_destination *d = &c->rig.destination;
  unsigned i;

  for (i = 0; i < c->shape.n_windows; ++i) {
    const struct model_window *w = &c->shape.windows[i];
    uint64_t s;

    for (s = w->offset / SIM_SECTOR;
         s < (w->offset + w->length + SIM_SECTOR - 1) / SIM_SECTOR; ++s)
      d->types[s] =
        memcmp (d->disk.bytes + s * SIM_SECTOR, zeroes, SIM_SECTOR) == 0
          ? EXTENT_ZERO
          : 0;
  }
}

void
crash_load (struct crash *c, const struct life *l)
{
  sim_disk_copy (&c->rig.destination.disk, &l->destination);
  sim_disk_copy (&c->rig.storage.disk, &l->storage);
  crash_set_types (c);
}

/* Begin and end. */

static void
on_complete (void *opaque)
{
  struct crash *c = opaque;

  atomic_fetch_add (&c->rig.completed, 1);
}

/* Find the bits; those of the regions that are not looked at must be what they
 * have always been.
 */
static void
look_at_bits (struct crash *c)
{
  const struct bitmap *b = c->rig.bitmap;
  uint64_t r = 0;
  unsigned i;
  bool set;

  c->seen = 0;
  for (i = 0; i < c->shape.n_slots; ++i) {
    const uint64_t slot = c->shape.slots[i];

    if (r < slot &&
        (bitmap_run (b, r, slot, &set) != slot - r || set != c->shape.outside))
      crash_failed (c, "P2, P3: a bit of a region that was never touched has "
                       "changed");
    if (bitmap_all_set (b, slot, slot + 1))
      c->seen |= UINT32_C (1) << i;
    r = slot + 1;
  }
}

/* What the destination holds, or what a client reads. */
static void
look_at_bytes (struct crash *c, bool as_client)
{
  unsigned i;

  for (i = 0; i < c->shape.n_windows; ++i) {
    const struct model_window *w = &c->shape.windows[i];
    int err;

    if (!as_client)
      memcpy (c->found + w->at, c->rig.destination.disk.bytes + w->offset,
              w->length);
    else if (engine_read (c->rig.engine, c->found + w->at, (uint32_t) w->length,
                          w->offset, &err) == -1)
      crash_failed (c, "P1: a read failed after the crash");
  }
}

static void
check_bytes (struct crash *c, const struct model *m, uint32_t regions,
             bool behind, bool killed, const char *promise)
{
  char why[300], line[400];
  uint64_t checks = 0;

  if (!model_check_bytes (m, c->found, regions, behind, killed, why, sizeof why,
                          &checks)) {
    snprintf (line, sizeof line, "%s: %s", promise, why);
    crash_failed (c, line);
  }
  crash_count_checks (checks);
}

static void
open_file (struct crash *c)
{
  struct rig *rig = &c->rig;
  char why[512], line[600];

  rig->file = bitmap_file_open (&rig->storage.storage, why, sizeof why);
  if (rig->file) {
    rig->bitmap = bitmap_new (c->shape.regions);
    must (rig->bitmap != NULL);
    if (bitmap_file_load (rig->file, rig->bitmap, why, sizeof why) == 0)
      return;
  }
  snprintf (line, sizeof line, "the bitmap file is refused: %s", why);
  crash_failed (c, line);
}

static void
begin_life (struct crash *c, const struct model *m, enum before before)
{
  const struct engine_config config = {
    .batch = 64 << 10,
    .threshold = 1,
    .hydration = true,
    .on_read = true,
    .discard_passdown = true,
    .commit_interval_us = UINT64_C (3600) * 1000000,
    .complete = on_complete,
    .opaque = c,
  };
  const bool killed = before != BEFORE_CUT;
  struct rig *rig = &c->rig;
  char why[300];
  uint64_t checks = 0;

  open_file (c);
  look_at_bits (c);
  if (!model_check_bits (m, c->seen, why, sizeof why, &checks))
    crash_failed (c, why);
  crash_count_checks (checks);
  look_at_bytes (c, false);
  check_bytes (c, m, c->seen, false, killed, "P3");
  if (bitmap_file_recover (rig->file) == -1)
    crash_failed (c, "the recovery failed");
  rig->engine =
    engine_new (&config, &rig->destination.destination, &rig->source.source,
                &rig->clock.clock, rig->bitmap, rig->file);
  must (rig->engine != NULL);
  look_at_bytes (c, true);
  check_bytes (c, m, c->seen, true, killed, "P1, P4");
  check_bytes (c, m, ~c->seen, false, false, "P1, P4");
}

static void
end_life (struct crash *c)
{
  engine_close (c->rig.engine);
  c->rig.engine = NULL;
  rig_close (&c->rig);
  c->has_background = false;
}

/* A new process has begun and says what it has found: the bits are durable, and
 * after a power cut so are the bytes.
 */
static void
note_found (struct crash *c, struct model *m, enum before before)
{
  if (memcmp (model_newest (m), c->found, c->shape.bytes) != 0)
    memcpy (model_change (m), c->found, c->shape.bytes);
  m->now.answered = m->now.n_versions - 1;
  m->now.hydrated = m->now.must = m->now.may = c->seen;
  if (before == BEFORE_CUT)
    model_durable (m, 0, 0, m->now.answered, 0);
  note_promise (c, true);
}

void
crash_check (struct crash *c, const struct model *m, enum before before)
{
  begin_life (c, m, before);
  end_life (c);
  sim_forget (&c->rig.sim);
}

/* The steps. */

static struct model *
model_of (struct crash *c)
{
  return &c->recording->model;
}

/* Of the whole region, or of a part. */
static void
step_range (const struct crash *c, const struct step *s, uint64_t *offset,
            uint64_t *length)
{
  const uint64_t region = c->world->places[s->place];

  *offset = region * MODEL_REGION;
  *length = region + 1 == c->shape.regions ? c->shape.disk_size - *offset
                                           : MODEL_REGION;
  switch (s->kind) {
  case STEP_PART:
  case STEP_FUA:
  case STEP_PUNCH:
    *offset += PART_OFFSET + 2 * MODEL_CELL * s->place;
    *length = PART_LENGTH;
    break;
  case STEP_ACROSS:
    *offset += MODEL_REGION - PART_OFFSET;
    *length = PART_LENGTH + PART_OFFSET;
    break;
  default:
    break;
  }
}

/* What a trim makes of a byte: zero, if its region was not hydrated as a whole;
 * else whatever the destination makes of it.
 */
static uint8_t
trimmed (const struct crash *c, const struct model *m, const struct step *s,
         uint64_t offset)
{
  const uint32_t region = model_touched (&c->shape, offset, 1);

  (void) s;
  return region & ~m->now.hydrated ? 0 : SIM_TRIMMED;
}

/* A change, and what it promises. */
static void
change (struct crash *c, const struct step *s)
{
  struct model *m = model_of (c);
  uint64_t offset, length, i;
  unsigned version;
  uint32_t regions;
  uint8_t *v;
  int r;

  step_range (c, s, &offset, &length);
  regions = model_touched (&c->shape, offset, length);
  c->value = (uint8_t) (0x80 + m->now.n_versions);
  v = model_change (m) + model_at (&c->shape, offset);
  version = m->now.n_versions - 1;
  for (i = 0; i < length; ++i)
    v[i] = s->kind == STEP_ZERO ? 0
           : s->kind == STEP_TRIM || s->kind == STEP_PUNCH
             ? trimmed (c, m, s, offset + i)
             : c->value;
  m->now.may |= regions;
  note_promise (c, false);

  switch (s->kind) {
  case STEP_ZERO:
    r = rig_zero (&c->rig, offset, length);
    break;
  case STEP_TRIM:
  case STEP_PUNCH:
    r = rig_trim (&c->rig, offset, length);
    break;
  case STEP_FUA:
    r = rig_write_fua (&c->rig, c->value, offset, length);
    break;
  default:
    r = rig_write (&c->rig, c->value, offset, length);
  }
  must (r == 0);
  m->now.hydrated |= regions;
  m->now.answered = version;
  if (s->kind == STEP_FUA)
    model_durable (m, offset, length, version, regions);
  note_promise (c, true);
}

static void
hydrate (struct crash *c, const struct step *s)
{
  struct engine *e = c->rig.engine;
  struct model *m = model_of (c);
  const uint64_t region = c->world->places[s->place];
  const uint32_t bit = model_touched (&c->shape, region * MODEL_REGION, 1);
  uint64_t offset, length;
  uint8_t buf[MODEL_REGION];
  bool kept;
  int err;

  m->now.may |= bit;
  note_promise (c, false);
  step_range (c, s, &offset, &length);
  if (s->kind == STEP_COPY && !(m->now.hydrated & bit))
    must (copy_regions (&e->clone, (struct regions){ region, region + 1 }, buf,
                        sizeof buf, NULL, &err) == COPY_OK);
  if (s->kind == STEP_READ) {
    /* Only these threads: nothing happens that we don't wait for. */
    if (!c->has_background)
      must (keep_start (&e->keep) == 0);
    c->has_background = e->background = true;
    must (rig_read (&c->rig, offset, length) == 0);
    do {
      ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&e->keep.lock);
      kept = e->keep.bytes == 0;
      if (!kept)
        sched_yield ();
    } while (!kept);
  }
  m->now.hydrated |= bit;
  note_promise (c, true);
}

static void run_steps (struct crash *c, const struct step *steps, size_t n);

/* A flush has taken effect, and is not answered yet. */
static void
inside_flush (void *opaque, const struct sim_device *device)
{
  struct crash *c = opaque;
  const bool storage = device == &c->rig.storage.device;
  const struct step *steps = c->inside;
  size_t n = 0;

  while (n < c->n_inside && steps[n].inside == (storage ? 2U : 1U))
    n++;
  c->inside += n;
  c->n_inside -= n;
  if (n > 0)
    run_steps (c, steps, n);
}

/* A flush, with the steps that happen inside of it. */
static void
flush (struct crash *c, const struct step *s, const struct step *inside,
       size_t n)
{
  struct model *m = model_of (c);
  struct commit *commit = &c->rig.engine->clone.commit;
  const unsigned version = m->now.answered;
  const uint32_t bits = m->now.hydrated;

  if (s->kind == STEP_COMMIT && !commit_pending (commit)) {
    run_steps (c, inside, n);
    return;
  }
  c->inside = inside;
  c->n_inside = n;
  c->rig.sim.flushed = inside_flush;
  must ((s->kind == STEP_COMMIT ? commit_sync (commit) : rig_flush (&c->rig)) ==
        0);
  c->rig.sim.flushed = NULL;
  run_steps (c, c->inside, c->n_inside); /* there was nothing to sync */
  model_durable (m, 0, 0, version, bits);
  note_promise (c, true);
}

/* Close cleanly, after which all bits are durable; open again. */
static void
reopen (struct crash *c)
{
  struct model *m = model_of (c);

  end_life (c);
  m->now.must |= m->now.hydrated;
  note_promise (c, true);
  begin_life (c, m, BEFORE_NOTHING);
  note_found (c, m, BEFORE_NOTHING);
}

/* Hydrate all in the background, and wait until it is complete. */
static void
complete (struct crash *c)
{
  struct model *m = model_of (c);

  m->now.may = ALL_REGIONS;
  note_promise (c, false);
  must (!c->has_background);
  must (engine_start (c->rig.engine) == 0);
  c->has_background = true;
  rig_pass_time_until (&c->rig, engine_is_complete (c->rig.engine));
  m->now.hydrated =
    model_touched (&c->shape, 0, c->shape.regions * MODEL_REGION);
  m->now.must = m->now.hydrated;
  note_promise (c, true);
}

static void
run_steps (struct crash *c, const struct step *steps, size_t n)
{
  size_t i = 0;

  while (i < n) {
    const struct step *s = &steps[i++];
    const size_t first = i;

    switch (s->kind) {
    case STEP_READ:
    case STEP_COPY:
      hydrate (c, s);
      break;
    case STEP_FLUSH:
    case STEP_COMMIT:
      while (i < n && steps[i].inside > s->inside)
        i++;
      flush (c, s, steps + first, i - first);
      break;
    case STEP_REOPEN:
      reopen (c);
      break;
    case STEP_COMPLETE:
      complete (c);
      break;
    default:
      change (c, s);
    }
    /* P2: never back. */
    look_at_bits (c);
    if (c->seen != model_of (c)->now.hydrated)
      crash_failed (c, "P2: the bits in memory are not what they should be");
  }
}

void
crash_record (struct crash *c, struct life *l, const struct step *steps,
              size_t n, enum before before)
{
  size_t last = n;

  while (last > 0 && steps[--last].inside)
    continue;
  crash_load (c, l);
  l->tape.n = l->tape.n_bytes = 0;
  c->recording = l;
  begin_life (c, &l->model, before);
  note_found (c, &l->model, before);
  run_steps (c, steps, last);
  l->last_step = n == 0 ? 0 : l->tape.n;
  run_steps (c, steps + last, n - last);
  c->recording = NULL;
  end_life (c);
  sim_forget (&c->rig.sim);
}
