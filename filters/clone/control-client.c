/* nbdclone: the control socket: one connection.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Nothing here waits.  What a client sends is kept until it is a line, but not
 * more than CONTROL_LINE_MAX of it; what it does not read is kept, but not more
 * than CONTROL_OUTPUT_MAX of it.  Who answers slowly is not asked for more
 * before he has read; who reads nothing for STUCK_US is dropped.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "control-private.h"

#define DUMP_FLAGS (JSON_COMPACT | JSON_REAL_PRECISION (9))
#define STUCK_US UINT64_C (10000000)

struct client *
client_new (int fd)
{
  struct client *c = calloc (1, sizeof *c);

  if (c)
    c->fd = fd;
  return c;
}

void
client_free (struct client *c)
{
  close (c->fd);
  free (c->input);
  free (c->output);
  json_decref (c->id);
  free (c);
}

/* Make a buffer large enough; it never shrinks. */
static bool
make_room (char **buf, size_t *size, size_t wanted)
{
  size_t n = *size ? *size : 512;
  char *p;

  while (n < wanted)
    n *= 2;
  if (n == *size)
    return true;
  p = realloc (*buf, n);
  if (p == NULL)
    return false;
  *buf = p;
  *size = n;
  return true;
}

bool
client_may_read (const struct client *c)
{
  return !c->ended && !c->drop && c->waits == WAITS_NOT &&
         c->input_length < CONTROL_LINE_MAX &&
         c->output_length < CONTROL_OUTPUT_MAX / 2;
}

void
client_read (struct client *c)
{
  ssize_t n;

  if (!make_room (&c->input, &c->input_size, c->input_length + 512)) {
    c->drop = true;
    return;
  }
  n = recv (c->fd, c->input + c->input_length, c->input_size - c->input_length,
            MSG_DONTWAIT);
  if (n > 0)
    c->input_length += (size_t) n;
  else if (n == 0)
    c->ended = true;
  else if (errno != EAGAIN && errno != EINTR)
    c->drop = true;
}

char *
client_line (struct client *c, size_t *length)
{
  const char *end;
  char *line;

  if (c->waits != WAITS_NOT || c->drop || c->input_length == 0 ||
      c->output_length >= CONTROL_OUTPUT_MAX / 2)
    return NULL;
  end = memchr (c->input, '\n', c->input_length);
  if (end == NULL && !c->ended)
    return NULL;
  *length = end ? (size_t) (end - c->input) : c->input_length;
  line = malloc (*length + 1);
  if (line == NULL) {
    c->drop = true;
    return NULL;
  }
  memcpy (line, c->input, *length);
  line[*length] = 0;
  c->input_length -= *length + (end != NULL);
  memmove (c->input, c->input + *length + (end != NULL), c->input_length);
  return line;
}

void
client_say (struct client *c, json_t *line)
{
  size_t n = line ? json_dumpb (line, NULL, 0, DUMP_FLAGS) : 0;

  if (n == 0 || c->output_length + n + 1 > CONTROL_OUTPUT_MAX ||
      !make_room (&c->output, &c->output_size, c->output_length + n + 1)) {
    c->drop = true;
    return;
  }
  json_dumpb (line, c->output + c->output_length, n, DUMP_FLAGS);
  c->output_length += n;
  c->output[c->output_length++] = '\n';
}

void
client_send (struct client *c, uint64_t now_us)
{
  ssize_t n;

  if (c->output_length == 0)
    return;
  n = send (c->fd, c->output, c->output_length, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (n > 0) {
    c->output_length -= (size_t) n;
    memmove (c->output, c->output + n, c->output_length);
    c->stuck_us = 0;
  }
  else if (errno != EAGAIN && errno != EINTR)
    c->drop = true;
  if (c->output_length > 0) {
    if (c->stuck_us == 0)
      c->stuck_us = now_us;
    else if (now_us > c->stuck_us + STUCK_US)
      c->drop = true;
  }
}
