/* nbdclone: nbdkit-uring-plugin: zeroes and trims.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * fallocate(2) does these for files, and since Linux 4.9 for devices.  A
 * device, and a file with direct, can only do it for whole blocks (disk.h,
 * zero_align): the bytes at the two ends are written.  Zeroes are always
 * written here if all else fails, never by nbdkit: its own fallback does not
 * advance (design, lesson 15).
 *
 * What punching a hole means: on a file, its space is free; on a device, that
 * the device itself can zero without a write, or it is not supported.  So that
 * is also what a fast zero is.  FALLOC_FL_ZERO_RANGE keeps the space, and on a
 * device may mean that the kernel writes.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/ioctl.h>

#include "disk.h"
#include "transfer.h"
#include "zero.h"

static bool
is_unsupported (int err)
{
  /* ENODEV is what old kernels say for devices, ENOSYS for some file systems
   * and in some containers.
   */
  return err == EOPNOTSUPP || err == ENODEV || err == ENOSYS || err == ENOTTY;
}

/* 0, or an error number; EOPNOTSUPP, also from now on, if it cannot be done
 * here.
 */
static int
allocate (struct disk *d, atomic_bool *unsupported, int mode, uint64_t count,
          uint64_t offset)
{
  int r;

  if (atomic_load_explicit (unsupported, memory_order_relaxed))
    return EOPNOTSUPP;
  do
    r = fallocate (d->fd, mode, (off_t) offset, (off_t) count);
  while (r == -1 && errno == EINTR);
  if (r == 0)
    return 0;
  if (!is_unsupported (errno))
    return errno;
  atomic_store_explicit (unsupported, true, memory_order_relaxed);
  return EOPNOTSUPP;
}

static int
punch (struct disk *d, uint64_t count, uint64_t offset)
{
  return allocate (d, &d->no_punch, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                   count, offset);
}

/* The same with an ioctl of devices. */
static int
device_range (struct disk *d, atomic_bool *unsupported, unsigned long request,
              uint64_t count, uint64_t offset)
{
  const uint64_t range[2] = { offset, count };

  if (!d->is_device || atomic_load_explicit (unsupported, memory_order_relaxed))
    return EOPNOTSUPP;
  if (ioctl (d->fd, request, range) == 0)
    return 0;
  if (!is_unsupported (errno))
    return errno;
  atomic_store_explicit (unsupported, true, memory_order_relaxed);
  return EOPNOTSUPP;
}

/* Zero whole blocks without writing; EOPNOTSUPP if that is not possible. */
static int
zero_blocks (struct disk *d, uint64_t count, uint64_t offset, bool may_trim,
             bool fast)
{
  int err = EOPNOTSUPP;

  if (may_trim && !d->keeps_space)
    err = punch (d, count, offset);
  /* Slow, on a device that cannot do it by itself. */
  if (err == EOPNOTSUPP && !(fast && d->is_device))
    err = allocate (d, &d->no_zero_range, FALLOC_FL_ZERO_RANGE, count, offset);
  if (err != EOPNOTSUPP || fast)
    return err;
  err = device_range (d, &d->no_zeroout, BLKZEROOUT, count, offset);
  if (err != EOPNOTSUPP || d->is_device)
    return err;
  err = punch (d, count, offset);
  if (!err)
    err = allocate (d, &d->no_allocate, 0, count, offset);
  return err;
}

static int
write_zeroes (struct disk *d, uint64_t count, uint64_t offset)
{
  static const char zeroes[64 * 1024] __attribute__ ((aligned (4096)));
  int err = 0;

  while (count > 0 && !err) {
    const uint64_t n = count < sizeof zeroes ? count : sizeof zeroes;

    err = transfer_write (d, zeroes, n, offset, false);
    offset += n;
    count -= n;
  }
  return err;
}

/* The whole blocks in a range; none, if *START is not below *END. The last
 * part of a file may be shorter than a block, but with direct it has a way of
 * its own (disk.c).
 */
static void
whole_blocks (const struct disk *d, uint64_t count, uint64_t offset,
              uint64_t *start, uint64_t *end)
{
  *start = (offset + d->zero_align - 1) & ~(uint64_t) (d->zero_align - 1);
  *end = (offset + count) & ~(uint64_t) (d->zero_align - 1);
}

/* Blocks are zeroed while nobody is putting back what was read around a
 * write.
 */
static void
exclude_unaligned_writes (struct disk *d)
{
  if (d->direct)
    pthread_rwlock_rdlock (&d->around);
}

static void
admit_unaligned_writes (struct disk *d)
{
  if (d->direct)
    pthread_rwlock_unlock (&d->around);
}

/* The bytes before and after the whole blocks. */
static int
zero_ends (struct disk *d, uint64_t count, uint64_t offset, uint64_t start,
           uint64_t end)
{
  int err;

  if (start >= end)
    return write_zeroes (d, count, offset);
  err = write_zeroes (d, start - offset, offset);
  return err ? err : write_zeroes (d, offset + count - end, end);
}

/* Punching a hole stops at the end of a device, and does not say so. */
static int
result (const struct disk *d, int err, uint64_t end)
{
  if (err)
    return disk_error (d, err, end);
  return disk_has_shrunk (d, end) ? EIO : 0;
}

int
zero_range (struct disk *d, uint64_t count, uint64_t offset, bool may_trim,
            bool fast)
{
  uint64_t start, end;
  int err = 0;

  whole_blocks (d, count, offset, &start, &end);
  if (start < end) {
    exclude_unaligned_writes (d);
    err = zero_blocks (d, end - start, start, may_trim, fast);
    admit_unaligned_writes (d);
  }
  if (err == EOPNOTSUPP && !fast)
    err = write_zeroes (d, count, offset);
  else if (!err)
    err = zero_ends (d, count, offset, start, end);
  return result (d, err, offset + count);
}

int
zero_trim (struct disk *d, uint64_t count, uint64_t offset)
{
  uint64_t start, end;
  int err = 0;

  whole_blocks (d, count, offset, &start, &end);
  if (start < end) {
    exclude_unaligned_writes (d);
    err = punch (d, end - start, start);
    if (err == EOPNOTSUPP)
      err = device_range (d, &d->no_discard, BLKDISCARD, end - start, start);
    admit_unaligned_writes (d);
  }
  /* A trim is a hint: what cannot be done stays as it is. */
  if (err == EOPNOTSUPP)
    return 0;
  if (!err)
    err = zero_ends (d, count, offset, start, end);
  return result (d, err, offset + count);
}
