/* nbdclone: nbdkit-uring-plugin: where a file has holes.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef NBDCLONE_URING_EXTENTS_H
#define NBDCLONE_URING_EXTENTS_H

#include <stdbool.h>
#include <stdint.h>

struct disk;
struct nbdkit_extents;

/* Whether it can tell. */
extern bool extents_known (const struct disk *);

/* Add the extents of a range, only the first one if `one`.  0, or -1 with errno
 * set.
 */
extern int extents_add (struct disk *, uint64_t count, uint64_t offset,
                        bool one, struct nbdkit_extents *);

#endif /* NBDCLONE_URING_EXTENTS_H */
