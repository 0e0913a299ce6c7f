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
 * take all.  So it does not know of them, and looks at the clock now and then
 * whether it has something in flight or not.  A handle may be closed only when
 * nobody is issuing on it: that is what `issuers` counts.
 *
 * Locks: src->lock protects all lists and states, and is a leaf.  libnbd has a
 * lock of its own in each handle and calls our callbacks with it held, so libnbd
 * is never called with src->lock held.
 *
 * A hung server looks like a slow one until the timeout is over.  Then its
 * connection is closed, since libnbd would go on writing to the buffers of what
 * has failed, and what is not overdue is sent again.
 */

#include <config.h>

#include <assert.h>
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
#include "clock.h"
#include "destination.h"
#include "log.h"
#include "source-nbd.h"

#define HANDSHAKE_US UINT64_C (10000000) /* lesson 14 */
#define BACKOFF_MIN_US UINT64_C (100000)
#define BACKOFF_MAX_US UINT64_C (5000000)
#define TICK_US UINT64_C (250000)         /* how often timeouts are looked at */
#define COMMAND_MAX (UINT32_C (32) << 20) /* what any server takes */
#define EXTENTS_MAX UINT64_C (0xfff00000) /* NBD's lengths have 32 bits */

/* Commands that are made before a server has told its limits keep to these. */
#define UNSEEN_BLOCK_MIN 65536
#define UNSEEN_BLOCK_MAX 65536

/* When stopped, so long is waited for what is in flight.  It spares servers an
 * answer to a client that is gone: nbdkit 1.32.5 may abort on that (tried).
 */
#define DRAIN_US UINT64_C (1000000)
#define JOIN_S 3 /* for a thread that may be resolving a name */

struct command {
  struct source_request *request;
  struct command *next, *prev;   /* in the list of its place */
  struct connection *connection; /* if it is in flight */
  uint64_t active_us;            /* when it was made, or came to its turn */
  uint64_t offset;
  uint64_t length;
  uint8_t *buf;    /* where libnbd reads to */
  uint8_t *bounce; /* the same if it is not the request's */
  uint8_t *to;     /* then: where `want` bytes from skip on go */
  uint32_t skip, want;
};

struct list {
  struct command *first, *last;
};

enum connection_state { DOWN, UP, CLOSING };

struct connection {
  struct nbd_source *src;
  unsigned number;
  pthread_t thread;
  bool has_thread;
  int wake_fd;            /* an eventfd that interrupts its poll */
  struct nbd_handle *nbd; /* the thread's; others while they issue */

  /* Under src->lock. */
  enum connection_state state;
  unsigned issuers; /* threads that call libnbd to issue */
  struct list in_flight;
  unsigned n_in_flight;
  uint64_t heard_us;   /* when the last byte arrived */
  uint64_t replied_us; /* when the last reply was complete */
  bool hang_up;        /* the server says that it is shutting down */
};

struct nbd_source {
  struct source source; /* first: the seam */
  struct source_nbd_config config;
  char *uri, *shown; /* the config's */

  pthread_mutex_t lock;
  pthread_cond_t changed;  /* a connection is up or down, or stopped */
  pthread_cond_t idle;     /* a closing connection has no issuers */
  pthread_cond_t overlook; /* for the monitor: waiting, or stopped */
  struct list waiting;
  bool stopped;
  uint64_t stopped_us;
  bool multi_conn;               /* the server says that it is all right */
  bool told_lost, told_size;     /* in the log */
  uint32_t block_min, block_max; /* of the server that is up */
  bool can_extents;
  bool seen; /* the three above are known */

  pthread_t monitor;
  bool has_monitor;
  unsigned n_connections;
  struct connection *connections;
};

static uint64_t
now_us (void)
{
  return system_clock.now_us (&system_clock);
}

static struct nbd_source *
nbd_of (struct source *s)
{
  return (struct nbd_source *) s;
}

