/* nbdclone: the NBD source: who waits for a reply reads it from the socket.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A thread that is woken to read a reply, and then wakes the one who waits for
 * it, costs more than the reply when it is small and nothing else is in flight.
 * So a small command that is sent on a quiet connection does not wake the
 * connection's thread: who has made it polls the socket himself ("helps") until
 * it is answered.  If there is something in flight then, he wakes the thread,
 * which reads until there is nothing any more.  So a busy connection is the
 * thread's, and a quiet one has two wake-ups less for each command.
 *
 * Only one of them polls at a time: either the connection is `watched`, by its
 * thread, or `helped`, or neither.  For libnbd (1.14, tried) must not be told to
 * read what somebody else has read already: it then waits for a reply before it
 * sends anything, and if nothing is in flight it does so for ever.
 *
 * A thread that is not watching looks every TICK_US whether something in flight
 * was left to nobody.  Who helps counts as an issuer, so that the handle is not
 * closed meanwhile.
 */

#include <config.h>

#include <stdio.h>

#include <libnbd.h>

#include "nbd-handle.h"
#include "source-nbd-private.h"

/* Up to so many bytes it is worth it: larger ones take their time anyway, and
 * who makes several at a time waits for the first while others arrive.
 */
#define SMALL (UINT64_C (64) << 10)

bool
needs_thread (const struct connection *conn, const struct command *c)
{
  return !conn->watched && !conn->helped &&
         (c->request->alone ||
          (!c->request->extents && c->request->length > SMALL));
}

/* Poll until the request is done or the connection ends.  Under lock, which is
 * given up meanwhile.
 */
static void
read_replies (struct connection *conn, struct source_request *r)
{
  struct nbd_source *src = conn->src;

  while (atomic_load_explicit (&r->unfinished, memory_order_acquire) > 0 &&
         !conn->leave && !conn->broken) {
    char why[sizeof conn->broken_why];
    uint64_t heard_us;
    bool open;

    pthread_mutex_unlock (&src->lock);
    open = nbd_handle_serve (conn->nbd, conn->leave_fd, now_us () + TICK_US,
                             &heard_us, why, sizeof why);
    pthread_mutex_lock (&src->lock);
    if (heard_us)
      conn->heard_us = heard_us;
    if (!open) {
      conn->broken = true;
      snprintf (conn->broken_why, sizeof conn->broken_why, "%s", why);
    }
  }
}

/* Nobody of ours reads there any more.  Under lock. */
static void
hand_over (struct connection *conn)
{
  if (conn->n_in_flight > 0 && !conn->watched && !conn->helped)
    wake (conn);
}

void
nbd_source_help (struct source *s, struct source_request *r)
{
  struct nbd_source *src = nbd_of (s);
  struct connection *conn;
  unsigned i;

  /* Most of them, when much is in flight. */
  if (r && atomic_load_explicit (&r->unfinished, memory_order_acquire) == 0)
    return;
  pthread_mutex_lock (&src->lock);
  conn = r && !r->alone ? r->connection : NULL;
  if (conn &&
      atomic_load_explicit (&r->unfinished, memory_order_acquire) == 1 &&
      conn->state == UP && !conn->watched && !conn->helped) {
    conn->helped = true;
    conn->issuers++;
    read_replies (conn, r);
    conn->helped = false;
    conn->issuers--;
    if (conn->issuers == 0 && conn->state == CLOSING)
      pthread_cond_broadcast (&src->idle);
    /* Its thread may wait for nothing but the last answer to close it. */
    if (conn->broken || src->stopped || is_outdated (conn))
      wake (conn);
    else
      hand_over (conn);
  }
  else
    for (i = 0; i < src->n_connections; ++i)
      hand_over (&src->connections[i]);
  if (r)
    r->alone = true;
  pthread_mutex_unlock (&src->lock);
}
