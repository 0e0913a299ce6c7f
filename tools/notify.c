/* nbdclone: tell systemd how things are.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The protocol is a datagram and has been promised to stay (sd_notify(3),
 * systemd.io/PORTABILITY_AND_STABILITY): that is less than a library would be.
 */

#include <config.h>

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "notify.h"

void
notify_manager (const char *lines)
{
  const char *path = getenv ("NOTIFY_SOCKET");
  struct sockaddr_un address = { .sun_family = AF_UNIX };
  socklen_t length;
  int fd;

  if (path == NULL || (*path != '/' && *path != '@') ||
      strlen (path) >= sizeof address.sun_path)
    return;
  length =
    (socklen_t) (offsetof (struct sockaddr_un, sun_path) + strlen (path));
  memcpy (address.sun_path, path, strlen (path));
  if (*path == '@')
    address.sun_path[0] = 0; /* the abstract namespace */
  fd = socket (AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd == -1)
    return;
  (void) sendto (fd, lines, strlen (lines), MSG_NOSIGNAL | MSG_DONTWAIT,
                 (struct sockaddr *) &address, length);
  close (fd);
}

unsigned
notify_sockets (void)
{
  const char *pid = getenv ("LISTEN_PID"), *fds = getenv ("LISTEN_FDS");
  int n;

  if (pid == NULL || fds == NULL || atoi (pid) != getpid ())
    return 0;
  n = atoi (fds);
  return n > 0 ? (unsigned) n : 0;
}