static void
list_add (struct list *l, struct command *c)
{
  c->next = NULL;
  c->prev = l->last;
  if (l->last)
    l->last->next = c;
  else
    l->first = c;
  l->last = c;
}

static void
list_remove (struct list *l, struct command *c)
{
  if (c->prev)
    c->prev->next = c->next;
  else
    l->first = c->next;
  if (c->next)
    c->next->prev = c->prev;
  else
    l->last = c->prev;
}

static void
wake (struct connection *conn)
{
  const uint64_t one = 1;

  /* It can fail only if the counter is full, and then it is awake. */
  if (write (conn->wake_fd, &one, sizeof one) == -1)
    assert (errno == EAGAIN);
}

/* The end of a command, which is in no list any more. */
static void
finish (struct command *c, int err)
{
  struct source_request *r = c->request;

  if (err)
    atomic_store_explicit (&r->failure, err, memory_order_relaxed);
  else if (c->bounce)
    memcpy (c->to, c->bounce + c->skip, c->want);
  free (c->bounce);
  free (c);
  /* Acquire and release: who ends the last command has seen the others. */
  if (atomic_fetch_sub_explicit (&r->unfinished, 1, memory_order_acq_rel) ==
      1) {
    r->error = atomic_load_explicit (&r->failure, memory_order_relaxed);
    r->done (r);
  }
}

static void
finish_list (struct list *l, int err)
{
  while (l->first) {
    struct command *c = l->first;

    list_remove (l, c);
    finish (c, err);
  }
}

/* Take a command off its connection.  Under lock. */
static void
take_off (struct command *c)
{
  struct connection *conn = c->connection;

  list_remove (&conn->in_flight, c);
  conn->n_in_flight--;
  c->connection = NULL;
}

/* Under lock. */
static void
let_wait (struct nbd_source *src, struct command *c)
{
  list_add (&src->waiting, c);
  pthread_cond_signal (&src->overlook);
}

/* libnbd: the reply to a command, or the end of its connection. */
static int
command_replied (void *opaque, int *error)
{
  struct command *c = opaque, *later;
  struct connection *conn = c->connection;
  struct nbd_source *src = conn->src;
  const bool lost = *error == ENOTCONN || *error == ESHUTDOWN;
  bool stopped;

  pthread_mutex_lock (&src->lock);
  if (*error == ESHUTDOWN) {
    conn->hang_up = true;
    wake (conn);
  }
  if (!lost) {
    conn->replied_us = now_us ();
    for (later = c->next; later; later = later->next)
      later->active_us = conn->replied_us;
  }
  take_off (c);
  stopped = src->stopped;
  if (lost && !stopped)
    let_wait (src, c);
  pthread_mutex_unlock (&src->lock);
  if (!lost)
    finish (c, *error ? EIO : 0);
  else if (stopped)
    finish (c, ESHUTDOWN);
  return 1;
}

/* libnbd: some extents. */
static int
extents_arrived (void *opaque, const char *context, uint64_t offset,
                 uint32_t *entries, size_t n, int *error)
{
  struct source_request *r = ((struct command *) opaque)->request;
  uint64_t at = r->offset;
  size_t i;

  (void) error;
  if (strcmp (context, LIBNBD_CONTEXT_BASE_ALLOCATION) != 0 ||
      offset != r->offset)
    return 0;
  r->n_extents = 0;
  for (i = 0; i + 1 < n && r->n_extents < r->max_extents; i += 2) {
    struct source_extent *e = &r->extents[r->n_extents];
    const uint64_t left = r->offset + r->length - at;

    if (left == 0 || entries[i] == 0)
      break;
    e->length = entries[i] < left ? entries[i] : left;
    e->type = 0;
    if (entries[i + 1] & LIBNBD_STATE_HOLE)
      e->type |= EXTENT_HOLE;
    if (entries[i + 1] & LIBNBD_STATE_ZERO)
      e->type |= EXTENT_ZERO;
    at += e->length;
    r->n_extents++;
  }
  return 0;
}

