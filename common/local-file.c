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

int
local_file_create (const char *path, char **created)
{
  int fd, err;

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
  CLEANUP_FREE char *copy = strdup (path);
  int fd, r, err;

  if (copy == NULL)
    return -1;
  fd = open (dirname (copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd == -1)
    return -1;
  r = fsync (fd);
  err = errno;
  close (fd);
  errno = err;
  return r;
}

int
local_file_publish (int fd, const char *created, const char *path)
{
  if (fsync (fd) == -1)
    return -1;
  /* Unlike rename(2), link(2) never replaces what somebody else has made. */
  if (link (created, path) == -1)
    return -1;
  unlink (created);
  return sync_directory_of (path);
}
