/* nbdclone: the control socket: figures, and what has happened.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Events are differences between two looks at the figures.  What can come and go
 * between two looks (a source that is lost and back) has a counter, so no event
 * is missed; and nobody in the engine has to know who listens.
 */

#include <config.h>

#include <string.h>
#include <sys/time.h>

#include "clock.h"
#include "control-private.h"

#define SECOND_US UINT64_C (1000000)

static uint64_t
now_us (void)
{
  return system_clock.now_us (&system_clock);
}

static void
look (struct view *v)
{
  engine_look (v->engine, &v->status);
  memset (&v->source_status, 0, sizeof v->source_status);
  if (v->source)
    source_nbd_look (v->source, &v->source_status);
}

void
view_init (struct view *v, struct engine *engine, struct source *source,
           const char *shown)
{
  *v = (struct view){
    .engine = engine,
    .source = source,
    .shown = shown,
    .began_us = now_us (),
  };
  view_sample (v);
  v->told = v->status;
  v->told_source = v->source_status;
}

void
view_sample (struct view *v)
{
  look (v);
  v->samples[v->n_samples++ % SAMPLES] = (struct sample){
    .at_us = now_us (),
    .bytes_fetched = v->status.bytes_fetched,
    .hydrated = v->status.hydrated,
  };
}

static const struct sample *
oldest (const struct view *v)
{
  return &v->samples[v->n_samples < SAMPLES ? 0 : v->n_samples % SAMPLES];
}

static uint64_t
rate_of (const struct view *v)
{
  const struct sample *s = oldest (v);
  const uint64_t us = now_us () - s->at_us;

  if (us == 0)
    return 0;
  return (uint64_t) ((double) (v->status.bytes_fetched - s->bytes_fetched) *
                     1e6 / (double) us);
}

/* Seconds until all is hydrated, or null if nobody can say. */
static json_t *
eta_of (const struct view *v)
{
  const struct sample *s = oldest (v);
  const double us = (double) (now_us () - s->at_us);
  const double done = (double) (v->status.hydrated - s->hydrated);
  const double left = (double) (v->status.regions - v->status.hydrated);

  if (v->status.state == ENGINE_COMPLETE)
    return json_integer (0);
  if (v->status.state != ENGINE_HYDRATING || done <= 0)
    return json_null ();
  return json_integer ((json_int_t) (left / done * us / 1e6 + 1));
}

/* What it is called, and the event that it has come to that. */
static const struct {
  const char *name, *event;
} states[] = {
  [ENGINE_HYDRATING] = { "hydrating", "resumed" },
  [ENGINE_PAUSED] = { "paused", "paused" },
  [ENGINE_COMPLETE] = { "complete", "complete" },
  [ENGINE_FAILED] = { "failed", "failed" },
};

const char *
view_state (const struct view *v)
{
  return states[v->status.state].name;
}

bool
view_has_ended (const struct view *v)
{
  return v->status.state == ENGINE_COMPLETE || v->status.state == ENGINE_FAILED;
}

json_t *
any_string (const char *s)
{
  char ascii[512];
  json_t *json = json_string (s);
  size_t i;

  if (json)
    return json;
  for (i = 0; s[i] && i < sizeof ascii - 1; ++i)
    ascii[i] = (unsigned char) s[i] < 128 ? s[i] : '?';
  ascii[i] = 0;
  return json_string (ascii);
}

static json_t *
source_object (const struct view *v)
{
  const struct source_nbd_status *s = &v->source_status;

  return json_pack (
    "{s:o, s:b, s:i, s:I, s:o}", "uri", any_string (v->shown), "connected",
    s->connections > 0, "connections", (int) s->connections, "reconnects",
    (json_int_t) s->reconnects, "last-error",
    s->last_error[0] ? any_string (s->last_error) : json_null ());
}

json_t *
view_status (struct view *v)
{
  const struct engine_status *s = &v->status;

  look (v);
  return json_pack (
    "{s:s, s:I, s:I, s:I, s:I, s:I, s:i, s:I, s:I, s:I, s:o, s:o,"
    " s:I, s:I, s:I, s:i, s:I, s:I, s:f}",
    "state", view_state (v), "region-size", (json_int_t) s->region_size, "size",
    (json_int_t) s->size, "regions", (json_int_t) s->regions, "hydrated",
    (json_int_t) s->hydrated, "committed", (json_int_t) s->committed,
    "in-flight", (int) s->in_flight, "parked", (json_int_t) s->parked,
    "bytes-fetched", (json_int_t) s->bytes_fetched, "rate",
    (json_int_t) rate_of (v), "eta", eta_of (v), "source", source_object (v),
    "commits", (json_int_t) s->commits, "last-commit-us",
    (json_int_t) s->last_commit_us, "uptime",
    (json_int_t) ((now_us () - v->began_us) / SECOND_US), "threshold",
    (int) s->limits.threshold, "batch", (json_int_t) s->limits.batch,
    "rate-limit", (json_int_t) s->limits.rate, "commit-interval",
    (double) s->limits.commit_interval_us / 1e6);
}

static void
say_event (void (*say) (void *opaque, json_t *event), void *opaque,
           const char *name, json_t *data)
{
  struct timeval now;
  json_t *event;

  gettimeofday (&now, NULL);
  event = json_pack ("{s:s, s:{s:I, s:I}, s:o}", "event", name, "timestamp",
                     "seconds", (json_int_t) now.tv_sec, "microseconds",
                     (json_int_t) now.tv_usec, "data", data);
  if (event)
    say (opaque, event);
  json_decref (event);
}

static json_t *
progress_data (struct view *v)
{
  return json_pack ("{s:s, s:I, s:I, s:I, s:I, s:I, s:o}", "state",
                    view_state (v), "regions", (json_int_t) v->status.regions,
                    "hydrated", (json_int_t) v->status.hydrated, "committed",
                    (json_int_t) v->status.committed, "bytes-fetched",
                    (json_int_t) v->status.bytes_fetched, "rate",
                    (json_int_t) rate_of (v), "eta", eta_of (v));
}

void
view_greet (struct view *v, void (*say) (void *opaque, json_t *event),
            void *opaque)
{
  say_event (say, opaque, "progress", progress_data (v));
  if (v->status.state != ENGINE_HYDRATING)
    say_event (say, opaque, states[v->status.state].event, json_object ());
}

void
view_events (struct view *v, void (*say) (void *opaque, json_t *event),
             void *opaque)
{
  const struct engine_status before = v->told;
  const struct source_nbd_status source = v->told_source;
  const uint64_t now = now_us ();
  uint64_t lost;

  look (v);
  v->told = v->status;
  v->told_source = v->source_status;
  lost = v->source_status.losses - source.losses;
  if (lost > 0)
    say_event (say, opaque, "source-lost", source_object (v));
  if (v->source_status.connections > 0 && (lost > 0 || source.connections == 0))
    say_event (say, opaque, "source-back", source_object (v));
  if (v->status.parked > before.parked)
    say_event (say, opaque, "parked",
               json_pack ("{s:I}", "parked", (json_int_t) v->status.parked));
  if (now >= v->progress_us + SECOND_US &&
      (v->status.hydrated != v->told_hydrated ||
       v->status.bytes_fetched != v->told_fetched)) {
    say_event (say, opaque, "progress", progress_data (v));
    v->progress_us = now;
    v->told_hydrated = v->status.hydrated;
    v->told_fetched = v->status.bytes_fetched;
  }
  if (v->status.state != before.state)
    say_event (say, opaque, states[v->status.state].event, json_object ());
}
