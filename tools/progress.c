/* nbdclone: show how far a clone is.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "clock.h"
#include "human.h"
#include "message.h"
#include "progress.h"

#define STEPS 20 /* lines that are kept, for all of a clone */
#define KEPT_US (UINT64_C (600) * 1000000)
#define BAR_MIN 8
#define BAR_MAX 60

void
progress_init (struct progress *p, FILE *out)
{
  const char *term = getenv ("TERM");

  *p = (struct progress){
    .out = out,
    .terminal =
      isatty (fileno (out)) && term && *term && strcmp (term, "dumb") != 0,
    .eta = -1,
    .said_step = STEPS + 1,
  };
}

static void
take (const json_t *object, const char *key, uint64_t *n)
{
  const json_t *value = json_object_get (object, key);

  if (json_is_integer (value) && json_integer_value (value) >= 0)
    *n = (uint64_t) json_integer_value (value);
}

void
progress_update (struct progress *p, const json_t *object)
{
  const char *state = json_string_value (json_object_get (object, "state"));
  const json_t *eta = json_object_get (object, "eta");

  if (state)
    snprintf (p->state, sizeof p->state, "%s", state);
  take (object, "size", &p->size);
  take (object, "region-size", &p->region_size);
  take (object, "regions", &p->regions);
  take (object, "hydrated", &p->hydrated);
  take (object, "bytes-fetched", &p->fetched);
  take (object, "rate", &p->rate);
  if (eta)
    p->eta = json_is_integer (eta) ? json_integer_value (eta) : -1;
}

bool
progress_has_ended (const struct progress *p)
{
  return strcmp (p->state, "complete") == 0 || strcmp (p->state, "failed") == 0;
}

/* The size of so many regions: of the source, whose last region may be short, but
 * not of what the disk has beyond its end.
 */
static uint64_t
bytes (const struct progress *p, uint64_t regions)
{
  uint64_t n;

  if (__builtin_mul_overflow (regions, p->region_size, &n) || n > p->size)
    return p->size;
  return n;
}

/* What is said behind the bar, or instead of it. */
static void
figures (const struct progress *p, char buf[PROGRESS_TEXT_MAX])
{
  char done[HUMAN_MAX], all[HUMAN_MAX], rate[HUMAN_MAX], eta[HUMAN_MAX];
  size_t n;

  n = (size_t) snprintf (buf, PROGRESS_TEXT_MAX, "%s of %s",
                         human_size (done, bytes (p, p->hydrated)),
                         human_size (all, bytes (p, p->regions)));
  if (progress_has_ended (p))
    snprintf (buf + n, PROGRESS_TEXT_MAX - n, ", %s fetched",
              human_size (done, p->fetched));
  else
    n += (size_t) snprintf (buf + n, PROGRESS_TEXT_MAX - n, ", %s/s",
                            human_size (rate, p->rate));
  if (!progress_has_ended (p) && p->eta >= 0)
    snprintf (buf + n, PROGRESS_TEXT_MAX - n, ", %s left",
              human_duration (eta, (uint64_t) p->eta));
}

char *
progress_text (const struct progress *p, char buf[PROGRESS_TEXT_MAX])
{
  char text[PROGRESS_TEXT_MAX], percent[HUMAN_MAX];

  figures (p, text);
  snprintf (buf, PROGRESS_TEXT_MAX, "%.15s: %s, %.100s", p->state,
            human_percent (percent, p->hydrated, p->regions), text);
  return buf;
}

static unsigned
width_of (FILE *out)
{
  struct winsize size;

  if (ioctl (fileno (out), TIOCGWINSZ, &size) == -1 || size.ws_col == 0)
    return 80;
  return size.ws_col;
}

/* "hydrating  42.3 % [####    ] 8.4 GiB of 20.0 GiB, 110.2 MiB/s, 5 s left", but
 * without what has no room.  The last column stays free: some terminals go to
 * the next line when something is in it.
 */
static void
draw (struct progress *p)
{
  const unsigned width = width_of (p->out) - 1;
  char text[PROGRESS_TEXT_MAX], percent[HUMAN_MAX], bar[BAR_MAX + 1];
  unsigned left, done;
  int room;

  figures (p, text);
  human_percent (percent, p->hydrated, p->regions);
  room = (int) width - (int) (strlen (p->state) + strlen (text) + 12);
  if (room > BAR_MAX)
    room = BAR_MAX;
  fputs ("\r\033[K", p->out);
  if (room >= BAR_MIN) {
    done = p->hydrated >= p->regions
             ? (unsigned) room
             : (unsigned) ((double) p->hydrated / (double) p->regions * room);
    for (left = 0; left < (unsigned) room; ++left)
      bar[left] = left < done ? '#' : '.';
    bar[left] = 0;
    fprintf (p->out, "%s %7s [%s] %s", p->state, percent, bar, text);
  }
  else {
    char all[PROGRESS_TEXT_MAX];

    fprintf (p->out, "%.*s", (int) width, progress_text (p, all));
  }
  fflush (p->out);
  p->drawn = true;
}

/* Print a line that is kept, if there is something new in it. */
static void
keep_line (struct progress *p)
{
  const uint64_t now = system_clock.now_us (&system_clock);
  const unsigned step =
    p->regions ? (unsigned) ((double) p->hydrated / (double) p->regions * STEPS)
               : 0;
  char text[PROGRESS_TEXT_MAX], when[MESSAGE_TIME_MAX];

  if (step == p->said_step && strcmp (p->state, p->said_state) == 0 &&
      now < p->said_us + KEPT_US)
    return;
  p->said_step = step;
  strcpy (p->said_state, p->state);
  p->said_us = now;
  fprintf (p->out, "%s%s\n", message_time (when), progress_text (p, text));
  fflush (p->out);
}

void
progress_show (struct progress *p)
{
  if (p->terminal)
    draw (p);
  else
    keep_line (p);
}

void
progress_hide (struct progress *p)
{
  if (p->drawn) {
    fputs ("\r\033[K", p->out);
    fflush (p->out);
  }
  p->drawn = false;
}
