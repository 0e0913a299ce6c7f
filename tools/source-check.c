/* nbdclone: a look at the source before a clone is started.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <arpa/inet.h>
#include <ctype.h>
#include <dirent.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "cleanup.h"
#include "message.h"
#include "nbd-handle.h"
#include "source-check.h"
#include "verbs.h"

#define CONNECT_US UINT64_C (10000000) /* as the filter */

bool
source_is_local (const struct uri *u)
{
  const char *host = strstr (u->shown, "://") + 3;

  return strncmp (u->uri, "nbd+unix:", 9) == 0 ||
         strncmp (u->uri, "nbds+unix:", 10) == 0 ||
         strncmp (host, "localhost", 9) == 0 ||
         strncmp (host, "127.", 4) == 0 || strncmp (host, "[::1]", 5) == 0;
}

/* Call look () for the number of each process, until it returns true. */
static bool
any_process (bool (*look) (pid_t pid, void *opaque), void *opaque)
{
  const struct dirent *entry;
  DIR *proc = opendir ("/proc");
  bool found = false;

  if (proc == NULL)
    return false;
  while (!found && (entry = readdir (proc)) != NULL)
    if (isdigit ((unsigned char) entry->d_name[0]))
      found = look ((pid_t) atoi (entry->d_name), opaque);
  closedir (proc);
  return found;
}

/* Call look () for each file that a process has open, until it returns true.
 * Those of other users cannot be seen, which is not an error.
 */
static bool
any_file (pid_t pid, bool (*look) (const char *link, void *opaque),
          void *opaque)
{
  CLEANUP_FREE char *directory = format ("/proc/%d/fd", (int) pid);
  const struct dirent *entry;
  DIR *dir = opendir (directory);
  bool found = false;

  if (dir == NULL)
    return false;
  while (!found && (entry = readdir (dir)) != NULL) {
    CLEANUP_FREE char *link = format ("%s/%s", directory, entry->d_name);

    found = look (link, opaque);
  }
  closedir (dir);
  return found;
}

/* Is this open file the destination? */
static bool
is_destination (const char *link, void *opaque)
{
  const struct destination_file *d = opaque;
  struct stat st;

  if (stat (link, &st) == -1)
    return false;
  if (d->is_device)
    return S_ISBLK (st.st_mode) && st.st_rdev == d->st.st_rdev;
  return st.st_dev == d->st.st_dev && st.st_ino == d->st.st_ino;
}

/* The number of a socket in the kernel, as /proc/PID/fd has it. */
static bool
is_socket (const char *link, void *opaque)
{
  const uint64_t *inode = opaque;
  char target[64];
  uint64_t n;
  const ssize_t length = readlink (link, target, sizeof target - 1);

  if (length <= 0)
    return false;
  target[length] = 0;
  return sscanf (target, "socket:[%" SCNu64 "]", &n) == 1 && n == *inode;
}

struct server {
  pid_t pid; /* who listens, or has the other end of our connection */
  uint64_t socket;
  const struct destination_file *destination;
  pid_t guilty;
};

static bool
has_socket (pid_t pid, void *opaque)
{
  struct server *s = opaque;

  if (!any_file (pid, is_socket, &s->socket))
    return false;
  s->pid = pid;
  return true;
}

static pid_t
parent_of (pid_t pid)
{
  CLEANUP_FREE char *path = format ("/proc/%d/stat", (int) pid);
  FILE *f = fopen (path, "re");
  char line[512];
  const char *end;
  int parent = -1;

  if (f == NULL)
    return -1;
  line[fread (line, 1, sizeof line - 1, f)] = 0;
  fclose (f);
  /* The name, in parentheses, may have anything in it. */
  end = strrchr (line, ')');
  if (end == NULL || sscanf (end + 1, " %*c %d", &parent) != 1)
    return -1;
  return parent;
}

/* The server itself, or a child of it that serves our connection. */
static bool
has_destination_open (pid_t pid, void *opaque)
{
  struct server *s = opaque;

  if (pid != s->pid && parent_of (pid) != s->pid)
    return false;
  if (!any_file (pid, is_destination, (void *) s->destination))
    return false;
  s->guilty = pid;
  return true;
}

/* The address as /proc/net/tcp and tcp6 print it: words of 32 bits, each as this
 * machine has them.
 */
