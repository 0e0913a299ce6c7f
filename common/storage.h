/* nbdclone: the seam to the bitmap file's storage.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Four operations: in production a file written through io_uring
 * (storage-file.c), in tests a simulated disk whose power can be cut between
 * any two of them.
 */

#ifndef NBDCLONE_STORAGE_H
#define NBDCLONE_STORAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* One piece of a submission. */
struct storage_write {
  const void *data;
  size_t length;   /* bytes, > 0 */
  uint64_t offset; /* bytes */
};

struct storage {
  const struct storage_ops *ops;
};

struct storage_ops {
  /* The size in bytes, or -1 with errno set. */
  int64_t (*size) (struct storage *);

  /* Read exactly length bytes.  0, or -1 with errno set; EIO if there are
   * fewer.
   */
  int (*read) (struct storage *, void *data, size_t length, uint64_t offset);

  /* The next offset >= the one given that may hold something other than
   * zeroes; the size if there is none.  -1 with errno set.
   */
  int64_t (*next_data) (struct storage *, uint64_t offset);

  /* Write all n pieces (none, if n is 0), in any order, and then, if sync, make them and all
   * earlier writes durable; the sync begins when the last write has ended.
   * Returns 0 when all of that is done, or -1 with errno set: ENOSPC if a write
   * (not the sync) failed because the file cannot grow (ENOSPC, EDQUOT,
   * EFBIG), any other number if it is not known any more what is on the disk.
   * Only one caller at a time.
   */
  int (*write) (struct storage *, const struct storage_write *writes, size_t n,
                bool sync);
};

#endif /* NBDCLONE_STORAGE_H */
