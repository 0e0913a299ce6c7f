/* nbdclone: powercut: one request on its way into the cache.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The table knows whole sectors only.  So a request that covers only a part of
 * its first or last sector (an edge) has to bring the rest with it: from the
 * table if the sector is there, else from below.  Nothing is read with the lock
 * held, so what was read from below counts only if nothing has left the table
 * meanwhile: what has left it is newer.  Otherwise it is read again.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "batch.h"
#include "cleanup.h"

void
batch_init (struct cache *c, struct batch *b, uint64_t offset, uint64_t end)
{
  *b = (struct batch){ .first = offset / c->sector_size };
  b->sectors = (end - 1) / c->sector_size + 1 - b->first;
}

void
batch_free (struct batch *b)
{
  size_t i;

  for (i = 0; i < b->count && !b->inserted; ++i)
    piece_free (b->pieces[i]);
  free (b->pieces);
  for (i = 0; i < b->edge_count; ++i)
    free (b->edges[i].below);
}

/* Add pieces for the sectors [FIRST, END) of the disk. */
static int
add_pieces (struct cache *c, struct batch *b, enum cache_kind kind,
            uint64_t first, uint64_t end, int *err)
{
  while (first < end) {
    const uint32_t at = (uint32_t) (first % CHUNK_SECTORS);
    const uint32_t count = (uint32_t) min (end - first, CHUNK_SECTORS - at);
    struct piece *p;

    if (b->count == b->allocated) {
      const size_t n = b->allocated ? 2 * b->allocated : 4;
      struct piece **pieces = realloc (b->pieces, n * sizeof *pieces);

      if (pieces == NULL)
        return set_error (ENOMEM, err);
      b->pieces = pieces;
      b->allocated = n;
    }
    p = piece_new (kind, first / CHUNK_SECTORS, at, count, c->sector_size);
    if (p == NULL)
      return set_error (ENOMEM, err);
    b->pieces[b->count++] = p;
    b->bytes += p->bytes;
    first += count;
  }
  return 0;
}

/* Note that SECTOR, which is in the last piece or the first one, is covered
 * from byte FROM to byte TO only.
 */
static int
add_edge (struct cache *c, struct batch *b, struct piece *p, uint64_t sector,
          uint64_t from, uint64_t to, int *err)
{
  struct edge *e = &b->edges[b->edge_count];

  *e = (struct edge){ .piece = p, .sector = sector };
  e->from = (uint32_t) from;
  e->to = (uint32_t) to;
  e->below = calloc (1, c->sector_size);
  if (e->below == NULL)
    return set_error (ENOMEM, err);
  b->edge_count++;
  return 0;
}

/* The bytes of the sector that lie on the disk. */
static uint32_t
sector_length (const struct cache *c, uint64_t sector)
{
  return clip (c, sector * c->sector_size, c->sector_size);
}

/* Add the edges of a write whose pieces cover all sectors that it touches. */
static int
add_edges (struct cache *c, struct batch *b, uint64_t offset, uint64_t end,
           int *err)
{
  const uint64_t ss = c->sector_size;
  const uint64_t first = offset / ss, last = (end - 1) / ss;
  const uint64_t from = offset - first * ss, to = end - last * ss;

  if (first == last)
    return from > 0 || to < sector_length (c, first)
             ? add_edge (c, b, b->pieces[0], first, from, to, err)
             : 0;
  if (from > 0 && add_edge (c, b, b->pieces[0], first, from, ss, err) == -1)
    return -1;
  if (to < sector_length (c, last))
    return add_edge (c, b, b->pieces[b->count - 1], last, 0, to, err);
  return 0;
}

int
batch_write (struct cache *c, struct batch *b, const uint8_t *buf,
             uint64_t offset, uint64_t end, int *err)
{
  const uint64_t ss = c->sector_size;
  size_t i;

  if (add_pieces (c, b, CACHE_WRITE, offset / ss, (end - 1) / ss + 1, err) ==
        -1 ||
      add_edges (c, b, offset, end, err) == -1)
    return -1;
  for (i = 0; i < b->count; ++i) {
    const struct piece *p = b->pieces[i];
    const uint64_t piece = (p->chunk * CHUNK_SECTORS + p->first) * ss;
    const uint64_t from = piece > offset ? piece : offset;
    const uint64_t to = min (piece + p->count * ss, end);

    memcpy (p->data + (from - piece), buf + (from - offset), to - from);
  }
  return 0;
}

