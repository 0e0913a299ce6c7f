/* nbdclone list: the servers that run, and how far they are.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arguments.h"
#include "cleanup.h"
#include "human.h"
#include "instance.h"
#include "message.h"
#include "talk.h"
#include "verbs.h"

#define WIDTH_MAX 60

static const char help[] =
  "Usage: nbdclone list [--json]\n"
  "The servers that this user has started, and the system's.\n"
  "\n"
  "  --json  an array of objects, for programs\n";

/* Its state, and how much is hydrated; or why nobody answers.  The status is for
 * the caller to decref, NULL if there is none.
 */
static const char *
state_of (const struct instance *i, json_t **status)
{
  struct talk t;
  int r = talk_connect (&t, i->control);
  const char *state;

  *status = NULL;
  if (r == 0)
    r = talk_ask (&t, "status", NULL, TALK_TIMEOUT_MS, status);
  talk_end (&t);
  if (r == EXIT_NO_SERVER)
    return "dead";
  if (r)
    return "silent";
  state = json_string_value (json_object_get (*status, "state"));
  return state ? state : "unknown";
}

static uint64_t
figure (const json_t *status, const char *key)
{
  return (uint64_t) json_integer_value (json_object_get (status, key));
}

/* The longest destination, but not so long that it pushes the rest away. */
static int
width_of_destinations (const struct instance *list, size_t n)
{
  size_t width = strlen ("DESTINATION"), i;

  for (i = 0; i < n; ++i) {
    const size_t length = strlen (instance_text (&list[i], "destination"));

    if (length > width && length <= WIDTH_MAX)
      width = length;
  }
  return (int) width;
}

static void
print_row (const struct instance *i, int width)
{
  json_t *status;
  const char *state = state_of (i, &status);
  const char *destination = instance_text (i, "destination");
  const char *uri = instance_text (i, "uri");
  char percent[HUMAN_MAX] = "-";

  if (status)
    human_percent (percent, figure (status, "hydrated"),
                   figure (status, "regions"));
  printf ("%-16s %-10s %8s  %-*s  %s\n", i->name, state, percent, width,
          *destination ? destination : "-", *uri ? uri : "-");
  json_decref (status);
}

static json_t *
make_object (const struct instance *i)
{
  json_t *status;
  const char *state = state_of (i, &status);
  json_t *object = need (json_object ());

  json_object_update (object, i->record);
  json_object_set_new (object, "name", json_string (i->name));
  json_object_set_new (object, "control", json_string (i->control));
  json_object_set_new (object, "state", json_string (state));
  json_object_set_new (object, "status", status ? status : json_null ());
  return object;
}

static void
print_json (const struct instance *list, size_t n)
{
  json_t *array = need (json_array ());
  CLEANUP_FREE char *text = NULL;
  size_t i;

  for (i = 0; i < n; ++i)
    json_array_append_new (array, make_object (&list[i]));
  text = need (json_dumps (array, JSON_INDENT (2)));
  puts (text);
  json_decref (array);
}

int
verb_list (int argc, char **argv)
{
  bool json = false;
  const struct arguments accepted = { .help = help, .json = &json };
  const int r = arguments_read (&accepted, argc, argv);
  struct instance *list;
  size_t i, n;
  int width;

  if (r != -1)
    return r;
  list = instance_list (&n);
  width = width_of_destinations (list, n);
  if (json)
    print_json (list, n);
  else if (n > 0)
    printf ("%-16s %-10s %8s  %-*s  %s\n", "NAME", "STATE", "HYDRATED", width,
            "DESTINATION", "DISK");
  else
    note ("no server runs; \"nbdclone run\" starts one");
  for (i = 0; i < n && !json; ++i)
    print_row (&list[i], width);
  instances_free (list, n);
  return 0;
}
