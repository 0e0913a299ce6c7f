/* nbdclone: the destination is nbdkit's next layer.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef NBDCLONE_DESTINATION_NBDKIT_H
#define NBDCLONE_DESTINATION_NBDKIT_H

#include <nbdkit-filter.h>

#include "destination.h"

/* Open one context for all, writable if it can be.  Call it in .after_fork.
 * parallel says whether the plugin may be called in parallel.  NULL after an
 * error message.
 */
extern struct destination *destination_nbdkit_open (nbdkit_backend *,
                                                    bool parallel);
extern void destination_nbdkit_close (struct destination *);

extern bool destination_nbdkit_can_write (struct destination *);
extern bool destination_nbdkit_is_rotational (struct destination *);

/* What the plugin says of block sizes; all 0 if nothing. */
extern void destination_nbdkit_block_size (struct destination *,
                                           uint32_t *minimum,
                                           uint32_t *preferred,
                                           uint32_t *maximum);

#endif /* NBDCLONE_DESTINATION_NBDKIT_H */
