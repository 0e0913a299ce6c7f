/* nbdclone: bitmap files on simulated storage, for tests.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef NBDCLONE_FILES_H
#define NBDCLONE_FILES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bitmap-file.h"
#include "bitmap.h"
#include "sim.h"

/* The layout, as in nbdclone-bitmap(5). */
#define HEADER_BYTES 8192
#define BLOCKS_AT 16384

/* A clone of that many regions of 4 KiB, without a remainder. */
extern struct bitmap_file_identity file_identity (uint64_t regions);

/* Make a storage of the right size and format it. */
extern void file_create (struct sim_storage *, struct sim *,
                         const struct bitmap_file_identity *);

/* A file that is open, with its bitmap. */
struct opened {
  struct bitmap_file *file; /* NULL if it was refused */
  struct bitmap *bitmap;
  uint64_t regions;
  char why[512];
};

/* Open and load; false and why if the file is refused. */
extern bool file_open (struct opened *, struct sim_storage *, uint64_t regions);
/* The same, which must succeed. */
extern void file_must_open (struct opened *, struct sim_storage *,
                            uint64_t regions);
extern void file_close (struct opened *);
/* Mark it as clean and close it. */
extern void file_close_clean (struct opened *);

/* Commit these chunks as they are in the bitmap; as bitmap_file_commit. */
extern int file_commit (struct opened *, const uint64_t *chunks, size_t n);
/* Set the regions [first, end) and commit the chunks they are in. */
extern int file_set_and_commit (struct opened *, uint64_t first, uint64_t end);

/* All bits, a byte each; to be freed. */
extern uint8_t *file_bits (const struct opened *);
/* Is each bit that is set in a set in b as well? */
extern bool bits_within (const uint8_t *a, const uint8_t *b, uint64_t regions);

/* What the file says: a number in it, little-endian; and how to write one, and
 * make the checksum of the header or block that begins there right again.
 */
extern uint64_t file_number (const struct sim_storage *, uint64_t offset,
                             unsigned bytes);
extern void file_set_number (struct sim_storage *, uint64_t offset,
                             unsigned bytes, uint64_t value);
extern void file_seal (struct sim_storage *, uint64_t offset, size_t length);

#endif /* NBDCLONE_FILES_H */
