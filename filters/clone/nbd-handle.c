/* nbdclone: libnbd's handles: connecting and polling, within bounds.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "nbd-handle.h"
#include "uri.h"

void
wake_fd_reset (int wake_fd)
{
  uint64_t count;
  const ssize_t n = read (wake_fd, &count, sizeof count);

  assert (n != -1 || errno == EAGAIN);
}

const char *
nbd_handle_error (void)
{
  const char *message = nbd_get_error ();
  size_t n;

  if (message == NULL)
    return "connection closed";
  n = strspn (message, "abcdefghijklmnopqrstuvwxyz_0123456789");
  if (strncmp (message, "nbd_", 4) == 0 && message[n] == ':' &&
      message[n + 1] == ' ')
    message += n + 2;
  return message;
}

int
nbd_handle_poll (struct nbd_handle *nbd, int wake_fd, uint64_t until_us,
                 uint64_t *heard_us)
{
  const unsigned direction = nbd_aio_get_direction (nbd);
  const uint64_t now = system_clock.now_us (&system_clock);
  struct pollfd fds[2] = {
    { .fd = nbd_aio_get_fd (nbd) },
    { .fd = wake_fd, .events = POLLIN },
  };
  int timeout_ms = -1;

  *heard_us = 0;
  if (direction & LIBNBD_AIO_DIRECTION_READ)
    fds[0].events |= POLLIN;
  if (direction & LIBNBD_AIO_DIRECTION_WRITE)
    fds[0].events |= POLLOUT;
  if (until_us != UINT64_MAX)
    timeout_ms = until_us > now ? (int) ((until_us - now + 999) / 1000) : 0;

  if (poll (fds, 2, timeout_ms) == -1)
    return 0;
  if (fds[1].revents & POLLIN)
    wake_fd_reset (wake_fd);
  if ((direction & LIBNBD_AIO_DIRECTION_READ) &&
      (fds[0].revents & (POLLIN | POLLHUP | POLLERR))) {
    *heard_us = system_clock.now_us (&system_clock);
    return nbd_aio_notify_read (nbd);
  }
  if ((direction & LIBNBD_AIO_DIRECTION_WRITE) &&
      (fds[0].revents & (POLLOUT | POLLHUP | POLLERR)))
    return nbd_aio_notify_write (nbd);
  if (fds[0].revents & POLLNVAL)
    return -1;
  return 0;
}

bool
nbd_handle_serve (struct nbd_handle *nbd, int wake_fd, uint64_t until_us,
                  uint64_t *heard_us, char *why, size_t why_size)
{
  if (nbd_handle_poll (nbd, wake_fd, until_us, heard_us) == -1)
    snprintf (why, why_size, "%s", nbd_handle_error ());
  else if (nbd_aio_is_dead (nbd) || nbd_aio_is_closed (nbd))
    snprintf (why, why_size, "connection closed");
  else
    return true;
  return false;
}

/* Take over libnbd's message, in which there may be the URI, with what is secret
 * in it.
 */
static void
copy_message (char *why, size_t size, const char *message, const char *uri)
{
  const char *secret = strstr (message, uri);

  if (secret)
    snprintf (why, size, "%.*s(the URI)%s", (int) (secret - message), message,
              secret + strlen (uri));
  else
    snprintf (why, size, "%s", message);
}

/* A handle that has begun to connect, or NULL and why not. */
static struct nbd_handle *
begin_connect (const char *uri, char *why, size_t why_size)
{
  struct nbd_handle *nbd;

  /* Each time: the file may have gone. */
  if (!uri_is_trustworthy (uri)) {
    snprintf (why, why_size,
              "nbds needs ca-cert.pem in the directory tls-certificates, or "
              "tls-psk-file, to know who answers");
    return NULL;
  }
  nbd = nbd_create ();
  /* A disk that does not end with a block: only the server knows whether its
   * last bytes can be read (source-commands.c).
   */
  if (nbd &&
      nbd_set_strict_mode (nbd, nbd_get_strict_mode (nbd) &
                                  ~LIBNBD_STRICT_ALIGN) == 0 &&
      nbd_set_uri_allow_local_file (nbd, true) == 0 &&
      nbd_set_pread_initialize (nbd, false) == 0 &&
      nbd_add_meta_context (nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) == 0 &&
      nbd_aio_connect_uri (nbd, uri) == 0)
    return nbd;
  copy_message (why, why_size, nbd_handle_error (), uri);
  nbd_close (nbd);
  return NULL;
}

/* A peer that is gone without a word is found also while nothing is asked for. */
static void
keep_alive (int fd)
{
  const int on = 1, idle_s = 15, interval_s = 5, count = 3;

  /* It is no error that only TCP knows these. */
  (void) setsockopt (fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
  (void) setsockopt (fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof idle_s);
  (void) setsockopt (fd, IPPROTO_TCP, TCP_KEEPINTVL, &interval_s,
                     sizeof interval_s);
  (void) setsockopt (fd, IPPROTO_TCP, TCP_KEEPCNT, &count, sizeof count);
}

struct nbd_handle *
nbd_handle_connect (const char *uri, uint64_t timeout_us, int wake_fd,
                    bool (*stop) (void *opaque), void *opaque, char *why,
                    size_t why_size)
{
  const uint64_t until = system_clock.now_us (&system_clock) + timeout_us;
  struct nbd_handle *nbd = begin_connect (uri, why, why_size);
  uint64_t heard_us;

  while (nbd && !nbd_aio_is_ready (nbd)) {
    bool failed = true;

    if (stop && stop (opaque))
      snprintf (why, why_size, "stopped");
    else if (system_clock.now_us (&system_clock) >= until)
      snprintf (why, why_size, "no answer in the handshake");
    else if (nbd_handle_poll (nbd, wake_fd, until, &heard_us) == -1)
      copy_message (why, why_size, nbd_handle_error (), uri);
    else if (nbd_aio_is_dead (nbd) || nbd_aio_is_closed (nbd))
      snprintf (why, why_size, "connection closed");
    else
      failed = false;
    if (failed) {
      nbd_close (nbd);
      nbd = NULL;
    }
  }
  if (nbd)
    keep_alive (nbd_aio_get_fd (nbd));
  return nbd;
}
