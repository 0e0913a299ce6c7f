/* nbdclone: what has not arrived yet of a range.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A reply to a read may come in pieces, in any order.  It is whole when no gap is
 * left; how often a byte came does not matter.
 */

#ifndef NBDCLONE_GAPS_H
#define NBDCLONE_GAPS_H

#include <stdbool.h>
#include <stdint.h>

/* A server that sends pieces in order makes one gap, and one that works at
 * several at a time a few.  With more than this the range never becomes whole.
 */
#define GAPS_MAX 8

struct gaps {
  unsigned count;
  bool too_many;
  struct {
    uint64_t from, to;
  } gaps[GAPS_MAX];
};

/* Nothing of [from, to), which is not empty, has arrived. */
extern void gaps_init (struct gaps *, uint64_t from, uint64_t to);

/* [from, to) has arrived; what is outside of the range is of no interest. */
extern void gaps_fill (struct gaps *, uint64_t from, uint64_t to);

/* Has all arrived? */
extern bool gaps_none (const struct gaps *);

#endif /* NBDCLONE_GAPS_H */
