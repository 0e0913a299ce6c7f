/* nbdclone: what the filter does before it serves.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * nbdkit listens only after .get_ready, so whatever can be checked without the
 * destination is checked there.  The destination exists after the fork only; so
 * the bitmap file is made, or recovered, when it has been checked as well, and a
 * start that fails has changed nothing.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <libgen.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "clock.h"
#include "destination-nbdkit.h"
#include "local-file.h"
#include "log.h"
#include "region.h"
#include "setup.h"
#include "source-nbd.h"
#include "storage-file.h"

/* How long a start waits for the source: when it is needed, and when it is only good to know. */
#define PROBE_CREATE_US UINT64_C (10000000)
#define PROBE_RESUME_US UINT64_C (5000000)

static int
check_directory (const char *path)
{
  CLEANUP_FREE char *copy = strdup (path);

  if (copy == NULL || access (dirname (copy), W_OK | X_OK) == -1) {
    nbdkit_error ("clone-bitmap=%s: cannot make a file there: %m", path);
    return -1;
  }
  return 0;
}

static int
prepare_to_create (struct setup *s, const struct params *p)
{
  struct bitmap_file_identity *id = &s->identity;
  char why[256];
  int64_t size;

  s->creating = true;
  if (check_directory (p->bitmap) == -1)
    return -1;
  size = source_nbd_probe (p->source.uri, PROBE_CREATE_US, -1, NULL, NULL, why,
                           sizeof why);
  if (size == -1) {
    nbdkit_error ("clone-source=%s: cannot connect (%s), but a new clone "
                  "needs its source",
                  p->source.shown, why);
    return -1;
  }
  if (size == 0) {
    nbdkit_error ("clone-source=%s: the source is empty, there is nothing to "
                  "clone",
                  p->source.shown);
    return -1;
  }
  id->source_size = (uint64_t) size;
  id->region_size = p->region_size ? p->region_size : REGION_SIZE_MIN;
  strcpy (id->source_name, p->source.export_name);
  return 0;
}

static int
open_bitmap_file (struct setup *s, const struct params *p)
{
  char why[512];

  s->storage = storage_file_open (p->bitmap, LOCAL_FILE_LOCK_MS);
  if (s->storage == NULL) {
    if (errno == EWOULDBLOCK)
      nbdkit_error ("clone-bitmap=%s: it is in use by another server",
                    p->bitmap);
    else if (errno == EINVAL)
      nbdkit_error ("clone-bitmap=%s: it is not a regular file", p->bitmap);
    else
      nbdkit_error ("clone-bitmap=%s: %m", p->bitmap);
    return -1;
  }
  s->file = bitmap_file_open (s->storage, why, sizeof why);
  if (s->file == NULL) {
    nbdkit_error ("clone-bitmap=%s: this is no sound bitmap file: %s",
                  p->bitmap, why);
    return -1;
  }
  s->identity = *bitmap_file_identity (s->file);
  return 0;
}

static int
check_identity (const struct setup *s, const struct params *p)
{
  const struct bitmap_file_identity *id = &s->identity;

  if (p->region_size && p->region_size != id->region_size) {
    nbdkit_error ("clone-bitmap=%s: its region size is %" PRIu64
                  ", but clone-region-size=%" PRIu64 "; the region size of a "
                  "clone is fixed when it is created",
                  p->bitmap, id->region_size, p->region_size);
    return -1;
  }
  if (!p->source_force &&
      strcmp (id->source_name, p->source.export_name) != 0) {
    nbdkit_error ("clone-bitmap=%s: it belongs to a clone of the export "
                  "\"%s\", but clone-source names the export \"%s\"; if that "
                  "has the same contents, say clone-source-force=true",
                  p->bitmap, id->source_name, p->source.export_name);
    return -1;
  }
  return 0;
}

static int
load_bitmap (struct setup *s, const struct params *p)
{
  const struct geometry g = {
    .size = s->identity.source_size,
    .shift = (unsigned) __builtin_ctzll (s->identity.region_size),
  };
  char why[512];

  s->bitmap = bitmap_new (geometry_regions (&g));
  if (s->bitmap == NULL) {
    nbdkit_error ("clone-bitmap=%s: no memory for its bitmap: %m", p->bitmap);
    return -1;
  }
  if (!s->creating &&
      bitmap_file_load (s->file, s->bitmap, why, sizeof why) == -1) {
    nbdkit_error ("clone-bitmap=%s: it is damaged in a way that no crash "
                  "explains: %s",
                  p->bitmap, why);
    return -1;
  }
  return 0;
}

static bool
is_complete (const struct setup *s)
{
  return bitmap_count (s->bitmap) == bitmap_regions (s->bitmap);
}

