/* nbdclone: powercut: what survives a power cut.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A drive with a volatile cache writes back what it likes, in whichever order.
 * So each sector that was not flushed may hold any of its versions since the
 * last flush, or the old one.  Choosing for each sector on its own reaches all
 * of these states, but hardly ever those that hurt: a whole request that is
 * missing while a later one is there, or one that was cut off in its middle.
 * So the seed first chooses how much survives (SHARE), and how many requests
 * are torn (TORN).  Then, for each request:
 *
 *   not torn   it is there with all its sectors, or it is not
 *   torn       its sectors up to some point are there, or those from some point
 *              on, or each is there or not on its own
 *
 * The order in which the requests have reached the disk is a permutation (the
 * rank): where two that overlap are there, either may be on top.
 *
 * All this depends on the seed, the numbers of the requests and their sectors
 * only, so the same history gives the same disk again.
 */

#include <config.h>

#include "choice.h"
#include "random.h"

void
choice_init (struct choice *c, uint64_t seed, enum keep keep)
{
  static const enum keep keeps[] = { KEEP_NOTHING, KEEP_ALL, KEEP_SUBSET };
  static const double shares[] = { 0.125, 0.5, 0.875 };
  static const double torn[] = { 0, 0.5, 1 };
  const uint64_t r = random_number (seed, RANDOM_SHARE, 0, 0);

  c->seed = seed;
  c->keep = keep;
  if (keep == KEEP_ANY)
    c->keep = keeps[random_number (seed, RANDOM_KEEP, 0, 0) % 3];
  c->share = shares[r % 3];
  c->torn = torn[r / 3 % 3];
}

const char *
choice_name (const struct choice *c)
{
  switch (c->keep) {
  case KEEP_NOTHING:
    return "nothing";
  case KEEP_ALL:
    return "all";
  default:
    return "subset";
  }
}

static bool
keeps_torn (const struct choice *c, const struct origin *o, uint64_t sector)
{
  const uint64_t point =
    random_number (c->seed, RANDOM_POINT, o->number, 0) % (o->sectors + 1);

  switch (random_number (c->seed, RANDOM_TEAR, o->number, 0) % 3) {
  case 0:
    return sector - o->first < point;
  case 1:
    return sector - o->first >= point;
  default:
    return random_chance (
      random_number (c->seed, RANDOM_SECTOR, o->number, sector), c->share);
  }
}

bool
choice_keeps (const struct choice *c, const struct origin *o, uint64_t sector)
{
  if (c->keep != KEEP_SUBSET)
    return c->keep == KEEP_ALL;
  if (random_chance (random_number (c->seed, RANDOM_TORN, o->number, 0),
                     c->torn))
    return keeps_torn (c, o, sector);
  return random_chance (random_number (c->seed, RANDOM_REQUEST, o->number, 0),
                        c->share);
}

uint64_t
choice_rank (const struct choice *c, uint64_t number)
{
  if (c->keep != KEEP_SUBSET)
    return number;
  return random_number (c->seed, RANDOM_RANK, number, 0);
}
