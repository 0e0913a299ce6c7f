/* nbdclone: nbdkit-uring-plugin: zeroes and trims.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef NBDCLONE_URING_ZERO_H
#define NBDCLONE_URING_ZERO_H

#include <stdbool.h>
#include <stdint.h>

struct disk;

/* Make a range read as zeroes; may_trim: its space may be given up.  0, or an
 * error number: with fast, EOPNOTSUPP, and nothing has been done, if it would
 * take as long as writing zeroes.
 */
extern int zero_range (struct disk *, uint64_t count, uint64_t offset,
                       bool may_trim, bool fast);

/* Give up its space, as far as that works.  What can be given up reads as
 * zeroes, as do the parts of blocks at the ends of a range in a file; only of
 * a device that can discard but not zero nothing is known.  0, or an error
 * number.
 */
extern int zero_trim (struct disk *, uint64_t count, uint64_t offset);

#endif /* NBDCLONE_URING_ZERO_H */
