/* nbdclone: the source is an NBD server, reached through libnbd.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A request becomes one command or more, since servers have a largest and a
 * smallest block.  A command is always in exactly one place:
 *
 *   waiting ──issue──▶ in flight on a connection ──reply──▶ finished
 *      ▲                          │
 *      └── the connection died ───┘
 *
 * and finishes with an error only if the server has failed it, if no byte has
 * arrived for it for the whole timeout, or if the source is stopped.  Which
 * connection a command is on, and since when, is all that a reconnect, or
 * another server, has to know.
 *
 * Each connection has a thread, which connects, polls, and reconnects with
 * growing pauses.  Commands are issued by whoever makes them, if a connection is
 * up, straight into libnbd; the thread is woken only if the socket would not
 * take all, or if nobody reads the reply (source-help.c).  So it need not know of
 * them, and looks at the clock now and then.  A handle may be closed only when
 * nobody is issuing on it: that is what `issuers` counts.
 *
 * Locks: src->lock protects all lists and states, and is a leaf.  libnbd has a
 * lock of its own in each handle and calls our callbacks with it held, so libnbd
 * is never called with src->lock held.
 *
 * Another server may be asked for at any time.  A connection knows which one it is
 * to, and ends when that is not the one to connect to any more, as if it had been
 * lost; but the old server, which may serve others and be one that does not bear
 * to be left with answers that it owes, gets DRAIN_US to give them.
 *
 * A hung server looks like a slow one until the timeout is over.  Then its
 * connection is closed, since libnbd would go on writing to the buffers of what
 * has failed, and what is not overdue is sent again.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <libnbd.h>

#include "cleanup.h"
#include "log.h"
#include "nbd-handle.h"
#include "source-nbd-private.h"

#define HANDSHAKE_US UINT64_C (10000000) /* lesson 14 */
#define BACKOFF_MIN_US UINT64_C (100000)
#define BACKOFF_MAX_US UINT64_C (5000000)
#define TELL_US UINT64_C (10000000) /* how often the log tells of a loss */
#define COMMAND_MAX (UINT32_C (32) << 20) /* what any server takes */

/* When stopped, or switched, so long is waited for what is in flight.  It spares
 * servers an answer to a client that is gone: nbdkit 1.32.5 may abort on that
 * (tried).
 */
#define DRAIN_US UINT64_C (1000000)
#define JOIN_S 3 /* for a thread that may be resolving a name */

int64_t
source_nbd_probe (const char *uri, uint64_t timeout_us, int wake_fd,
                  bool (*stop) (void *opaque), void *opaque, char *why,
                  size_t why_size)
{
  struct nbd_handle *nbd =
    nbd_handle_connect (uri, timeout_us, wake_fd, stop, opaque, why, why_size);
  int64_t size = -1;

  if (nbd) {
    size = nbd_get_size (nbd);
    if (size == -1)
      snprintf (why, why_size, "%s", nbd_handle_error ());
    /* Say goodbye, but do not wait for the answer. */
    (void) nbd_aio_disconnect (nbd, 0);
    nbd_close (nbd);
  }
  return size;
}

static struct server *
server_new (const char *uri, const char *shown)
{
  struct server *server = calloc (1, sizeof *server);

  if (server == NULL)
    return NULL;
  server->uri = strdup (uri);
  server->shown = strdup (shown);
  server->users = 1;
  if (server->uri && server->shown)
    return server;
  free (server->uri);
  free (server->shown);
  free (server);
  return NULL;
}

/* Under lock, or when nobody else is there.  NULL is all right. */
static void
server_leave (struct server *server)
{
  if (server == NULL || --server->users > 0)
    return;
  free (server->uri);
  free (server->shown);
  free (server);
}

static void
close_fd (int fd)
{
  if (fd != -1)
    close (fd);
}

/* Is a connection not wanted any more? */
static bool
is_unwanted (void *opaque)
{
  struct connection *conn = opaque;
  struct nbd_source *src = conn->src;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&src->lock);
  return src->stopped || is_outdated (conn);
}