/* The connection with the fewest commands.  Under lock. */
static struct connection *
choose (struct nbd_source *src)
{
  struct connection *best = NULL;
  unsigned i;

  for (i = 0; i < src->n_connections; ++i) {
    struct connection *conn = &src->connections[i];

    if (conn->state == UP &&
        (best == NULL || conn->n_in_flight < best->n_in_flight))
      best = conn;
  }
  return best;
}

static int64_t
call_libnbd (struct connection *conn, struct command *c)
{
  const nbd_completion_callback replied = {
    .callback = command_replied,
    .user_data = c,
  };
  const nbd_extent_callback arrived = {
    .callback = extents_arrived,
    .user_data = c,
  };

  if (c->request->extents)
    return nbd_aio_block_status (
      conn->nbd, c->length, c->offset, arrived, replied,
      c->request->max_extents == 1 ? LIBNBD_CMD_FLAG_REQ_ONE : 0);
  return nbd_aio_pread (conn->nbd, c->buf, c->length, c->offset, replied, 0);
}

/* Send a command, or let it wait. */
static void
issue (struct nbd_source *src, struct command *c)
{
  struct connection *conn;
  bool refused, dead;
  int err = ESHUTDOWN;

  pthread_mutex_lock (&src->lock);
  conn = src->stopped ? NULL : choose (src);
  if (!src->stopped && now_us () >= c->active_us + src->config.timeout_us) {
    conn = NULL;
    err = ENOTCONN;
  }
  else if (conn) {
    c->connection = conn;
    list_add (&conn->in_flight, c);
    conn->n_in_flight++;
    conn->issuers++;
  }
  else if (!src->stopped) {
    let_wait (src, c);
    c = NULL;
  }
  pthread_mutex_unlock (&src->lock);
  if (conn == NULL) {
    if (c)
      finish (c, err);
    return;
  }

  /* From here on the command may be finished by somebody else at any time,
   * unless libnbd refuses it.
   */
  refused = call_libnbd (conn, c) == -1;
  dead =
    refused && (nbd_aio_is_dead (conn->nbd) || nbd_aio_is_closed (conn->nbd));
  if (dead || (nbd_aio_get_direction (conn->nbd) & LIBNBD_AIO_DIRECTION_WRITE))
    wake (conn);

  pthread_mutex_lock (&src->lock);
  if (refused) {
    take_off (c);
    if (dead && !src->stopped) {
      let_wait (src, c);
      c = NULL;
    }
  }
  conn->issuers--;
  if (conn->issuers == 0 && conn->state == CLOSING)
    pthread_cond_broadcast (&src->idle);
  pthread_mutex_unlock (&src->lock);
  if (refused && c)
    finish (c, EIO);
}

/* Issue what is waiting.  What cannot be issued waits again. */
static void
issue_waiting (struct nbd_source *src)
{
  struct list l;

  pthread_mutex_lock (&src->lock);
  l = src->waiting;
  if (choose (src))
    src->waiting = (struct list){ NULL, NULL };
  else
    l.first = NULL;
  pthread_mutex_unlock (&src->lock);
  while (l.first) {
    struct command *c = l.first;

    list_remove (&l, c);
    issue (src, c);
  }
}

/* One more command of a request, of which libnbd gets the aligned range around
 * [offset, offset + length).
 */
static struct command *
new_command (struct source_request *r, uint64_t offset, uint64_t length)
{
  struct command *c = calloc (1, sizeof *c);

  if (c == NULL)
    return NULL;
  c->request = r;
  c->active_us = now_us ();
  c->offset = offset;
  c->length = length;
  return c;
}

static struct command *
new_read (struct nbd_source *src, struct source_request *r, uint64_t offset,
          uint32_t length, uint32_t block)
{
  const uint64_t from = offset & ~(uint64_t) (block - 1);
  uint64_t to = (offset + length + block - 1) & ~(uint64_t) (block - 1);
  uint8_t *buf = (uint8_t *) r->buf + (offset - r->offset);
  struct command *c;

  if (to > src->source.size)
    to = src->source.size;
  c = new_command (r, from, to - from);
  if (c == NULL)
    return NULL;
  c->buf = buf;
  if (from != offset || to != offset + length) {
    c->to = buf;
    c->skip = (uint32_t) (offset - from);
    c->want = length;
    c->buf = c->bounce = malloc (to - from);
    if (c->bounce == NULL) {
      free (c);
      return NULL;
    }
  }
  return c;
}

