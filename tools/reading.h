/* nbdclone: a bitmap file that is only looked at.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef NBDCLONE_READING_H
#define NBDCLONE_READING_H

#include "bitmap-file.h"
#include "bitmap.h"
#include "storage.h"

struct reading {
  struct storage *storage;
  struct bitmap_file *file;
  struct bitmap *bitmap;
  const struct bitmap_file_identity *identity;
};

enum reading_result {
  READING_SOUND,
  READING_DAMAGED,
  READING_FAILED, /* it is not known what is in it */
};

/* Read a bitmap file with the code of the filter.  Writes nothing.  Says what is
 * wrong if it is not sound.
 */
extern enum reading_result reading_open (struct reading *, const char *path);
extern void reading_close (struct reading *);

/* Calls found () for each run of regions that are all hydrated or all not, as
 * bytes of the disk; what lies behind the source's end is hydrated.
 */
extern void reading_runs (const struct reading *,
                          void (*found) (void *opaque, uint64_t offset,
                                         uint64_t length, bool hydrated),
                          void *opaque);

/* Bytes of the disk that are hydrated. */
extern uint64_t reading_hydrated (const struct reading *);

#endif /* NBDCLONE_READING_H */