/* Is this the disk that we are cloning? */
static bool
check_server (struct connection *conn, struct nbd_handle *nbd)
{
  struct nbd_source *src = conn->src;
  const int64_t size = nbd_get_size (nbd);

  if (size >= 0 &&
      ((uint64_t) size == src->source.size ||
       (src->config.may_be_larger && (uint64_t) size > src->source.size)))
    return true;
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&src->lock);
  if (!src->told_size)
    log_error ("source %s: it has %" PRIi64 " bytes now, but %" PRIu64
               " were cloned from: it counts as away",
               conn->server->shown, size, src->source.size);
  src->told_size = true;
  return false;
}

/* The connection is up: let commands in.  false if it is not wanted any more. */
static bool
go_up (struct connection *conn, struct nbd_handle *nbd)
{
  struct nbd_source *src = conn->src;
  const int64_t min = nbd_get_block_size (nbd, LIBNBD_SIZE_MINIMUM);
  const int64_t max = nbd_get_block_size (nbd, LIBNBD_SIZE_MAXIMUM);
  const int64_t size = nbd_get_size (nbd);
  const bool extents =
    nbd_can_meta_context (nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) == 1;
  const bool multi_conn = nbd_can_multi_conn (nbd) == 1;
  bool was_lost;

  pthread_mutex_lock (&src->lock);
  if (is_outdated (conn)) {
    pthread_mutex_unlock (&src->lock);
    return false;
  }
  conn->nbd = nbd;
  conn->state = UP;
  conn->heard_us = conn->replied_us = conn->answered_us = 0;
  conn->hang_up = conn->leave = conn->broken = false;
  src->block_min = min > 1 ? (uint32_t) min : 1;
  src->block_max = COMMAND_MAX;
  if (max > 0 && max < COMMAND_MAX && max >= min)
    src->block_max = (uint32_t) (max - max % src->block_min);
  src->end = (uint64_t) size;
  src->can_extents = extents;
  src->seen = true;
  src->status.reconnects += conn->was_up;
  conn->was_up = true;
  src->multi_conn = multi_conn;
  was_lost = src->told_lost;
  src->told_lost = src->told_size = false;
  pthread_cond_broadcast (&src->changed);
  pthread_mutex_unlock (&src->lock);
  if (was_lost)
    log_info ("source %s: connected again", conn->server->shown);
  issue_waiting (src);
  return true;
}

bool
is_overdue (const struct nbd_source *src, const struct command *c, uint64_t now)
{
  const struct connection *conn = c->connection;
  const uint64_t deadline = c->active_us + src->config.timeout_us;
  const bool alive = conn && now < conn->heard_us + src->config.timeout_us &&
                     conn->answered_us < deadline;

  return now >= deadline && !alive;
}

/* Under lock. */
static bool
has_overdue (const struct connection *conn, uint64_t now)
{
  const struct command *c;

  for (c = conn->in_flight.first; c; c = c->next)
    if (is_overdue (conn->src, c, now))
      return true;
  return false;
}

/* When timeouts are looked at next.  Who comes late has been stopped, perhaps, and
 * so have others, who have not yet had time to read what arrived meanwhile.
 */
struct look {
  uint64_t next_us;
  bool late; /* the last time */
};

/* Is there a reason to end an open connection?  Now and then the timeouts are
 * looked at, too.
 */
static bool
should_end (struct connection *conn, uint64_t heard_us, struct look *look,
            char *why, size_t why_size)
{
  struct nbd_source *src = conn->src;
  const uint64_t now = now_us ();
  bool late;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&src->lock);
  if (heard_us)
    conn->heard_us = heard_us;
  if (src->stopped) {
    snprintf (why, why_size, "stopped");
    return conn->n_in_flight == 0 || now >= src->stopped_us + DRAIN_US;
  }
  if (conn->hang_up) {
    snprintf (why, why_size, "it is shutting down");
    return true;
  }
  if (conn->broken) {
    snprintf (why, why_size, "%s", conn->broken_why);
    return true;
  }
  if (is_outdated (conn)) {
    snprintf (why, why_size, "another server was asked for");
    return conn->n_in_flight == 0 || now >= src->switched_us + DRAIN_US;
  }
  if (now < look->next_us)
    return false;
  late = now >= look->next_us + TICK_US && !look->late;
  look->next_us = now + TICK_US;
  look->late = late;
  if (late || !has_overdue (conn, now))
    return false;
  snprintf (why, why_size, "no answer for %g s",
            (double) src->config.timeout_us / 1e6);
  return true;
}

