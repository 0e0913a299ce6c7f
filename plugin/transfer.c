/* nbdclone: nbdkit-uring-plugin: reads and writes.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Two ways, chosen by what was measured:
 *
 * Through the page cache, each request is one system call, as in any other
 * server.  A ring has nothing to offer there: what is cached is copied by the
 * caller's thread in either way, and a ring takes longer to get to it; and what
 * is not, the kernel's own readahead fetches in large pieces.  (Tried: reads
 * of 1 to 32 MiB that were not cached, cut into pieces in a ring, took the same
 * time and 0 to 30 % more of the processor's.  With RWF_DSYNC a write that is
 * made durable is one system call, too.)
 *
 * With direct, nobody reads ahead, and the disk has to be kept busy from here:
 * a request is cut into pieces that are in flight together, and while the disk
 * works on some of them, others are copied.
 *
 * A direct piece goes straight from or to the caller's memory if everything
 * about it is aligned, and through its buffer otherwise.  Of a range that is
 * not aligned, the blocks at its ends are read as a whole, too, so a write
 * reads these first and puts the rest of them back: it excludes all other
 * writes meanwhile (disk.h, around).
 */

#include <config.h>

#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "disk.h"
#include "lanes.h"
#include "transfer.h"

/* A request, or the part of one that goes one way. */
struct range {
  struct disk *disk;
  char *buf;
  uint64_t offset, end;
  bool write;
  int flags; /* RWF_* */
};

static uint64_t
round_down (uint64_t n, uint64_t align)
{
  return n & ~(align - 1);
}

static uint64_t
round_up (uint64_t n, uint64_t align)
{
  return round_down (n + align - 1, align);
}

static uint64_t
min (uint64_t a, uint64_t b)
{
  return a < b ? a : b;
}

static uint64_t
max (uint64_t a, uint64_t b)
{
  return a > b ? a : b;
}

/* Without a ring. */
static int
with_calls (struct range *range, int fd)
{
  while (range->offset < range->end) {
    const size_t n = range->end - range->offset;
    const struct iovec iov = { .iov_base = range->buf, .iov_len = n };
    const off_t at = (off_t) range->offset;
    ssize_t r;

    if (!range->write)
      r = pread (fd, range->buf, n, at);
    else if (range->flags == 0)
      r = pwrite (fd, range->buf, n, at);
    else
      r = pwritev2 (fd, &iov, 1, at, range->flags);
    if (r == -1 && errno == EINTR)
      continue;
    if (r == -1)
      return errno;
    if (r == 0)
      return EIO; /* shorter than it was */
    range->buf += r;
    range->offset += (uint64_t) r;
  }
  return 0;
}

static char *
address_of (const struct range *range, uint64_t offset)
{
  return range->buf + (offset - range->offset);
}

static bool
is_direct (const struct range *range, uint64_t start, uint64_t end)
{
  return start >= range->offset && end <= range->end &&
         (uintptr_t) address_of (range, start) % range->disk->memory_align == 0;
}

/* Fill what a write leaves alone of the block at `offset`, which is in the
 * buffer at `data`.
 */
static int
read_block (struct disk *d, char *data, uint64_t offset)
{
  const ssize_t r = pread (d->fd, data, d->offset_align, (off_t) offset);

  if (r == -1)
    return errno;
  return r == (ssize_t) d->offset_align ? 0 : EIO;
}

/* Where in a bounce buffer the piece begins.  A copy from one address to
 * another that is a little above it modulo 4096, as nbdkit's buffers are,
 * takes four times as long (measured: 580 and 135 us/MiB): the processor takes
 * its stores for those that its next loads depend on.  So stay half a page away
 * from it.
 */
static uint32_t
bounce_shift (const struct range *range, uint64_t start)
{
  const uint64_t phase =
    ((uintptr_t) range->buf + start - range->offset) % 4096;

  return phase < 2048 && BOUNCE_SHIFT % range->disk->memory_align == 0
           ? BOUNCE_SHIFT
           : 0;
}

/* Bytes start to end of the file, which may be more than the range, into the
 * bounce buffer: before a write.
 */
static int
fill_bounce (const struct range *range, char *data, uint64_t start,
             uint64_t end)
{
  const uint32_t block = range->disk->offset_align;
  const uint64_t from = max (start, range->offset);
  const uint64_t to = min (end, range->end);
  int err = 0;

  if (from > start)
    err = read_block (range->disk, data, start);
  if (!err && to < end && !(from > start && end - start == block))
    err = read_block (range->disk, data + (end - start) - block, end - block);
  if (!err)
    memcpy (data + (from - start), address_of (range, from), to - from);
  return err;
}

/* The same after a read. */
static void
empty_bounce (const struct range *range, const struct piece *p, uint64_t start,
              uint64_t end)
{
  const uint64_t from = max (start, range->offset);
  const uint64_t to = min (end, range->end);
  const char *const data = p->bounce + bounce_shift (range, start);

  memcpy (address_of (range, from), data + (from - start), to - from);
}

