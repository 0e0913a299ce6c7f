/* nbdclone: powercut: a volatile write cache.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What clients write goes into a table (chunk.c) and nowhere else; reads see
 * the table on top of the layer below.  A request becomes durable in one way
 * only: its newest versions are written below, the layer below is flushed, and
 * they are forgotten, and so is everything older in the same sectors.
 *
 *   flush    all that was there when it began
 *   FUA      the request's own sectors; the others stay volatile
 *   destage  the oldest chunks when memory is short: written, but not flushed,
 *            so nobody was promised anything
 *   cut      what the choice says, once, and then never anything again
 *
 * These four write below, one at a time (IO).  So a cut falls before a flush or
 * after it.  That loses no state: a flush of which a part has arrived is a cut
 * before it that keeps a subset.
 *
 * The table is guarded by LOCK, which is never held during I/O.  Pieces don't
 * change and are removed only by whoever holds IO, who may therefore write from
 * them without LOCK.  Reads look at the table first and then below: what leaves
 * the table is below already.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "batch.h"
#include "cache-private.h"
#include "cleanup.h"

struct cache *
cache_new (struct destination *below, uint64_t size, uint32_t sector_size,
           uint64_t limit)
{
  struct cache *c = calloc (1, sizeof *c);

  if (c == NULL)
    return NULL;
  c->below = below;
  c->size = size;
  c->sector_size = sector_size;
  c->limit = limit;
  pthread_mutex_init (&c->io, NULL);
  pthread_mutex_init (&c->lock, NULL);
  return c;
}

void
cache_free (struct cache *c)
{
  if (c == NULL)
    return;
  table_clear (&c->table);
  pthread_mutex_destroy (&c->lock);
  pthread_mutex_destroy (&c->io);
  free (c);
}

/* The number of the last request inserted; an error after a cut. */
static int
last_number (struct cache *c, uint64_t *number, int *err)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&c->lock);
  if (c->cut)
    return set_error (EIO, err);
  *number = c->number;
  return 0;
}

/* What table_forget does, with c->io held. */
static void
forget (struct cache *c, uint64_t chunk, uint32_t first, uint32_t count,
        uint64_t number)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&c->lock);
  table_forget (&c->table, chunk, first, count, number);
}

/* Looking at the table. */

/* Told of a part of a range, in ascending order: the piece that is there, or
 * NULL.  False ends it.
 */
typedef bool (*found) (void *opaque, const struct cache *c, uint64_t offset,
                       uint64_t length, const struct piece *piece);

/* Call F for the whole of [OFFSET, END), with c->lock held. */
static void
scan (const struct cache *c, uint64_t offset, uint64_t end, found f,
      void *opaque)
{
  const uint64_t chunk_size = (uint64_t) CHUNK_SECTORS * c->sector_size;
  const struct chunk *chunk = table_next (&c->table, offset / chunk_size);
  uint64_t done = offset; /* f has been told of all before */
  chunk_map map;

  for (; chunk && chunk->number * chunk_size < end;
       chunk = table_next (&c->table, chunk->number + 1)) {
    const uint64_t base = chunk->number * chunk_size;
    const uint64_t to = min (end - base, chunk_size);
    const uint32_t first =
      offset > base ? (uint32_t) ((offset - base) / c->sector_size) : 0;
    const uint32_t last =
      (uint32_t) ((to + c->sector_size - 1) / c->sector_size);
    uint32_t s, n;

    chunk_newest (chunk, first, last, UINT64_MAX, map);
    for (s = first; s < last; s += n) {
      const uint64_t run = base + (uint64_t) s * c->sector_size;
      const uint64_t begin = run > offset ? run : offset;
      uint64_t run_end;

      n = chunk_run (map, s, last);
      if (map[s] == NULL)
        continue;
      run_end = min (run + (uint64_t) n * c->sector_size, end);
      if (begin > done && !f (opaque, c, done, begin - done, NULL))
        return;
      if (!f (opaque, c, begin, run_end - begin, map[s]))
        return;
      done = run_end;
    }
  }
  if (done < end)
    f (opaque, c, done, end - done, NULL);
}

