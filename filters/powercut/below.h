/* nbdclone: powercut: what the cache needs of the layer below it.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * In production that is nbdkit's next layer (below-nbdkit.c); in the unit tests
 * it is an array.  All functions may be called by several threads at the same
 * time.  They return 0, or -1 and an errno in *ERR.  Ranges are never empty,
 * and never go beyond the end of the disk.
 */

#ifndef NBDCLONE_POWERCUT_BELOW_H
#define NBDCLONE_POWERCUT_BELOW_H

#include <stdbool.h>
#include <stdint.h>

struct below;

struct below_ops {
  int (*read) (struct below *, void *buf, uint32_t length, uint64_t offset,
               int *err);
  int (*write) (struct below *, const void *buf, uint32_t length,
                uint64_t offset, int *err);
  /* Make the range read as zeroes; it may become a hole if MAY_TRIM. */
  int (*zero) (struct below *, uint32_t length, uint64_t offset, bool may_trim,
               int *err);
  int (*trim) (struct below *, uint32_t length, uint64_t offset, int *err);
  /* Make durable what the functions above have done. */
  int (*flush) (struct below *, int *err);
};

/* The first member of whatever implements it. */
struct below {
  const struct below_ops *ops;
};

#endif /* NBDCLONE_POWERCUT_BELOW_H */
