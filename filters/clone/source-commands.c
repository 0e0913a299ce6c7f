/* nbdclone: the NBD source: requests, and the commands that they are made of.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * See source-nbd.c for the life of a command.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cleanup.h"
#include "destination.h"
#include "source-nbd-private.h"

/* What a command costs beside its bytes, in bytes: so many take as long. */
#define COMMAND_LOAD UINT64_C (16384)

#define LOSSES_MAX 3

#define EXTENTS_MAX UINT64_C (0xfff00000) /* NBD's lengths have 32 bits */

void
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

void
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
interrupt (int wake_fd)
{
  const uint64_t one = 1;
  const ssize_t n = write (wake_fd, &one, sizeof one);

  /* It can fail only if the counter is full, and then it is awake. */
  assert (n != -1 || errno == EAGAIN);
}

void
wake (struct connection *conn)
{
  interrupt (conn->wake_fd);
}

void
wake_helper (struct connection *conn)
{
  interrupt (conn->leave_fd);
}

/* One of the parts that a request waits for has ended. */
static void
end_part (struct source_request *r)
{
  /* Acquire and release: who ends the last one has seen the others. */
  if (atomic_fetch_sub_explicit (&r->unfinished, 1, memory_order_acq_rel) ==
      1) {
    r->error = atomic_load_explicit (&r->failure, memory_order_relaxed);
    r->done (r);
  }
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
  end_part (r);
}

void
finish_list (struct list *l, int err)
{
  while (l->first) {
    struct command *c = l->first;

    list_remove (l, c);
    finish (c, err);
  }
}

/* What a command adds to its connection's load. */
static uint64_t
load_of (const struct command *c)
{
  return COMMAND_LOAD + (c->request->extents ? 0 : c->length);
}

static void
put_on (struct connection *conn, struct command *c)
{
  c->connection = conn;
  c->request->connection = conn;
  list_add (&conn->in_flight, c);
  conn->n_in_flight++;
  conn->load += load_of (c);
}

void
take_off (struct command *c)
{
  struct connection *conn = c->connection;

  list_remove (&conn->in_flight, c);
  conn->n_in_flight--;
  conn->load -= load_of (c);
  c->connection = NULL;
}

void
let_wait (struct nbd_source *src, struct command *c)
{
  c->request->alone = true; /* whoever it is sent by, and where */
  list_add (&src->waiting, c);
  pthread_cond_signal (&src->overlook);
}

bool
is_too_much (struct command *c)
{
  c->losses++;
  return c->request->extents && c->losses >= LOSSES_MAX;
}

void
note_alive (struct command *c)
{
  const struct connection *conn = c->connection;

  if (conn->heard_us > c->active_us && !is_overdue (conn->src, c, now_us ()))
    c->active_us = conn->heard_us;
}

/* Has all arrived that was asked for? */
static bool
is_whole (const struct command *c)
{
  return c->request->extents || gaps_none (&c->gaps);
}

/* libnbd: the reply to a command, or the end of its connection. */
static int
command_replied (void *opaque, int *error)
{
  struct command *c = opaque, *later;
  struct connection *conn = c->connection;
  struct nbd_source *src = conn->src;
  bool lost = *error == ENOTCONN || *error == ESHUTDOWN;
  bool stopped;

  pthread_mutex_lock (&src->lock);
  /* What a server that is being left cannot do, the next one may. */
  if (*error && is_outdated (conn))
    lost = true;
  if (*error != ENOTCONN)
    conn->replied_us = now_us ();
  if (*error == ESHUTDOWN) {
    conn->hang_up = true;
    wake (conn);
  }
  if (!lost) {
    if (c->issued_us > conn->answered_us)
      conn->answered_us = c->issued_us;
    for (later = c->next; later; later = later->next)
      later->active_us = conn->replied_us;
  }
  if (*error == ENOTCONN)
    note_alive (c);
  take_off (c);
  stopped = src->stopped;
  if (lost && !stopped) {
    lost = !is_too_much (c);
    if (lost)
      let_wait (src, c);
    else
      *error = EIO;
  }
  pthread_mutex_unlock (&src->lock);
  if (!lost)
    finish (c, *error || !is_whole (c) ? EIO : 0);
  else if (stopped)
    finish (c, ESHUTDOWN);
  return 1;
}

/* libnbd: a chunk of a reply.  It does not look itself whether they are all
 * there, and what is not is whatever was in memory.
 */
static int
chunk_arrived (void *opaque, const void *data, size_t length, uint64_t offset,
               unsigned status, int *error)
{
  struct command *c = opaque;

  (void) data;
  (void) error;
  if (status == LIBNBD_READ_DATA || status == LIBNBD_READ_HOLE)
    gaps_fill (&c->gaps, offset, offset + length);
  return 0;
}