/* Begin a request; it does not end before end_request. */
static void
begin_request (struct source_request *r)
{
  atomic_init (&r->unfinished, 1);
  atomic_init (&r->failure, 0);
}

static void
end_request (struct source_request *r, int err)
{
  if (err)
    atomic_store_explicit (&r->failure, err, memory_order_relaxed);
  if (atomic_fetch_sub_explicit (&r->unfinished, 1, memory_order_acq_rel) ==
      1) {
    r->error = atomic_load_explicit (&r->failure, memory_order_relaxed);
    r->done (r);
  }
}

static void
nbd_source_read (struct source *s, struct source_request *r)
{
  struct nbd_source *src = nbd_of (s);
  const uint64_t end = r->offset + r->length;
  uint64_t at = r->offset;
  uint32_t block, most;

  assert (end <= s->size);
  pthread_mutex_lock (&src->lock);
  block = src->block_min;
  most = src->block_max;
  pthread_mutex_unlock (&src->lock);

  begin_request (r);
  while (at < end) {
    /* Pieces end at a multiple of the largest block, so only the ends of the
     * request can be unaligned.
     */
    const uint64_t stop = (at / most + 1) * most;
    const uint32_t n = (uint32_t) ((stop < end ? stop : end) - at);
    struct command *c = new_read (src, r, at, n, block);

    if (c == NULL) {
      end_request (r, EIO);
      return;
    }
    atomic_fetch_add_explicit (&r->unfinished, 1, memory_order_relaxed);
    issue (src, c);
    at += n;
  }
  end_request (r, 0);
}

static void
nbd_source_extents (struct source *s, struct source_request *r)
{
  struct nbd_source *src = nbd_of (s);
  struct command *c = NULL;
  bool up, can;
  uint32_t block;
  uint64_t from, to;

  pthread_mutex_lock (&src->lock);
  up = choose (src) != NULL;
  can = src->can_extents || !src->seen;
  block = src->block_min;
  pthread_mutex_unlock (&src->lock);

  begin_request (r);
  from = r->offset & ~(uint64_t) (block - 1);
  to = r->offset + r->length;
  if (to - from > EXTENTS_MAX)
    to = from + EXTENTS_MAX;
  to = (to + block - 1) & ~(uint64_t) (block - 1);
  if (to > s->size)
    to = s->size;
  if (!can)
    end_request (r, EOPNOTSUPP);
  else if (!up && !r->patient)
    end_request (r, ENOTCONN);
  else if (from != r->offset || (c = new_command (r, from, to - from)) == NULL)
    end_request (r, EIO);
  else {
    atomic_fetch_add_explicit (&r->unfinished, 1, memory_order_relaxed);
    issue (src, c);
    end_request (r, 0);
  }
}

static const struct source_ops nbd_source_ops = {
  .read = nbd_source_read,
  .extents = nbd_source_extents,
};

/* Poll a handle once, no longer than until_us.  -1 if libnbd says so.  *heard_us
 * is when something arrived, or 0.
 */
static int
poll_once (struct nbd_handle *nbd, int wake_fd, uint64_t until_us,
           uint64_t *heard_us)
{
  const unsigned direction = nbd_aio_get_direction (nbd);
  const uint64_t now = now_us ();
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
  if (fds[1].revents & POLLIN) {
    uint64_t n;

    if (read (wake_fd, &n, sizeof n) == -1)
      assert (errno == EAGAIN);
  }
  if ((direction & LIBNBD_AIO_DIRECTION_READ) &&
      (fds[0].revents & (POLLIN | POLLHUP | POLLERR))) {
    *heard_us = now_us ();
    return nbd_aio_notify_read (nbd);
  }
  if ((direction & LIBNBD_AIO_DIRECTION_WRITE) &&
      (fds[0].revents & (POLLOUT | POLLHUP | POLLERR)))
    return nbd_aio_notify_write (nbd);
  if (fds[0].revents & POLLNVAL)
    return -1;
  return 0;
}

