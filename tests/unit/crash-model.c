/* nbdclone: what a cloned disk may look like after a crash.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "crash-model.h"
#include "testing.h"

/* The first window has so many regions, and so has the last one. */
#define FIRST 2
#define LAST 3

static void
add_window (struct model_disk *d, uint64_t first, uint64_t end)
{
  struct model_window *w = &d->windows[d->n_windows++];
  uint64_t r;

  w->offset = first * MODEL_REGION;
  w->length =
    (end == d->regions ? d->disk_size : end * MODEL_REGION) - w->offset;
  w->at = d->bytes;
  d->bytes += w->length;
  for (r = first; r < end; ++r)
    d->slots[d->n_slots++] = r;
}

void
model_disk_init (struct model_disk *d, uint64_t regions, uint64_t missing,
                 uint64_t extra)
{
  *d = (struct model_disk){
    .regions = regions,
    .source_size = regions * MODEL_REGION - missing,
  };
  d->disk_size = d->source_size + extra;
  must (d->source_size % MODEL_CELL == 0 && d->disk_size % MODEL_CELL == 0);
  if (regions <= FIRST + LAST)
    add_window (d, 0, regions);
  else {
    add_window (d, 0, FIRST);
    add_window (d, regions - LAST, regions);
  }
  must (d->bytes / MODEL_CELL <= MODEL_CELLS_MAX);
}

size_t
model_at (const struct model_disk *d, uint64_t offset)
{
  unsigned i;

  for (i = 0; i < d->n_windows; ++i) {
    const struct model_window *w = &d->windows[i];

    if (offset >= w->offset && offset < w->offset + w->length)
      return w->at + (size_t) (offset - w->offset);
  }
  return SIZE_MAX;
}

uint32_t
model_touched (const struct model_disk *d, uint64_t offset, uint64_t length)
{
  uint32_t bits = 0;
  unsigned i;

  for (i = 0; i < d->n_slots; ++i) {
    const uint64_t start = d->slots[i] * MODEL_REGION;
    const uint64_t end =
      d->slots[i] + 1 == d->regions ? d->source_size : start + MODEL_REGION;

    if (offset < end && offset + length > start)
      bits |= UINT32_C (1) << i;
  }
  return bits;
}

void
model_init (struct model *m, const struct model_disk *disk)
{
  *m = (struct model){ .disk = disk, .now = { .n_versions = 1 } };
  m->versions = calloc (MODEL_VERSIONS, disk->bytes);
  must (m->versions != NULL);
}

void
model_destroy (struct model *m)
{
  free (m->versions);
}

void
model_copy (struct model *to, const struct model *from)
{
  must (to->disk == from->disk);
  to->now = from->now;
  memcpy (to->versions, from->versions,
          from->now.n_versions * from->disk->bytes);
}

uint8_t *
model_newest (struct model *m)
{
  return m->versions + (m->now.n_versions - 1) * m->disk->bytes;
}

uint8_t *
model_change (struct model *m)
{
  const uint8_t *old = model_newest (m);

  must (m->now.n_versions < MODEL_VERSIONS);
  m->now.n_versions++;
  return memcpy (model_newest (m), old, m->disk->bytes);
}

void
model_durable (struct model *m, uint64_t offset, uint64_t length,
               unsigned version, uint32_t bits)
{
  size_t cell = 0, end = m->disk->bytes / MODEL_CELL;

  if (length > 0) {
    cell = model_at (m->disk, offset) / MODEL_CELL;
    end = cell + length / MODEL_CELL;
  }
  for (; cell < end; ++cell)
    if (m->now.oldest[cell] < version)
      m->now.oldest[cell] = (uint8_t) version;
  m->now.must |= bits;
}

uint64_t
model_hash (const struct model *m)
{
  return XXH3_64bits_withSeed (m->versions, m->now.n_versions * m->disk->bytes,
                               XXH3_64bits (&m->now, sizeof m->now));
}

/* Which region is the cell in?  A slot, or -1 behind the source's end. */
static int
slot_of (const struct model_disk *d, size_t cell, uint64_t *offset)
{
  const size_t at = cell * MODEL_CELL;
  unsigned i = 0;

  while (i + 1 < d->n_windows && d->windows[i + 1].at <= at)
    i++;
  *offset = d->windows[i].offset + (at - d->windows[i].at);
  if (*offset >= d->source_size)
    return -1;
  for (i = 0; d->slots[i] != *offset / MODEL_REGION; ++i)
    continue;
  return (int) i;
}

static bool
cell_may_be (const struct model *m, size_t cell, const uint8_t *bytes,
             unsigned oldest)
{
  unsigned v;

  for (v = m->now.n_versions; v-- > oldest;)
    if (memcmp (bytes + cell * MODEL_CELL,
                m->versions + v * m->disk->bytes + cell * MODEL_CELL,
                MODEL_CELL) == 0)
      return true;
  return false;
}

bool
model_check_bytes (const struct model *m, const uint8_t *bytes,
                   uint32_t regions, bool behind, bool killed, char *why,
                   size_t why_size, uint64_t *checks)
{
  size_t cell;

  for (cell = 0; cell < m->disk->bytes / MODEL_CELL; ++cell) {
    uint64_t offset;
    const int slot = slot_of (m->disk, cell, &offset);
    unsigned oldest = m->now.oldest[cell];

    if (slot == -1 ? !behind : !(regions & (UINT32_C (1) << slot)))
      continue;
    if (killed && oldest < m->now.answered)
      oldest = m->now.answered;
    ++*checks;
    if (cell_may_be (m, cell, bytes, oldest))
      continue;
    snprintf (
      why, why_size,
      "offset %" PRIu64 " (region %" PRIu64
      "): found %02x %02x..., which is none of the versions %u to %u "
      "(the newest begins %02x, the oldest %02x)",
      offset, offset / MODEL_REGION, bytes[cell * MODEL_CELL],
      bytes[cell * MODEL_CELL + 1], oldest, m->now.n_versions - 1,
      m->versions[(m->now.n_versions - 1) * m->disk->bytes + cell * MODEL_CELL],
      m->versions[oldest * m->disk->bytes + cell * MODEL_CELL]);
    return false;
  }
  return true;
}

bool
model_check_bits (const struct model *m, uint32_t seen, char *why,
                  size_t why_size, uint64_t *checks)
{
  *checks += 2 * m->disk->n_slots;
  if (m->now.must & ~seen)
    snprintf (why, why_size,
              "P4: committed bits are lost: found %#x, but %#x must be there",
              seen, m->now.must);
  else if (seen & ~m->now.may)
    snprintf (why, why_size,
              "P3: bits that nobody has set: found %#x, of which only %#x may "
              "be there",
              seen, m->now.may);
  else
    return true;
  return false;
}