struct gap {
  uint64_t offset, length; /* bytes */
};

/* A read: what is cached is copied, and the gaps are noted. */
struct reader {
  uint8_t *buf;
  uint64_t offset;
  struct gap *gaps;
  size_t count, allocated;
  bool no_memory;
};

static bool
read_piece (void *opaque, const struct cache *c, uint64_t offset,
            uint64_t length, const struct piece *p)
{
  struct reader *r = opaque;
  uint8_t *buf = r->buf + (offset - r->offset);

  if (p && p->data) {
    const uint64_t begin =
      (p->chunk * CHUNK_SECTORS + p->first) * c->sector_size;

    memcpy (buf, p->data + (offset - begin), length);
  }
  else if (p)
    memset (buf, 0, length);
  else {
    if (r->count == r->allocated) {
      const size_t n = r->allocated ? 2 * r->allocated : 8;
      struct gap *gaps = realloc (r->gaps, n * sizeof *gaps);

      if (gaps == NULL) {
        r->no_memory = true;
        return false;
      }
      r->gaps = gaps;
      r->allocated = n;
    }
    r->gaps[r->count++] = (struct gap){ offset, length };
  }
  return true;
}

int
cache_read (struct cache *c, void *buf, uint32_t count, uint64_t offset,
            int *err)
{
  struct reader r = { .buf = buf, .offset = offset };
  CLEANUP_FREE struct gap *gaps = NULL;
  size_t i;

  {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&c->lock);
    if (c->cut)
      return set_error (EIO, err);
    scan (c, offset, offset + count, read_piece, &r);
  }
  gaps = r.gaps;
  if (r.no_memory)
    return set_error (ENOMEM, err);
  for (i = 0; i < r.count; ++i)
    if (c->below->ops->read (c->below, r.buf + (gaps[i].offset - offset),
                             (uint32_t) gaps[i].length, gaps[i].offset,
                             err) == -1)
      return -1;
  return 0;
}

struct lister {
  struct cache_extent *extents;
  size_t count, max;
};

static bool
list_extent (void *opaque, const struct cache *c, uint64_t offset,
             uint64_t length, const struct piece *p)
{
  struct lister *l = opaque;

  (void) c;
  l->extents[l->count++] = (struct cache_extent){
    .offset = offset,
    .length = length,
    .cached = p != NULL,
    .kind = p ? p->kind : CACHE_WRITE,
  };
  return l->count < l->max;
}

size_t
cache_extents (struct cache *c, uint64_t count, uint64_t offset,
               struct cache_extent *extents, size_t max)
{
  struct lister l = { .extents = extents, .max = max };

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&c->lock);
  scan (c, offset, offset + count, list_extent, &l);
  return l.count;
}

/* Writing below, with c->io held. */

/* Write COUNT sectors of a piece, from sector FIRST of the chunk on. */
static int
write_run (struct cache *c, const struct piece *p, uint32_t first,
           uint32_t count, int *err)
{
  const struct destination_ops *ops = c->below->ops;
  const uint64_t offset =
    (p->chunk * CHUNK_SECTORS + first) * (uint64_t) c->sector_size;
  const uint32_t length = clip (c, offset, (uint64_t) count * c->sector_size);

  switch (p->kind) {
  case CACHE_WRITE:
    return ops->write (c->below,
                       p->data + (size_t) (first - p->first) * c->sector_size,
                       length, offset, err);
  case CACHE_TRIM:
    return ops->trim (c->below, length, offset, err);
  default:
    return ops->zero (c->below, length, offset,
                      p->kind == CACHE_ZERO_MAY_TRIM ? DESTINATION_MAY_TRIM : 0,
                      err);
  }
}