/* Take over libnbd's message, in which there may be the URI, with what is secret
 * in it.
 */
static void
copy_message (char *why, size_t size, const char *message, const char *uri)
{
  const char *secret = message ? strstr (message, uri) : NULL;

  if (message == NULL)
    snprintf (why, size, "connection closed");
  else if (secret)
    snprintf (why, size, "%.*s(the URI)%s", (int) (secret - message), message,
              secret + strlen (uri));
  else
    snprintf (why, size, "%s", message);
}

/* A handle that has begun to connect, or NULL and why not. */
static struct nbd_handle *
begin_connect (const char *uri, char *why, size_t why_size)
{
  struct nbd_handle *nbd = nbd_create ();

  if (nbd && nbd_set_uri_allow_local_file (nbd, true) == 0 &&
      nbd_set_pread_initialize (nbd, false) == 0 &&
      nbd_add_meta_context (nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) == 0 &&
      nbd_aio_connect_uri (nbd, uri) == 0)
    return nbd;
  copy_message (why, why_size, nbd_get_error (), uri);
  nbd_close (nbd);
  return NULL;
}

/* Connect within a bound; stop (), if given, ends it early. */
static struct nbd_handle *
connect_within (const char *uri, uint64_t timeout_us, int wake_fd,
                bool (*stop) (void *opaque), void *opaque, char *why,
                size_t why_size)
{
  const uint64_t until = now_us () + timeout_us;
  struct nbd_handle *nbd = begin_connect (uri, why, why_size);
  uint64_t heard_us;

  while (nbd && !nbd_aio_is_ready (nbd)) {
    bool failed = true;

    if (stop && stop (opaque))
      snprintf (why, why_size, "stopped");
    else if (now_us () >= until)
      snprintf (why, why_size, "no answer in the handshake");
    else if (poll_once (nbd, wake_fd, until, &heard_us) == -1)
      copy_message (why, why_size, nbd_get_error (), uri);
    else if (nbd_aio_is_dead (nbd) || nbd_aio_is_closed (nbd))
      snprintf (why, why_size, "connection closed");
    else
      failed = false;
    if (failed) {
      nbd_close (nbd);
      nbd = NULL;
    }
  }
  return nbd;
}

int64_t
source_nbd_probe (const char *uri, uint64_t timeout_us, char *why,
                  size_t why_size)
{
  struct nbd_handle *nbd =
    connect_within (uri, timeout_us, -1, NULL, NULL, why, why_size);
  int64_t size = -1;

  if (nbd) {
    size = nbd_get_size (nbd);
    if (size == -1)
      snprintf (why, why_size, "%s", nbd_get_error ());
    /* Say goodbye, but do not wait for the answer. */
    (void) nbd_aio_disconnect (nbd, 0);
    nbd_close (nbd);
  }
  return size;
}

static bool
is_stopped (void *opaque)
{
  struct nbd_source *src = opaque;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&src->lock);
  return src->stopped;
}

/* Is this the disk that we are cloning? */
static bool
check_server (struct nbd_source *src, struct nbd_handle *nbd)
{
  const int64_t size = nbd_get_size (nbd);

  if (size >= 0 && (uint64_t) size == src->source.size)
    return true;
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&src->lock);
  if (!src->told_size)
    log_error ("source %s: it has %" PRIi64 " bytes now, but %" PRIu64
               " were cloned from: it counts as away",
               src->config.shown, size, src->source.size);
  src->told_size = true;
  return false;
}

