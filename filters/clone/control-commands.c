/* nbdclone: the control socket: what each command does.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A request is {"execute": NAME, "arguments": {…}, "id": ANY}; the id comes back
 * with its answer.  What is not understood is refused as a whole: an argument
 * that nobody knows is a mistake of somebody's, not something to be ignored.
 */

#include <config.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "control-private.h"
#include "hydrate.h"
#include "params.h"

#define NAME_MAX_SHOWN 64

/* Send an answer, which is freed. */
static void
answer (struct client *client, const char *what, json_t *value)
{
  json_t *line = json_pack ("{s:o}", what, value);

  if (line && client->id)
    json_object_set (line, "id", client->id);
  client_say (client, line);
  json_decref (line);
  json_decref (client->id);
  client->id = NULL;
  client->waits = WAITS_NOT;
}

void
control_answer (struct client *client, json_t *result)
{
  answer (client, "return", result);
}

void
control_refuse (struct client *client, const char *class, const char *fs, ...)
{
  char desc[512];
  va_list args;

  va_start (args, fs);
  vsnprintf (desc, sizeof desc, fs, args);
  va_end (args);
  answer (client, "error",
          json_pack ("{s:s, s:o}", "class", class, "desc", any_string (desc)));
}

/* Names that are too long to be one of ours are not repeated. */
static const char *
shown (const char *name)
{
  return strlen (name) <= NAME_MAX_SHOWN ? name : "(a long name)";
}

/* Are all arguments known?  `names` ends with NULL. */
static bool
check_names (struct client *client, json_t *arguments, const char *const *names)
{
  const char *key;
  json_t *value;

  json_object_foreach (arguments, key, value)
  {
    size_t i;

    for (i = 0; names[i] && strcmp (names[i], key) != 0; ++i)
      continue;
    if (names[i] == NULL) {
      control_refuse (client, "GenericError",
                      "there is no such argument: %s; see "
                      "nbdkit-clone-filter(1)",
                      shown (key));
      return false;
    }
  }
  return true;
}

/* An argument that is a whole number; if it is not there, *result stays. */
static bool
get_integer (struct client *client, json_t *arguments, const char *name,
             uint64_t min, uint64_t max, uint64_t *result)
{
  json_t *value = json_object_get (arguments, name);

  if (value == NULL)
    return true;
  if (!json_is_integer (value) || json_integer_value (value) < 0 ||
      (uint64_t) json_integer_value (value) < min ||
      (uint64_t) json_integer_value (value) > max) {
    control_refuse (client, "GenericError",
                    "%s: allowed are whole numbers from %llu to %llu", name,
                    (unsigned long long) min, (unsigned long long) max);
    return false;
  }
  *result = (uint64_t) json_integer_value (value);
  return true;
}

static void
do_status (struct control *c, struct client *client, json_t *arguments)
{
  (void) arguments;
  control_answer (client, view_status (&c->view));
}

static void
do_pause (struct control *c, struct client *client, json_t *arguments)
{
  (void) arguments;
  engine_pause (c->engine, true);
  control_answer (client, json_object ());
}

static void
do_resume (struct control *c, struct client *client, json_t *arguments)
{
  (void) arguments;
  engine_pause (c->engine, false);
  control_answer (client, json_object ());
}

static void
do_set (struct control *c, struct client *client, json_t *arguments)
{
  json_t *interval = json_object_get (arguments, "commit-interval");
  struct engine_status s;
  uint64_t threshold, batch, rate;
  int r;

  engine_look (c->engine, &s);
  threshold = s.limits.threshold;
  batch = s.limits.batch;
  rate = s.limits.rate;
  if (!get_integer (client, arguments, "threshold", 1, HYDRATE_THRESHOLD_MAX,
                    &threshold) ||
      !get_integer (client, arguments, "batch", BATCH_MIN, BATCH_MAX, &batch) ||
      !get_integer (client, arguments, "rate", 0, INT64_MAX, &rate))
    return;
  if (interval) {
    const double seconds = json_number_value (interval);

    if (!json_is_number (interval) || seconds < COMMIT_INTERVAL_MIN ||
        seconds > COMMIT_INTERVAL_MAX) {
      control_refuse (client, "GenericError",
                      "commit-interval: allowed are %g to %g seconds",
                      COMMIT_INTERVAL_MIN, COMMIT_INTERVAL_MAX);
      return;
    }
    s.limits.commit_interval_us = (uint64_t) (seconds * 1e6);
  }
  s.limits.threshold = (unsigned) threshold;
  s.limits.batch = (uint32_t) (batch & ~(BATCH_MIN - 1));
  s.limits.rate = rate;
  r = engine_set_limits (c->engine, &s.limits);
  if (r)
    control_refuse (client, "GenericError",
                    "threshold: there cannot be so many threads: %s",
                    strerror (r));
  else
    control_answer (client, json_object ());
}