/* Until somebody wakes it, or the server hangs up: then whoever needs the source
 * next must not have to find that out.  Who helps sees it himself.
 */
static void
sleep_until_woken (struct connection *conn, bool helped)
{
  struct pollfd fds[2] = {
    { .fd = conn->wake_fd, .events = POLLIN },
    { .fd = helped ? -1 : nbd_aio_get_fd (conn->nbd), .events = POLLRDHUP },
  };

  (void) poll (fds, 2, TICK_US / 1000);
  wake_fd_reset (conn->wake_fd);
}

/* What a connection's thread does next.  While there are replies to come that
 * nobody else reads, it waits for them; otherwise it has a look at the socket now
 * and then, and when the server has hung up.
 */
enum turn { SLEEP, GLANCE, WATCH };

static enum turn
next_turn (struct connection *conn, enum turn last, bool *helped)
{
  enum turn turn = SLEEP;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&conn->src->lock);
  *helped = conn->helped;
  if (!conn->helped) {
    if (conn->n_in_flight > 0)
      turn = WATCH;
    else if (last == SLEEP)
      turn = GLANCE;
  }
  conn->watched = turn != SLEEP;
  return turn;
}

/* Serve an open connection until it ends; says why. */
static void
serve (struct connection *conn, char *why, size_t why_size)
{
  struct nbd_handle *nbd = conn->nbd;
  struct look look = { 0, false };
  uint64_t heard_us = 0;
  enum turn turn = WATCH;

  while (!should_end (conn, heard_us, &look, why, why_size)) {
    bool helped;

    turn = next_turn (conn, turn, &helped);
    heard_us = 0;
    if (turn == SLEEP)
      sleep_until_woken (conn, helped);
    else if (!nbd_handle_serve (nbd, conn->wake_fd,
                                turn == WATCH ? now_us () + TICK_US : 0,
                                &heard_us, why, why_size))
      return;
  }
}

/* Let no more commands in, close, and send elsewhere what was in flight. */
static void
go_down (struct connection *conn, const char *why)
{
  struct nbd_source *src = conn->src;
  struct list failed = { NULL, NULL }, bad = { NULL, NULL };
  bool tell = false;

  pthread_mutex_lock (&src->lock);
  conn->state = CLOSING;
  conn->leave = true;
  conn->watched = false;
  if (conn->helped)
    wake_helper (conn);
  while (conn->issuers > 0)
    pthread_cond_wait (&src->idle, &src->lock);
  pthread_mutex_unlock (&src->lock);

  if (is_unwanted (conn) && nbd_aio_is_ready (conn->nbd))
    (void) nbd_aio_disconnect (conn->nbd, 0);
  nbd_close (conn->nbd); /* from here on libnbd touches no buffer */
  conn->nbd = NULL;

  pthread_mutex_lock (&src->lock);
  conn->state = DOWN;
  while (conn->in_flight.first) {
    struct command *c = conn->in_flight.first;

    if (!conn->hang_up)
      note_alive (c);
    take_off (c);
    if (src->stopped)
      list_add (&failed, c);
    else if (is_too_much (c))
      list_add (&bad, c);
    else
      let_wait (src, c);
  }
  if (!src->stopped) {
    snprintf (src->status.last_error, sizeof src->status.last_error, "%s", why);
    /* A switch has been counted already, as one. */
    src->status.losses += choose (src, true) == NULL && !is_outdated (conn);
  }
  if (!src->stopped && !is_outdated (conn) && choose (src, true) == NULL &&
      !src->told_lost && now_us () >= src->tell_us) {
    tell = src->told_lost = true;
    src->tell_us = now_us () + TELL_US;
  }
  pthread_cond_broadcast (&src->changed);
  pthread_mutex_unlock (&src->lock);

  if (tell)
    log_error ("source %s: lost (%s); reconnecting", conn->server->shown, why);
  finish_list (&failed, ESHUTDOWN);
  finish_list (&bad, EIO);
  issue_waiting (src);
}

/* Sleep, unless it is stopped or there is another server to go to. */
static void
pause_until (struct connection *conn, uint64_t until)
{
  struct nbd_source *src = conn->src;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&src->lock);
  while (!src->stopped && !is_outdated (conn) && now_us () < until)
    system_clock.wait_until (&system_clock, &src->changed, &src->lock, until);
}

