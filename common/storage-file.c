/* nbdclone: the bitmap file on a file system, written through io_uring.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The writes of a submission go into the ring together and run in any order;
 * the sync behind them is marked IOSQE_IO_DRAIN, so the kernel starts it when
 * all of them have ended (io_uring_enter(2)).  One system call a commit, unless
 * it has more blocks than the ring has places.
 *
 * Where the kernel forbids io_uring (containers often do), pwrite(2) and
 * fdatasync(2) do the same.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "local-file.h"
#include "storage-file.h"

#define RING_ENTRIES 256

/* What the ring tells about a sync, as opposed to write number n. */
#define SYNC_DATA UINT64_MAX

struct storage_file {
  struct storage storage; /* first: the seam */
  int fd;
  char *path; /* where it is, or will be published */
  bool published;
  char *created; /* its temporary name until then, if it has one, or NULL */
  bool use_ring;
  struct io_uring ring;
};

static struct storage_file *
file_of (struct storage *s)
{
  return (struct storage_file *) s;
}

static int64_t
file_size (struct storage *s)
{
  struct stat st;

  if (fstat (file_of (s)->fd, &st) == -1)
    return -1;
  return st.st_size;
}

static int
file_read (struct storage *s, void *data, size_t length, uint64_t offset)
{
  char *p = data;

  while (length > 0) {
    ssize_t r = pread (file_of (s)->fd, p, length, (off_t) offset);

    if (r == -1 && errno == EINTR)
      continue;
    if (r == 0)
      errno = EIO;
    if (r <= 0)
      return -1;
    p += r;
    length -= (size_t) r;
    offset += (size_t) r;
  }
  return 0;
}

static int64_t
file_next_data (struct storage *s, uint64_t offset)
{
  off_t r = lseek (file_of (s)->fd, (off_t) offset, SEEK_DATA);

  if (r == -1 && errno == ENXIO)
    return file_size (s);
  if (r == -1 && errno == EINVAL) /* a file system that cannot say */
    return (int64_t) offset;
  return r;
}

/* A write that moved r bytes, or failed with -r: what storage.h makes of it. */
static int
write_error (ssize_t r, size_t expected)
{
  if (r >= 0) /* a regular file is short only when full */
    return (size_t) r == expected ? 0 : ENOSPC;
  if (r == -ENOSPC || r == -EDQUOT || r == -EFBIG)
    return ENOSPC;
  return (int) -r;
}

/* The more serious of two errors: full is the only harmless one. */
static int
worse (int a, int b)
{
  if (a == 0 || (a == ENOSPC && b != 0))
    return b;
  return a;
}

static int
sync_error (int err)
{
  /* A sync has dropped data whatever number it gives: never "full". */
  return err == ENOSPC || err == EDQUOT || err == EFBIG ? EIO : err;
}

static int
write_with_calls (struct storage_file *f, const struct storage_write *writes,
                  size_t n, bool sync)
{
  int err = 0;
  size_t i;

  for (i = 0; i < n; ++i) {
    ssize_t r = pwrite (f->fd, writes[i].data, writes[i].length,
                        (off_t) writes[i].offset);
    err = worse (err, write_error (r == -1 ? -errno : r, writes[i].length));
  }
  if (sync && fdatasync (f->fd) == -1)
    err = worse (err, sync_error (errno));
  return err;
}

/* Wait for `pending` completions; returns the worst error among them. */
static int
reap (struct storage_file *f, const struct storage_write *writes,
      unsigned pending)
{
  int err = 0;

  while (pending > 0) {
    struct io_uring_cqe *cqe;
    uint64_t i;
    int r = io_uring_wait_cqe (&f->ring, &cqe);

    if (r == -EINTR)
      continue;
    if (r < 0)
      /* The ring is lost with writes in it that read from our buffers. */
      abort ();
    i = io_uring_cqe_get_data64 (cqe);
    if (i == SYNC_DATA)
      r = cqe->res < 0 ? sync_error (-cqe->res) : 0;
    else
      r = write_error (cqe->res, writes[i].length);
    err = worse (err, r);
    io_uring_cqe_seen (&f->ring, cqe);
    pending--;
  }
  return err;
}

