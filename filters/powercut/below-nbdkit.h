/* nbdclone: powercut: the layer below is nbdkit's next one.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef NBDCLONE_POWERCUT_BELOW_NBDKIT_H
#define NBDCLONE_POWERCUT_BELOW_NBDKIT_H

#include <stdbool.h>
#include <stdint.h>

#include <nbdkit-filter.h>

#include "below.h"

/* What it can do; the values are those of nbdkit's methods. */
struct abilities {
  uint64_t size; /* bytes */
  bool can_write, can_flush, can_trim, can_fast_zero, can_extents;
  bool is_rotational;
  int can_zero, can_cache;              /* NBDKIT_ZERO_..., NBDKIT_CACHE_... */
  uint32_t minimum, preferred, maximum; /* block sizes, or 0 */
};

/* Open one context for all connections, in .after_fork.  PARALLEL: whether it
 * may be used by several threads at the same time.  NULL after an error
 * message.
 */
extern struct below *below_nbdkit_open (nbdkit_backend *, bool parallel);
extern void below_nbdkit_close (struct below *);

extern const struct abilities *below_nbdkit_abilities (struct below *);

/* As nbdkit's methods. */
extern int below_nbdkit_extents (struct below *, uint32_t count,
                                 uint64_t offset, uint32_t flags,
                                 struct nbdkit_extents *, int *err);
extern int below_nbdkit_cache (struct below *, uint32_t count, uint64_t offset,
                               int *err);

#endif /* NBDCLONE_POWERCUT_BELOW_NBDKIT_H */
