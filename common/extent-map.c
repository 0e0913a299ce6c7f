/* nbdclone: where the source is zero, known ahead of the sweep.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <assert.h>
#include <string.h>

#include "destination.h"
#include "extent-map.h"

void
extent_map_reset (struct extent_map *m, uint64_t offset)
{
  m->from = m->to = offset;
  m->count = 0;
}

/* The first extent that ends behind the offset. */
static size_t
first_behind (const struct extent_map *m, uint64_t offset)
{
  size_t low = 0, high = m->count;

  while (low < high) {
    const size_t mid = low + (high - low) / 2;

    if (m->extents[mid].end <= offset)
      low = mid + 1;
    else
      high = mid;
  }
  return low;
}

bool
extent_map_find (const struct extent_map *m, uint64_t offset, bool *zero,
                 uint64_t *end)
{
  size_t i;

  if (offset < m->from || offset >= m->to)
    return false;
  i = first_behind (m, offset);
  assert (i < m->count);
  *zero = m->extents[i].zero;
  *end = m->extents[i].end;
  return true;
}

void
extent_map_forget (struct extent_map *m, uint64_t offset)
{
  size_t i;

  if (offset <= m->from)
    return;
  i = first_behind (m, offset);
  memmove (m->extents, m->extents + i, (m->count - i) * sizeof m->extents[0]);
  m->count -= i;
  m->from = offset < m->to ? offset : m->to;
}

size_t
extent_map_room (const struct extent_map *m)
{
  return EXTENT_MAP_MAX - m->count;
}

void
extent_map_add (struct extent_map *m, const struct source_extent *extents,
                size_t n)
{
  size_t i;

  assert (n <= extent_map_room (m));
  for (i = 0; i < n; ++i) {
    const bool zero = extents[i].type & EXTENT_ZERO;

    m->to += extents[i].length;
    if (m->count && m->extents[m->count - 1].zero == zero)
      m->extents[m->count - 1].end = m->to;
    else {
      m->extents[m->count].end = m->to;
      m->extents[m->count].zero = zero;
      m->count++;
    }
  }
}
