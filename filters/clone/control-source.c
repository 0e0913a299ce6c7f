/* nbdclone: the control socket: switching to another server.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Before another server is put in force it is looked at, as at the start.  That
 * takes its time, and resolving a name cannot even be interrupted, so a thread
 * does it that shares nothing with anybody but its struct search.  What it has
 * found is put in force by the control thread, which gives up on it after
 * SEARCH_US; then the thread ends when it can, and nobody waits for it.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "clock.h"
#include "control-private.h"
#include "log.h"

#define HANDSHAKE_US UINT64_C (10000000)
#define SEARCH_US UINT64_C (15000000) /* with the resolving of its name */
#define JOIN_S 3

struct search {
  struct uri uri;
  int stop_fd; /* an eventfd that interrupts a poll */
  pthread_t thread;
  uint64_t until_us;
  bool given_up;    /* the control thread's */
  atomic_bool stop; /* nobody is interested any more */

  atomic_bool ended; /* release: what follows is there */
  int64_t size;      /* bytes, or -1 */
  char why[256];     /* then: why */
};

static bool
is_stopped (void *opaque)
{
  struct search *s = opaque;

  return atomic_load_explicit (&s->stop, memory_order_relaxed);
}

static void *
search_thread (void *opaque)
{
  struct search *s = opaque;

  s->size = source_nbd_probe (s->uri.uri, HANDSHAKE_US, s->stop_fd, is_stopped,
                              s, s->why, sizeof s->why);
  /* Release: pairs with the acquire in switch_look. */
  atomic_store_explicit (&s->ended, true, memory_order_release);
  return NULL;
}

static void
search_free (struct search *s)
{
  uri_free (&s->uri);
  if (s->stop_fd != -1)
    close (s->stop_fd);
  free (s);
}

/* Takes the URI.  NULL with errno set. */
static struct search *
search_start (struct uri *uri)
{
  struct search *s = calloc (1, sizeof *s);

  if (s == NULL)
    return NULL;
  s->until_us = system_clock.now_us (&system_clock) + SEARCH_US;
  s->stop_fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (s->stop_fd != -1) {
    s->uri = *uri;
    errno = pthread_create (&s->thread, NULL, search_thread, s);
    if (errno == 0) {
      *uri = (struct uri){ NULL };
      return s;
    }
    s->uri = (struct uri){ NULL };
  }
  search_free (s);
  return NULL;
}

static void
search_stop (struct search *s)
{
  const uint64_t one = 1;

  atomic_store_explicit (&s->stop, true, memory_order_relaxed);
  if (write (s->stop_fd, &one, sizeof one) == -1)
    assert (errno == EAGAIN);
}

/* The name may differ only as at the start. */
static bool
name_fits (const struct control *c, const char *name, char *why, size_t size)
{
  if (c->params->source_force ||
      strcmp (name, c->setup->identity.source_name) == 0)
    return true;
  snprintf (why, size,
            "this is a clone of the export \"%s\", but the URI names the "
            "export \"%s\"; if that has the same contents, restart with "
            "clone-source-force=true",
            c->setup->identity.source_name, name);
  return false;
}

static bool
size_fits (const struct control *c, int64_t size, char *why, size_t why_size)
{
  const uint64_t recorded = c->setup->identity.source_size;

  if ((uint64_t) size == recorded ||
      (c->params->source_force && (uint64_t) size > recorded))
    return true;
  snprintf (why, why_size,
            "it has %" PRIi64 " bytes, but this is a clone of a source of "
            "%" PRIu64 " bytes",
            size, recorded);
  return false;
}

bool
switch_begin (struct control *c, const char *value, char *why, size_t why_size)
{
  struct uri uri;

  if (c->setup->source == NULL ||
      c->view.status.hydrated == c->view.status.regions)
    snprintf (why, why_size, "the clone is complete and needs no source");
  else if (c->search)
    snprintf (why, why_size,
              "another server is still being looked for; try again later");
  else if (uri_read (value, false, &uri, why, why_size) == 0) {
    if (name_fits (c, uri.export_name, why, why_size)) {
      c->search = search_start (&uri);
      if (c->search == NULL)
        snprintf (why, why_size, "%s", strerror (errno));
    }
    uri_free (&uri);
    return c->search != NULL;
  }
  return false;
}

/* A server has been found. */
static void
put_in_force (struct control *c, struct search *s, char *why, size_t why_size)
{
  int err;

  if (!size_fits (c, s->size, why, why_size))
    return;
  err = source_nbd_switch (c->setup->source, s->uri.uri, s->uri.shown);
  if (err) {
    snprintf (why, why_size, "%s",
              err == ESHUTDOWN ? "no source is needed any more"
                               : strerror (err));
    return;
  }
  engine_source_changed (c->engine);
  log_info ("source %s: from now on it is %s", c->view.shown, s->uri.shown);
  free (c->shown);
  c->shown = s->uri.shown;
  s->uri.shown = NULL;
  c->view.shown = c->shown;
}

void
switch_look (struct control *c)
{
  struct search *s = c->search;

  if (s == NULL)
    return;
  if (atomic_load_explicit (&s->ended, memory_order_acquire)) {
    pthread_join (s->thread, NULL);
    if (!s->given_up) {
      c->switch_why[0] = 0;
      if (s->size == -1)
        snprintf (c->switch_why, sizeof c->switch_why, "cannot connect (%s)",
                  s->why);
      else
        put_in_force (c, s, c->switch_why, sizeof c->switch_why);
      c->switches++;
    }
    search_free (s);
    c->search = NULL;
  }
  else if (!s->given_up && system_clock.now_us (&system_clock) >= s->until_us) {
    snprintf (c->switch_why, sizeof c->switch_why,
              "cannot connect (no answer in %d s)",
              (int) (SEARCH_US / 1000000));
    c->switches++;
    s->given_up = true;
    search_stop (s);
  }
}

void
switch_stop (struct control *c)
{
  struct search *s = c->search;
  struct timespec until;

  if (s) {
    search_stop (s);
    clock_gettime (CLOCK_REALTIME, &until);
    until.tv_sec += JOIN_S;
    /* If it is resolving a name it keeps what it needs; the process ends. */
    if (pthread_timedjoin_np (s->thread, NULL, &until) == 0)
      search_free (s);
    c->search = NULL;
  }
  free (c->shown);
  c->shown = NULL;
}
