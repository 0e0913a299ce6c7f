/* nbdclone: nbdkit-uring-plugin: the file or block device.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * One descriptor serves all connections, and holds the lock.  It is also the
 * one that requests in a ring use: so the lock lasts as long as a write of a
 * killed server may still land (design, section 5).
 *
 * With direct, the end of a file need not lie where a block ends, and a write
 * of a whole block there would make the file longer.  So the last part of a
 * page is read and written through a descriptor of its own, without O_DIRECT.
 * Every page is served in one of the two ways and never in both, because the
 * kernel does not promise that what goes past a cached page and what goes
 * through it see each other.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "cleanup.h"
#include "disk.h"
#include "local-file.h"
#include "log.h"
#include "params.h"

/* At least this much, so that a page of the cache has one way only. */
#define PAGE UINT64_C (4096)

static bool
is_power_of_two (uint64_t n)
{
  return n > 0 && (n & (n - 1)) == 0;
}

static int
open_existing (struct disk *d, const char *path)
{
  /* Not blocking: a pipe of that name must not hang us.  Only here: what a
   * ring makes of that flag later depends on the kernel.
   */
  const int flags = O_CLOEXEC | O_NOCTTY | O_NONBLOCK;

  d->writable = true;
  d->fd = open (path, O_RDWR | flags);
  if (d->fd == -1 && (errno == EACCES || errno == EPERM || errno == EROFS ||
                      errno == ETXTBSY)) {
    d->writable = false;
    d->fd = open (path, O_RDONLY | flags);
  }
  if (d->fd == -1)
    return -1;
  return fcntl (d->fd, F_SETFL, 0);
}

/* All of it, also what was a hole. */
static int
allocate (int fd, uint64_t size)
{
  int r;

  do
    r = fallocate (fd, 0, 0, (off_t) size);
  while (r == -1 && errno == EINTR);
  return r;
}

/* A file that was half made never has the name. */
static int
create (struct disk *d, const struct params *p)
{
  CLEANUP_FREE char *created = NULL;
  int err;

  d->writable = true;
  d->fd = local_file_create (p->file, &created);
  if (d->fd == -1)
    return -1;
  if (ftruncate (d->fd, (off_t) p->create) == 0 &&
      (!p->prealloc || allocate (d->fd, p->create) == 0) &&
      local_file_publish (d->fd, created, p->file) == 0)
    return 0;
  err = errno;
  local_file_discard (d->fd, created);
  d->fd = -1;
  errno = err;
  return -1;
}

static int
open_or_create (struct disk *d, const struct params *p)
{
  if (open_existing (d, p->file) == 0) {
    /* Readers of what nobody can write do not disturb each other. */
    if (local_file_lock (d->fd, d->writable, LOCAL_FILE_LOCK_MS) == 0)
      return 0;
    if (errno == EWOULDBLOCK)
      log_error ("file=%s: it is in use by another server", p->file);
    else
      log_error ("file=%s: cannot lock it: %m", p->file);
    return -1;
  }
  if (errno != ENOENT || p->create == 0) {
    log_error ("file=%s: cannot open it: %m", p->file);
    return -1;
  }
  if (create (d, p) == -1) {
    log_error ("file=%s create=%" PRIu64 ": cannot make it: %m", p->file,
               p->create);
    return -1;
  }
  return 0;
}

/* Of a device; 0 if the ioctl does not work. */
static unsigned
device_number (int fd, unsigned long request)
{
  unsigned n = 0;

  return ioctl (fd, request, &n) == -1 ? 0 : n;
}

static bool
device_is_rotational (unsigned major, unsigned minor)
{
  /* A partition has no queue of its own. */
  static const char *const places[] = { "queue", "../queue" };
  size_t i;

  for (i = 0; i < 2; ++i) {
    char path[80];
    FILE *file;
    int c;

    snprintf (path, sizeof path, "/sys/dev/block/%u:%u/%s/rotational", major,
              minor, places[i]);
    file = fopen (path, "re");
    if (file == NULL)
      continue;
    c = getc (file);
    fclose (file);
    return c == '1';
  }
  return false;
}

static int
look_at_device (struct disk *d, const struct stat *st)
{
  const unsigned sector = device_number (d->fd, BLKSSZGET);
  const unsigned physical = device_number (d->fd, BLKPBSZGET);

  if (ioctl (d->fd, BLKGETSIZE64, &d->size) == -1)
    return -1;
  d->is_device = true;
  d->zero_align = is_power_of_two (sector) ? sector : PAGE;
  d->preferred_block = physical;
  d->rotational =
    device_is_rotational (major (st->st_rdev), minor (st->st_rdev));
  return 0;
}

static void
look_at_file (struct disk *d, const struct stat *st)
{
  d->size = (uint64_t) st->st_size;
  d->zero_align = 1;
  d->preferred_block = (uint32_t) st->st_blksize;
  d->rotational = device_is_rotational (major (st->st_dev), minor (st->st_dev));
}

/* Is it what somebody has looked at before?  Of a device only its number
 * counts: there may be several nodes for it.
 */
static bool
is_that_file (const struct stat *st, const struct params *p)
{
  if (S_ISBLK (st->st_mode))
    return st->st_rdev == p->device && p->inode == 0;
  return st->st_dev == p->device && st->st_ino == p->inode;
}

