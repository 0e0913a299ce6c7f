/* nbdclone: the file or device that "run" is to clone onto.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <libgen.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "cleanup.h"
#include "destination-file.h"
#include "local-file.h"
#include "message.h"
#include "verbs.h"

#define MIB (1 << 20)
#define SAMPLES 64 /* of a device, between its ends */
#define SAMPLE_SIZE 65536

/* What the name of a file that does not exist yet is without links: that of its
 * directory is.
 */
static char *
resolve_new (const char *path)
{
  CLEANUP_FREE char *copy = format ("%s", path);
  CLEANUP_FREE char *copy2 = format ("%s", path);
  CLEANUP_FREE char *directory = realpath (dirname (copy), NULL);
  const char *name = basename (copy2);

  if (directory == NULL) {
    complain ("%s: its directory: %s; make that first", path, strerror (errno));
    return NULL;
  }
  if (*path == 0 || path[strlen (path) - 1] == '/') {
    complain ("%s: this is not the name of a file", path);
    return NULL;
  }
  if (access (directory, W_OK | X_OK) == -1) {
    complain ("%s: cannot make a file in %s: %s", path, directory,
              strerror (errno));
    return NULL;
  }
  return format ("%s/%s", strcmp (directory, "/") == 0 ? "" : directory, name);
}

/* Where is this device mounted, as far as this process can see?  NULL if
 * nowhere.
 */
static char *
mount_point_of (dev_t device)
{
  FILE *mounts = fopen ("/proc/self/mountinfo", "re");
  char *line = NULL, *result = NULL, *point;
  unsigned major_number, minor_number;
  size_t size = 0;

  if (mounts == NULL)
    return NULL;
  while (result == NULL && getline (&line, &size, mounts) != -1) {
    if (sscanf (line, "%*d %*d %u:%u %*s %ms", &major_number, &minor_number,
                &point) != 3)
      continue;
    if (makedev (major_number, minor_number) == device)
      result = point;
    else
      free (point);
  }
  free (line);
  fclose (mounts);
  return result;
}

/* What is mounted, swapped to, or part of another device cannot be opened
 * exclusively: the kernel itself knows best.
 */
static int
check_device (struct destination_file *d)
{
  CLEANUP_FREE char *point = mount_point_of (d->st.st_rdev);

  if (point) {
    complain ("%s: it is mounted on %s: a clone would destroy what is there; "
              "unmount it first",
              d->path, point);
    return EXIT_FAILURE;
  }
  d->fd = open (d->path, O_RDWR | O_EXCL | O_CLOEXEC | O_NOFOLLOW);
  if (d->fd == -1 && errno == EBUSY) {
    complain ("%s: it is in use, mounted elsewhere, as swap, as a part of "
              "another device (see \"lsblk %s\"), or by another clone (see "
              "\"nbdclone list\"); a clone would destroy what is there",
              d->path, d->path);
    return EXIT_FAILURE;
  }
  if (d->fd == -1 || ioctl (d->fd, BLKGETSIZE64, &d->size) == -1) {
    complain ("%s: %s", d->path, strerror (errno));
    return EXIT_FAILURE;
  }
  return 0;
}

/* Is a loop device made of this file?  Its name, or NULL. */
static char *
loop_device_of (const struct destination_file *d)
{
  char *result = NULL;
  glob_t found;
  size_t i;

  if (glob ("/sys/block/loop*/loop/backing_file", 0, NULL, &found) != 0)
    return NULL;
  for (i = 0; i < found.gl_pathc && result == NULL; ++i) {
    CLEANUP_FREE char *backing = NULL;
    FILE *f = fopen (found.gl_pathv[i], "re");
    struct stat st;

    if (f && fscanf (f, "%m[^\n]", &backing) == 1 && stat (backing, &st) == 0 &&
        st.st_dev == d->st.st_dev && st.st_ino == d->st.st_ino)
      result = format ("/dev/%.*s", (int) strcspn (found.gl_pathv[i] + 11, "/"),
                       found.gl_pathv[i] + 11);
    if (f)
      fclose (f);
  }
  globfree (&found);
  return result;
}

static int
check_regular (struct destination_file *d)
{
  CLEANUP_FREE char *loop = loop_device_of (d);

  d->size = (uint64_t) d->st.st_size;
  if (loop) {
    complain ("%s: it is in use as %s: a clone would destroy what is there; "
              "detach that first (\"losetup -d %s\")",
              d->path, loop, loop);
    return EXIT_FAILURE;
  }
  /* Not blocking: it may be a pipe by now. */
  d->fd =
    open (d->path, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NOFOLLOW | O_NONBLOCK);
  if (d->fd == -1) {
    complain ("%s: cannot read and write it: %s", d->path, strerror (errno));
    return EXIT_FAILURE;
  }
  return 0;
}

