/* nbdclone: metrics for Prometheus.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "message.h"
#include "prometheus.h"

/* What is taken out of a status as it is, from "source" if `of_source`. */
static const struct metric {
  const char *key;
  bool of_source;
  const char *name, *type, *help;
  double unit;
} metrics[] = {
  { "size", false, "size_bytes", "gauge", "Size of the disk.", 1 },
  { "region-size", false, "region_size_bytes", "gauge", "Size of a region.",
    1 },
  { "regions", false, "regions", "gauge", "Regions of the source.", 1 },
  { "hydrated", false, "hydrated_regions", "gauge", "Regions that are local.",
    1 },
  { "committed", false, "committed_regions", "gauge",
    "Regions that are local whatever happens.", 1 },
  { "in-flight", false, "in_flight_copies", "gauge", "Background copies.", 1 },
  { "parked", false, "parked_regions", "gauge",
    "Regions that the source could not read.", 1 },
  { "bytes-fetched", false, "fetched_bytes_total", "counter",
    "Bytes from the source.", 1 },
  { "rate", false, "fetch_bytes_per_second", "gauge",
    "Bytes from the source, per second, of late.", 1 },
  { "eta", false, "remaining_seconds", "gauge",
    "Seconds until all is local, if anybody knows.", 1 },
  { "rate-limit", false, "rate_limit_bytes_per_second", "gauge",
    "Limit on the background, 0 for none.", 1 },
  { "connected", true, "source_connected", "gauge",
    "Whether the source can be reached.", 1 },
  { "connections", true, "source_connections", "gauge",
    "Connections to the source.", 1 },
  { "reconnects", true, "source_reconnects_total", "counter",
    "Connections that were made again.", 1 },
  { "commits", false, "commits_total", "counter", "Commits.", 1 },
  { "last-commit-us", false, "last_commit_seconds", "gauge",
    "How long the last commit took.", 1e-6 },
  { "uptime", false, "uptime_seconds", "gauge", "Since the server's start.",
    1 },
};

static const char *const states[] = { "hydrating", "paused", "complete",
                                      "failed" };

void
prometheus_add (struct prometheus *p, const char *name, json_t *status)
{
  json_t *pair = need (json_array ());

  if (p->samples == NULL)
    p->samples = need (json_array ());
  json_array_append_new (pair, json_string (name));
  if (status)
    json_array_append (pair, status);
  else
    json_array_append_new (pair, json_null ());
  json_array_append_new (p->samples, pair);
}

static void
head (const char *name, const char *type, const char *text)
{
  printf ("# HELP nbdclone_%s %s\n# TYPE nbdclone_%s %s\n", name, text, name,
          type);
}

/* The label with the name of a server.  Those have no quotes or backslashes of
 * ours in them, but a socket that was given as a path may.
 */
static void
label (const json_t *pair)
{
  const char *s = json_string_value (json_array_get (pair, 0));

  printf ("{name=\"");
  for (; s && *s; ++s) {
    if (*s == '"' || *s == '\\')
      putchar ('\\');
    if (*s == '\n')
      printf ("\\n");
    else
      putchar (*s);
  }
  putchar ('"');
}

static void
print_metric (const json_t *samples, const struct metric *m)
{
  json_t *pair;
  size_t i;

  head (m->name, m->type, m->help);
  json_array_foreach (samples, i, pair)
  {
    const json_t *status = json_array_get (pair, 1);
    const json_t *object =
      m->of_source ? json_object_get (status, "source") : status;
    const json_t *value = json_object_get (object, m->key);

    if (!json_is_number (value) && !json_is_boolean (value))
      continue;
    printf ("nbdclone_%s", m->name);
    label (pair);
    if (json_is_integer (value) && m->unit == 1)
      printf ("} %lld\n", (long long) json_integer_value (value));
    else if (json_is_boolean (value))
      printf ("} %d\n", json_is_true (value));
    else
      printf ("} %.6f\n", json_number_value (value) * m->unit);
  }
}

static void
print_states (const json_t *samples)
{
  json_t *pair;
  size_t i, k;

  head ("up", "gauge", "Whether the server answers.");
  json_array_foreach (samples, i, pair)
  {
    printf ("nbdclone_up");
    label (pair);
    printf ("} %d\n", json_is_object (json_array_get (pair, 1)));
  }
  head ("state", "gauge", "1 for the state that the clone is in.");
  json_array_foreach (samples, i, pair)
  {
    const char *state =
      json_string_value (json_object_get (json_array_get (pair, 1), "state"));

    for (k = 0; state && k < sizeof states / sizeof states[0]; ++k) {
      printf ("nbdclone_state");
      label (pair);
      printf (",state=\"%s\"} %d\n", states[k], strcmp (state, states[k]) == 0);
    }
  }
}

void
prometheus_print (struct prometheus *p)
{
  size_t i;

  if (p->samples == NULL)
    return;
  print_states (p->samples);
  for (i = 0; i < sizeof metrics / sizeof metrics[0]; ++i)
    print_metric (p->samples, &metrics[i]);
  json_decref (p->samples);
  p->samples = NULL;
}
