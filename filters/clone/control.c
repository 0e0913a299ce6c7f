/* nbdclone: the control socket: its thread.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * One thread serves all clients with poll(2), and waits for nothing else: what
 * takes its time (a flush, a look for another server) has another thread, and
 * what a client does not send or does not read yet is kept in bounded buffers
 * (control-client.c).  So a client that is slow, silent or gone is nobody else's
 * trouble.
 *
 * It looks at the figures every LISTENED_MS if somebody listens or waits, and
 * otherwise once a second, for the rates; events are what has changed since the
 * last look (control-status.c).
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "clock.h"
#include "control-private.h"

#define LISTENED_MS 100
#define SAMPLE_US UINT64_C (1000000)
#define IDLE_US UINT64_C (5000000)

/* What is polled beside the clients. */
enum { POLL_STOP, POLL_FLUSHED, POLL_LISTENER, POLL_CLIENTS };

static uint64_t
now_us (void)
{
  return system_clock.now_us (&system_clock);
}

static void
say_to_all (void *opaque, json_t *event)
{
  struct control *c = opaque;
  unsigned i;

  for (i = 0; i < c->n_clients; ++i)
    if (c->clients[i]->events)
      client_say (c->clients[i], event);
}

void
control_notice (struct control *c)
{
  view_events (&c->view, say_to_all, c);
}

/* All places are taken: the one who has said nothing for the longest time loses
 * his if it has been long, so that those who were forgotten do not keep it for
 * ever.  Half a request is nothing; but who listens or waits for an answer may be
 * silent.  false if there is none.
 */
static bool
make_place (struct control *c)
{
  unsigned i, oldest = c->n_clients;

  for (i = 0; i < c->n_clients; ++i) {
    const struct client *client = c->clients[i];

    if (client->events || client->waits != WAITS_NOT ||
        now_us () < client->asked_us + IDLE_US)
      continue;
    if (oldest == c->n_clients ||
        client->asked_us < c->clients[oldest]->asked_us)
      oldest = i;
  }
  if (oldest == c->n_clients)
    return false;
  client_free (c->clients[oldest]);
  c->clients[oldest] = c->clients[--c->n_clients];
  return true;
}

/* Let in all who are waiting for it.  false if that has to wait for files to be
 * closed.
 */
static bool
let_in (struct control *c)
{
  int fd;

  while ((fd = control_accept (c)) != -1) {
    struct client *client = client_new (fd);

    if (client == NULL) {
      close (fd);
      return false;
    }
    client->asked_us = now_us ();
    if (c->n_clients == CONTROL_CLIENTS_MAX && !make_place (c)) {
      control_refuse (client, "GenericError", "there are too many clients");
      client_send (client, now_us ());
      client_free (client);
    }
    else
      c->clients[c->n_clients++] = client;
  }
  return errno == EAGAIN || errno == ECONNABORTED || errno == EINTR;
}

/* Answer what a client has waited for. */
static void
answer_waiting (struct control *c, struct client *client)
{
  int err;

  if (client->waits == WAITS_COMPLETION && view_has_ended (&c->view))
    control_answer (client,
                    json_pack ("{s:s}", "state", view_state (&c->view)));
  else if (client->waits == WAITS_FLUSH &&
           flusher_done (&c->flusher, client->ticket, &err)) {
    if (err)
      control_refuse (client, "GenericError", "the flush failed: %s",
                      strerror (err));
    else
      control_answer (client, json_object ());
  }
  else if (client->waits == WAITS_SOURCE && c->switches >= client->ticket) {
    if (c->switch_why[0])
      control_refuse (client, "GenericError", "%s", c->switch_why);
    else
      control_answer (client, json_object ());
  }
}

/* Do what can be done for a client now. */
static void
serve (struct control *c, struct client *client, short happened)
{
  size_t length;
  char *line;

  if (happened & (POLLERR | POLLNVAL))
    client->drop = true;
  else if (happened & POLLHUP && !(happened & POLLIN))
    client->drop = true; /* nobody would read an answer */
  if (happened & POLLIN && client_may_read (client))
    client_read (client);
  answer_waiting (c, client);
  while ((line = client_line (client, &length)) != NULL) {
    client->asked_us = now_us ();
    control_obey (c, client, line, length);
    free (line);
    answer_waiting (c, client);
  }
  if (!client->ended && client->waits == WAITS_NOT &&
      client->input_length >= CONTROL_LINE_MAX &&
      memchr (client->input, '\n', client->input_length) == NULL) {
    control_refuse (client, "GenericError", "a request has at most %d bytes",
                    CONTROL_LINE_MAX);
    client->input_length = 0;
    client->ended = true;
  }
  client_send (client, now_us ());
  if (client->ended && client->waits == WAITS_NOT && !client->events &&
      client->input_length == 0 && client->output_length == 0)
    client->drop = true;
}