/* The connection is up: let commands in. */
static void
go_up (struct connection *conn, struct nbd_handle *nbd)
{
  struct nbd_source *src = conn->src;
  const int64_t min = nbd_get_block_size (nbd, LIBNBD_SIZE_MINIMUM);
  const int64_t max = nbd_get_block_size (nbd, LIBNBD_SIZE_MAXIMUM);
  const bool extents =
    nbd_can_meta_context (nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) == 1;
  const bool multi_conn = nbd_can_multi_conn (nbd) == 1;
  bool was_lost;

  pthread_mutex_lock (&src->lock);
  conn->nbd = nbd;
  conn->state = UP;
  conn->heard_us = conn->replied_us = 0;
  conn->hang_up = false;
  src->block_min = min > 1 ? (uint32_t) min : 1;
  src->block_max = COMMAND_MAX;
  if (max > 0 && max < COMMAND_MAX && max >= min)
    src->block_max = (uint32_t) (max - max % src->block_min);
  src->can_extents = extents;
  src->seen = true;
  src->multi_conn = multi_conn;
  was_lost = src->told_lost;
  src->told_lost = src->told_size = false;
  pthread_cond_broadcast (&src->changed);
  pthread_mutex_unlock (&src->lock);
  if (was_lost)
    log_info ("source %s: connected again", src->config.shown);
  issue_waiting (src);
}

/* Is a command overdue?  Replies come about in the order of commands: each one
 * means that those behind it have moved up, and nothing to those before it,
 * which the server may have forgotten.  What has arrived of a reply that is not
 * complete may be for any command, unless its own time was over before that
 * reply began.  Under lock.
 */
static bool
is_overdue (const struct nbd_source *src, const struct command *c, uint64_t now)
{
  const struct connection *conn = c->connection;
  const uint64_t deadline = c->active_us + src->config.timeout_us;
  const bool partial = conn && conn->heard_us > conn->replied_us &&
                       now < conn->heard_us + src->config.timeout_us;

  return now >= deadline && !(partial && conn->replied_us < deadline);
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

/* Is there a reason to end an open connection?  Now and then the timeouts are
 * looked at, too.
 */
static bool
should_end (struct connection *conn, uint64_t heard_us, uint64_t *next_look_us,
            char *why, size_t why_size)
{
  struct nbd_source *src = conn->src;
  const uint64_t now = now_us ();

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
  if (now < *next_look_us)
    return false;
  *next_look_us = now + TICK_US;
  if (!has_overdue (conn, now))
    return false;
  snprintf (why, why_size, "no answer for %" PRIu64 " s",
            src->config.timeout_us / 1000000);
  return true;
}

/* Serve an open connection until it ends; says why. */
static void
serve (struct connection *conn, char *why, size_t why_size)
{
  struct nbd_handle *nbd = conn->nbd;
  uint64_t next_look_us = 0;
  uint64_t heard_us = 0;

  while (!should_end (conn, heard_us, &next_look_us, why, why_size)) {
    if (poll_once (nbd, conn->wake_fd, now_us () + TICK_US, &heard_us) == -1) {
      snprintf (why, why_size, "%s", nbd_get_error ());
      return;
    }
    if (nbd_aio_is_dead (nbd) || nbd_aio_is_closed (nbd)) {
      snprintf (why, why_size, "connection closed");
      return;
    }
  }
}

/* Let no more commands in, close, and send elsewhere what was in flight. */
static void
go_down (struct connection *conn, const char *why)
{
  struct nbd_source *src = conn->src;
  struct list failed = { NULL, NULL };
  bool tell = false;

  pthread_mutex_lock (&src->lock);
  conn->state = CLOSING;
  while (conn->issuers > 0)
    pthread_cond_wait (&src->idle, &src->lock);
  pthread_mutex_unlock (&src->lock);

  if (is_stopped (src) && nbd_aio_is_ready (conn->nbd))
    (void) nbd_aio_disconnect (conn->nbd, 0);
  nbd_close (conn->nbd); /* from here on libnbd touches no buffer */
  conn->nbd = NULL;

  pthread_mutex_lock (&src->lock);
  conn->state = DOWN;
  while (conn->in_flight.first) {
    struct command *c = conn->in_flight.first;

    take_off (c);
    if (src->stopped)
      list_add (&failed, c);
    else
      let_wait (src, c);
  }
  if (!src->stopped && choose (src) == NULL && !src->told_lost)
    tell = src->told_lost = true;
  pthread_cond_broadcast (&src->changed);
  pthread_mutex_unlock (&src->lock);

  if (tell)
    log_error ("source %s: lost (%s); reconnecting", src->config.shown, why);
  finish_list (&failed, ESHUTDOWN);
  issue_waiting (src);
}

/* Sleep, unless it is stopped. */
static void
pause_until (struct nbd_source *src, uint64_t until)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&src->lock);
  while (!src->stopped && now_us () < until)
    system_clock.wait_until (&system_clock, &src->changed, &src->lock, until);
}

