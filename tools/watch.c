/* nbdclone: follow a server, through its control socket.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <string.h>

#include "clock.h"
#include "verbs.h"
#include "watch.h"

static uint64_t
now_us (void)
{
  return system_clock.now_us (&system_clock);
}

static int
ask (struct watch *w, const char *what)
{
  return talk_send (&w->talk, what, NULL, TALK_TIMEOUT_MS);
}

int
watch_begin (struct watch *w, const char *control)
{
  int r = talk_connect (&w->talk, control);

  w->known = false;
  w->heard_us = now_us ();
  if (r == 0)
    r = ask (w, "events");
  if (r == 0)
    r = ask (w, "status");
  return r;
}

/* An event that tells of another state says nothing else: ask. */
static int
take_line (struct watch *w, const json_t *line)
{
  const char *event = json_string_value (json_object_get (line, "event"));
  const json_t *status = json_object_get (line, "return");

  if (event == NULL && json_object_get (status, "state")) {
    progress_update (&w->progress, status);
    w->known = true;
  }
  else if (event && strcmp (event, "progress") == 0)
    progress_update (&w->progress, json_object_get (line, "data"));
  else if (event)
    return ask (w, "status");
  return 0;
}

int
watch_for (struct watch *w, int timeout_ms)
{
  int r = 0;

  if (now_us () >= w->heard_us + WATCH_TICK_MS * UINT64_C (1000)) {
    w->heard_us = now_us ();
    r = ask (w, "status");
  }
  while (r == 0) {
    json_t *line;

    r = talk_next (&w->talk, timeout_ms, &line);
    if (r == EXIT_TIMED_OUT)
      return 0;
    if (r)
      return r;
    w->heard_us = now_us ();
    r = take_line (w, line);
    json_decref (line);
    timeout_ms = 0;
  }
  return r;
}

void
watch_end (struct watch *w)
{
  talk_end (&w->talk);
}