/* Sectors of which only a part becomes zero are written. */
int
batch_zero (struct cache *c, struct batch *b, enum cache_kind kind,
            uint64_t offset, uint64_t end, int *err)
{
  const uint64_t ss = c->sector_size;
  const uint64_t first = offset / ss, last = (end - 1) / ss;
  const bool head =
    offset > first * ss ||
    (first == last && end - first * ss < sector_length (c, first));
  const bool tail = last > first && end - last * ss < sector_length (c, last);

  if (head && add_pieces (c, b, CACHE_WRITE, first, first + 1, err) == -1)
    return -1;
  if (add_pieces (c, b, kind, first + head, last + 1 - tail, err) == -1 ||
      (tail && add_pieces (c, b, CACHE_WRITE, last, last + 1, err) == -1))
    return -1;
  return add_edges (c, b, offset, end, err);
}

/* Complete a sector with what it had before.  False if that has to be read from
 * below first.  With c->lock held.
 */
static bool
complete_edge (struct cache *c, struct edge *e)
{
  const struct chunk *chunk = table_find (&c->table, e->sector / CHUNK_SECTORS);
  const uint32_t s = (uint32_t) (e->sector % CHUNK_SECTORS);
  const uint32_t ss = c->sector_size;
  uint8_t *to = e->piece->data + (size_t) (s - e->piece->first) * ss;
  const uint8_t *from;
  chunk_map map = { NULL };

  if (chunk)
    chunk_newest (chunk, s, s + 1, UINT64_MAX, map);
  if (map[s] && map[s]->data == NULL) {
    memset (to, 0, e->from);
    memset (to + e->to, 0, ss - e->to);
    return true;
  }
  if (map[s])
    from = map[s]->data + (size_t) (s - map[s]->first) * ss;
  else if (e->valid && e->removals == c->table.removals)
    from = e->below;
  else
    return false;
  memcpy (to, from, e->from);
  memcpy (to + e->to, from + e->to, ss - e->to);
  return true;
}

static int
read_edges (struct cache *c, struct batch *b, uint64_t removals, int *err)
{
  unsigned i;

  for (i = 0; i < b->edge_count; ++i) {
    struct edge *e = &b->edges[i];

    if (c->below->ops->read (c->below, e->below, sector_length (c, e->sector),
                             e->sector * c->sector_size, err) == -1)
      return -1;
    e->valid = true;
    e->removals = removals;
  }
  return 0;
}

/* Put a batch into the table, if its edges are complete.  1 if so, 0 if not,
 * and then *REMOVALS is set.
 */
static int
try_insert (struct cache *c, struct batch *b, uint64_t *removals, int *err)
{
  size_t i;
  unsigned e;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&c->lock);
  if (c->cut)
    return set_error (EIO, err);
  *removals = c->table.removals;
  for (e = 0; e < b->edge_count; ++e)
    if (!complete_edge (c, &b->edges[e]))
      return 0;
  /* A chunk gets at most an edge, a middle and another edge. */
  for (i = 0; i < b->count; ++i)
    if (table_reserve (&c->table, b->pieces[i]->chunk, 3) == -1)
      return set_error (ENOMEM, err);
  c->number++;
  for (i = 0; i < b->count; ++i) {
    b->pieces[i]->origin = (struct origin){
      .number = c->number,
      .first = b->first,
      .sectors = b->sectors,
    };
    table_insert (&c->table, b->pieces[i]);
  }
  b->inserted = true;
  return 1;
}

int
batch_insert (struct cache *c, struct batch *b, int *err)
{
  uint64_t removals;
  int r;

  while ((r = try_insert (c, b, &removals, err)) == 0)
    if (read_edges (c, b, removals, err) == -1)
      return -1;
  return r == 1 ? 0 : -1;
}