/* All connections but the first wait until the server is known to allow them.
 * Decides as well which server it is going to be.  false if it is time to end.
 */
static bool
may_connect (struct connection *conn)
{
  struct nbd_source *src = conn->src;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&src->lock);
  while (conn->number > 0 && !src->stopped &&
         !(src->multi_conn && choose (src, true)))
    pthread_cond_wait (&src->changed, &src->lock);
  server_leave (conn->server);
  conn->server = src->server;
  conn->server->users++;
  return !src->stopped;
}

static void
tell_unreachable (struct connection *conn, const char *why)
{
  struct nbd_source *src = conn->src;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&src->lock);
  if (src->stopped || is_outdated (conn))
    return;
  snprintf (src->status.last_error, sizeof src->status.last_error, "%s", why);
  if (src->told_lost || choose (src, true))
    return;
  src->told_lost = true;
  log_error ("source %s: cannot connect (%s); trying again",
             conn->server->shown, why);
}

/* Connect, and check whom we have reached. */
static struct nbd_handle *
reach (struct connection *conn, char *why, size_t why_size)
{
  struct nbd_handle *nbd =
    nbd_handle_connect (conn->server->uri, HANDSHAKE_US, conn->wake_fd,
                        is_unwanted, conn, why, why_size);

  if (nbd && !check_server (conn, nbd)) {
    snprintf (why, why_size, "another size");
    nbd_close (nbd);
    nbd = NULL;
  }
  return nbd;
}

static void *
connection_thread (void *opaque)
{
  struct connection *conn = opaque;
  uint64_t backoff = BACKOFF_MIN_US;
  unsigned seed = (unsigned) now_us () + conn->number;
  char why[256];

  while (may_connect (conn)) {
    struct nbd_handle *nbd = reach (conn, why, sizeof why);

    if (nbd == NULL)
      tell_unreachable (conn, why);
    else if (go_up (conn, nbd)) {
      serve (conn, why, sizeof why);
      if (conn->replied_us)
        backoff = BACKOFF_MIN_US;
      go_down (conn, why);
    }
    else
      nbd_close (nbd);
    if (is_unwanted (conn)) {
      backoff = BACKOFF_MIN_US; /* the next one is another server's */
      continue;
    }
    /* With jitter, so that many clients of one server do not come at once. */
    pause_until (conn, now_us () + backoff / 2 +
                         (uint64_t) rand_r (&seed) % (backoff / 2));
    backoff = backoff * 2 < BACKOFF_MAX_US ? backoff * 2 : BACKOFF_MAX_US;
  }
  return NULL;
}

/* Fail what has been waiting too long while no connection is up. */
static void *
monitor_thread (void *opaque)
{
  struct nbd_source *src = opaque;

  pthread_mutex_lock (&src->lock);
  while (!src->stopped) {
    const uint64_t now = now_us ();
    struct list overdue = { NULL, NULL };
    struct command *c, *next;

    for (c = src->waiting.first; c; c = next) {
      next = c->next;
      if (is_overdue (src, c, now)) {
        list_remove (&src->waiting, c);
        list_add (&overdue, c);
      }
    }
    if (overdue.first) {
      pthread_mutex_unlock (&src->lock);
      finish_list (&overdue, ENOTCONN);
      pthread_mutex_lock (&src->lock);
    }
    else if (src->waiting.first)
      system_clock.wait_until (&system_clock, &src->overlook, &src->lock,
                               now + TICK_US);
    else
      pthread_cond_wait (&src->overlook, &src->lock);
  }
  pthread_mutex_unlock (&src->lock);
  return NULL;
}