/* Is what was opened what has been looked at by name? */
static int
check_opened (struct destination_file *d)
{
  const struct stat named = d->st;

  if (fstat (d->fd, &d->st) == 0 &&
      (d->st.st_mode & S_IFMT) == (named.st_mode & S_IFMT) &&
      (d->is_device
         ? d->st.st_rdev == named.st_rdev
         : d->st.st_dev == named.st_dev && d->st.st_ino == named.st_ino))
    return 0;
  complain ("%s: another file has just taken its place; who does that?",
            d->path);
  return EXIT_FAILURE;
}

int
destination_look (const char *path, struct destination_file *d)
{
  int r;

  *d = (struct destination_file){ .path = realpath (path, NULL), .fd = -1 };
  if (d->path == NULL && errno == ENOENT) {
    d->path = resolve_new (path);
    return d->path ? 0 : EXIT_FAILURE;
  }
  if (d->path == NULL || stat (d->path, &d->st) == -1) {
    complain ("%s: %s", path, strerror (errno));
    return EXIT_FAILURE;
  }
  d->exists = true;
  d->is_device = S_ISBLK (d->st.st_mode);
  if (!d->is_device && !S_ISREG (d->st.st_mode)) {
    complain ("%s: a destination is a file or a block device, and this is "
              "neither",
              d->path);
    return EXIT_FAILURE;
  }
  r = d->is_device ? check_device (d) : check_regular (d);
  return r ? r : check_opened (d);
}

static bool
is_zero (const char *buf, size_t n)
{
  return n == 0 || (*buf == 0 && memcmp (buf, buf + 1, n - 1) == 0);
}

/* Is there anything in a part of a device? */
static int
look_into (const struct destination_file *d, uint64_t offset, uint64_t count)
{
  char buf[SAMPLE_SIZE];

  while (count > 0) {
    const size_t wanted = count < sizeof buf ? (size_t) count : sizeof buf;
    const ssize_t n = pread (d->fd, buf, wanted, (off_t) offset);

    if (n <= 0) {
      complain ("%s: cannot see what is in it: %s", d->path,
                n == 0 ? "it is shorter than it says" : strerror (errno));
      return -1;
    }
    if (!is_zero (buf, (size_t) n))
      return 1;
    offset += (uint64_t) n;
    count -= (uint64_t) n;
  }
  return 0;
}

static int
look_into_device (const struct destination_file *d)
{
  const uint64_t end = d->size < MIB ? d->size : MIB;
  int r = look_into (d, 0, end);
  unsigned i;

  if (r == 0)
    r = look_into (d, d->size - end, end);
  for (i = 1; r == 0 && i < SAMPLES && d->size > SAMPLES * SAMPLE_SIZE; ++i)
    r = look_into (d, d->size / SAMPLES * i / SAMPLE_SIZE * SAMPLE_SIZE,
                   SAMPLE_SIZE);
  return r;
}

int
destination_has_contents (const struct destination_file *d)
{
  if (d->is_device)
    return look_into_device (d);
  /* On a file system that knows no holes everything is data. */
  return d->size > 0 && (lseek (d->fd, 0, SEEK_DATA) != -1 || errno != ENXIO);
}

static int
reserve (const struct destination_file *d, int fd, uint64_t size)
{
  if (fallocate (fd, 0, 0, (off_t) size) == 0)
    return 0;
  complain ("%s: --prealloc: cannot reserve %llu bytes: %s", d->path,
            (unsigned long long) size,
            errno == ENOSPC ? "there is not so much space left"
                            : strerror (errno));
  return EXIT_FAILURE;
}

int
destination_reserve (const struct destination_file *d)
{
  return reserve (d, d->fd, d->size);
}

int
destination_create (struct destination_file *d, uint64_t size, bool prealloc)
{
  CLEANUP_FREE char *created = NULL;
  const int fd = local_file_create (d->path, &created);
  int r = 0;

  if (fd == -1) {
    complain ("%s: cannot make it: %s", d->path, strerror (errno));
    return EXIT_FAILURE;
  }
  if (ftruncate (fd, (off_t) size) == -1) {
    complain ("%s: cannot make it with %llu bytes: %s", d->path,
              (unsigned long long) size, strerror (errno));
    r = EXIT_FAILURE;
  }
  if (r == 0 && prealloc)
    r = reserve (d, fd, size);
  if (r == 0 && (fstat (fd, &d->st) == -1 ||
                 local_file_publish (fd, created, d->path) == -1)) {
    complain ("%s: cannot make it: %s", d->path, strerror (errno));
    r = EXIT_FAILURE;
  }
  if (r) {
    local_file_discard (fd, created);
    return r;
  }
  flock (fd, LOCK_UN); /* the server locks it */
  d->exists = true;
  d->fd = fd;
  d->size = size;
  return 0;
}

bool
destination_is_there (const struct destination_file *d)
{
  struct stat st;

  return lstat (d->path, &st) == 0 && st.st_dev == d->st.st_dev &&
         st.st_ino == d->st.st_ino;
}

void
destination_clear (struct destination_file *d)
{
  free (d->path);
  d->path = NULL;
  if (d->fd != -1)
    close (d->fd);
  d->fd = -1;
}