static void
print_address (char buf[64], const struct sockaddr_storage *address)
{
  uint32_t words[4];
  unsigned n, i, port;
  size_t used = 0;

  if (address->ss_family == AF_INET) {
    const struct sockaddr_in *in = (const struct sockaddr_in *) address;

    memcpy (words, &in->sin_addr, 4);
    n = 1;
    port = ntohs (in->sin_port);
  }
  else {
    const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *) address;

    memcpy (words, &in6->sin6_addr, 16);
    n = 4;
    port = ntohs (in6->sin6_port);
  }
  for (i = 0; i < n; ++i)
    used += (size_t) sprintf (buf + used, "%08X", words[i]);
  sprintf (buf + used, ":%04X", port);
}

/* The socket that this machine has for the other end of a TCP connection; 0 if
 * it is on another machine.  A connection of IPv4 may be one of IPv6 for the
 * other end, with the same address in its last word.
 */
static uint64_t
find_socket (const char *table, const char *its, const char *ours)
{
  FILE *f = fopen (table, "re");
  char *line = NULL, local[64], remote[64];
  uint64_t inode, result = 0;
  size_t size = 0;

  if (f == NULL)
    return 0;
  while (result == 0 && getline (&line, &size, f) != -1) {
    size_t a, b;

    if (sscanf (line, " %*d: %63s %63s %*s %*s %*s %*s %*s %*s %" SCNu64, local,
                remote, &inode) != 3)
      continue;
    a = strlen (local);
    b = strlen (its);
    if (a >= b && strcmp (local + a - b, its) == 0 &&
        strcmp (remote + strlen (remote) - strlen (ours), ours) == 0)
      result = inode;
  }
  free (line);
  fclose (f);
  return result;
}

/* Find the process at the other end of a connection.  false if it cannot be
 * seen.
 */
static bool
find_server (int fd, struct server *s)
{
  struct sockaddr_storage its = { 0 }, ours = { 0 };
  socklen_t its_size = sizeof its, ours_size = sizeof ours;
  struct ucred peer;
  socklen_t peer_size = sizeof peer;
  char its_text[64], ours_text[64];

  if (getpeername (fd, (struct sockaddr *) &its, &its_size) == -1 ||
      getsockname (fd, (struct sockaddr *) &ours, &ours_size) == -1)
    return false;
  if (its.ss_family == AF_UNIX) {
    if (getsockopt (fd, SOL_SOCKET, SO_PEERCRED, &peer, &peer_size) == -1)
      return false;
    s->pid = peer.pid;
    return s->pid > 0;
  }
  if (its.ss_family != AF_INET && its.ss_family != AF_INET6)
    return false;
  print_address (its_text, &its);
  print_address (ours_text, &ours);
  s->socket = find_socket ("/proc/net/tcp", its_text, ours_text);
  if (s->socket == 0)
    s->socket = find_socket ("/proc/net/tcp6", its_text, ours_text);
  return s->socket != 0 && any_process (has_socket, s);
}

static int
check_not_same (const struct uri *u, int fd, const struct destination_file *d)
{
  struct server s = { .destination = d };

  if (!d->exists || !find_server (fd, &s) ||
      !any_process (has_destination_open, &s))
    return 0;
  complain ("%s: the server of the source %s, process %d, has this open: "
            "cloning a disk onto itself would destroy it; give another "
            "destination",
            d->path, u->shown, (int) s.guilty);
  return EXIT_FAILURE;
}

int
source_check (const struct uri *u, const struct destination_file *d,
              uint64_t *size, char *why, size_t why_size)
{
  struct nbd_handle *nbd =
    nbd_handle_connect (u->uri, CONNECT_US, -1, NULL, NULL, why, why_size);
  int64_t n;
  int r;

  if (nbd == NULL)
    return EXIT_NO_SERVER;
  n = nbd_get_size (nbd);
  r = check_not_same (u, nbd_aio_get_fd (nbd), d);
  nbd_aio_disconnect (nbd, 0);
  nbd_close (nbd);
  if (n < 0) {
    snprintf (why, why_size, "it does not say how large it is");
    return EXIT_NO_SERVER;
  }
  *size = (uint64_t) n;
  return r;
}
