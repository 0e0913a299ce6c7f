/* nbdclone: nbdkit-uring-plugin: the file or block device.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef NBDCLONE_URING_DISK_H
#define NBDCLONE_URING_DISK_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct params;
struct lanes;

struct disk {
  int fd;           /* locked; with direct, O_DIRECT */
  int tail_fd;      /* without O_DIRECT, for what lies at or beyond direct_end;
                       -1 if there is nothing */
  uint64_t size;    /* bytes, when it was opened */
  bool is_device;   /* not a regular file */
  bool writable;    /* fd can write */
  bool rotational;  /* as far as the kernel tells */
  bool direct;      /* past the page cache */
  bool keeps_space; /* zeroes keep their space, where the caller leaves it open
                       (prealloc) */

  /* Powers of two, bytes.  With direct, file offsets, lengths, and addresses
   * in memory have to be aligned to these; otherwise both are 1.
   */
  uint32_t offset_align;
  uint32_t memory_align;
  /* What can be zeroed without a write is aligned to this. */
  uint32_t zero_align;
  uint32_t preferred_block;
  uint64_t direct_end; /* see disk.c; without direct, the size */

  struct lanes *lanes; /* with direct; made later, by whoever makes threads */

  /* With direct, a write that is not aligned reads what is around it and puts
   * that back, so nobody else may write meanwhile: it has this for writing, the
   * others for reading.  Nothing is taken while it is held but a lane.
   */
  pthread_rwlock_t around;

  /* What has been found not to work here.  Only ever becomes true; who is
   * late to see it tries once more, for nothing.  Relaxed.
   */
  atomic_bool no_punch, no_zero_range, no_allocate, no_zeroout, no_discard;
};

/* Open, or make, and lock.  0, or -1 after a message (log.h). */
extern int disk_open (struct disk *, const struct params *);

extern void disk_close (struct disk *);

/* Whether it is a device that does not reach to END any more. */
extern bool disk_has_shrunk (const struct disk *, uint64_t end);

/* What a client should be told that a request has failed with: ERR, but EIO
 * where a device has shrunk below END, or is gone.
 */
extern int disk_error (const struct disk *, int err, uint64_t end);

#endif /* NBDCLONE_URING_DISK_H */