/* Write what is newest in a chunk among requests up to NUMBER, and forget it.
 * Adds the sectors to *WRITTEN.
 */
static int
destage_chunk (struct cache *c, uint64_t chunk, uint64_t number,
               uint64_t *written, int *err)
{
  chunk_map map = { NULL };
  uint32_t s, n;

  {
    const struct chunk *here;

    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&c->lock);
    here = table_find (&c->table, chunk);
    if (here)
      chunk_newest (here, 0, CHUNK_SECTORS, number, map);
  }
  for (s = 0; s < CHUNK_SECTORS; s += n) {
    n = chunk_run (map, s, CHUNK_SECTORS);
    if (map[s] == NULL || map[s]->lost)
      continue;
    if (write_run (c, map[s], s, n, err) == -1)
      return -1;
    *written += n;
    forget (c, chunk, s, n, map[s]->origin.number);
  }
  return 0;
}

/* The number of the next chunk that has something, from *NUMBER on. */
static bool
next_chunk (struct cache *c, uint64_t *number)
{
  const struct chunk *chunk;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&c->lock);
  chunk = table_next (&c->table, *number);
  if (chunk)
    *number = chunk->number;
  return chunk != NULL;
}

struct age {
  uint64_t oldest; /* the number of the oldest request in it */
  uint64_t chunk;
};

static int
compare_ages (const void *pa, const void *pb)
{
  const struct age *a = pa, *b = pb;

  if (a->oldest != b->oldest)
    return a->oldest < b->oldest ? -1 : 1;
  return a->chunk < b->chunk ? -1 : a->chunk > b->chunk;
}

/* All chunks, the oldest first.  To be freed; NULL if there is no memory. */
static struct age *
chunks_by_age (struct cache *c, size_t *count)
{
  struct age *ages;
  size_t i;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&c->lock);
  *count = c->table.count;
  ages = malloc ((*count + 1) * sizeof *ages);
  for (i = 0; ages && i < *count; ++i) {
    const struct chunk *chunk = c->table.chunks[i];

    ages[i].chunk = chunk->number;
    ages[i].oldest =
      chunk->count > 0 ? chunk->pieces[0]->origin.number : UINT64_MAX;
  }
  if (ages)
    qsort (ages, *count, sizeof *ages, compare_ages);
  return ages;
}

static bool
has_room (struct cache *c, uint64_t bytes, uint64_t limit)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&c->lock);
  return c->table.bytes == 0 || c->table.bytes + bytes <= limit;
}

/* Make room for that many more bytes, with c->io held.  A quarter of the limit
 * is left free, so that not every write has to do this.
 */
static int
make_room (struct cache *c, uint64_t bytes, int *err)
{
  CLEANUP_FREE struct age *ages = NULL;
  uint64_t number, written = 0;
  size_t i, count;
  int r = 0;

  if (has_room (c, bytes, c->limit))
    return 0;
  if (last_number (c, &number, err) == -1)
    return -1;
  ages = chunks_by_age (c, &count);
  if (ages == NULL)
    return set_error (ENOMEM, err);
  for (i = 0; i < count && r == 0 && !has_room (c, bytes, c->limit / 4 * 3);
       ++i) {
    r = destage_chunk (c, ages[i].chunk, number, &written, err);
    /* What a failed flush has lost goes now, as clean pages do. */
    if (r == 0)
      forget (c, ages[i].chunk, 0, CHUNK_SECTORS, number);
  }
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&c->lock);
  c->destaged += written;
  return r;
}

/* Requests. */

/* Insert a batch, and make it durable before anything else is written below.
 * With c->io held, so the pieces stay until they are forgotten here.
 */
