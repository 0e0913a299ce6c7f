/* nbdclone: what happens to a bitmap file while it is in use, for the fuzzer.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef NBDCLONE_FUZZ_LIVES_H
#define NBDCLONE_FUZZ_LIVES_H

#include <stdbool.h>
#include <stdint.h>

#include "bitmap-file.h"
#include "bitmap.h"
#include "layout.h"
#include "memory.h"

/* A file that is open, with its bitmap, and what its bits have to be. */
struct life {
  struct memory *memory;
  struct bitmap_file *file;
  struct bitmap *bitmap;
  char why[512]; /* it was refused */
  uint64_t chunks;
  /* The bits that are durable, and those that a power cut may leave. */
  uint8_t (*at_least)[CHUNK_BYTES];
  uint8_t (*at_most)[CHUNK_BYTES];
};

/* Open and load; all that is found counts as durable.  If the file is refused,
 * false: it said why.
 */
extern bool life_begin (struct life *, struct memory *);

/* The bits of a chunk as they are in memory. */
extern void life_bits (struct life *, uint64_t chunk,
                       uint8_t bits[CHUNK_BYTES]);

/* Recover, and then commit a few times, and perhaps mark the file as clean.  Both
 * end early if the power is cut, and must not fail otherwise.
 */
extern void life_recover (struct life *);
extern void life_commit (struct life *, struct random *);

/* Open the file again without having closed it: it must not be refused, and its
 * bits must be within the limits.
 */
extern void life_again (struct life *);

extern void life_end (struct life *);

#endif /* NBDCLONE_FUZZ_LIVES_H */
