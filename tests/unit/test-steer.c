/* nbdclone: seeing and steering the engine while it runs.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>

#include "rig.h"
#include "steer.h"
#include "testing.h"

#define R UINT64_C (4096) /* a region */
#define SIZE UINT64_C (1048576)

static struct engine_status
look (struct rig *rig)
{
  struct engine_status s;

  engine_look (rig->engine, &s);
  return s;
}

/* Lesson 22: looking has no side effects. */
START_TEST (looking_tells_and_changes_nothing)
{
  const struct rig_options options = {
    .disk_size = SIZE + R, .batch = 8 * R, .threshold = 3, .rate = 1000
  };
  struct engine_status s;
  struct rig rig;
  size_t mark;

  rig_init (&rig, &options);
  rig_start (&rig);
  s = look (&rig);
  ck_assert_int_eq (s.state, ENGINE_PAUSED);
  ck_assert_uint_eq (s.size, SIZE + R);
  ck_assert_uint_eq (s.region_size, R);
  ck_assert_uint_eq (s.regions, SIZE / R);
  ck_assert_uint_eq (s.limits.batch, 8 * R);
  ck_assert_uint_eq (s.limits.threshold, 3);
  ck_assert_uint_eq (s.limits.rate, 1000);
  ck_assert_uint_eq (s.hydrated + s.committed + s.commits, 0);

  ck_assert_int_eq (rig_write (&rig, 0x81, 0, 3 * R), 0);
  mark = sim_mark (&rig.sim);
  s = look (&rig);
  ck_assert_uint_eq (s.hydrated, 3);
  ck_assert_uint_eq (s.committed, 0);
  ck_assert_uint_eq (sim_mark (&rig.sim), mark);

  ck_assert_int_eq (rig_flush (&rig), 0);
  s = look (&rig);
  ck_assert_uint_eq (s.committed, 3);
  ck_assert_uint_eq (s.commits, 1);
  rig_stop (&rig);
  rig_destroy (&rig);
}
END_TEST

START_TEST (paused_and_resumed_until_complete)
{
  const struct rig_options options = { .hydration = true, .batch = R };
  struct sim_fault block = { .ops = SIM_READ, .block = true };
  struct rig rig;
  uint64_t hydrated;

  rig_init (&rig, &options);
  sim_add_fault (&rig.source.device, &block);
  rig_start (&rig);
  ck_assert_int_eq (look (&rig).state, ENGINE_HYDRATING);
  sim_wait_blocked (&rig.source.device, &block, 1);
  ck_assert_uint_ge (look (&rig).in_flight, 1);
  engine_pause (rig.engine, true);
  ck_assert_int_eq (look (&rig).state, ENGINE_PAUSED);
  sim_release (&rig.source.device, &block, 0);
  wait_for (look (&rig).in_flight == 0);
  /* No more than was in flight. */
  hydrated = look (&rig).hydrated;
  ck_assert_uint_le (hydrated, 2);
  ck_assert (!sim_clock_skip (&rig.clock, 1000000) ||
             look (&rig).hydrated == hydrated);

  engine_pause (rig.engine, false);
  rig_pass_time_until (&rig, look (&rig).state == ENGINE_COMPLETE);
  ck_assert_uint_eq (look (&rig).hydrated, SIZE / R);
  ck_assert_uint_eq (look (&rig).committed, SIZE / R);
  /* There is nothing left to be steered, and that is no error. */
  ck_assert (engine_hydrate (rig.engine, R, 0));
  rig_stop (&rig);
  rig_destroy (&rig);
}
END_TEST

/* P5 */
START_TEST (failed_flush_is_seen)
{
  struct sim_fault fault = { .ops = SIM_FLUSH, .times = 1, .err = EIO };
  struct rig rig;

  rig_init (&rig, NULL);
  rig_start (&rig);
  ck_assert_int_eq (rig_write (&rig, 0x81, 0, R), 0);
  sim_add_fault (&rig.destination.device, &fault);
  ck_assert_int_eq (rig_flush (&rig), EIO);
  ck_assert_int_eq (look (&rig).state, ENGINE_FAILED);
  ck_assert_uint_eq (look (&rig).committed, 0);
  rig_stop (&rig);
  rig_destroy (&rig);
}
END_TEST