/* All connections but the first wait until the server is known to allow them.
 * false if it is time to end.
 */
static bool
may_connect (struct connection *conn)
{
  struct nbd_source *src = conn->src;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&src->lock);
  while (conn->number > 0 && !src->stopped &&
         !(src->multi_conn && choose (src)))
    pthread_cond_wait (&src->changed, &src->lock);
  return !src->stopped;
}

static void
tell_unreachable (struct nbd_source *src, const char *why)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&src->lock);
  if (src->stopped || src->told_lost || choose (src))
    return;
  src->told_lost = true;
  log_error ("source %s: cannot connect (%s); trying again", src->config.shown,
             why);
}

static void *
connection_thread (void *opaque)
{
  struct connection *conn = opaque;
  struct nbd_source *src = conn->src;
  uint64_t backoff = BACKOFF_MIN_US;
  unsigned seed = (unsigned) now_us () + conn->number;
  char why[256];

  while (may_connect (conn)) {
    struct nbd_handle *nbd =
      connect_within (src->config.uri, HANDSHAKE_US, conn->wake_fd, is_stopped,
                      src, why, sizeof why);

    if (nbd && !check_server (src, nbd)) {
      snprintf (why, sizeof why, "another size");
      nbd_close (nbd);
      nbd = NULL;
    }
    if (nbd) {
      go_up (conn, nbd);
      serve (conn, why, sizeof why);
      if (conn->replied_us)
        backoff = BACKOFF_MIN_US;
      go_down (conn, why);
    }
    else
      tell_unreachable (src, why);
    /* With jitter, so that many clients of one server do not come at once. */
    pause_until (src,
                 now_us () + backoff / 2 + (uint64_t) rand_r (&seed) % backoff);
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
  src->source.size = config->expected_size;
  src->config = *config;
  /* A thread that resolves a name may outlive the caller's. */
  src->uri = strdup (config->uri);
  src->shown = strdup (config->shown);
  src->config.uri = src->uri;
  src->config.shown = src->shown;
  src->block_min = UNSEEN_BLOCK_MIN;
  src->block_max = UNSEEN_BLOCK_MAX;
  pthread_mutex_init (&src->lock, NULL);
  clock_cond_init (&src->changed);
  clock_cond_init (&src->overlook);
  pthread_cond_init (&src->idle, NULL);
  src->connections = calloc (config->connections, sizeof *src->connections);
  if (src->connections == NULL || src->uri == NULL || src->shown == NULL)
    goto err;
  for (i = 0; i < config->connections; ++i) {
    struct connection *conn = &src->connections[i];

    conn->src = src;
    conn->number = i;
    conn->wake_fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (conn->wake_fd == -1)
      goto err;
    src->n_connections++;
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
  for (i = 0; i < src->n_connections; ++i)
    close (src->connections[i].wake_fd);
  free (src->connections);
  free (src->uri);
  free (src->shown);
  pthread_mutex_destroy (&src->lock);
  pthread_cond_destroy (&src->changed);
  pthread_cond_destroy (&src->overlook);
  pthread_cond_destroy (&src->idle);
  free (src);
}