static int
insert_fua (struct cache *c, struct batch *b, int *err)
{
  const struct piece *p;
  size_t i;

  if (batch_insert (c, b, err) == -1)
    return -1;
  for (i = 0; i < b->count; ++i) {
    p = b->pieces[i];
    if (write_run (c, p, p->first, p->count, err) == -1)
      return -1;
  }
  if (c->below->ops->flush (c->below, err) == -1)
    return -1;
  for (i = 0; i < b->count; ++i) {
    p = b->pieces[i];
    forget (c, p->chunk, p->first, p->count, p->origin.number);
  }
  return 0;
}

static int
make_room_locked (struct cache *c, uint64_t bytes, int *err)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&c->io);
  return make_room (c, bytes, err);
}

/* Whatever the request is, with all of it in the batch. */
static int
modify (struct cache *c, struct batch *b, bool fua, int *err)
{
  if (fua) {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&c->io);
    if (make_room (c, b->bytes, err) == -1)
      return -1;
    return insert_fua (c, b, err);
  }
  if (!has_room (c, b->bytes, c->limit) &&
      make_room_locked (c, b->bytes, err) == -1)
    return -1;
  return batch_insert (c, b, err);
}

int
cache_write (struct cache *c, const void *buf, uint32_t count, uint64_t offset,
             bool fua, int *err)
{
  CLEANUP_BATCH struct batch b;

  batch_init (c, &b, offset, offset + count);
  if (batch_write (c, &b, buf, offset, offset + count, err) == -1)
    return -1;
  return modify (c, &b, fua, err);
}

int
cache_zero (struct cache *c, enum cache_kind kind, uint32_t count,
            uint64_t offset, bool fua, int *err)
{
  CLEANUP_BATCH struct batch b;

  assert (kind != CACHE_WRITE);
  batch_init (c, &b, offset, offset + count);
  if (batch_zero (c, &b, kind, offset, offset + count, err) == -1)
    return -1;
  return modify (c, &b, fua, err);
}

int
cache_flush (struct cache *c, int *err)
{
  uint64_t number, chunk, written = 0;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&c->io);
  if (last_number (c, &number, err) == -1)
    return -1;
  for (chunk = 0; next_chunk (c, &chunk); chunk++)
    if (destage_chunk (c, chunk, number, &written, err) == -1)
      return -1;
  return c->below->ops->flush (c->below, err);
}

static void
mark_lost (struct cache *c)
{
  size_t i, j;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&c->lock);
  for (i = 0; i < c->table.count; ++i)
    for (j = 0; j < c->table.chunks[i]->count; ++j)
      c->table.chunks[i]->pieces[j]->lost = true;
}

void
cache_lose (struct cache *c)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&c->io);
  mark_lost (c);
}

static void
cut_chunk (struct cache *c, const struct chunk *chunk,
           const struct choice *choice, struct cache_outcome *outcome)
{
  chunk_map map;
  uint32_t s, n;
  int err;

  outcome->sectors += chunk_choose (chunk, choice, map);
  for (s = 0; s < CHUNK_SECTORS; s += n) {
    n = chunk_run (map, s, CHUNK_SECTORS);
    if (map[s] == NULL)
      continue;
    if (write_run (c, map[s], s, n, &err) == 0)
      outcome->kept += n;
    else if (outcome->error == 0)
      outcome->error = err;
  }
}

/* From here on nobody gets at the table any more.  It is handed over. */
static void
close_table (struct cache *c, struct table *table, uint64_t *destaged)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&c->lock);
  assert (!c->cut);
  c->cut = true;
  *table = c->table;
  c->table = (struct table){ 0 };
  *destaged = c->destaged;
}

void
cache_cut (struct cache *c, const struct choice *choice,
           struct cache_outcome *outcome)
{
  struct table table;
  size_t i;
  int err;

  *outcome = (struct cache_outcome){ 0 };
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&c->io);
  close_table (c, &table, &outcome->destaged);
  for (i = 0; i < table.count; ++i)
    cut_chunk (c, table.chunks[i], choice, outcome);
  if (c->below->ops->flush (c->below, &err) == -1 && outcome->error == 0)
    outcome->error = err;
  table_clear (&table);
}