/* If the source can be reached, it has to be the right one. */
static int
check_source (const struct setup *s, const struct params *p)
{
  const uint64_t recorded = s->identity.source_size;
  char why[256];
  const int64_t size = source_nbd_probe (p->source.uri, PROBE_RESUME_US, -1,
                                         NULL, NULL, why, sizeof why);

  if (size == -1) {
    log_info ("source %s: cannot connect (%s); serving what is hydrated and "
              "trying again",
              p->source.shown, why);
    return 0;
  }
  if ((uint64_t) size < recorded ||
      ((uint64_t) size > recorded && !p->source_force)) {
    nbdkit_error (
      "clone-bitmap=%s: it belongs to a clone of a source of %" PRIu64
      " bytes, but the source %s has %" PRIi64 " bytes%s",
      p->bitmap, recorded, p->source.shown, size,
      (uint64_t) size < recorded
        ? ""
        : "; to use only that much of it, say clone-source-force=true");
    return -1;
  }
  return 0;
}

int
setup_get_ready (struct setup *s, const struct params *p, int thread_model)
{
  const bool exists = access (p->bitmap, F_OK) == 0 || errno != ENOENT;

  s->parallel = thread_model >= NBDKIT_THREAD_MODEL_PARALLEL;
  if (!s->parallel)
    log_info ("warning: the plugin, or another filter, does not take requests "
              "in parallel: requests for data that is here may have to wait "
              "for requests that need the source");

  /* A limit on the size of files is an error like any other, not our death. */
  signal (SIGXFSZ, SIG_IGN);

  if (exists && p->bitmap_mode == BITMAP_CREATE) {
    nbdkit_error ("clone-bitmap=%s: it exists, but clone-bitmap-mode=create "
                  "was given",
                  p->bitmap);
    return -1;
  }
  if (!exists && p->bitmap_mode == BITMAP_RESUME) {
    nbdkit_error ("clone-bitmap=%s: it does not exist, but "
                  "clone-bitmap-mode=resume was given",
                  p->bitmap);
    return -1;
  }
  if (!exists)
    return prepare_to_create (s, p);
  if (open_bitmap_file (s, p) == -1 || check_identity (s, p) == -1 ||
      load_bitmap (s, p) == -1)
    return -1;
  return is_complete (s) ? 0 : check_source (s, p);
}

/* What the destination must be like. */
static int
check_destination (const struct setup *s, const struct params *p)
{
  const struct destination *d = s->destination;
  const struct bitmap_file_identity *id = &s->identity;

  if (!s->creating && d->size != id->disk_size) {
    nbdkit_error ("clone-bitmap=%s: it belongs to a disk of %" PRIu64
                  " bytes, but the destination has %" PRIu64 " bytes",
                  p->bitmap, id->disk_size, d->size);
    return -1;
  }
  if (d->size < id->source_size) {
    nbdkit_error ("the destination has %" PRIu64 " bytes, but the source %s "
                  "has %" PRIu64 " bytes: it must not be larger",
                  d->size, p->source.shown, id->source_size);
    return -1;
  }
  if (d->block_minimum > id->region_size) {
    nbdkit_error ("clone-region-size=%" PRIu64 ": the destination's smallest "
                  "block is %" PRIu32 " bytes; allowed are powers of two from "
                  "that to 1073741824",
                  id->region_size, d->block_minimum);
    return -1;
  }
  if ((id->source_size - 1) / id->region_size >= REGIONS_MAX) {
    nbdkit_error ("clone-region-size=%" PRIu64 ": this makes more than %" PRIu64
                  " regions of %" PRIu64 " bytes; allowed are powers "
                  "of two from %" PRIu64 " to 1073741824",
                  id->region_size, REGIONS_MAX, id->source_size,
                  (uint64_t) 1 << (64 - __builtin_clzll ((id->source_size - 1) /
                                                         REGIONS_MAX)));
    return -1;
  }
  if (!destination_nbdkit_can_write (s->destination) &&
      (s->creating || !is_complete (s))) {
    nbdkit_error ("the destination cannot be written, but the clone is not "
                  "complete");
    return -1;
  }
  if (!d->can_flush && destination_nbdkit_can_write (s->destination))
    log_info ("warning: the destination cannot flush: after a crash, what was "
              "acknowledged may be lost, and what is read may be wrong");
  return 0;
}