static int
write_with_ring (struct storage_file *f, const struct storage_write *writes,
                 size_t n, bool sync)
{
  size_t i = 0;
  int err = 0;
  bool synced = !sync;

  while (i < n || !synced) {
    unsigned queued = 0;
    unsigned done = 0;
    struct io_uring_sqe *sqe;

    for (; i < n && queued < RING_ENTRIES; ++i, ++queued) {
      sqe = io_uring_get_sqe (&f->ring);
      assert (sqe);
      io_uring_prep_write (sqe, f->fd, writes[i].data,
                           (unsigned) writes[i].length, writes[i].offset);
      io_uring_sqe_set_data64 (sqe, i);
    }
    if (i == n && !synced && queued < RING_ENTRIES) {
      sqe = io_uring_get_sqe (&f->ring);
      assert (sqe);
      io_uring_prep_fsync (sqe, f->fd, IORING_FSYNC_DATASYNC);
      sqe->flags |= IOSQE_IO_DRAIN;
      io_uring_sqe_set_data64 (sqe, SYNC_DATA);
      queued++;
      synced = true;
    }
    while (done < queued) {
      int r = io_uring_submit (&f->ring);

      if (r == -EINTR || r == -EAGAIN || r == -EBUSY)
        continue;
      if (r < 0) {
        /* Nothing of the rest was taken; what was is waited for below. */
        err = worse (err, -r);
        break;
      }
      done += (unsigned) r;
    }
    err = worse (err, reap (f, writes, done));
    if (done < queued)
      break;
  }
  return err;
}

static int
file_write (struct storage *s, const struct storage_write *writes, size_t n,
            bool sync)
{
  struct storage_file *f = file_of (s);
  int err;

  if (f->use_ring)
    err = write_with_ring (f, writes, n, sync);
  else
    err = write_with_calls (f, writes, n, sync);
  if (err) {
    errno = err;
    return -1;
  }
  return 0;
}

static const struct storage_ops file_ops = {
  .size = file_size,
  .read = file_read,
  .next_data = file_next_data,
  .write = file_write,
};

static struct storage_file *
file_new (const char *path)
{
  struct storage_file *f = calloc (1, sizeof *f);

  if (f == NULL)
    return NULL;
  f->storage.ops = &file_ops;
  f->fd = -1;
  f->path = strdup (path);
  if (f->path == NULL) {
    free (f);
    return NULL;
  }
  return f;
}

/* Free what was made so far, keep errno. */
static struct storage *
file_failed (struct storage_file *f)
{
  int err = errno;

  storage_file_close (&f->storage);
  errno = err;
  return NULL;
}

static struct storage *
open_and_lock (const char *path, bool writable, int wait_ms)
{
  struct storage_file *f = file_new (path);
  struct stat st;

  if (f == NULL)
    return NULL;
  /* Not blocking: a pipe of that name must not hang us. */
  f->fd = open (path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOCTTY |
                        O_NONBLOCK);
  if (f->fd == -1 || fstat (f->fd, &st) == -1)
    return file_failed (f);
  if (!S_ISREG (st.st_mode)) {
    errno = EINVAL;
    return file_failed (f);
  }
  if (local_file_lock (f->fd, writable, wait_ms) == -1)
    return file_failed (f);
  return &f->storage;
}

struct storage *
storage_file_open (const char *path, int wait_ms)
{
  return open_and_lock (path, true, wait_ms);
}

struct storage *
storage_file_open_to_read (const char *path, int wait_ms)
{
  return open_and_lock (path, false, wait_ms);
}

struct storage *
storage_file_create (const char *path, uint64_t size)
{
  struct storage_file *f = file_new (path);

  if (f == NULL)
    return NULL;
  f->fd = local_file_create (path, &f->created);
  if (f->fd == -1 || ftruncate (f->fd, (off_t) size) == -1)
    return file_failed (f);
  return &f->storage;
}

int
storage_file_publish (struct storage *s)
{
  struct storage_file *f = file_of (s);

  assert (!f->published);
  if (local_file_publish (f->fd, f->created, f->path) == -1)
    return -1;
  f->published = true;
  free (f->created);
  f->created = NULL;
  return 0;
}

int
storage_file_start (struct storage *s)
{
  struct storage_file *f = file_of (s);
  int r = io_uring_queue_init (RING_ENTRIES, &f->ring, 0);

  if (r < 0) {
    errno = -r;
    return -1;
  }
  f->use_ring = true;
  return 0;
}

void
storage_file_close (struct storage *s)
{
  struct storage_file *f;

  if (s == NULL)
    return;
  f = file_of (s);
  if (f->use_ring)
    io_uring_queue_exit (&f->ring);
  if (f->created) {
    unlink (f->created);
    free (f->created);
  }
  if (f->fd != -1)
    close (f->fd);
  free (f->path);
  free (f);
}