static int
look (struct disk *d, const struct params *p)
{
  struct stat st;

  if (fstat (d->fd, &st) == -1) {
    log_error ("file=%s: %m", p->file);
    return -1;
  }
  if (p->has_identity && !is_that_file (&st, p)) {
    log_error ("file=%s: this is not the file of identity=%" PRIu64 ":%" PRIu64
               " any more: another one has taken its place",
               p->file, p->device, p->inode);
    return -1;
  }
  if (S_ISREG (st.st_mode))
    look_at_file (d, &st);
  else if (!S_ISBLK (st.st_mode)) {
    log_error ("file=%s: it is neither a regular file nor a block device",
               p->file);
    return -1;
  }
  else if (look_at_device (d, &st) == -1) {
    log_error ("file=%s: cannot ask for its size: %m", p->file);
    return -1;
  }
  if (!is_power_of_two (d->preferred_block) || d->preferred_block < PAGE)
    d->preferred_block = PAGE;
  if (d->preferred_block > UINT32_C (32) << 20) /* NBD's limit */
    d->preferred_block = UINT32_C (32) << 20;
  d->direct_end = d->size;
  d->offset_align = d->memory_align = 1;
  return 0;
}

/* What has been asked for must fit to what is there. */
static int
check_size (const struct disk *d, const struct params *p)
{
  if (d->is_device && (p->create || p->prealloc)) {
    log_error ("file=%s: it is a block device: create=SIZE and "
               "prealloc=falloc are for regular files",
               p->file);
    return -1;
  }
  if (p->create && d->size != p->create) {
    log_error ("file=%s: it exists and has %" PRIu64
               " bytes, but create=%" PRIu64,
               p->file, d->size, p->create);
    return -1;
  }
  return 0;
}

static int
preallocate (struct disk *d, const struct params *p)
{
  if (!p->prealloc || d->size == 0)
    return 0;
  if (!d->writable) {
    log_error ("file=%s prealloc=falloc: it cannot be written", p->file);
    return -1;
  }
  if (allocate (d->fd, d->size) == -1) {
    log_error ("file=%s prealloc=falloc: cannot reserve its space: %m",
               p->file);
    return -1;
  }
  d->keeps_space = true;
  return 0;
}

/* How O_DIRECT wants things aligned.  Kernels that cannot tell for files
 * (before 6.1) have no file system with blocks larger than a page; for a device
 * of those, the sector is the answer.  Wanting more than needed costs a
 * copy, no more.
 */
static void
look_at_alignment (struct disk *d)
{
  struct statx stx = { 0 };

  d->offset_align = d->memory_align = PAGE;
  if (d->is_device)
    d->offset_align = d->zero_align;
  if (statx (d->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) == 0 &&
      (stx.stx_mask & STATX_DIOALIGN) &&
      is_power_of_two (stx.stx_dio_offset_align) &&
      is_power_of_two (stx.stx_dio_mem_align)) {
    d->offset_align = stx.stx_dio_offset_align;
    d->memory_align = stx.stx_dio_mem_align;
  }
}

static int
make_direct (struct disk *d, const struct params *p)
{
  const int flags = fcntl (d->fd, F_GETFL);
  char path[40];

  look_at_alignment (d);
  d->direct_end =
    d->size &
    ~(uint64_t) (d->offset_align > PAGE ? d->offset_align - 1 : PAGE - 1);
  if (d->preferred_block < d->offset_align)
    d->preferred_block = d->offset_align;
  /* Parts of a file system's block would be zeroed in the page cache. */
  if (d->zero_align < d->preferred_block && !d->is_device)
    d->zero_align = d->preferred_block;
  if (d->zero_align < d->offset_align)
    d->zero_align = d->offset_align;

  if (d->direct_end < d->size) {
    snprintf (path, sizeof path, "/proc/self/fd/%d", d->fd);
    d->tail_fd =
      open (path, (d->writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOCTTY);
    if (d->tail_fd == -1) {
      log_error ("file=%s direct=true: cannot open %s: %m", p->file, path);
      return -1;
    }
    /* What is read ahead would be in the way of what goes past it. */
    posix_fadvise (d->tail_fd, 0, 0, POSIX_FADV_RANDOM);
  }
  if (flags == -1 || fcntl (d->fd, F_SETFL, flags | O_DIRECT) == -1) {
    log_error ("file=%s direct=true: its file system does not offer that: %m",
               p->file);
    return -1;
  }
  d->direct = true;
  return 0;
}

int
disk_open (struct disk *d, const struct params *p)
{
  pthread_rwlockattr_t attr;

  *d = (struct disk){ .fd = -1, .tail_fd = -1 };
  /* A stream of aligned writes must not shut out one that is not. */
  pthread_rwlockattr_init (&attr);
  pthread_rwlockattr_setkind_np (&attr,
                                 PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
  pthread_rwlock_init (&d->around, &attr);
  pthread_rwlockattr_destroy (&attr);

  if (open_or_create (d, p) == 0 && look (d, p) == 0 &&
      check_size (d, p) == 0 && preallocate (d, p) == 0 &&
      (!p->direct || make_direct (d, p) == 0))
    return 0;
  disk_close (d);
  return -1;
}

void
disk_close (struct disk *d)
{
  if (d->tail_fd != -1)
    close (d->tail_fd);
  if (d->fd != -1)
    close (d->fd);
  pthread_rwlock_destroy (&d->around);
  d->fd = d->tail_fd = -1;
}

bool
disk_has_shrunk (const struct disk *d, uint64_t end)
{
  uint64_t size;

  return d->is_device &&
         (ioctl (d->fd, BLKGETSIZE64, &size) == -1 || size < end);
}

int
disk_error (const struct disk *d, int err, uint64_t end)
{
  if (d->is_device && (err == ENXIO || err == ENODEV))
    return EIO;
  /* What writes and zeroes beyond the end of a device fail with. */
  if ((err == ENOSPC || err == EINVAL) && disk_has_shrunk (d, end))
    return EIO;
  return err;
}