/* P5, also when the clone is complete. */
START_TEST (failed_flush_of_what_is_complete_is_seen)
{
  const struct rig_options options = { .hydration = true };
  struct sim_fault fault = { .ops = SIM_FLUSH, .times = 1, .err = EIO };
  struct rig rig;

  rig_init (&rig, &options);
  rig_start (&rig);
  rig_pass_time_until (&rig, engine_is_complete (rig.engine));
  ck_assert_int_eq (look (&rig).state, ENGINE_COMPLETE);
  sim_add_fault (&rig.destination.device, &fault);
  ck_assert_int_eq (rig_write (&rig, 0x81, 0, R), 0);
  ck_assert_int_eq (rig_flush (&rig), EIO);
  ck_assert_int_eq (look (&rig).state, ENGINE_FAILED);
  ck_assert_uint_eq (look (&rig).committed, look (&rig).regions);
  rig_stop (&rig);
  rig_destroy (&rig);
}
END_TEST

START_TEST (hydrates_what_is_asked_for)
{
  const struct rig_options options = { .disk_size = SIZE + 2 * R };
  const uint64_t last = SIZE / R - 1;
  struct rig rig;

  rig_init (&rig, &options);
  rig_start (&rig);
  /* A byte: its region.  To the end and beyond: up to the end. */
  ck_assert (engine_hydrate (rig.engine, 1, 5 * R + 7));
  ck_assert (engine_hydrate (rig.engine, 3 * R, SIZE - R));
  ck_assert (engine_hydrate (rig.engine, R, SIZE));
  rig_pass_time_until (&rig, rig_hydrated (&rig) == 2);
  ck_assert (rig_is_hydrated (&rig, 5, 6));
  ck_assert (rig_is_hydrated (&rig, last, last + 1));
  ck_assert_int_eq (look (&rig).state, ENGINE_PAUSED);
  rig_stop (&rig);
  rig_destroy (&rig);
}
END_TEST

START_TEST (too_much_that_is_asked_for_is_refused)
{
  struct sim_fault block = { .ops = SIM_READ, .block = true };
  struct rig rig;
  unsigned n;

  rig_init (&rig, NULL);
  rig_start (&rig);
  sim_add_fault (&rig.source.device, &block);
  for (n = 0; engine_hydrate (rig.engine, 1, n % 128 * 2 * R); ++n)
    ck_assert_uint_lt (n, 2 * HYDRATE_QUEUE_MAX);
  ck_assert_uint_ge (n, HYDRATE_QUEUE_MAX);
  sim_release (&rig.source.device, &block, 0);
  rig_pass_time_until (&rig, rig_hydrated (&rig) == 128);
  rig_stop (&rig);
  rig_destroy (&rig);
}
END_TEST

START_TEST (limits_are_changed)
{
  const struct rig_options options = { .hydration = true, .rate = R };
  struct engine_limits limits;
  struct rig rig;

  rig_init (&rig, &options);
  rig_start (&rig);
  limits = look (&rig).limits;
  limits.threshold = 7;
  limits.batch = 4 * R;
  limits.rate = 0;
  limits.commit_interval_us = 2000000;
  ck_assert_int_eq (engine_set_limits (rig.engine, &limits), 0);
  limits = look (&rig).limits;
  ck_assert_uint_eq (limits.threshold, 7);
  ck_assert_uint_eq (limits.batch, 4 * R);
  ck_assert_uint_eq (limits.rate, 0);
  ck_assert_uint_eq (limits.commit_interval_us, 2000000);
  /* A region a second would take four minutes; the commit, an hour. */
  wait_for (rig_hydrated (&rig) == SIZE / R);
  sim_clock_advance (&rig.clock, 2000000);
  wait_for (look (&rig).state == ENGINE_COMPLETE);
  rig_stop (&rig);
  rig_destroy (&rig);
}
END_TEST

int
main (void)
{
  struct suite s = suite_new ("steer");

  tcase_add_test (s.tests, looking_tells_and_changes_nothing);
  tcase_add_test (s.tests, paused_and_resumed_until_complete);
  tcase_add_test (s.tests, failed_flush_is_seen);
  tcase_add_test (s.tests, failed_flush_of_what_is_complete_is_seen);
  tcase_add_test (s.tests, hydrates_what_is_asked_for);
  tcase_add_test (s.tests, too_much_that_is_asked_for_is_refused);
  tcase_add_test (s.tests, limits_are_changed);
  return suite_run (s);
}
