/* What the disk may hold.
 *
 * The model is what was durable at some time, and the list of all changes since
 * then, in the order in which they were sent.  Changes that overlap are never
 * in flight together, so that is also the order in which they took place.  A
 * change is
 *
 *   done        it was answered: readers see it, or a later one (P1)
 *   uncertain   it was answered with an error, or not at all, because the server
 *               died: each byte may be old or new
 *   past        the server died, and what can be seen since is another change of
 *               the list; but what was not durable then is not durable now, and a
 *               power cut may bring any of it
 *
 * and it can be durable: a flush has been answered that was sent after the
 * change was answered, or it had FUA itself (P4).
 *
 * So, going through the list from its end, what a byte may be after a crash is
 * what any change has put there, as far as the first one that is durable, or
 * else what was durable before.  That the region's bit can be lost with
 * the destination's contents being newer adds nothing: without any durable
 * change, what was durable before is the source's byte.
 */

#include <stdlib.h>
#include <string.h>

#include "process.h"
#include "torture-model.h"

enum state { DONE, UNCERTAIN, PAST };

struct change {
  uint64_t offset, count;
  unsigned char *data; /* NULL: zeroes */
  uint64_t answered;
  enum state state;
  bool durable;
};

void
model_init (struct model *m, uint64_t size, uint64_t source_size,
            uint64_t region_size, unsigned char *source)
{
  *m = (struct model){
    .size = size,
    .source_size = source_size,
    .region_size = region_size,
    .nr_regions = (source_size + region_size - 1) / region_size,
    .source = source,
  };
  m->durable = malloc (size);
  m->visible = malloc (size);
  m->changed = calloc (m->nr_regions, sizeof m->changed[0]);
  m->committed = calloc (m->nr_regions, sizeof m->committed[0]);
  if (!m->durable || !m->visible || !m->changed || !m->committed)
    fail ("malloc: %m");
  memcpy (m->durable, source, size);
  memcpy (m->visible, source, size);
}

static void
forget_changes (struct model *m, size_t n)
{
  for (size_t i = 0; i < n; ++i)
    free (m->changes[i].data);
  m->count -= n;
  memmove (m->changes, m->changes + n, m->count * sizeof m->changes[0]);
}

void
model_free (struct model *m)
{
  forget_changes (m, m->count);
  free (m->changes);
  free (m->source);
  free (m->durable);
  free (m->visible);
  free (m->changed);
  free (m->committed);
}

static void
apply (unsigned char *disk, const struct change *c)
{
  if (c->data)
    memcpy (disk + c->offset, c->data, c->count);
  else
    memset (disk + c->offset, 0, c->count);
}

static void
add (struct model *m, uint64_t offset, uint64_t count,
     const unsigned char *data, uint64_t answered, enum state state,
     bool durable)
{
  struct change *c;

  if (m->count == m->allocated) {
    m->allocated = 2 * m->allocated + 64;
    m->changes = realloc (m->changes, m->allocated * sizeof m->changes[0]);
  }
  c = &m->changes[m->count++];
  *c = (struct change){ .offset = offset,
                        .count = count,
                        .answered = answered,
                        .state = state,
                        .durable = durable };
  if (data) {
    c->data = malloc (count);
    memcpy (c->data, data, count);
  }
}

/* What is at the list's beginning and durable need not be in it. */
static void
shorten (struct model *m)
{
  size_t n = 0;

  while (n < m->count && m->changes[n].durable)
    apply (m->durable, &m->changes[n++]);
  forget_changes (m, n);
}

/* The bits of a FUA request's regions, or of all that a flush covers. */
static void
commit (struct model *m, uint64_t first, uint64_t end, uint64_t before)
{
  for (uint64_t i = first; i < end; ++i)
    if (m->changed[i] != 0 && m->changed[i] < before)
      m->committed[i] = true;
}

void
model_changed (struct model *m, const struct request *r, uint64_t now)
{
  const bool fua = r->flags & LIBNBD_CMD_FLAG_FUA;
  const uint64_t end = r->offset + r->count;
  const uint64_t first = r->offset / m->region_size;
  uint64_t last = (end + m->region_size - 1) / m->region_size;

  add (m, r->offset, r->count, r->kind == WRITE ? r->buf : NULL, now, DONE,
       fua);
  apply (m->visible, &m->changes[m->count - 1]);
  /* What lies wholly beyond the source's end does not hydrate anything. */
  if (r->offset >= m->source_size)
    return;
  if (last > m->nr_regions)
    last = m->nr_regions;
  for (uint64_t i = first; i < last; ++i)
    if (m->changed[i] == 0)
      m->changed[i] = now;
  if (fua)
    commit (m, first, last, UINT64_MAX);
}

void
model_uncertain (struct model *m, const struct request *r)
{
  add (m, r->offset, r->count, r->kind == WRITE ? r->buf : NULL, 0, UNCERTAIN,
       false);
}

void
model_flushed (struct model *m, uint64_t sent)
{
  for (size_t i = 0; i < m->count; ++i)
    if (m->changes[i].state == DONE && m->changes[i].answered < sent)
      m->changes[i].durable = true;
  commit (m, 0, m->nr_regions, sent);
  shorten (m);
}

static bool
has (const struct change *c, uint64_t offset)
{
  return offset >= c->offset && offset - c->offset < c->count;
}

static bool
leaves (const struct change *c, uint64_t offset, unsigned char value)
{
  return (c->data ? c->data[offset - c->offset] : 0) == value;
}

bool
model_may_read (const struct model *m, uint64_t offset, unsigned char value)
{
  if (m->visible[offset] == value)
    return true;
  for (size_t i = m->count; i-- > 0;) {
    const struct change *c = &m->changes[i];

    if (!has (c, offset) || c->state == PAST)
      continue;
    if (c->state == DONE)
      return false;
    if (leaves (c, offset, value))
      return true;
  }
  return false;
}

bool
model_may_survive (const struct model *m, uint64_t offset, unsigned char value)
{
  for (size_t i = m->count; i-- > 0;) {
    const struct change *c = &m->changes[i];

    if (!has (c, offset))
      continue;
    if (leaves (c, offset, value))
      return true;
    if (c->durable)
      return false;
  }
  return m->durable[offset] == value;
}

void
model_restarted (struct model *m, const unsigned char *now,
                 const bool *hydrated, bool is_durable, uint64_t clock)
{
  memcpy (m->visible, now, m->size);
  if (is_durable) {
    forget_changes (m, m->count);
    memcpy (m->durable, now, m->size);
  }
  else if (m->count > 0) {
    uint64_t start = m->size, end = 0;

    for (size_t i = 0; i < m->count; ++i) {
      const struct change *c = &m->changes[i];

      if (!c->durable)
        m->changes[i].state = PAST;
      if (c->offset < start)
        start = c->offset;
      if (c->offset + c->count > end)
        end = c->offset + c->count;
    }
    /* Parts that nothing had changed are what they were: that does no harm. */
    add (m, start, end - start, now + start, clock, DONE, false);
  }
  for (uint64_t i = 0; i < m->nr_regions; ++i) {
    /* Recovery has made durable what it has found. */
    m->committed[i] = hydrated[i];
    m->changed[i] = hydrated[i] ? clock : 0;
  }
}

bool
model_is_complete (const struct model *m)
{
  uint64_t i = 0;

  while (i < m->nr_regions && m->committed[i])
    i++;
  return i == m->nr_regions;
}
