/* nbdclone: talk to a server through its control socket.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "clock.h"
#include "message.h"
#include "printable.h"
#include "talk.h"
#include "verbs.h"

#define LINE_MAX_BYTES (1 << 20)

static int failed (struct talk *, int status, const char *fs, ...)
  __attribute__ ((format (printf, 3, 4)));

static int
failed (struct talk *t, int status, const char *fs, ...)
{
  va_list args;

  va_start (args, fs);
  vsnprintf (t->error, sizeof t->error, fs, args);
  va_end (args);
  return status;
}

int
talk_connect (struct talk *t, const char *path)
{
  struct sockaddr_un address = { .sun_family = AF_UNIX };

  *t = (struct talk){ .path = path, .fd = -1 };
  if (strlen (path) >= sizeof address.sun_path)
    return failed (t, EXIT_USAGE,
                   "%s: the path of a socket has at most %zu bytes", path,
                   sizeof address.sun_path - 1);
  strcpy (address.sun_path, path);
  t->fd = socket (AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (t->fd == -1)
    return failed (t, EXIT_FAILURE, "socket: %s", strerror (errno));
  if (connect (t->fd, (struct sockaddr *) &address, sizeof address) == 0)
    return 0;
  t->dead = errno == ECONNREFUSED;
  if (t->dead)
    return failed (t, EXIT_NO_SERVER,
                   "%s: no server runs there any more; start it again with "
                   "\"nbdclone run\", it goes on where it was",
                   path);
  if (errno == EACCES)
    return failed (t, EXIT_NO_SERVER,
                   "%s: %s; only root and the user who runs the server may",
                   path, strerror (errno));
  return failed (t, EXIT_NO_SERVER, "%s: %s", path, strerror (errno));
}

/* Milliseconds from now until the end, -1 for never. */
static int
left_ms (uint64_t end_us)
{
  const uint64_t now = system_clock.now_us (&system_clock);

  if (end_us == UINT64_MAX)
    return -1;
  return end_us > now ? (int) ((end_us - now + 999) / 1000) : 0;
}

static uint64_t
end_of (int timeout_ms)
{
  if (timeout_ms < 0)
    return UINT64_MAX;
  return system_clock.now_us (&system_clock) + (uint64_t) timeout_ms * 1000;
}

static int
went_away (struct talk *t)
{
  return failed (t, EXIT_NO_SERVER,
                 "%s: the server has gone away; if it was not stopped on "
                 "purpose, start it again with \"nbdclone run\", it goes on "
                 "where it was",
                 t->path);
}

/* Wait until the socket can be read or written. */
static int
wait_for (struct talk *t, short events, uint64_t end_us)
{
  struct pollfd fd = { .fd = t->fd, .events = events };
  const int r = poll (&fd, 1, left_ms (end_us));

  if (r == -1 && errno != EINTR)
    return failed (t, EXIT_FAILURE, "poll: %s", strerror (errno));
  if (r == 0)
    return failed (t, EXIT_TIMED_OUT, "%s: the server has not answered in time",
                   t->path);
  return 0;
}

static int
send_line (struct talk *t, const char *line, uint64_t end_us)
{
  size_t length = strlen (line);

  while (length > 0) {
    const ssize_t n = send (t->fd, line, length, MSG_NOSIGNAL);
    int r;

    if (n >= 0) {
      line += n;
      length -= (size_t) n;
    }
    else if (errno == EAGAIN || errno == EINTR) {
      r = wait_for (t, POLLOUT, end_us);
      if (r)
        return r;
    }
    else
      return went_away (t);
  }
  return 0;
}

/* Make *line of the bytes up to the first end of a line. */
static int
take_line (struct talk *t, const char *end, json_t **line)
{
  const size_t n = (size_t) (end - t->buf);

  *line = json_loadb (t->buf, n, 0, NULL);
  t->length -= n + 1;
  memmove (t->buf, end + 1, t->length);
  if (*line == NULL)
    return failed (t, EXIT_FAILURE,
                   "%s: what listens there is not the control socket of a "
                   "clone",
                   t->path);
  make_json_printable (*line);
  return 0;
}