struct source *
source_nbd_start (const struct source_nbd_config *config)
{
  struct nbd_source *src = calloc (1, sizeof *src);
  unsigned i;
  int err;

  if (src == NULL)
    return NULL;
  src->source.ops = &nbd_source_ops;
  src->source.size = src->end = config->expected_size;
  src->config = *config;
  /* A thread that resolves a name may outlive the caller's. */
  src->config.uri = src->config.shown = NULL;
  src->server = server_new (config->uri, config->shown);
  pthread_mutex_init (&src->lock, NULL);
  clock_cond_init (&src->changed);
  clock_cond_init (&src->overlook);
  pthread_cond_init (&src->idle, NULL);
  src->connections = calloc (config->connections, sizeof *src->connections);
  if (src->connections == NULL || src->server == NULL)
    goto err;
  for (i = 0; i < config->connections; ++i) {
    struct connection *conn = &src->connections[i];

    conn->src = src;
    conn->number = i;
    conn->wake_fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
    conn->leave_fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
    src->n_connections++;
    if (conn->wake_fd == -1 || conn->leave_fd == -1)
      goto err;
  }
  errno = pthread_create (&src->monitor, NULL, monitor_thread, src);
  if (errno)
    goto err;
  src->has_monitor = true;
  for (i = 0; i < src->n_connections; ++i) {
    struct connection *conn = &src->connections[i];

    errno = pthread_create (&conn->thread, NULL, connection_thread, conn);
    if (errno)
      goto err;
    conn->has_thread = true;
  }
  return &src->source;

err:
  err = errno;
  source_nbd_stop (&src->source);
  source_nbd_free (&src->source);
  errno = err;
  return NULL;
}

void
source_nbd_look (struct source *s, struct source_nbd_status *status)
{
  struct nbd_source *src = nbd_of (s);
  unsigned i;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&src->lock);
  *status = src->status;
  for (i = 0; i < src->n_connections; ++i)
    status->connections += src->connections[i].state == UP;
}

int
source_nbd_switch (struct source *s, const char *uri, const char *shown)
{
  struct nbd_source *src = nbd_of (s);
  struct server *server = server_new (uri, shown);
  unsigned i;

  if (server == NULL)
    return ENOMEM;
  pthread_mutex_lock (&src->lock);
  if (src->stopped) {
    server_leave (server);
    pthread_mutex_unlock (&src->lock);
    return ESHUTDOWN;
  }
  src->status.losses += choose (src, true) != NULL;
  server_leave (src->server);
  src->server = server;
  src->switched_us = now_us ();
  src->told_lost = src->told_size = false;
  src->tell_us = 0;
  for (i = 0; i < src->n_connections; ++i)
    if (src->connections[i].state == UP)
      src->connections[i].state = CLOSING;
  pthread_cond_broadcast (&src->changed);
  pthread_mutex_unlock (&src->lock);
  for (i = 0; i < src->n_connections; ++i)
    wake (&src->connections[i]);
  return 0;
}

void
source_nbd_stop (struct source *s)
{
  struct nbd_source *src = nbd_of (s);
  struct list failed;
  unsigned i;

  pthread_mutex_lock (&src->lock);
  if (!src->stopped)
    src->stopped_us = now_us ();
  src->stopped = true;
  failed = src->waiting;
  src->waiting = (struct list){ NULL, NULL };
  pthread_cond_broadcast (&src->changed);
  pthread_cond_signal (&src->overlook);
  pthread_mutex_unlock (&src->lock);
  for (i = 0; i < src->n_connections; ++i)
    wake (&src->connections[i]);
  finish_list (&failed, ESHUTDOWN);
}

void
source_nbd_free (struct source *s)
{
  struct nbd_source *src;
  struct timespec until;
  bool all_ended = true;
  unsigned i;

  if (s == NULL)
    return;
  src = nbd_of (s);
  clock_gettime (CLOCK_REALTIME, &until);
  until.tv_sec += JOIN_S;
  for (i = 0; i < src->n_connections; ++i) {
    struct connection *conn = &src->connections[i];

    if (conn->has_thread &&
        pthread_timedjoin_np (conn->thread, NULL, &until) != 0)
      all_ended = false;
  }
  if (src->has_monitor)
    pthread_join (src->monitor, NULL);
  if (!all_ended)
    /* A thread is resolving a name, which cannot be interrupted.  It still
     * needs src; the process ends anyway.
     */
    return;
  for (i = 0; i < src->n_connections; ++i) {
    close_fd (src->connections[i].wake_fd);
    close_fd (src->connections[i].leave_fd);
    server_leave (src->connections[i].server);
  }
  free (src->connections);
  server_leave (src->server);
  pthread_mutex_destroy (&src->lock);
  pthread_cond_destroy (&src->changed);
  pthread_cond_destroy (&src->overlook);
  pthread_cond_destroy (&src->idle);
  free (src);
}
