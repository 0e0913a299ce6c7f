/* nbdclone: what happens to a bitmap file while it is in use, for the fuzzer.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "lives.h"

/* The most chunks in one commit. */
#define COMMIT_MAX 4

static uint64_t
regions_of (const struct bitmap_file_identity *id)
{
  return id->source_size / id->region_size +
         (id->source_size % id->region_size != 0);
}

/* The file and the bitmap only. */
static bool
open_and_load (struct life *l)
{
  l->bitmap = NULL;
  l->why[0] = 0;
  l->file = bitmap_file_open (&l->memory->storage, l->why, sizeof l->why);
  if (l->file) {
    l->bitmap = bitmap_new (regions_of (bitmap_file_identity (l->file)));
    must (l->bitmap != NULL);
    if (bitmap_file_load (l->file, l->bitmap, l->why, sizeof l->why) == 0)
      return true;
  }
  must (l->why[0] != 0);
  bitmap_file_close (l->file);
  bitmap_free (l->bitmap);
  return false;
}

void
life_bits (struct life *l, uint64_t chunk, uint8_t bits[CHUNK_BYTES])
{
  bitmap_copy_chunk (l->bitmap, chunk, bits, NULL, NULL);
}

static void
note_all (struct life *l, uint8_t (*bits)[CHUNK_BYTES])
{
  uint64_t i;

  for (i = 0; i < l->chunks; ++i)
    life_bits (l, i, bits[i]);
}

bool
life_begin (struct life *l, struct memory *m)
{
  *l = (struct life){ .memory = m };
  if (!open_and_load (l))
    return false;
  l->chunks = bitmap_chunks (l->bitmap);
  l->at_least = calloc (l->chunks, CHUNK_BYTES);
  l->at_most = calloc (l->chunks, CHUNK_BYTES);
  must (l->at_least && l->at_most);
  note_all (l, l->at_least);
  note_all (l, l->at_most);
  return true;
}

void
life_end (struct life *l)
{
  bitmap_file_close (l->file);
  bitmap_free (l->bitmap);
  free (l->at_least);
  free (l->at_most);
}

/* Set a few bits of this chunk: one in the middle, one at the end, or many. */
static void
set_bits (struct life *l, uint64_t chunk, struct random *random)
{
  const uint64_t regions = bitmap_regions (l->bitmap);
  const uint64_t first = chunk * CHUNK_REGIONS;
  uint64_t end = first + CHUNK_REGIONS;
  uint64_t from, to;

  if (end > regions)
    end = regions;
  from = first + random_below (random, end - first);
  to = random_one_in (random, 3) ? end : from + 1;
  if (random_one_in (random, 8))
    from = first;
  bitmap_set (l->bitmap, from, to, NULL, NULL);
}

/* Commit a few different chunks. */
static bool
commit (struct life *l, struct random *random)
{
  uint64_t chunks[COMMIT_MAX];
  uint8_t (*blocks)[BITMAP_FILE_BLOCK];
  size_t n = 1 + random_below (random, COMMIT_MAX), i;
  uint64_t chunk = random_below (random, l->chunks);
  bool done;

  if (n > l->chunks)
    n = l->chunks;
  blocks = aligned_alloc (BITMAP_FILE_BLOCK, n * BITMAP_FILE_BLOCK);
  must (blocks != NULL);
  for (i = 0; i < n; ++i) {
    chunks[i] = chunk;
    set_bits (l, chunk, random);
    life_bits (l, chunk, blocks[i] + BITMAP_FILE_BLOCK_HEADER);
    chunk = (chunk + 1) % l->chunks;
  }
  note_all (l, l->at_most);
  done = bitmap_file_commit (l->file, chunks, blocks, n) == 0;
  if (done)
    note_all (l, l->at_least);
  free (blocks);
  return done;
}

/* A step may fail because the storage has stopped, or because the file says that
 * it has seen 2^63 - 1 generations.
 */
static bool
may_fail (const struct life *l)
{
  return memory_has_stopped (l->memory) || errno == EOVERFLOW;
}

void
life_recover (struct life *l)
{
  if (bitmap_file_recover (l->file) == 0) {
    note_all (l, l->at_least);
    note_all (l, l->at_most);
  }
  else
    must (may_fail (l));
}

void
life_commit (struct life *l, struct random *random)
{
  unsigned commits = (unsigned) random_below (random, 4);
  bool ok = !memory_has_stopped (l->memory);

  while (ok && commits-- > 0)
    ok = commit (l, random);
  if (ok && random_one_in (random, 2))
    ok = bitmap_file_mark_clean (l->file) == 0;
  must (ok || may_fail (l));
}

/* Is each bit that is set in a set in b as well? */
static bool
is_within (const uint8_t *a, const uint8_t *b)
{
  uint8_t missing = 0;
  size_t i;

  for (i = 0; i < CHUNK_BYTES; ++i)
    missing |= a[i] & (uint8_t) ~b[i];
  return missing == 0;
}

void
life_again (struct life *l)
{
  uint64_t chunk;

  bitmap_file_close (l->file);
  bitmap_free (l->bitmap);
  if (!open_and_load (l))
    must_failed (__FILE__, __LINE__, l->why);
  must (bitmap_chunks (l->bitmap) == l->chunks);
  for (chunk = 0; chunk < l->chunks; ++chunk) {
    uint8_t bits[CHUNK_BYTES];

    life_bits (l, chunk, bits);
    must (is_within (l->at_least[chunk], bits));
    must (is_within (bits, l->at_most[chunk]));
  }
}