static void
do_hydrate (struct control *c, struct client *client, json_t *arguments)
{
  const uint64_t size = c->view.status.size;
  uint64_t offset = 0, length = 0;

  if (json_object_get (arguments, "offset") == NULL ||
      json_object_get (arguments, "length") == NULL) {
    control_refuse (client, "GenericError",
                    "hydrate needs offset and length, in bytes");
    return;
  }
  if (!get_integer (client, arguments, "offset", 0, size - 1, &offset) ||
      !get_integer (client, arguments, "length", 1, size - offset, &length))
    return;
  if (!engine_hydrate (c->engine, length, offset))
    control_refuse (client, "GenericError",
                    "too much has been asked for already; try again later");
  else
    control_answer (client, json_object ());
}

static void
do_source (struct control *c, struct client *client, json_t *arguments)
{
  const char *uri = json_string_value (json_object_get (arguments, "uri"));
  char why[512];

  if (uri == NULL)
    control_refuse (client, "GenericError", "source needs uri, an NBD URI");
  else if (!switch_begin (c, uri, why, sizeof why))
    control_refuse (client, "GenericError", "%s", why);
  else {
    client->waits = WAITS_SOURCE;
    client->ticket = c->switches + 1;
  }
}

static void
do_flush (struct control *c, struct client *client, json_t *arguments)
{
  (void) arguments;
  client->waits = WAITS_FLUSH;
  client->ticket = flusher_ask (&c->flusher);
}

static void
do_wait (struct control *c, struct client *client, json_t *arguments)
{
  (void) c;
  (void) arguments;
  client->waits = WAITS_COMPLETION;
}

static void
say_to_client (void *opaque, json_t *event)
{
  client_say (opaque, event);
}

static void
do_events (struct control *c, struct client *client, json_t *arguments)
{
  (void) arguments;
  control_answer (client, json_object ());
  if (!client->events)
    view_greet (&c->view, say_to_client, client);
  client->events = true;
}

static const struct command {
  const char *name;
  const char *const *arguments; /* ends with NULL */
  void (*run) (struct control *, struct client *, json_t *arguments);
} commands[] = {
  { "status", (const char *const[]){ NULL }, do_status },
  { "pause", (const char *const[]){ NULL }, do_pause },
  { "resume", (const char *const[]){ NULL }, do_resume },
  { "set",
    (const char *const[]){ "threshold", "batch", "rate", "commit-interval",
                           NULL },
    do_set },
  { "hydrate", (const char *const[]){ "offset", "length", NULL }, do_hydrate },
  { "source", (const char *const[]){ "uri", NULL }, do_source },
  { "flush", (const char *const[]){ NULL }, do_flush },
  { "wait", (const char *const[]){ NULL }, do_wait },
  { "events", (const char *const[]){ NULL }, do_events },
};

static void
obey_request (struct control *c, struct client *client, json_t *request)
{
  const char *name = json_string_value (json_object_get (request, "execute"));
  json_t *arguments = json_object_get (request, "arguments");
  size_t i;

  client->id = json_incref (json_object_get (request, "id"));
  if (name == NULL || (arguments && !json_is_object (arguments))) {
    control_refuse (client, "GenericError",
                    "wanted is {\"execute\": NAME, \"arguments\": {...}}");
    return;
  }
  for (i = 0; i < sizeof commands / sizeof commands[0]; ++i)
    if (strcmp (commands[i].name, name) == 0) {
      if (check_names (client, arguments, commands[i].arguments))
        commands[i].run (c, client, arguments);
      control_notice (c);
      return;
    }
  control_refuse (client, "CommandNotFound", "there is no such command: %s",
                  shown (name));
}

void
control_obey (struct control *c, struct client *client, const char *line,
              size_t length)
{
  json_error_t error;
  json_t *request;

  if (length == 0 || strspn (line, " \t\r") == length)
    return;
  request = json_loadb (line, length, JSON_REJECT_DUPLICATES, &error);
  if (!json_is_object (request))
    control_refuse (client, "GenericError",
                    "this is not a JSON object on one line");
  else
    obey_request (c, client, request);
  json_decref (request);
}