static int
next_line (struct talk *t, uint64_t end_us, json_t **line)
{
  for (;;) {
    const char *end = t->buf ? memchr (t->buf, '\n', t->length) : NULL;
    ssize_t n;
    int r;

    if (end)
      return take_line (t, end, line);
    if (t->length >= 8 && memcmp (t->buf, "NBDMAGIC", 8) == 0)
      return failed (t, EXIT_USAGE,
                     "%s: this is the socket of the disk; give the name that "
                     "\"nbdclone list\" shows, or the control socket",
                     t->path);
    if (t->length >= LINE_MAX_BYTES)
      return failed (t, EXIT_FAILURE, "%s: the answer is too long", t->path);
    if (t->length == t->size) {
      t->size = t->size ? 2 * t->size : 4096;
      t->buf = need (realloc (t->buf, t->size));
    }
    n = recv (t->fd, t->buf + t->length, t->size - t->length, 0);
    if (n > 0)
      t->length += (size_t) n;
    else if (n == -1 && (errno == EAGAIN || errno == EINTR)) {
      r = wait_for (t, POLLIN, end_us);
      if (r)
        return r;
    }
    else
      return went_away (t);
  }
}

/* What an answer says: its "return", or its error. */
static int
look_at_answer (struct talk *t, json_t *answer, json_t **result)
{
  json_t *value = json_object_get (answer, "return");
  json_t *error = json_object_get (answer, "error");
  const char *desc = json_string_value (json_object_get (error, "desc"));

  if (value) {
    if (result)
      *result = json_incref (value);
    return 0;
  }
  return failed (t, EXIT_FAILURE, "%s: the server says: %s", t->path,
                 desc ? desc : "(nothing that can be understood)");
}

int
talk_send (struct talk *t, const char *execute, json_t *arguments,
           int timeout_ms)
{
  json_t *request = need (json_pack ("{s:s}", "execute", execute));
  char *text, *line;
  int r;

  if (arguments)
    json_object_set_new (request, "arguments", arguments);
  text = need (json_dumps (request, JSON_COMPACT));
  line = format ("%s\n", text);
  r = send_line (t, line, end_of (timeout_ms));
  free (line);
  free (text);
  json_decref (request);
  return r;
}

int
talk_ask (struct talk *t, const char *execute, json_t *arguments,
          int timeout_ms, json_t **result)
{
  const uint64_t end_us = end_of (timeout_ms);
  int r = talk_send (t, execute, arguments, timeout_ms);

  while (r == 0) {
    json_t *answer;

    r = next_line (t, end_us, &answer);
    if (r == 0) {
      const bool is_event = json_object_get (answer, "event") != NULL;

      if (!is_event)
        r = look_at_answer (t, answer, result);
      json_decref (answer);
      if (!is_event)
        break;
      if (left_ms (end_us) == 0) /* it need not be done with its events ever */
        return failed (t, EXIT_TIMED_OUT,
                       "%s: the server has not answered in time", t->path);
    }
  }
  return r;
}

int
talk_next (struct talk *t, int timeout_ms, json_t **line)
{
  return next_line (t, end_of (timeout_ms), line);
}

pid_t
talk_pid (const struct talk *t)
{
  struct ucred peer;
  socklen_t size = sizeof peer;

  if (getsockopt (t->fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == -1)
    return -1;
  return peer.pid;
}

void
talk_end (struct talk *t)
{
  if (t->fd != -1)
    close (t->fd);
  free (t->buf);
  t->fd = -1;
  t->buf = NULL;
}

int
talk_once (const char *path, const char *execute, json_t *arguments,
           int timeout_ms, json_t **result)
{
  struct talk t;
  int r = talk_connect (&t, path);

  if (r == 0)
    r = talk_ask (&t, execute, arguments, timeout_ms, result);
  else
    json_decref (arguments);
  if (r)
    complain ("%s", t.error);
  talk_end (&t);
  return r;
}
