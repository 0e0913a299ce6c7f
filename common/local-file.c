/* nbdclone: files that one server has for itself, and new ones that appear
 * complete.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "cleanup.h"
#include "local-file.h"

#define PAUSE_MS 10

int
local_file_lock (int fd, bool exclusive, int wait_ms)
{
  const struct timespec pause = { .tv_nsec = PAUSE_MS * 1000 * 1000 };

  for (;;) {
    if (flock (fd, (exclusive ? LOCK_EX : LOCK_SH) | LOCK_NB) == 0)
      return 0;
    if (errno != EWOULDBLOCK && errno != EINTR)
      return -1;
    if (wait_ms <= 0) {
      errno = EWOULDBLOCK;
      return -1;
    }
    nanosleep (&pause, NULL);
    wait_ms -= PAUSE_MS;
  }
}

static char *
directory_of (const char *path)
{
  CLEANUP_FREE char *copy = strdup (path);

  return copy ? strdup (dirname (copy)) : NULL;
}

/* A file that has no name at all, so that nothing is left of it if we are killed.
 * -1 if the file system has no such files, or there is no /proc to name it by.
 */
static int
create_unnamed (const char *path)
{
  CLEANUP_FREE char *directory = directory_of (path);

  if (directory == NULL || access ("/proc/self/fd", X_OK) == -1)
    return -1;
  return open (directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
}

int
local_file_create (const char *path, char **created)
{
  int fd, err;

  *created = NULL;
  fd = create_unnamed (path);
  if (fd != -1 && local_file_lock (fd, true, 0) == 0)
    return fd;
  if (fd != -1)
    close (fd);
  if (asprintf (created, "%s.XXXXXX", path) == -1) {
    *created = NULL;
    return -1;
  }
  fd = mkostemp (*created, O_CLOEXEC); /* mode 0600 */
  if (fd != -1 && local_file_lock (fd, true, 0) == 0)
    return fd;
  err = errno;
  if (fd != -1) {
    unlink (*created);
    close (fd);
  }
  free (*created);
  *created = NULL;
  errno = err;
  return -1;
}

static int
sync_directory_of (const char *path)
{
  CLEANUP_FREE char *directory = directory_of (path);
  int fd, r, err;

  if (directory == NULL)
    return -1;
  fd = open (directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd == -1)
    return -1;
  r = fsync (fd);
  err = errno;
  close (fd);
  errno = err;
  return r;
}

static int
name_unnamed (int fd, const char *path)
{
  char open_file[64];

  snprintf (open_file, sizeof open_file, "/proc/self/fd/%d", fd);
  return linkat (AT_FDCWD, open_file, AT_FDCWD, path, AT_SYMLINK_FOLLOW);
}

/* Unlike rename(2), link(2) never replaces what somebody else has made.  But
 * vfat, exFAT and some network file systems have no links, and some of them do
 * not know RENAME_NOREPLACE either: what somebody makes of this name between the
 * last two calls is lost there.
 */
static int
rename_new (const char *created, const char *path)
{
  if (link (created, path) == 0) {
    unlink (created);
    return 0;
  }
  if (errno != EPERM && errno != EOPNOTSUPP && errno != ENOSYS)
    return -1;
  if (renameat2 (AT_FDCWD, created, AT_FDCWD, path, RENAME_NOREPLACE) == 0)
    return 0;
  if (errno != EINVAL && errno != ENOSYS)
    return -1;
  if (faccessat (AT_FDCWD, path, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
    errno = EEXIST;
    return -1;
  }
  return rename (created, path);
}

int
local_file_publish (int fd, const char *created, const char *path)
{
  if (fsync (fd) == -1)
    return -1;
  if ((created ? rename_new (created, path) : name_unnamed (fd, path)) == -1)
    return -1;
  return sync_directory_of (path);
}

void
local_file_discard (int fd, const char *created)
{
  if (created)
    unlink (created);
  close (fd);
}
