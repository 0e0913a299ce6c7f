/* nbdclone: how much the background may have in flight, on simulated lines.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A line has a latency, and a narrowest place that passes so many bytes a second,
 * one copy after the other: whoever comes later waits.
 */

#include <config.h>

#include <string.h>

#include "pace.h"
#include "testing.h"

#define COPY (UINT64_C (64) << 10)
#define MOST (UINT64_C (16) << 20)
#define COPIES_MAX 512

struct line {
  struct pace pace;
  uint64_t latency_us;
  double bytes_per_us;
  double free_us; /* when the narrowest place is free again */
  uint64_t now_us;
  struct {
    uint64_t began_us, ends_us;
  } copies[COPIES_MAX]; /* in flight, in order */
  unsigned n;
  uint64_t copied; /* bytes */
};

static void
line_init (struct line *l, uint64_t latency_us, double bytes_per_second)
{
  *l = (struct line){
    .latency_us = latency_us,
    .bytes_per_us = bytes_per_second / 1e6,
    .now_us = 1000000,
  };
  pace_init (&l->pace, 4 * COPY, MOST);
}

static void
begin_copy (struct line *l)
{
  const double now = (double) l->now_us;

  must (l->n < COPIES_MAX);
  l->free_us =
    (l->free_us > now ? l->free_us : now) + (double) COPY / l->bytes_per_us;
  l->copies[l->n].began_us = l->now_us;
  l->copies[l->n].ends_us = (uint64_t) l->free_us + l->latency_us;
  l->n++;
}

/* Copy for that long, with clients that need the source or without. */
static void
run (struct line *l, double seconds, bool yield)
{
  const uint64_t until = l->now_us + (uint64_t) (seconds * 1e6);

  l->copied = 0;
  while (l->now_us < until) {
    while (l->n == 0 || l->n * COPY < pace_limit (&l->pace, l->now_us, yield))
      begin_copy (l);
    l->now_us = l->copies[0].ends_us;
    pace_copied (&l->pace, COPY, l->copies[0].began_us, l->now_us);
    l->copied += COPY;
    l->n--;
    memmove (l->copies, l->copies + 1, l->n * sizeof l->copies[0]);
  }
}

/* How long a client's request would wait behind what is in flight. */
static double
queue_us (const struct line *l)
{
  const double q = l->free_us - (double) l->now_us;

  return q > 0 ? q : 0;
}

static const struct {
  uint64_t latency_us;
  double bytes_per_second;
} lines[] = {
  { 100, 1e6 },     { 100, 1e7 },      { 100, 1e9 },
  { 20000, 2.5e6 }, { 20000, 1e8 },    { 20000, 1e9 },
  { 100000, 1e6 },  { 100000, 2.5e7 }, { 300000, 1e7 },
};
#define LINES ((int) (sizeof lines / sizeof lines[0]))

/* The line is filled, or all that is allowed is in flight; and the queue is not
 * much longer than it should be: the delay, or the smallest window's worth.
 */
START_TEST (fills_the_line_and_no_more)
{
  struct line l;
  double limit, delay;

  line_init (&l, lines[_i].latency_us, lines[_i].bytes_per_second);
  run (&l, 20, false);
  run (&l, 7, false);
  limit = (double) MOST / ((double) l.latency_us / 1e6);
  if (limit > lines[_i].bytes_per_second)
    limit = lines[_i].bytes_per_second;
  ck_assert_double_ge ((double) l.copied / 7, 0.9 * limit);

  delay = (double) PACE_DELAY_US;
  if (l.latency_us > PACE_DELAY_US)
    delay = (double) l.latency_us;
  ck_assert_double_le (queue_us (&l),
                       1.5 * delay + (double) (PACE_WINDOW_MIN + 2 * COPY) /
                                       l.bytes_per_us);
}
END_TEST

/* It takes no more than a second, or twenty times the latency. */
START_TEST (finds_the_window_soon)
{
  struct line l;

  line_init (&l, 20000, 1e9);
  run (&l, 1, false);
  ck_assert_uint_ge (l.pace.window, MOST / 2);
  line_init (&l, 300000, 1e7);
  run (&l, 6, false);
  ck_assert_uint_ge (l.pace.window, 3000000);
}
END_TEST

/* The route changes for a longer one, a narrower one, and back. */
START_TEST (follows_the_line)
{
  struct line l;

  line_init (&l, 10000, 2e7);
  run (&l, 30, false);
  l.latency_us = 150000;
  run (&l, 40, false);
  run (&l, 7, false);
  ck_assert_double_ge ((double) l.copied / 7, 0.9 * 2e7);
  l.bytes_per_us = 1;
  run (&l, 40, false);
  ck_assert_double_le (queue_us (&l), 400000);
  l.latency_us = 10000;
  l.bytes_per_us = 20;
  run (&l, 40, false);
  run (&l, 7, false);
  ck_assert_double_ge ((double) l.copied / 7, 0.9 * 2e7);
  ck_assert_double_le (queue_us (&l), 200000);
}
END_TEST

/* Lesson 20: it gives way, but keeps a share; also if it never was alone. */
START_TEST (yields_and_keeps_a_share)
{
  struct line l;
  double alone, yielding;
  unsigned i, little = 0;

  line_init (&l, lines[_i].latency_us, lines[_i].bytes_per_second);
  run (&l, 60, true);
  run (&l, 40, true);
  yielding = (double) l.copied;
  run (&l, 20, false);
  run (&l, 40, false);
  alone = (double) l.copied;
  ck_assert_double_ge (yielding, 0.1 * alone);
  /* Most of the time there is little in flight. */
  for (i = 0; i < 10000; ++i)
    little += pace_limit (&l.pace, l.now_us + i * 10007, true) <=
              l.pace.window / PACE_YIELD;
  ck_assert_uint_ge (little, 8000);
}
END_TEST

/* What is held up by something else says nothing about the line. */
START_TEST (does_not_measure_while_idle)
{
  struct line l;
  uint64_t window;
  unsigned i;

  line_init (&l, 20000, 1e8);
  run (&l, 5, false);
  window = l.pace.window;
  for (i = 0; i < 100; ++i) {
    l.now_us += 100000;
    pace_idle (&l.pace, l.now_us);
    pace_copied (&l.pace, COPY, l.now_us - 20000, l.now_us);
  }
  ck_assert_uint_eq (l.pace.window, window);
}
END_TEST

int
main (void)
{
  struct suite s = suite_new ("pace");

  tcase_add_loop_test (s.tests, fills_the_line_and_no_more, 0, LINES);
  tcase_add_test (s.tests, finds_the_window_soon);
  tcase_add_test (s.tests, follows_the_line);
  tcase_add_loop_test (s.tests, yields_and_keeps_a_share, 0, LINES);
  tcase_add_test (s.tests, does_not_measure_while_idle);
  return suite_run (s);
}