static void
forget_dropped (struct control *c)
{
  unsigned i, kept = 0;

  for (i = 0; i < c->n_clients; ++i)
    if (c->clients[i]->drop)
      client_free (c->clients[i]);
    else
      c->clients[kept++] = c->clients[i];
  c->n_clients = kept;
}

/* Does anybody wait for something to happen? */
static bool
is_listened_to (const struct control *c)
{
  unsigned i;

  if (c->search)
    return true;
  for (i = 0; i < c->n_clients; ++i)
    if (c->clients[i]->events || c->clients[i]->waits == WAITS_COMPLETION ||
        c->clients[i]->output_length > 0)
      return true;
  return false;
}

/* Wait until there is something to do.  Returns how many clients `fds` has. */
static unsigned
wait_for_something (struct control *c, struct pollfd *fds, bool may_accept)
{
  unsigned i;

  fds[POLL_STOP] = (struct pollfd){ .fd = c->stop_fd, .events = POLLIN };
  fds[POLL_FLUSHED] =
    (struct pollfd){ .fd = c->flusher.wake_fd, .events = POLLIN };
  fds[POLL_LISTENER] =
    (struct pollfd){ .fd = may_accept ? c->fd : -1, .events = POLLIN };
  for (i = 0; i < c->n_clients; ++i) {
    const struct client *client = c->clients[i];

    fds[POLL_CLIENTS + i] = (struct pollfd){
      .fd = client->fd,
      .events = (client_may_read (client) ? POLLIN : 0) |
                (client->output_length > 0 ? POLLOUT : 0),
    };
  }
  if (poll (fds, POLL_CLIENTS + c->n_clients,
            is_listened_to (c) || !may_accept ? LISTENED_MS : 1000) == -1)
    /* No look is worth less than a look in vain: when the limit of open files
     * is below what is polled (EINVAL), those who have gone must be found.
     */
    for (i = 0; i < POLL_CLIENTS + c->n_clients; ++i)
      fds[i].revents = i < POLL_CLIENTS ? 0 : fds[i].events;
  return c->n_clients;
}

static void *
control_thread (void *opaque)
{
  struct control *c = opaque;
  struct pollfd fds[POLL_CLIENTS + CONTROL_CLIENTS_MAX];
  uint64_t next_sample_us = now_us () + SAMPLE_US;
  bool may_accept = true;

  for (;;) {
    const unsigned n = wait_for_something (c, fds, may_accept);
    uint64_t count;
    unsigned i;

    if (fds[POLL_STOP].revents)
      return NULL;
    if (fds[POLL_FLUSHED].revents &&
        read (c->flusher.wake_fd, &count, sizeof count) == -1)
      assert (errno == EAGAIN);
    switch_look (c);
    control_notice (c);
    for (i = 0; i < n; ++i)
      serve (c, c->clients[i], fds[POLL_CLIENTS + i].revents);
    forget_dropped (c);
    may_accept = let_in (c);
    if (now_us () >= next_sample_us) {
      view_sample (&c->view);
      next_sample_us = now_us () + SAMPLE_US;
    }
  }
}

int
control_start (struct control *c, const struct setup *setup,
               const struct params *params)
{
  int r;

  c->engine = setup->engine;
  c->setup = setup;
  c->params = params;
  view_init (&c->view, setup->engine, setup->source, params->source.shown);
  c->stop_fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (c->stop_fd == -1)
    return errno;
  r = flusher_start (&c->flusher, setup->engine);
  if (r == 0) {
    r = pthread_create (&c->thread, NULL, control_thread, c);
    c->has_thread = r == 0;
  }
  return r;
}

void
control_free (struct control *c)
{
  const uint64_t one = 1;
  unsigned i;

  if (c == NULL)
    return;
  if (c->has_thread) {
    if (write (c->stop_fd, &one, sizeof one) == -1)
      assert (errno == EAGAIN);
    pthread_join (c->thread, NULL);
  }
  flusher_stop (&c->flusher);
  switch_stop (c);
  for (i = 0; i < c->n_clients; ++i)
    client_free (c->clients[i]);
  if (c->fd != -1) {
    control_unlink (c);
    close (c->fd);
  }
  if (c->stop_fd != -1)
    close (c->stop_fd);
  free (c->path);
  free (c);
}
