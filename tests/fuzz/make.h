/* nbdclone: bitmap files for the fuzzer to begin with.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef NBDCLONE_FUZZ_MAKE_H
#define NBDCLONE_FUZZ_MAKE_H

#include <stddef.h>
#include <stdint.h>

#include "layout.h"

/* Make a file of so many blocks as the code itself does: with a few commits and
 * lives, the last of which may have ended in any way.  `data` has room for
 * layout_slot (blocks, 0) bytes; returns how many are used.
 */
extern size_t make_file (uint8_t *data, size_t blocks, struct random *);

/* Make the checksum of a header or slot right. */
extern void make_checksum (uint8_t *p, size_t bytes);

#endif /* NBDCLONE_FUZZ_MAKE_H */