/* libnbd: some extents. */
static int
extents_arrived (void *opaque, const char *context, uint64_t offset,
                 uint32_t *entries, size_t n, int *error)
{
  struct command *c = opaque;
  struct source_request *r = c->request;
  const uint64_t last = r->offset + r->length;
  uint64_t start = c->offset;
  size_t i;

  (void) error;
  if (strcmp (context, LIBNBD_CONTEXT_BASE_ALLOCATION) != 0 ||
      offset != c->offset)
    return 0;
  r->n_extents = 0;
  for (i = 0; i + 1 < n && r->n_extents < r->max_extents; i += 2) {
    const uint64_t end = start + entries[i];
    const uint64_t from = start > r->offset ? start : r->offset;
    const uint64_t to = end < last ? end : last;
    struct source_extent *e = &r->extents[r->n_extents];

    start = end;
    if (from >= to)
      continue;
    e->length = to - from;
    e->type = 0;
    if (entries[i + 1] & LIBNBD_STATE_HOLE)
      e->type |= EXTENT_HOLE;
    if (entries[i + 1] & LIBNBD_STATE_ZERO)
      e->type |= EXTENT_ZERO;
    r->n_extents++;
  }
  return 0;
}

struct connection *
choose (struct nbd_source *src, bool urgent)
{
  struct connection *best = NULL;
  unsigned i;

  for (i = 0; i < src->n_connections; ++i) {
    struct connection *conn = &src->connections[i];

    if (conn->state != UP)
      continue;
    if (best == NULL || conn->load < best->load ||
        (!urgent && best->number == 0))
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
  const nbd_extent_callback extents = {
    .callback = extents_arrived,
    .user_data = c,
  };
  const nbd_chunk_callback chunk = {
    .callback = chunk_arrived,
    .user_data = c,
  };

  if (c->request->extents)
    return nbd_aio_block_status (
      conn->nbd, c->length, c->offset, extents, replied,
      c->request->max_extents == 1 ? LIBNBD_CMD_FLAG_REQ_ONE : 0);
  gaps_init (&c->gaps, c->offset, c->offset + c->length);
  return nbd_aio_pread_structured (conn->nbd, c->buf, c->length, c->offset,
                                   chunk, replied, 0);
}

static void cut (struct nbd_source *src, struct source_request *r, uint64_t at,
                 uint64_t end, uint64_t active_us);

/* Does a command obey the server's limits?  It may have been made before they
 * were known, or for the server that was there before.  Under lock.
 */
static bool
fits (const struct nbd_source *src, const struct command *c)
{
  const uint64_t end = c->offset + c->length;

  return !c->uncut && c->offset % src->block_min == 0 &&
         (end % src->block_min == 0 || end == src->end) && end <= src->end &&
         (c->request->extents || c->length <= src->block_max);
}

/* Make other commands out of one that does not fit. */
static void
cut_again (struct nbd_source *src, struct command *c)
{
  const uint64_t at = c->offset + c->skip;

  cut (src, c->request, at, at + (c->bounce ? c->want : c->length),
       c->active_us);
  free (c->bounce);
  c->bounce = NULL; /* there is nothing in it */
  finish (c, 0);
}

/* Send a command, or let it wait. */
static void
issue (struct nbd_source *src, struct command *c)
{
  struct connection *conn;
  bool refused, dead, unfit = false, unread = false;
  int err = ESHUTDOWN;

  pthread_mutex_lock (&src->lock);
  conn = src->stopped ? NULL : choose (src, c->request->urgent);
  if (!src->stopped && now_us () >= c->active_us + src->config.timeout_us) {
    conn = NULL;
    err = ENOTCONN;
  }
  else if (conn && !fits (src, c))
    unfit = true;
  else if (conn) {
    put_on (conn, c);
    c->issued_us = now_us ();
    conn->issuers++;
    unread = needs_thread (conn, c);
  }
  else if (!conn && !src->stopped) {
    let_wait (src, c);
    c = NULL;
  }
  pthread_mutex_unlock (&src->lock);
  if (unfit) {
    cut_again (src, c);
    return;
  }
  if (conn == NULL) {
    if (c)
      finish (c, err);
    return;
  }

  /* From here on the command may be finished by somebody else at any time,
   * unless libnbd refuses it.
   */
  refused = call_libnbd (conn, c) == -1;
  dead = nbd_aio_is_dead (conn->nbd) || nbd_aio_is_closed (conn->nbd);
  if (nbd_aio_get_direction (conn->nbd) & LIBNBD_AIO_DIRECTION_WRITE) {
    unread = true;
    wake_helper (conn); /* he may poll for replies only */
  }
  if (dead || unread)
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

void
issue_waiting (struct nbd_source *src)
{
  struct list l;

  pthread_mutex_lock (&src->lock);
  l = src->waiting;
  if (choose (src, true))
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

/* One more command of a request. */
static struct command *
new_command (struct source_request *r, uint64_t offset, uint64_t length,
             uint64_t active_us)
{
  struct command *c = calloc (1, sizeof *c);

  if (c == NULL)
    return NULL;
  c->request = r;
  c->active_us = active_us;
  c->offset = offset;
  c->length = length;
  return c;
}

/* Add a command to its request and issue it; without one, there was no memory. */
static void
add_command (struct nbd_source *src, struct source_request *r,
             struct command *c)
{
  if (c == NULL) {
    atomic_store_explicit (&r->failure, EIO, memory_order_relaxed);
    return;
  }
  atomic_fetch_add_explicit (&r->unfinished, 1, memory_order_relaxed);
  issue (src, c);
}

/* A command that reads [offset, offset + length), of which libnbd gets the
 * aligned range around it, not beyond the end.
 */
static struct command *
new_read (struct source_request *r, uint64_t offset, uint32_t length,
          uint32_t block, uint64_t end, uint64_t active_us)
{
  const uint64_t from = offset & ~(uint64_t) (block - 1);
  uint64_t to = (offset + length + block - 1) & ~(uint64_t) (block - 1);
  uint8_t *buf = (uint8_t *) r->buf + (offset - r->offset);
  struct command *c;

  if (to > end)
    to = end;
  c = new_command (r, from, to - from, active_us);
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

/* Cut [at, end) of a request to the server's blocks, and issue the commands.  A
 * question about extents is always cut as a whole.
 */
static void
cut (struct nbd_source *src, struct source_request *r, uint64_t at,
     uint64_t end, uint64_t active_us)
{
  uint64_t disk_end;
  uint32_t block, most;
  bool can_extents;

  pthread_mutex_lock (&src->lock);
  block = src->block_min;
  most = src->block_max;
  disk_end = src->end;
  can_extents = src->can_extents;
  if (!r->extents && at / most != (end - 1) / most)
    r->alone = true; /* its commands may be on several connections */
  pthread_mutex_unlock (&src->lock);

  if (r->extents) {
    const uint64_t from = r->offset & ~(uint64_t) (block - 1);
    uint64_t to = r->offset + r->length;

    if (to - from > EXTENTS_MAX)
      to = from + EXTENTS_MAX;

    to = (to + block - 1) & ~(uint64_t) (block - 1);
    if (to > disk_end)
      to = disk_end;
    if (can_extents)
      add_command (src, r, new_command (r, from, to - from, active_us));
    else
      atomic_store_explicit (&r->failure, EOPNOTSUPP, memory_order_relaxed);
    return;
  }
  while (at < end) {
    /* Pieces end at a multiple of the largest block, so only the ends of the
     * request can be unaligned.
     */
    const uint64_t stop = (at / most + 1) * most;
    const uint32_t n = (uint32_t) ((stop < end ? stop : end) - at);

    add_command (src, r, new_read (r, at, n, block, disk_end, active_us));
    at += n;
  }
}

/* Start a request: cut it now, or when a server has told its limits. */
static void
start_request (struct nbd_source *src, struct source_request *r)
{
  const uint64_t since = r->since_us ? r->since_us : now_us ();
  bool seen;

  pthread_mutex_lock (&src->lock);
  seen = src->seen;
  pthread_mutex_unlock (&src->lock);

  atomic_init (&r->unfinished, 1); /* so that it does not end before here */
  atomic_init (&r->failure, 0);
  if (seen)
    cut (src, r, r->offset, r->offset + r->length, since);
  else {
    struct command *c = new_command (r, r->offset, r->length, since);

    if (c)
      c->uncut = true;
    add_command (src, r, c);
  }
  end_part (r);
}

static void
nbd_source_read (struct source *s, struct source_request *r)
{
  assert (r->offset + r->length <= s->size);
  start_request (nbd_of (s), r);
}

static void
nbd_source_extents (struct source *s, struct source_request *r)
{
  struct nbd_source *src = nbd_of (s);
  bool up;

  pthread_mutex_lock (&src->lock);
  up = choose (src, true) != NULL;
  pthread_mutex_unlock (&src->lock);
  if (up || r->patient)
    start_request (src, r);
  else {
    r->error = ENOTCONN;
    r->done (r);
  }
}

const struct source_ops nbd_source_ops = {
  .read = nbd_source_read,
  .extents = nbd_source_extents,
  .help = nbd_source_help,
};
