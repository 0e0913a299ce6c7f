/* nbdclone status: how a clone is, for people and for programs.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Looking has no side effects (lesson 22).
 */

#include <config.h>

#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "human.h"
#include "instance.h"
#include "message.h"
#include "prometheus.h"
#include "progress.h"
#include "talk.h"
#include "verbs.h"

static const char help[] =
  "Usage: nbdclone status [--json | --prometheus] [INSTANCE...]\n"
  "How clones are: those given by name, socket or destination, or all.\n"
  "\n"
  "  --json        an object, or an array of them if not exactly one INSTANCE\n"
  "                is given; the fields are those of nbdkit-clone-filter(1)\n"
  "  --prometheus  metrics, for the textfile collector of node_exporter\n";

enum form { FORM_TABLE, FORM_JSON, FORM_PROMETHEUS };

static uint64_t
figure (const json_t *status, const char *key)
{
  return (uint64_t) json_integer_value (json_object_get (status, key));
}

static void
row (const char *name, const char *value)
{
  if (*value)
    printf ("  %-12s %s\n", name, value);
}

static void
print_source (const json_t *status)
{
  const json_t *source = json_object_get (status, "source");
  const char *uri = json_string_value (json_object_get (source, "uri"));
  const char *error =
    json_string_value (json_object_get (source, "last-error"));
  const uint64_t n = figure (source, "connections");
  const char *state = json_string_value (json_object_get (status, "state"));
  CLEANUP_FREE char *text = NULL;

  if (json_is_true (json_object_get (source, "connected")))
    text = format ("%s, %" PRIu64 " connection%s", uri ? uri : "?", n,
                   n == 1 ? "" : "s");
  else if (state && strcmp (state, "complete") == 0)
    text = format ("%s, not needed any more", uri ? uri : "?");
  else
    text = format ("%s, AWAY: %s", uri ? uri : "?",
                   error ? error : "not connected yet");
  row ("source", text);
}

static void
print_limits (const json_t *status)
{
  const uint64_t rate = figure (status, "rate-limit");
  char rate_text[HUMAN_MAX], batch_text[HUMAN_MAX];
  CLEANUP_FREE char *text =
    format ("rate %s%s, batch %s, threshold %" PRIu64 ", commit-interval %g s",
            rate ? human_size (rate_text, rate) : "not limited",
            rate ? "/s" : "", human_size (batch_text, figure (status, "batch")),
            figure (status, "threshold"),
            json_number_value (json_object_get (status, "commit-interval")));

  row ("limits", text);
}

static void
print_table (const struct instance *i, const json_t *status)
{
  const uint64_t parked = figure (status, "parked");
  struct progress p = { .eta = -1 };
  char text[PROGRESS_TEXT_MAX], number[HUMAN_MAX];
  CLEANUP_FREE char *commits = NULL;

  progress_update (&p, status);
  printf ("%s: %s\n", i->name, progress_text (&p, text));
  print_source (status);
  if (parked) {
    CLEANUP_FREE char *line =
      format ("%" PRIu64 " regions that the source cannot read; they are tried "
              "again every five minutes",
              parked);
    row ("parked", line);
  }
  row ("disk", instance_text (i, "uri"));
  row ("destination", instance_text (i, "destination"));
  row ("bitmap", instance_text (i, "bitmap"));
  commits = format ("%" PRIu64 ", %s committed, %.1f ms the last time",
                    figure (status, "commits"),
                    human_percent (number, figure (status, "committed"),
                                   figure (status, "regions")),
                    (double) figure (status, "last-commit-us") / 1000);
  if (figure (status, "commits") > 0)
    row ("commits", commits);
  print_limits (status);
  row ("uptime", human_duration (number, figure (status, "uptime")));
}

static void
print_json (const json_t *value)
{
  CLEANUP_FREE char *text = need (json_dumps (value, JSON_INDENT (2)));

  puts (text);
}

/* Ask all of them.  In the table and in JSON those that do not answer are
 * missing, and the exit status says so; as metrics they are not "up".
 */
static int
show (const struct instance *list, size_t n, enum form form, bool single)
{
  struct prometheus metrics = { NULL };
  json_t *array = need (json_array ());
  int result = 0;
  size_t i;

  for (i = 0; i < n; ++i) {
    json_t *status = NULL;
    const int r =
      talk_once (list[i].control, "status", NULL, TALK_TIMEOUT_MS, &status);

    if (form == FORM_PROMETHEUS)
      prometheus_add (&metrics, list[i].name, status);
    else if (r)
      result = r;
    else if (form == FORM_JSON) {
      json_object_set_new (status, "name", json_string (list[i].name));
      json_array_append (array, status);
    }
    else {
      if (i > 0)
        putchar ('\n');
      print_table (&list[i], status);
    }
    json_decref (status);
  }
  if (form == FORM_PROMETHEUS)
    prometheus_print (&metrics);
  else if (form == FORM_JSON && !single)
    print_json (array);
  else if (form == FORM_JSON && json_array_size (array) == 1)
    print_json (json_array_get (array, 0));
  json_decref (array);
  return result;
}

/* All of them, if none are named. */
static int
find_all (char **names, size_t n_names, struct instance **list, size_t *n)
{
  if (n_names == 0) {
    *list = instance_list (n);
    return 0;
  }
  *list = need (calloc (n_names, sizeof **list));
  for (*n = 0; *n < n_names; ++*n) {
    const int r = instance_find (names[*n], &(*list)[*n]);

    if (r)
      return r;
  }
  return 0;
}

int
verb_status (int argc, char **argv)
{
  static const struct option options[] = {
    { "help", no_argument, NULL, 'h' },
    { "json", no_argument, NULL, 'j' },
    { "prometheus", no_argument, NULL, 'p' },
    { NULL, 0, NULL, 0 },
  };
  enum form form = FORM_TABLE;
  struct instance *list = NULL;
  size_t n = 0, n_names;
  int c, r;

  while ((c = getopt_long (argc, argv, "h", options, NULL)) != -1)
    switch (c) {
    case 'h':
      fputs (help, stdout);
      return 0;
    case 'j':
    case 'p':
      if (form != FORM_TABLE)
        return wrong_usage (argv[0], "--json and --prometheus: give one");
      form = c == 'j' ? FORM_JSON : FORM_PROMETHEUS;
      break;
    default:
      return see_help (argv[0]);
    }
  n_names = (size_t) (argc - optind);
  r = find_all (argv + optind, n_names, &list, &n);
  if (r == 0)
    r = show (list, n, form, n_names == 1);
  if (r == 0 && n == 0 && form == FORM_TABLE) {
    complain ("no server runs; \"nbdclone run\" starts one");
    r = EXIT_NO_SERVER;
  }
  instances_free (list, n);
  return r;
}
