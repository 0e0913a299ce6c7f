/* nbdclone: nbdkit-uring-plugin: reads and writes.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef NBDCLONE_URING_TRANSFER_H
#define NBDCLONE_URING_TRANSFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct disk;

/* Any range within the disk.  0, or an error number: EIO if the file has become
 * shorter.
 */
extern int transfer_read (struct disk *, void *buf, size_t count,
                          uint64_t offset);

/* With fua, these bytes are durable afterwards.  0, or an error number. */
extern int transfer_write (struct disk *, const void *buf, size_t count,
                           uint64_t offset, bool fua);

#endif /* NBDCLONE_URING_TRANSFER_H */
