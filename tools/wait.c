/* nbdclone wait, events: follow a clone.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "arguments.h"
#include "cleanup.h"
#include "clock.h"
#include "human.h"
#include "instance.h"
#include "message.h"
#include "verbs.h"
#include "watch.h"

static const char wait_help[] =
  "Usage: nbdclone wait [--timeout SECONDS] INSTANCE\n"
  "Wait until the clone is complete, and show how far it is.\n"
  "\n"
  "  --timeout SECONDS  but no longer than this; suffixes are m, h and d\n"
  "\n"
  "Exit status: 0 complete, 3 the server is gone, 4 not in time, 5 the clone\n"
  "has failed.\n";

static const char events_help[] =
  "Usage: nbdclone events [--json] INSTANCE\n"
  "Print what happens to a clone, a line each, until the server ends.\n"
  "\n"
  "  --json  the lines of JSON that are described in nbdkit-clone-filter(1)\n";

static uint64_t
now_us (void)
{
  return system_clock.now_us (&system_clock);
}

/* Show how far it is until it has ended, or the time is over. */
static int
follow (struct watch *w, uint64_t end_us)
{
  for (;;) {
    const uint64_t now = now_us ();
    uint64_t ms = WATCH_TICK_MS;
    int r;

    if (end_us <= now)
      ms = 0;
    else if ((end_us - now) / 1000 < ms)
      ms = (end_us - now) / 1000 + 1;
    r = watch_for (w, (int) ms);
    if (r)
      return r;
    if (w->known)
      progress_show (&w->progress);
    if (w->known && progress_has_ended (&w->progress))
      return strcmp (w->progress.state, "complete") == 0 ? 0
                                                         : EXIT_CLONE_FAILED;
    if (ms == 0) {
      snprintf (w->talk.error, sizeof w->talk.error,
                "it has not become complete in time");
      return EXIT_TIMED_OUT;
    }
  }
}

static int
wait_for_instance (const char *what, double seconds)
{
  struct instance i;
  struct watch w;
  int r = instance_find (what, &i);

  if (r)
    return r;
  progress_init (&w.progress, stdout);
  r = watch_begin (&w, i.control);
  if (r == 0)
    r = follow (&w, seconds < 0 ? UINT64_MAX
                                : now_us () + (uint64_t) (seconds * 1e6));
  if (w.progress.drawn)
    putchar ('\n'); /* what was drawn last stays */
  if (r == EXIT_CLONE_FAILED)
    complain ("%s: the clone has failed: nothing can be written any more; stop "
              "the server, see to its disks, and start it again: it goes on at "
              "the last commit",
              i.name);
  else if (r)
    complain ("%s: %s", i.name, w.talk.error);
  watch_end (&w);
  instance_clear (&i);
  return r;
}

int
verb_wait (int argc, char **argv)
{
  double seconds = -1;
  const struct arguments accepted = {
    .help = wait_help,
    .wanted = "one INSTANCE is wanted",
    .min = 1,
    .max = 1,
    .timeout = &seconds,
  };
  const int r = arguments_read (&accepted, argc, argv);

  return r != -1 ? r : wait_for_instance (argv[optind], seconds);
}

/* An event in words: "12:34:56 source-lost: connection closed". */
static void
print_event (const json_t *line, struct progress *p)
{
  const char *event = json_string_value (json_object_get (line, "event"));
  const json_t *data = json_object_get (line, "data");
  const char *error = json_string_value (json_object_get (data, "last-error"));
  const json_t *parked = json_object_get (data, "parked");
  const time_t seconds = (time_t) json_integer_value (
    json_object_get (json_object_get (line, "timestamp"), "seconds"));
  char text[PROGRESS_TEXT_MAX], when[32];
  struct tm tm;

  if (event == NULL || localtime_r (&seconds, &tm) == NULL)
    return; /* no server of ours says that */
  strftime (when, sizeof when, "%F %T", &tm);
  printf ("%s %s", when, event);
  if (strcmp (event, "progress") == 0) {
    progress_update (p, data);
    printf (": %s", progress_text (p, text));
  }
  else if (strcmp (event, "source-lost") == 0 && error)
    printf (": %s", error);
  else if (parked)
    printf (": %lld regions", (long long) json_integer_value (parked));
  putchar ('\n');
}

static int
print_events (struct talk *t, bool json)
{
  struct progress p = { .eta = -1 };
  json_t *status = NULL;
  int r = talk_ask (t, "status", NULL, TALK_TIMEOUT_MS, &status);

  /* The size, which progress does not have. */
  progress_update (&p, status);
  json_decref (status);
  if (r == 0)
    r = talk_send (t, "events", NULL, TALK_TIMEOUT_MS);
  while (r == 0) {
    json_t *line;

    r = talk_next (t, -1, &line);
    if (r)
      break;
    if (json && json_object_get (line, "event")) {
      CLEANUP_FREE char *text = need (json_dumps (line, JSON_COMPACT));

      puts (text);
    }
    else if (json_object_get (line, "event"))
      print_event (line, &p);
    json_decref (line);
    if (fflush (stdout) == EOF)
      return end_output ();
  }
  return r;
}

int
verb_events (int argc, char **argv)
{
  bool json = false;
  const struct arguments accepted = {
    .help = events_help,
    .wanted = "one INSTANCE is wanted",
    .min = 1,
    .max = 1,
    .json = &json,
  };
  struct instance i;
  struct talk t;
  int r = arguments_read (&accepted, argc, argv);

  if (r != -1)
    return r;
  r = instance_connect (argv[optind], &i, &t);
  if (r)
    return r;
  r = print_events (&t, json);
  if (r)
    complain ("%s: %s", i.name, t.error);
  talk_end (&t);
  instance_clear (&i);
  return r;
}
