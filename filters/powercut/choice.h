/* nbdclone: powercut: what survives a power cut.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef NBDCLONE_POWERCUT_CHOICE_H
#define NBDCLONE_POWERCUT_CHOICE_H

#include <stdbool.h>
#include <stdint.h>

enum keep { KEEP_ANY, KEEP_NOTHING, KEEP_ALL, KEEP_SUBSET };

struct choice {
  uint64_t seed;
  enum keep keep; /* not KEEP_ANY */
  double share;   /* of what is kept, 0 to 1 */
  double torn;    /* share of the requests that are torn */
};

/* A request that has changed the disk: its number, counted from 1 in the order
 * in which they came into the cache, and its range in sectors.
 */
struct origin {
  uint64_t number;
  uint64_t first, sectors;
};

/* With KEEP_ANY, the seed chooses between the other three. */
extern void choice_init (struct choice *, uint64_t seed, enum keep keep);

/* "nothing", "all" or "subset". */
extern const char *choice_name (const struct choice *);

/* Has what the request put into SECTOR (of its range) reached the disk? */
extern bool choice_keeps (const struct choice *, const struct origin *,
                          uint64_t sector);

/* Where several versions of a sector have reached the disk, the one from the
 * request with the highest rank did so last.
 */
extern uint64_t choice_rank (const struct choice *, uint64_t number);

#endif /* NBDCLONE_POWERCUT_CHOICE_H */
