/* nbdclone: a bitmap file in memory, whose power can be cut, for the fuzzer.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef NBDCLONE_FUZZ_MEMORY_H
#define NBDCLONE_FUZZ_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "layout.h"
#include "storage.h"

struct memory {
  struct storage storage; /* first: the seam */
  uint8_t *bytes;         /* what a read returns */
  uint8_t *durable;       /* what a power cut leaves at least */
  size_t size;
  uint64_t changes; /* writes and syncs that have happened */
  uint64_t left;    /* so many more happen; then all fail */
};

/* All of `data` is durable at first. */
extern void memory_init (struct memory *, const uint8_t *data, size_t size);
extern void memory_destroy (struct memory *);

/* Cut the power after so many more writes and syncs. */
extern void memory_stop_after (struct memory *, uint64_t changes);
extern bool memory_has_stopped (const struct memory *);

/* After the cut: of what was not synced each sector is there or not. */
extern void memory_cut (struct memory *, struct random *);

#endif /* NBDCLONE_FUZZ_MEMORY_H */
