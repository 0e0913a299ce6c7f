/* nbdclone: the seam to the destination.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * In production nbdkit's next layer (filters/next/destination-nbdkit.c), in
 * tests a simulated disk.  Every operation may be called from any thread, any
 * number at once; offsets and lengths are in bytes and inside the disk; returns
 * 0, or -1 with *err set to a positive error number.
 */

#ifndef NBDCLONE_DESTINATION_H
#define NBDCLONE_DESTINATION_H

#include <stdbool.h>
#include <stdint.h>

/* Flags of zero, in the words of the NBD protocol. */
#define DESTINATION_MAY_TRIM 1U
#define DESTINATION_FAST_ZERO 2U

/* The type of an extent, as in base:allocation. */
#define EXTENT_HOLE 1U
#define EXTENT_ZERO 2U

struct destination {
  const struct destination_ops *ops;
  uint64_t size;          /* bytes */
  uint32_t block_minimum; /* bytes, a power of two */
  bool can_flush;
  bool can_trim;
  bool can_fast_zero;
  bool can_extents;
  bool can_cache;
};

struct destination_ops {
  int (*read) (struct destination *, void *buf, uint32_t length,
               uint64_t offset, int *err);

  /* Never with FUA: a sync that fails inside of a write could not be told from
   * the write, and the next flush would not know of it (P5).
   */
  int (*write) (struct destination *, const void *buf, uint32_t length,
                uint64_t offset, int *err);

  /* The range reads as zeroes afterwards.  Without DESTINATION_FAST_ZERO the
   * error is never ENOTSUP; with it (only if can_fast_zero) ENOTSUP says that
   * it would be no faster than writing, and nothing has been done.
   */
  int (*zero) (struct destination *, uint32_t length, uint64_t offset,
               unsigned flags, int *err);

  /* Only if can_trim. */
  int (*trim) (struct destination *, uint32_t length, uint64_t offset,
               int *err);

  /* What was written before the call is durable afterwards.  Does nothing
   * where the destination cannot flush.
   */
  int (*flush) (struct destination *, int *err);

  /* Call found () for consecutive extents from offset on, at least one, not
   * beyond the range, as long as it returns 0.
   */
  int (*extents) (struct destination *, uint32_t length, uint64_t offset,
                  int (*found) (void *opaque, uint64_t offset, uint64_t length,
                                unsigned type),
                  void *opaque, int *err);

  /* Only if can_cache. */
  int (*cache) (struct destination *, uint32_t length, uint64_t offset,
                int *err);
};

#endif /* NBDCLONE_DESTINATION_H */
