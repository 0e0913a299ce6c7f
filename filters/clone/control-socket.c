/* nbdclone: the control socket: its name, and who may use it.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A socket to which nobody listens any more has been left by a server that was
 * killed, and is replaced.  Between the look at it and its end nobody else may
 * do the same, or one of two servers would remove the other's new one: so both
 * happen with the directory locked (flock(2)), which leaves no file behind.
 *
 * Its mode is that of the socket before it gets its name, so that there is no
 * moment at which others could connect.  Should somebody change the mode later,
 * the credentials of the peer are looked at, too.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <nbdkit-filter.h>

#include "cleanup.h"
#include "control-private.h"

#define LOCK_TRIES 500 /* of 10 ms */

static void
make_address (struct sockaddr_un *address, const char *path)
{
  *address = (struct sockaddr_un){ .sun_family = AF_UNIX };
  strncpy (address->sun_path, path, sizeof address->sun_path - 1);
}

/* Does a dead server's socket have this name?  1, or 0 if nothing has, or -1
 * after an error message.
 */
static int
look_at (const char *path)
{
  struct sockaddr_un address;
  struct stat st;
  int fd, r, err;

  if (lstat (path, &st) == -1) {
    if (errno == ENOENT)
      return 0;
    nbdkit_error ("clone-control=%s: %m", path);
    return -1;
  }
  if (!S_ISSOCK (st.st_mode)) {
    nbdkit_error ("clone-control=%s: there is something that is not a socket; "
                  "give another name",
                  path);
    return -1;
  }
  fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd == -1) {
    nbdkit_error ("clone-control=%s: socket: %m", path);
    return -1;
  }
  make_address (&address, path);
  r = connect (fd, (struct sockaddr *) &address, sizeof address);
  err = errno;
  close (fd);
  if (r == 0 || err == EAGAIN) {
    nbdkit_error ("clone-control=%s: another server listens there; stop it, or "
                  "give another name",
                  path);
    return -1;
  }
  if (err == ENOENT)
    return 0;
  if (err != ECONNREFUSED) {
    errno = err;
    nbdkit_error ("clone-control=%s: cannot see whose it is: %m", path);
    return -1;
  }
  return 1;
}

/* Open the directory. */
static int
open_directory (const char *path)
{
  CLEANUP_FREE char *copy = strdup (path);
  const char *directory = copy ? dirname (copy) : NULL;
  int fd = -1;

  if (directory && access (directory, W_OK | X_OK) == 0)
    fd = open (directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd == -1)
    nbdkit_error ("clone-control=%s: cannot make a socket there: %m", path);
  return fd;
}

int
control_check (const char *path)
{
  const struct sockaddr_un address;
  int fd;

  if (strlen (path) >= sizeof address.sun_path) {
    nbdkit_error ("clone-control=%s: allowed are paths of at most %zu bytes, "
                  "as for every Unix socket",
                  path, sizeof address.sun_path - 1);
    return -1;
  }
  fd = open_directory (path);
  if (fd == -1)
    return -1;
  close (fd);
  return look_at (path) == -1 ? -1 : 0;
}

/* With the directory locked: make the socket and give it its name. */
static int
bind_to (const char *path)
{
  const int stale = look_at (path);
  struct sockaddr_un address;
  int fd;

  if (stale == -1)
    return -1;
  if (stale && unlink (path) == -1) {
    nbdkit_error ("clone-control=%s: cannot remove what a dead server has "
                  "left: %m",
                  path);
    return -1;
  }
  make_address (&address, path);
  fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd == -1 || fchmod (fd, 0600) == -1 ||
      bind (fd, (struct sockaddr *) &address, sizeof address) == -1 ||
      listen (fd, SOMAXCONN) == -1) {
    nbdkit_error ("clone-control=%s: cannot make the socket: %m", path);
    if (fd != -1)
      close (fd);
    return -1;
  }
  return fd;
}

static int
lock_directory (int fd, const char *path)
{
  unsigned i;

  for (i = 0; i < LOCK_TRIES; ++i) {
    if (flock (fd, LOCK_EX | LOCK_NB) == 0)
      return 0;
    usleep (10000);
  }
  nbdkit_error ("clone-control=%s: its directory stays locked: %m", path);
  return -1;
}

struct control *
control_listen (const char *path)
{
  struct control *c = calloc (1, sizeof *c);
  const int directory = c ? open_directory (path) : -1;
  struct stat st;

  if (directory == -1) {
    free (c);
    return NULL;
  }
  c->fd = -1;
  c->stop_fd = -1;
  c->path = strdup (path);
  if (c->path && lock_directory (directory, path) == 0)
    c->fd = bind_to (path);
  if (c->fd != -1 && lstat (path, &st) == 0) {
    c->device = st.st_dev;
    c->inode = st.st_ino;
  }
  close (directory);
  if (c->fd == -1) {
    control_free (c);
    return NULL;
  }
  return c;
}

void
control_unlink (struct control *c)
{
  struct stat st;

  if (lstat (c->path, &st) == 0 && st.st_dev == c->device &&
      st.st_ino == c->inode)
    unlink (c->path);
}

int
control_accept (struct control *c)
{
  for (;;) {
    struct ucred peer;
    socklen_t size = sizeof peer;
    const int fd = accept4 (c->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd == -1)
      return -1;
    if (getsockopt (fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
        (peer.uid == 0 || peer.uid == geteuid ()))
      return fd;
    close (fd);
  }
}