static int
create_bitmap_file (struct setup *s, const struct params *p)
{
  char why[512] = "";

  s->identity.disk_size = s->destination->size;
  s->storage = storage_file_create (p->bitmap, bitmap_file_size (&s->identity));
  if (s->storage == NULL ||
      bitmap_file_format (s->storage, &s->identity) == -1 ||
      storage_file_publish (s->storage) == -1) {
    nbdkit_error ("clone-bitmap=%s: cannot create it: %m", p->bitmap);
    return -1;
  }
  s->file = bitmap_file_open (s->storage, why, sizeof why);
  if (s->file == NULL) {
    nbdkit_error ("clone-bitmap=%s: %s", p->bitmap, why);
    return -1;
  }
  if (load_bitmap (s, p) == -1)
    return -1;
  if (bitmap_file_load (s->file, s->bitmap, why, sizeof why) == -1) {
    nbdkit_error ("clone-bitmap=%s: %s", p->bitmap, why);
    return -1;
  }
  return 0;
}

static void
source_not_needed (void *opaque)
{
  struct setup *s = opaque;

  source_nbd_stop (s->source);
}

static void
tell_on_complete (void *opaque)
{
  struct setup *s = opaque;

  if (s->on_complete)
    on_complete_now (s->on_complete);
}

static int
start_on_complete (struct setup *s, const struct params *p)
{
  if (p->on_complete == NULL || bitmap_file_is_announced (s->file))
    return 0;
  s->on_complete = on_complete_start (p, s->file);
  if (s->on_complete == NULL) {
    nbdkit_error ("clone-on-complete: %m");
    return -1;
  }
  return 0;
}

static int
start_source (struct setup *s, const struct params *p)
{
  const struct source_nbd_config config = {
    .uri = p->source.uri,
    .shown = p->source.shown,
    .connections = p->connections,
    .timeout_us = p->source_timeout_us,
    .expected_size = s->identity.source_size,
    .may_be_larger = p->source_force,
  };

  s->source = source_nbd_start (&config);
  if (s->source == NULL) {
    nbdkit_error ("starting to connect to the source: %m");
    return -1;
  }
  return 0;
}

#define GATHER_US 2000

static int
start_engine (struct setup *s, const struct params *p)
{
  const struct engine_config config = {
    .batch = p->batch,
    .threshold = p->threshold,
    .rate = p->rate,
    .hydration = p->hydration,
    .on_read = p->on_read,
    .discard_passdown = p->discard_passdown,
    .gather_us = GATHER_US,
    .commit_interval_us = p->commit_interval_us,
    .complete = source_not_needed,
    .completed = tell_on_complete,
    .opaque = s,
  };

  s->engine = engine_new (&config, s->destination, s->source, &system_clock,
                          s->bitmap, s->file);
  if (s->engine == NULL) {
    nbdkit_error ("starting the clone: %m");
    return -1;
  }
  errno = engine_start (s->engine);
  if (errno) {
    nbdkit_error ("starting the clone: %m");
    return -1;
  }
  if (engine_is_complete (s->engine)) /* perhaps from the start */
    tell_on_complete (s);
  return 0;
}

int
setup_after_fork (struct setup *s, const struct params *p,
                  nbdkit_backend *backend)
{
  s->destination = destination_nbdkit_open (backend, s->parallel);
  if (s->destination == NULL || check_destination (s, p) == -1 ||
      (s->creating && create_bitmap_file (s, p) == -1))
    return -1;

  if (storage_file_start (s->storage) == -1)
    log_info ("io_uring is not available (%m): the bitmap file is written "
              "with plain system calls");
  if (bitmap_file_recover (s->file) == -1) {
    nbdkit_error ("clone-bitmap=%s: cannot write to it: %m", p->bitmap);
    return -1;
  }
  log_info ("%s %s: %" PRIu64 " of %" PRIu64 " regions hydrated (%.1f %%)",
            s->creating ? "new clone of" : "resuming the clone of",
            p->source.shown, bitmap_count (s->bitmap),
            bitmap_regions (s->bitmap),
            100. * (double) bitmap_count (s->bitmap) /
              (double) bitmap_regions (s->bitmap));
  if (start_on_complete (s, p) == -1 ||
      (!is_complete (s) && start_source (s, p) == -1))
    return -1;
  return start_engine (s, p);
}

bool
setup_free (struct setup *s)
{
  bool durable;

  if (s->source)
    source_nbd_stop (s->source);
  /* The last commit comes first, and waits for no command. */
  if (s->engine)
    engine_quiesce (s->engine);
  on_complete_stop (s->on_complete);
  durable = engine_close (s->engine);
  on_complete_free (s->on_complete);
  source_nbd_free (s->source);
  bitmap_file_close (s->file);
  bitmap_free (s->bitmap);
  storage_file_close (s->storage);
  destination_nbdkit_close (s->destination);
  memset (s, 0, sizeof *s);
  return durable;
}
