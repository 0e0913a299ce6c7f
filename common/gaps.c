/* nbdclone: what has not arrived yet of a range.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "gaps.h"

void
gaps_init (struct gaps *g, uint64_t from, uint64_t to)
{
  *g = (struct gaps){ .count = 1 };
  g->gaps[0].from = from;
  g->gaps[0].to = to;
}

static void
add (struct gaps *g, uint64_t from, uint64_t to)
{
  if (from >= to)
    return;
  if (g->count == GAPS_MAX) {
    g->too_many = true;
    return;
  }
  g->gaps[g->count].from = from;
  g->gaps[g->count].to = to;
  g->count++;
}

void
gaps_fill (struct gaps *g, uint64_t from, uint64_t to)
{
  const struct gaps before = *g;
  unsigned i;

  g->count = 0;
  for (i = 0; i < before.count; ++i) {
    const uint64_t start = before.gaps[i].from, end = before.gaps[i].to;

    add (g, start, from < end ? from : end);
    add (g, to > start ? to : start, end);
  }
}

bool
gaps_none (const struct gaps *g)
{
  return g->count == 0 && !g->too_many;
}
