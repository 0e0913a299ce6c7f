/* nbdclone: bitmap files on simulated storage, for tests.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "cleanup.h"
#include "files.h"
#include "testing.h"

struct bitmap_file_identity
file_identity (uint64_t regions)
{
  return (struct bitmap_file_identity){
    .disk_size = regions * 4096,
    .source_size = regions * 4096,
    .region_size = 4096,
    .source_name = "disk",
  };
}

void
file_create (struct sim_storage *s, struct sim *sim,
             const struct bitmap_file_identity *id)
{
  sim_storage_init (s, sim, bitmap_file_size (id));
  must (bitmap_file_format (&s->storage, id) == 0);
}

bool
file_open (struct opened *o, struct sim_storage *s, uint64_t regions)
{
  o->regions = regions;
  o->why[0] = 0;
  o->bitmap = NULL;
  o->file = bitmap_file_open (&s->storage, o->why, sizeof o->why);
  if (o->file == NULL)
    return false;
  o->bitmap = bitmap_new (regions);
  must (o->bitmap != NULL);
  if (bitmap_file_load (o->file, o->bitmap, o->why, sizeof o->why) == 0)
    return true;
  file_close (o);
  return false;
}

void
file_must_open (struct opened *o, struct sim_storage *s, uint64_t regions)
{
  if (!file_open (o, s, regions))
    must_failed (__FILE__, __LINE__, o->why);
}

void
file_close (struct opened *o)
{
  bitmap_file_close (o->file);
  bitmap_free (o->bitmap);
  o->file = NULL;
  o->bitmap = NULL;
}

void
file_close_clean (struct opened *o)
{
  must (bitmap_file_mark_clean (o->file) == 0);
  file_close (o);
}

int
file_commit (struct opened *o, const uint64_t *chunks, size_t n)
{
  uint8_t (*blocks)[BITMAP_FILE_BLOCK] =
    aligned_alloc (BITMAP_FILE_BLOCK, n * BITMAP_FILE_BLOCK);
  size_t i;
  int r, err;

  must (blocks != NULL);
  for (i = 0; i < n; ++i)
    bitmap_copy_chunk (o->bitmap, chunks[i],
                       blocks[i] + BITMAP_FILE_BLOCK_HEADER, NULL, NULL);
  r = bitmap_file_commit (o->file, chunks, blocks, n);
  err = errno;
  free (blocks);
  errno = err;
  return r;
}

int
file_set_and_commit (struct opened *o, uint64_t first, uint64_t end)
{
  const uint64_t chunk = first / CHUNK_REGIONS;
  const size_t n = (end - 1) / CHUNK_REGIONS - chunk + 1;
  CLEANUP_FREE uint64_t *chunks = calloc (n, sizeof *chunks);
  size_t i;

  must (chunks != NULL);
  for (i = 0; i < n; ++i)
    chunks[i] = chunk + i;
  bitmap_set (o->bitmap, first, end, NULL, NULL);
  return file_commit (o, chunks, n);
}

uint8_t *
file_bits (const struct opened *o)
{
  uint8_t *bits = malloc (o->regions);
  uint64_t at = 0;

  must (bits != NULL);
  while (at < o->regions) {
    bool set;
    const uint64_t n = bitmap_run (o->bitmap, at, o->regions, &set);

    memset (bits + at, set, n);
    at += n;
  }
  return bits;
}

bool
bits_within (const uint8_t *a, const uint8_t *b, uint64_t regions)
{
  uint64_t i = 0;

  for (; i + 8 <= regions; i += 8) {
    uint64_t in_a, in_b;

    memcpy (&in_a, a + i, 8);
    memcpy (&in_b, b + i, 8);
    if (in_a & ~in_b)
      return false;
  }
  for (; i < regions; ++i)
    if (a[i] & ~b[i])
      return false;
  return true;
}

uint64_t
file_number (const struct sim_storage *s, uint64_t offset, unsigned bytes)
{
  uint64_t value = 0;

  while (bytes-- > 0)
    value = value << 8 | s->disk.bytes[offset + bytes];
  return value;
}

void
file_set_number (struct sim_storage *s, uint64_t offset, unsigned bytes,
                 uint64_t value)
{
  unsigned i;

  s->disk.touched[offset / SIM_TOUCHED] = 1;
  for (i = 0; i < bytes; ++i, value >>= 8)
    s->disk.bytes[offset + i] = (uint8_t) value;
}

void
file_seal (struct sim_storage *s, uint64_t offset, size_t length)
{
  file_set_number (s, offset + 8, 8,
                   XXH3_64bits (s->disk.bytes + offset + 16, length - 16));
}
