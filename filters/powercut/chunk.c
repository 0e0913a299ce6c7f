/* nbdclone: powercut: what is in the cache, and where.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The disk is divided into chunks of CHUNK_SECTORS sectors.  A request that
 * changes the disk is cut at the chunks' borders into pieces, and each chunk
 * has a list of its pieces, oldest first.  So all versions of a sector since
 * the last flush are the pieces in its chunk's list that have it, and whatever
 * is to be known about a chunk (what a read sees, what a flush writes, what
 * survives a cut) is one walk over that list.
 *
 * A piece has a bit for each sector.  When one of its sectors becomes durable,
 * or a newer version of it does, the bit is cleared; when the last one is, the
 * piece is freed.  This needs no memory, so it cannot fail.
 *
 * Zeroes and trims have no data: 4 GiB of them take about 3 MiB.
 *
 * Why not a tree of intervals, with pieces of any length?  Because the versions
 * of a sector would then have to be found by a sweep over all that overlap.
 */

#include <config.h>

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "chunk.h"

struct piece *
piece_new (enum cache_kind kind, uint64_t chunk, uint32_t first, uint32_t count,
           uint32_t sector_size)
{
  const size_t data = kind == CACHE_WRITE ? (size_t) count * sector_size : 0;
  struct piece *p = calloc (1, sizeof *p + data);
  uint32_t s;

  assert (count > 0 && first + count <= CHUNK_SECTORS);
  if (p == NULL)
    return NULL;
  p->chunk = chunk;
  p->kind = kind;
  p->first = first;
  p->count = p->live_count = count;
  p->bytes = sizeof *p + data;
  if (data > 0)
    p->data = (uint8_t *) (p + 1);
  for (s = first; s < first + count; ++s)
    p->live[s / 64] |= UINT64_C (1) << (s % 64);
  return p;
}

void
piece_free (struct piece *p)
{
  free (p);
}

/* The index of the first chunk with this number or a higher one. */
static size_t
find_index (const struct table *t, uint64_t number)
{
  size_t low = 0, high = t->count;

  while (low < high) {
    const size_t middle = low + (high - low) / 2;

    if (t->chunks[middle]->number < number)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

struct chunk *
table_next (const struct table *t, uint64_t number)
{
  const size_t i = find_index (t, number);

  return i < t->count ? t->chunks[i] : NULL;
}

struct chunk *
table_find (const struct table *t, uint64_t number)
{
  struct chunk *c = table_next (t, number);

  return c && c->number == number ? c : NULL;
}

/* Let an array of pointers have room for WANTED of them. */
static int
grow (void *array, size_t *allocated, size_t wanted)
{
  void **pointer = array;
  size_t n = *allocated ? *allocated : 4;
  void *new;

  if (wanted <= *allocated)
    return 0;
  while (n < wanted)
    n *= 2;
  new = realloc (*pointer, n * sizeof (void *));
  if (new == NULL)
    return -1;
  *pointer = new;
  *allocated = n;
  return 0;
}

static struct chunk *
add_chunk (struct table *t, uint64_t number)
{
  const size_t i = find_index (t, number);
  struct chunk *c;

  if (grow (&t->chunks, &t->allocated, t->count + 1) == -1)
    return NULL;
  c = calloc (1, sizeof *c);
  if (c == NULL)
    return NULL;
  c->number = number;
  memmove (&t->chunks[i + 1], &t->chunks[i],
           (t->count - i) * sizeof t->chunks[0]);
  t->chunks[i] = c;
  t->count++;
  t->bytes += sizeof *c;
  return c;
}

static void
remove_chunk (struct table *t, struct chunk *c)
{
  const size_t i = find_index (t, c->number);

  t->count--;
  memmove (&t->chunks[i], &t->chunks[i + 1],
           (t->count - i) * sizeof t->chunks[0]);
  t->bytes -= sizeof *c;
  free (c->pieces);
  free (c);
}

int
table_reserve (struct table *t, uint64_t number, size_t pieces)
{
  struct chunk *c = table_find (t, number);

  if (c == NULL)
    c = add_chunk (t, number);
  if (c == NULL)
    return -1;
  return grow (&c->pieces, &c->allocated, c->count + pieces);
}

void
table_insert (struct table *t, struct piece *p)
{
  struct chunk *c = table_find (t, p->chunk);

  assert (c && c->count < c->allocated);
  c->pieces[c->count++] = p;
  t->bytes += p->bytes;
}

void
table_forget (struct table *t, uint64_t chunk, uint32_t first, uint32_t count,
              uint64_t number)
{
  struct chunk *c = table_find (t, chunk);
  size_t i, kept = 0;
  uint32_t s;

  if (c == NULL)
    return;
  t->removals++;
  for (i = 0; i < c->count; ++i) {
    struct piece *p = c->pieces[i];

    if (p->origin.number <= number)
      for (s = first; s < first + count; ++s)
        if (piece_is_live (p, s)) {
          p->live[s / 64] &= ~(UINT64_C (1) << (s % 64));
          p->live_count--;
        }
    if (p->live_count > 0)
      c->pieces[kept++] = p;
    else {
      t->bytes -= p->bytes;
      piece_free (p);
    }
  }
  c->count = kept;
  if (kept == 0)
    remove_chunk (t, c);
}

void
table_clear (struct table *t)
{
  size_t i, j;

  for (i = 0; i < t->count; ++i) {
    struct chunk *c = t->chunks[i];

    for (j = 0; j < c->count; ++j)
      piece_free (c->pieces[j]);
    free (c->pieces);
    free (c);
  }
  free (t->chunks);
  *t = (struct table){ .removals = t->removals + 1 };
}

void
chunk_newest (const struct chunk *c, uint32_t first, uint32_t end,
              uint64_t number, chunk_map map)
{
  size_t i;
  uint32_t s;

  for (s = first; s < end; ++s)
    map[s] = NULL;
  for (i = 0; i < c->count && c->pieces[i]->origin.number <= number; ++i) {
    const struct piece *p = c->pieces[i];
    const uint32_t from = first > p->first ? first : p->first;

    for (s = from; s < end && s < p->first + p->count; ++s)
      if (piece_is_live (p, s))
        map[s] = p;
  }
}

uint64_t
chunk_choose (const struct chunk *c, const struct choice *choice, chunk_map map)
{
  const uint64_t base = c->number * CHUNK_SECTORS;
  bool dirty[CHUNK_SECTORS] = { false };
  uint64_t sectors = 0;
  size_t i;
  uint32_t s;

  for (s = 0; s < CHUNK_SECTORS; ++s)
    map[s] = NULL;
  for (i = 0; i < c->count; ++i) {
    const struct piece *p = c->pieces[i];
    const uint64_t rank = choice_rank (choice, p->origin.number);

    for (s = p->first; s < p->first + p->count; ++s) {
      if (!piece_is_live (p, s) || p->lost)
        continue;
      sectors += !dirty[s];
      dirty[s] = true;
      if (choice_keeps (choice, &p->origin, base + s) &&
          (map[s] == NULL ||
           rank > choice_rank (choice, map[s]->origin.number)))
        map[s] = p;
    }
  }
  return sectors;
}

uint32_t
chunk_run (const chunk_map map, uint32_t first, uint32_t end)
{
  uint32_t s = first;

  while (s < end && map[s] == map[first])
    ++s;
  return s - first;
}