static int
start_piece (struct lane *lane, const struct range *range, struct piece *p,
             uint64_t start, uint64_t end)
{
  int err = 0;

  p->offset = start;
  p->length = (uint32_t) (end - start);
  p->write = range->write;
  p->flags = range->flags;
  if (is_direct (range, start, end))
    p->data = address_of (range, start);
  else {
    p->data = p->bounce + bounce_shift (range, start);
    if (range->write)
      err = fill_bounce (range, p->data, start, end);
  }
  if (!err)
    lane_start (lane, p);
  return err;
}

/* A piece has come back.  It is started again if something is left to do;
 * *ENDED tells whether it was not.
 */
static int
look_at_piece (struct lane *lane, const struct range *range, struct piece *p,
               bool *ended)
{
  const int32_t r = p->result;

  *ended = true;
  if (r < 0 && r != -EINTR && r != -EAGAIN)
    return -r;
  if (r == 0)
    return EIO; /* shorter than it was */
  if (r < (int32_t) p->length) {
    if (r > 0) {
      /* Short, and not where a block ends: nor can the rest be had. */
      if (r % range->disk->offset_align != 0)
        return EIO;
      p->data += r;
      p->length -= (uint32_t) r;
      p->offset += (uint32_t) r;
    }
    lane_start (lane, p);
    *ended = false;
  }
  return 0;
}

/* All of a range, cut into pieces.  On an error, those in flight are waited
 * for, since they use the caller's memory.
 */
static int
with_lane (const struct range *range)
{
  struct lane *lane = lane_take (range->disk->lanes);
  const uint32_t align = range->disk->offset_align;
  const uint64_t last = round_up (range->end, align);
  uint64_t next = round_down (range->offset, align);
  /* What a piece is about, while it is in flight. */
  uint64_t start[PIECES_IN_FLIGHT], end[PIECES_IN_FLIGHT];
  struct piece *idle[PIECES_IN_FLIGHT];
  unsigned idle_count = 0, i;
  int err = 0;

  for (i = PIECES_IN_FLIGHT; i-- > 0;)
    idle[idle_count++] = &lane->pieces[i];
  for (;;) {
    struct piece *p;
    bool ended;
    int error;

    while (!err && next < last && idle_count > 0) {
      p = idle[idle_count - 1];
      i = (unsigned) (p - lane->pieces);
      start[i] = next;
      end[i] = min (next + PIECE_SIZE, last);
      err = start_piece (lane, range, p, start[i], end[i]);
      if (!err)
        idle_count--;
      next = end[i];
    }
    if (idle_count == PIECES_IN_FLIGHT)
      break;
    p = lane_wait (lane);
    i = (unsigned) (p - lane->pieces);
    error = look_at_piece (lane, range, p, &ended);
    if (error && !err)
      err = error;
    if (!ended)
      continue;
    if (!error && !range->write && !is_direct (range, start[i], end[i]))
      empty_bounce (range, p, start[i], end[i]);
    idle[idle_count++] = p;
  }
  lane_give_back (lane);
  return err;
}

static int
direct_write (const struct range *range)
{
  const uint32_t align = range->disk->offset_align;
  int err;

  if ((range->offset | range->end) % align == 0)
    pthread_rwlock_rdlock (&range->disk->around);
  else
    pthread_rwlock_wrlock (&range->disk->around);
  err = with_lane (range);
  pthread_rwlock_unlock (&range->disk->around);
  return err;
}

int
transfer_read (struct disk *d, void *buf, size_t count, uint64_t offset)
{
  const uint64_t end = offset + count;
  struct range range = {
    .disk = d,
    .buf = buf,
    .offset = offset,
    .end = d->direct ? min (end, d->direct_end) : end,
  };
  int err = 0;

  if (!d->direct)
    err = with_calls (&range, d->fd);
  else if (range.offset < range.end)
    err = with_lane (&range);
  if (!err && range.end < end) {
    range.offset = max (offset, d->direct_end);
    range.buf = (char *) buf + (range.offset - offset);
    range.end = end;
    err = with_calls (&range, d->tail_fd);
  }
  return err ? disk_error (d, err, end) : 0;
}

int
transfer_write (struct disk *d, const void *buf, size_t count, uint64_t offset,
                bool fua)
{
  const uint64_t end = offset + count;
  struct range range = {
    .disk = d,
    .buf = (char *) buf,
    .offset = offset,
    .end = d->direct ? min (end, d->direct_end) : end,
    .write = true,
    .flags = fua ? RWF_DSYNC : 0,
  };
  int err = 0;

  if (!d->direct)
    err = with_calls (&range, d->fd);
  else if (range.offset < range.end)
    err = direct_write (&range);
  if (!err && range.end < end) {
    range.offset = max (offset, d->direct_end);
    range.buf = (char *) buf + (range.offset - offset);
    range.end = end;
    err = with_calls (&range, d->tail_fd);
  }
  return err ? disk_error (d, err, end) : 0;
}
