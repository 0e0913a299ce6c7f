/* nbdclone: a bitmap file that is only looked at.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "log.h"
#include "message.h"
#include "reading.h"
#include "region.h"
#include "storage-file.h"

#define LOCK_MS 1000 /* a server that was just killed may still have it */

/* For common/. */
void
log_error (const char *fs, ...)
{
  CLEANUP_FREE char *text = NULL;
  va_list args;

  va_start (args, fs);
  if (vasprintf (&text, fs, args) == -1)
    text = NULL;
  va_end (args);
  need (text);
  complain ("%s", text);
}

void
log_info (const char *fs, ...)
{
  (void) fs;
}

static uint64_t
regions_of (const struct bitmap_file_identity *id)
{
  const struct geometry g = {
    .size = id->source_size,
    .shift = (unsigned) __builtin_ctzll (id->region_size),
  };

  return geometry_regions (&g);
}

static enum reading_result
open_storage (struct reading *r, const char *path)
{
  r->storage = storage_file_open_to_read (path, LOCK_MS);
  if (r->storage)
    return READING_SOUND;
  if (errno == EWOULDBLOCK)
    complain ("%s: a server uses it; ask that (\"nbdclone status\", \"nbdclone "
              "map\"), or stop it first",
              path);
  else if (errno == EINVAL)
    complain ("%s: it is not a regular file", path);
  else
    complain ("%s: %s", path, strerror (errno));
  return READING_FAILED;
}

enum reading_result
reading_open (struct reading *r, const char *path)
{
  char why[512];

  *r = (struct reading){ .storage = NULL };
  if (open_storage (r, path) != READING_SOUND)
    return READING_FAILED;
  r->file = bitmap_file_open (r->storage, why, sizeof why);
  if (r->file == NULL) {
    complain ("%s: this is no sound bitmap file: %s", path, why);
    reading_close (r);
    return READING_DAMAGED;
  }
  r->identity = bitmap_file_identity (r->file);
  r->bitmap = need (bitmap_new (regions_of (r->identity)));
  if (bitmap_file_load (r->file, r->bitmap, why, sizeof why) == -1) {
    complain ("%s: it is damaged in a way that no crash explains: %s", path,
              why);
    reading_close (r);
    return READING_DAMAGED;
  }
  return READING_SOUND;
}

void
reading_close (struct reading *r)
{
  bitmap_file_close (r->file);
  bitmap_free (r->bitmap);
  storage_file_close (r->storage);
  *r = (struct reading){ .storage = NULL };
}

void
reading_runs (const struct reading *r,
              void (*found) (void *opaque, uint64_t offset, uint64_t length,
                             bool hydrated),
              void *opaque)
{
  const struct bitmap_file_identity *id = r->identity;
  const uint64_t regions = bitmap_regions (r->bitmap);
  uint64_t first = 0, offset = 0;

  while (first < regions) {
    bool hydrated;
    uint64_t end;

    first += bitmap_run (r->bitmap, first, regions, &hydrated);
    end = first < regions ? first * id->region_size : id->source_size;
    if (first == regions && hydrated)
      end = id->disk_size;
    found (opaque, offset, end - offset, hydrated);
    offset = end;
  }
  if (offset < id->disk_size)
    found (opaque, offset, id->disk_size - offset, true);
}

static void
add (void *opaque, uint64_t offset, uint64_t length, bool hydrated)
{
  uint64_t *sum = opaque;

  (void) offset;
  *sum += hydrated ? length : 0;
}

uint64_t
reading_hydrated (const struct reading *r)
{
  uint64_t sum = 0;

  reading_runs (r, add, &sum);
  return sum;
}
