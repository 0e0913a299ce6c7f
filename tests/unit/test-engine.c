/* nbdclone: clients' requests, when nothing goes wrong.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Failures: test-engine-faults.c; the background: test-hydrate.c; random
 * requests from several threads: test-engine-model.c.
 */

#include <config.h>

#include <errno.h>
#include <string.h>

#include "rig.h"
#include "testing.h"

#define R UINT64_C (4096) /* a region */
#define SOURCE_END UINT64_C (10000)
#define TAIL_DISK UINT64_C (20480)

static size_t
source_reads (struct rig *rig, size_t mark)
{
  return sim_count (&rig->sim, &rig->source.device, SIM_READ, 0, 0, mark);
}

static size_t
on_destination (struct rig *rig, unsigned ops, size_t mark)
{
  return sim_count (&rig->sim, &rig->destination.device, ops, 0, 0, mark);
}

static void
begin (struct rig *rig, const struct rig_options *options)
{
  rig_init (rig, options);
  rig_start (rig);
}

static void
end (struct rig *rig)
{
  rig_stop (rig);
  rig_destroy (rig);
}

/* P1 */
START_TEST (missing_regions_read_as_the_source)
{
  const struct rig_options o = { .forget_reads = true };
  struct rig rig;

  begin (&rig, &o);
  ck_assert (rig_reads_source (&rig, 0, 1 << 20));
  ck_assert (rig_reads_source (&rig, 0, 1));
  ck_assert (rig_reads_source (&rig, (1 << 20) - 1, 1));
  ck_assert (rig_reads_source (&rig, R - 1, 2));
  ck_assert (rig_reads_source (&rig, 777, 300000));
  end (&rig);
}
END_TEST

START_TEST (large_read_has_all_its_pieces)
{
  const struct rig_options o = { .source_size = 20 << 20 };
  struct rig rig;

  begin (&rig, &o);
  ck_assert (rig_reads_source (&rig, 12345, (20 << 20) - 12345));
  end (&rig);
}
END_TEST

START_TEST (read_regions_are_kept)
{
  struct rig rig;
  size_t mark;

  begin (&rig, NULL);
  ck_assert (rig_reads_source (&rig, 4 * R, 16 * R));
  wait_for (rig_hydrated (&rig) == 16);
  ck_assert (rig_is_hydrated (&rig, 4, 20));
  ck_assert (rig_stores_source (&rig, 4 * R, 16 * R));
  mark = sim_mark (&rig.sim);
  ck_assert (rig_reads_source (&rig, 4 * R, 16 * R));
  ck_assert_uint_eq (source_reads (&rig, mark), 0);
  ck_assert (rig_stores (&rig, RIG_GARBAGE, 0, 4 * R));
  ck_assert (rig_stores (&rig, RIG_GARBAGE, 20 * R, 4 * R));
  end (&rig);
}
END_TEST

START_TEST (regions_read_in_part_are_hydrated_by_the_background)
{
  struct rig rig;

  begin (&rig, NULL);
  ck_assert (rig_reads_source (&rig, 5 * R + 100, 10));
  rig_pass_time_until (&rig, rig_is_hydrated (&rig, 5, 6));
  ck_assert (rig_reads_source (&rig, 10 * R + 100, 3 * R));
  rig_pass_time_until (&rig, rig_is_hydrated (&rig, 10, 14));
  ck_assert (rig_stores_source (&rig, 10 * R, 4 * R));
  ck_assert_uint_eq (rig_hydrated (&rig), 5);
  end (&rig);
}
END_TEST

START_TEST (reads_are_not_kept_if_not_wanted)
{
  const struct rig_options o = { .forget_reads = true };
  struct rig rig;

  begin (&rig, &o);
  ck_assert (rig_reads_source (&rig, 0, 16 * R + 5));
  engine_quiesce (rig.engine); /* would store what is waiting */
  ck_assert_uint_eq (rig_hydrated (&rig), 0);
  end (&rig);
}
END_TEST

/* P7 */
START_TEST (write_of_whole_regions_does_not_read_the_source)
{
  struct rig rig;
  size_t mark;

  begin (&rig, NULL);
  mark = sim_mark (&rig.sim);
  ck_assert_int_eq (rig_write (&rig, 0x81, 3 * R, 5 * R), 0);
  ck_assert_uint_eq (source_reads (&rig, mark), 0);
  ck_assert_uint_eq (on_destination (&rig, SIM_WRITE, mark), 1);
  ck_assert (rig_is_hydrated (&rig, 3, 8));
  ck_assert_uint_eq (rig_hydrated (&rig), 5);
  ck_assert (rig_reads (&rig, 0x81, 3 * R, 5 * R));
  ck_assert (rig_reads_source (&rig, 0, 3 * R));
  ck_assert (rig_reads_source (&rig, 8 * R, R));
  end (&rig);
}
END_TEST

/* The rest of the region and the write reach the destination as one. */
START_TEST (write_of_a_part_is_one_write_of_the_region)
{
  struct rig rig;
  size_t mark;

  begin (&rig, NULL);
  mark = sim_mark (&rig.sim);
  ck_assert_int_eq (rig_write (&rig, 0x81, 3 * R + 100, 50), 0);
  ck_assert_uint_eq (source_reads (&rig, mark), 1);
  ck_assert_uint_eq (on_destination (&rig, SIM_CHANGES, mark), 1);
  ck_assert_uint_eq (
    sim_count (&rig.sim, &rig.destination.device, SIM_WRITE, 3 * R, 1, mark),
    1);
  ck_assert_uint_eq (rig_hydrated (&rig), 1);
  ck_assert (rig_reads_source (&rig, 3 * R, 100));
  ck_assert (rig_reads (&rig, 0x81, 3 * R + 100, 50));
  ck_assert (rig_reads_source (&rig, 3 * R + 150, R - 150));
  end (&rig);
}
END_TEST

START_TEST (write_with_a_part_at_both_ends)
{
  struct rig rig;
  size_t mark;

  begin (&rig, NULL);
  mark = sim_mark (&rig.sim);
  ck_assert_int_eq (rig_write (&rig, 0x81, 3 * R + 100, 4 * R), 0);
  ck_assert_uint_eq (source_reads (&rig, mark), 2);
  ck_assert (rig_is_hydrated (&rig, 3, 8));
  ck_assert_uint_eq (rig_hydrated (&rig), 5);
  ck_assert (rig_reads_source (&rig, 0, 3 * R + 100));
  ck_assert (rig_reads (&rig, 0x81, 3 * R + 100, 4 * R));
  ck_assert (rig_reads_source (&rig, 7 * R + 100, 2 * R));
  end (&rig);
}
END_TEST

START_TEST (write_across_two_regions_covers_neither)
{
  struct rig rig;

  begin (&rig, NULL);
  ck_assert_int_eq (rig_write (&rig, 0x81, 4 * R - 1, 2), 0);
  ck_assert_uint_eq (rig_hydrated (&rig), 2);
  ck_assert (rig_reads_source (&rig, 3 * R, R - 1));
  ck_assert (rig_reads (&rig, 0x81, 4 * R - 1, 2));
  ck_assert (rig_reads_source (&rig, 4 * R + 1, R - 1));
  end (&rig);
}
END_TEST

START_TEST (write_to_hydrated_regions_is_passed_on)
{
  struct rig rig;
  size_t mark;

  begin (&rig, NULL);
  ck_assert_int_eq (rig_write (&rig, 0x81, 3 * R, 2 * R), 0);
  mark = sim_mark (&rig.sim);
  ck_assert_int_eq (rig_write (&rig, 0x82, 3 * R + 7, R), 0);
  ck_assert_uint_eq (on_destination (&rig, SIM_CHANGES, mark), 1);
  ck_assert_uint_eq (source_reads (&rig, mark), 0);
  ck_assert (rig_reads (&rig, 0x81, 3 * R, 7));
  ck_assert (rig_reads (&rig, 0x82, 3 * R + 7, R));
  ck_assert (rig_reads (&rig, 0x81, 4 * R + 7, R - 7));
  end (&rig);
}
END_TEST

START_TEST (mixed_runs)
{
  struct rig rig;
  uint64_t r;

  begin (&rig, NULL);
  for (r = 0; r < 40; r += 3)
    ck_assert_int_eq (rig_write (&rig, 0x81, r * R, R), 0);
  ck_assert_int_eq (rig_write (&rig, 0x82, 2 * R + 1, 30 * R), 0);
  ck_assert (rig_reads (&rig, 0x82, 2 * R + 1, 30 * R));
  ck_assert (rig_reads_source (&rig, R, R + 1));
  ck_assert (rig_reads_source (&rig, 32 * R + 1, R - 1));
  ck_assert (rig_reads (&rig, 0x81, 33 * R, R));
  ck_assert (rig_reads_source (&rig, 34 * R, 2 * R));
  end (&rig);
}
END_TEST

START_TEST (zero_of_whole_and_part_regions)
{
  struct rig rig;
  size_t mark;

  begin (&rig, NULL);
  mark = sim_mark (&rig.sim);
  ck_assert_int_eq (rig_zero (&rig, 3 * R, 5 * R), 0);
  ck_assert_uint_eq (source_reads (&rig, mark), 0);
  ck_assert_uint_eq (on_destination (&rig, SIM_ZERO, mark), 1);
  ck_assert (rig_reads (&rig, 0, 3 * R, 5 * R));
  ck_assert_int_eq (rig_zero (&rig, 10 * R + 5, R), 0);
  ck_assert (rig_reads_source (&rig, 10 * R, 5));
  ck_assert (rig_reads (&rig, 0, 10 * R + 5, R));
  ck_assert_uint_eq (rig_hydrated (&rig), 7);
  ck_assert (rig_reads_source (&rig, 11 * R + 5, R - 5));
  end (&rig);
}
END_TEST

START_TEST (flags_of_a_zero_are_kept)
{
  struct rig rig;
  size_t at;
  int err, missing;

  begin (&rig, NULL);
  for (missing = 1; missing >= 0; --missing) {
    const size_t mark = sim_mark (&rig.sim);

    ck_assert_int_eq (engine_zero (rig.engine, R, 0, true, true, false, &err),
                      0);
    at = sim_find (&rig.sim, &rig.destination.device, SIM_ZERO, 0, 0, mark);
    ck_assert_uint_eq (sim_event_at (&rig.sim, at).flags,
                       DESTINATION_MAY_TRIM | DESTINATION_FAST_ZERO);
  }
  end (&rig);
}
END_TEST

/* P1, lesson 24: what a trim of the destination leaves behind is garbage. */
START_TEST (trim_of_missing_regions_reads_as_zeroes)
{
  const struct rig_options o = { .keep_discarded = _i };
  struct rig rig;
  size_t mark;

  begin (&rig, &o);
  mark = sim_mark (&rig.sim);
  ck_assert_int_eq (rig_trim (&rig, 3 * R, 5 * R), 0);
  ck_assert_uint_eq (source_reads (&rig, mark), 0);
  ck_assert_uint_eq (on_destination (&rig, SIM_TRIM, mark), 0);
  ck_assert (rig_is_hydrated (&rig, 3, 8));
  ck_assert (rig_reads (&rig, 0, 3 * R, 5 * R));
  end (&rig);
}
END_TEST

/* Lesson 3 */
START_TEST (trim_inside_a_region_touches_nothing_else)
{
  const struct rig_options o = { .keep_discarded = _i };
  struct rig rig;

  begin (&rig, &o);
  ck_assert_int_eq (rig_trim (&rig, 5 * R + 1, R - 2), 0);
  ck_assert (rig_reads_source (&rig, 0, 5 * R + 1));
  ck_assert (rig_reads (&rig, 0, 5 * R + 1, R - 2));
  ck_assert (rig_reads_source (&rig, 6 * R - 1, 3 * R));
  ck_assert_int_eq (rig_trim (&rig, 10 * R - 5, R), 0);
  ck_assert (rig_reads_source (&rig, 9 * R, R - 5));
  ck_assert (rig_reads (&rig, 0, 10 * R - 5, R));
  ck_assert (rig_reads_source (&rig, 11 * R - 5, 5 + R));
  end (&rig);
}
END_TEST

START_TEST (trim_of_hydrated_regions_is_passed_down)
{
  struct rig rig;
  size_t mark;

  begin (&rig, NULL);
  ck_assert_int_eq (rig_write (&rig, 0x81, 3 * R, 5 * R), 0);
  mark = sim_mark (&rig.sim);
  ck_assert_int_eq (rig_trim (&rig, 3 * R + 512, 2 * R), 0);
  ck_assert_uint_eq (on_destination (&rig, SIM_TRIM, mark), 1);
  ck_assert_uint_eq (on_destination (&rig, SIM_CHANGES, mark), 1);
  end (&rig);
}
END_TEST

START_TEST (trim_without_passdown_is_zero_that_stays_allocated)
{
  const struct rig_options o = { .keep_discarded = true };
  struct rig rig;
  size_t mark, at;

  begin (&rig, &o);
  ck_assert_int_eq (rig_write (&rig, 0x81, 3 * R, 5 * R), 0);
  mark = sim_mark (&rig.sim);
  ck_assert_int_eq (rig_trim (&rig, 3 * R, 2 * R), 0);
  ck_assert_uint_eq (on_destination (&rig, SIM_TRIM, mark), 0);
  at = sim_find (&rig.sim, &rig.destination.device, SIM_ZERO, 0, 0, mark);
  ck_assert_uint_eq (sim_event_at (&rig.sim, at).flags, 0);
  ck_assert (rig_reads (&rig, 0, 3 * R, 2 * R));
  end (&rig);
}
END_TEST

START_TEST (fast_zero_that_would_need_the_source_fails_first)
{
  const uint64_t cases[][2] = { { 3 * R, R + 1 },     { 3 * R + 1, R },
                                { 3 * R + 1, 5 },     { 3 * R - 1, 2 },
                                { 3 * R - 1, R + 1 }, { 0, 60 * R + 9 } };
  struct rig rig;
  unsigned i;
  int err;

  begin (&rig, NULL);
  ck_assert_int_eq (rig_write (&rig, 0x81, 1 * R, R), 0);
  for (i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    const size_t mark = sim_mark (&rig.sim);

    err = 0;
    ck_assert_int_eq (engine_zero (rig.engine, (uint32_t) cases[i][1],
                                   cases[i][0], false, true, false, &err),
                      -1);
    ck_assert_int_eq (err, ENOTSUP);
    ck_assert_uint_eq (on_destination (&rig, SIM_CHANGES, mark), 0);
    ck_assert_uint_eq (source_reads (&rig, mark), 0);
  }
  /* In part, but hydrated: no source. */
  ck_assert_int_eq (
    engine_zero (rig.engine, 100, R + 5, false, true, false, &err), 0);
  ck_assert (rig_reads (&rig, 0, R + 5, 100));
  end (&rig);
}
END_TEST

START_TEST (fast_zero_that_the_destination_cannot_do_fails)
{
  struct sim_fault slow = { .ops = SIM_ZERO, .err = ENOTSUP };
  struct rig rig;
  int err = 0;

  rig_init (&rig, NULL);
  rig.destination.destination.can_fast_zero = _i;
  sim_add_fault (&rig.destination.device, &slow);
  rig_start (&rig);
  ck_assert_int_eq (engine_zero (rig.engine, R, 0, false, true, false, &err),
                    -1);
  ck_assert_int_eq (err, ENOTSUP);
  ck_assert_uint_eq (rig_hydrated (&rig), 0);
  ck_assert (rig_reads_source (&rig, 0, R));
  sim_release (&rig.destination.device, &slow, 0);
  end (&rig);
}
END_TEST

/* The disk is larger than the source, whose end is inside a region. */
static void
begin_with_tail (struct rig *rig, uint32_t block)
{
  const struct rig_options o = {
    .source_size = SOURCE_END,
    .disk_size = TAIL_DISK,
    .block_minimum = block,
  };

  begin (rig, &o);
}

START_TEST (beyond_the_source_is_the_destination)
{
  struct rig rig;
  size_t mark;

  begin_with_tail (&rig, 1);
  mark = sim_mark (&rig.sim);
  ck_assert (rig_reads (&rig, RIG_GARBAGE, SOURCE_END, TAIL_DISK - SOURCE_END));
  ck_assert_int_eq (rig_write (&rig, 0x81, SOURCE_END, 5), 0);
  ck_assert_int_eq (rig_zero (&rig, SOURCE_END + 5, 7000), 0);
  ck_assert_int_eq (rig_trim (&rig, TAIL_DISK - R, R), 0);
  ck_assert_int_eq (rig_cache (&rig, TAIL_DISK - R, R), 0);
  ck_assert (rig_reads (&rig, 0x81, SOURCE_END, 5));
  ck_assert (
    rig_reads (&rig, 0, SOURCE_END + 5, TAIL_DISK - R - SOURCE_END - 5));
  ck_assert_uint_eq (source_reads (&rig, mark), 0);
  ck_assert_uint_eq (rig_hydrated (&rig), 0);
  ck_assert (rig_reads_source (&rig, 0, SOURCE_END));
  end (&rig);
}
END_TEST

START_TEST (straddling_region_is_covered_up_to_the_source_end)
{
  struct rig rig;
  size_t mark;

  begin_with_tail (&rig, 1);
  mark = sim_mark (&rig.sim);
  ck_assert_int_eq (rig_write (&rig, 0x81, 2 * R, SOURCE_END - 2 * R), 0);
  ck_assert_uint_eq (source_reads (&rig, mark), 0);
  ck_assert (rig_is_hydrated (&rig, 2, 3));
  ck_assert (rig_reads (&rig, 0x81, 2 * R, SOURCE_END - 2 * R));
  ck_assert (rig_reads (&rig, RIG_GARBAGE, SOURCE_END, TAIL_DISK - SOURCE_END));
  end (&rig);
}
END_TEST

START_TEST (request_across_the_source_end)
{
  struct rig rig;

  begin_with_tail (&rig, 1);
  ck_assert_int_eq (rig_write (&rig, 0x81, SOURCE_END - 100, 500), 0);
  ck_assert_uint_eq (rig_hydrated (&rig), 1);
  ck_assert (rig_reads_source (&rig, 0, SOURCE_END - 100));
  ck_assert (rig_reads (&rig, 0x81, SOURCE_END - 100, 500));
  ck_assert (rig_reads (&rig, RIG_GARBAGE, SOURCE_END + 400, 5000));
  end (&rig);
}
END_TEST

/* The source's size is no multiple of the destination's block: the bytes behind
 * its end, in the same block, are the destination's, before and after.
 */
START_TEST (source_end_inside_a_block)
{
  const uint64_t block_end = 10240;
  struct rig rig;

  begin_with_tail (&rig, 512);
  ck_assert (rig_reads (&rig, RIG_GARBAGE, block_end, R));
  ck_assert_int_eq (rig_write (&rig, 0x81, block_end, 512), 0);
  ck_assert (rig_reads_source (&rig, 0, 8192 + 1024));
  ck_assert_int_eq (rig_cache (&rig, 0, 10240), 0);
  ck_assert_uint_eq (rig_hydrated (&rig), 3);
  ck_assert (rig_stores_source (&rig, 0, SOURCE_END));
  ck_assert (
    rig_stores (&rig, RIG_GARBAGE, SOURCE_END, block_end - SOURCE_END));
  ck_assert (rig_stores (&rig, 0x81, block_end, 512));
  end (&rig);
}
END_TEST

START_TEST (part_write_in_the_block_of_the_source_end)
{
  struct rig rig;

  begin_with_tail (&rig, 512);
  ck_assert_int_eq (rig_write (&rig, 0x81, 9728, 1024), 0);
  ck_assert (rig_reads_source (&rig, 0, 9728));
  ck_assert (rig_reads (&rig, 0x81, 9728, 1024));
  ck_assert (rig_reads (&rig, RIG_GARBAGE, 10752, 512));
  end (&rig);
}
END_TEST

/* P9: in pieces, the bit after the last. */
START_TEST (region_larger_than_a_batch)
{
  const struct rig_options o = {
    .source_size = (5 << 20) + 1000,
    .disk_size = 6 << 20,
    .region_size = 1 << 20,
    .batch = 64 << 10,
  };
  struct rig rig;
  size_t mark, at;

  begin (&rig, &o);
  mark = sim_mark (&rig.sim);
  ck_assert_int_eq (rig_write (&rig, 0x81, (1 << 20) + 5, 10), 0);
  ck_assert_uint_eq (source_reads (&rig, mark), 16);
  for (at = mark; at < sim_mark (&rig.sim); ++at) {
    const struct sim_event e = sim_event_at (&rig.sim, at);

    ck_assert (!(e.op & (SIM_READ | SIM_WRITE)) || e.length <= 64 << 10);
  }
  ck_assert (rig_is_hydrated (&rig, 1, 2));
  ck_assert_int_eq (rig_zero (&rig, (5 << 20) + 10, 20), 0);
  ck_assert_int_eq (rig_cache (&rig, (3 << 20) + 10, 20), 0);
  ck_assert_uint_eq (rig_hydrated (&rig), 3);
  ck_assert (rig_reads_source (&rig, 0, (1 << 20) + 5));
  ck_assert (rig_reads (&rig, 0x81, (1 << 20) + 5, 10));
  ck_assert (rig_reads_source (&rig, (1 << 20) + 15, (4 << 20) - 5));
  ck_assert (rig_reads (&rig, 0, (5 << 20) + 10, 20));
  ck_assert (rig_reads_source (&rig, (5 << 20) + 30, 970));
  ck_assert (rig_reads (&rig, RIG_GARBAGE, (5 << 20) + 1000, 1000));
  end (&rig);
}
END_TEST

START_TEST (cache_hydrates_then_is_passed_on)
{
  struct rig rig;
  size_t mark;

  begin (&rig, NULL);
  mark = sim_mark (&rig.sim);
  ck_assert_int_eq (rig_cache (&rig, 3 * R + 5, 100 * R), 0);
  ck_assert (rig_is_hydrated (&rig, 3, 104));
  ck_assert_uint_eq (rig_hydrated (&rig), 101);
  ck_assert_uint_eq (on_destination (&rig, SIM_CACHE, mark), 1);
  ck_assert (rig_stores_source (&rig, 3 * R, 101 * R));
  end (&rig);
}
END_TEST

/* P3, P4, and P1 after a crash: what was not flushed is the source's again. */
START_TEST (flushed_writes_survive_a_power_cut)
{
  struct rig rig;

  begin (&rig, NULL);
  ck_assert_int_eq (rig_write (&rig, 0x81, 3 * R, R), 0);
  ck_assert_int_eq (rig_write (&rig, 0x82, 4 * R + 5, 10), 0);
  ck_assert_int_eq (rig_flush (&rig), 0);
  ck_assert_int_eq (rig_write (&rig, 0x83, 10 * R, R), 0);
  rig_crash (&rig, sim_none_survives, NULL);
  rig_start (&rig);
  ck_assert (rig_reads (&rig, 0x81, 3 * R, R));
  ck_assert (rig_reads_source (&rig, 4 * R, 5));
  ck_assert (rig_reads (&rig, 0x82, 4 * R + 5, 10));
  ck_assert (rig_reads_source (&rig, 4 * R + 15, 20 * R));
  end (&rig);
}
END_TEST

/* Lesson 5: the second time the region is hydrated, but not committed yet. */
START_TEST (fua_writes_survive_a_power_cut)
{
  struct rig rig;

  begin (&rig, NULL);
  if (_i)
    ck_assert_int_eq (rig_write (&rig, 0x80, 3 * R, R), 0);
  ck_assert_int_eq (rig_write_fua (&rig, 0x81, 3 * R, R), 0);
  rig_crash (&rig, sim_none_survives, NULL);
  rig_start (&rig);
  ck_assert (rig_reads (&rig, 0x81, 3 * R, R));
  ck_assert_uint_eq (rig_hydrated (&rig), 1);
  end (&rig);
}
END_TEST

START_TEST (fua_on_committed_regions_does_no_bitmap_io)
{
  struct rig rig;
  size_t mark;

  begin (&rig, NULL);
  ck_assert_int_eq (rig_write_fua (&rig, 0x81, 3 * R, R), 0);
  mark = sim_mark (&rig.sim);
  ck_assert_int_eq (rig_write_fua (&rig, 0x82, 3 * R, R), 0);
  ck_assert_uint_eq (
    sim_count (&rig.sim, &rig.storage.device, SIM_CHANGES, 0, 0, mark), 0);
  rig_crash (&rig, sim_none_survives, NULL);
  rig_start (&rig);
  ck_assert (rig_reads (&rig, 0x82, 3 * R, R));
  end (&rig);
}
END_TEST

START_TEST (fua_beyond_the_source_flushes_the_destination)
{
  struct rig rig;

  begin_with_tail (&rig, 1);
  ck_assert_int_eq (rig_write_fua (&rig, 0x81, 3 * R, R), 0);
  rig_crash (&rig, sim_none_survives, NULL);
  rig_start (&rig);
  ck_assert (rig_reads (&rig, 0x81, 3 * R, R));
  end (&rig);
}
END_TEST

START_TEST (fua_of_zero_and_trim)
{
  struct rig rig;
  int err;

  begin (&rig, NULL);
  ck_assert_int_eq (
    engine_zero (rig.engine, R, 3 * R, false, false, true, &err), 0);
  ck_assert_int_eq (engine_trim (rig.engine, R, 5 * R, true, &err), 0);
  rig_crash (&rig, sim_none_survives, NULL);
  rig_start (&rig);
  ck_assert (rig_reads (&rig, 0, 3 * R, R));
  ck_assert (rig_reads (&rig, 0, 5 * R, R));
  ck_assert (rig_reads_source (&rig, 4 * R, R));
  end (&rig);
}
END_TEST

START_TEST (close_commits_and_marks_clean)
{
  struct rig rig;

  begin (&rig, NULL);
  ck_assert_int_eq (rig_write (&rig, 0x81, 3 * R, R), 0);
  rig_stop (&rig);
  sim_disk_cut (&rig.storage.disk, sim_none_survives, NULL);
  sim_disk_cut (&rig.destination.disk, sim_none_survives, NULL);
  rig_open (&rig);
  ck_assert (bitmap_file_is_clean (rig.file));
  rig_close (&rig);
  rig_start (&rig);
  ck_assert (rig_reads (&rig, 0x81, 3 * R, R));
  ck_assert (rig_reads_source (&rig, 0, 3 * R));
  end (&rig);
}
END_TEST

/* P9, lesson 19: when all is hydrated and committed, the source is let go. */
START_TEST (complete)
{
  struct rig rig;
  size_t mark;

  begin (&rig, NULL);
  ck_assert_int_eq (rig_write (&rig, 0x81, 0, (1 << 20) - R), 0);
  ck_assert (!engine_is_complete (rig.engine));
  ck_assert_uint_eq (atomic_load (&rig.completed), 0);
  ck_assert_int_eq (rig_write (&rig, 0x82, (1 << 20) - R, R), 0);
  wait_for (engine_is_complete (rig.engine));
  ck_assert_uint_eq (atomic_load (&rig.completed), 1);
  ck_assert_uint_eq (rig.engine->hydrate.n_threads, 0);
  ck_assert_uint_eq (rig.engine->keep.n_threads, 0);
  ck_assert (!commit_pending (&rig.engine->clone.commit));

  mark = sim_mark (&rig.sim);
  ck_assert (rig_reads (&rig, 0x81, 0, (1 << 20) - R));
  ck_assert_int_eq (rig_write_fua (&rig, 0x83, 5, 10), 0);
  ck_assert_int_eq (rig_flush (&rig), 0);
  ck_assert (rig_reads (&rig, 0x83, 5, 10));
  ck_assert_uint_eq (
    sim_count (&rig.sim, &rig.storage.device, SIM_CHANGES, 0, 0, mark), 0);
  rig_stop (&rig);

  sim_disk_cut (&rig.storage.disk, sim_none_survives, NULL);
  mark = sim_mark (&rig.sim);
  rig_start (&rig);
  ck_assert (engine_is_complete (rig.engine));
  ck_assert (rig_reads (&rig, 0x83, 5, 10));
  ck_assert_uint_eq (source_reads (&rig, mark), 0);
  ck_assert_uint_eq (atomic_load (&rig.completed), 1);
  end (&rig);
}
END_TEST

START_TEST (not_complete_before_it_is_committed)
{
  struct sim_fault block = { .ops = SIM_FLUSH, .block = true };
  struct rig rig;

  begin (&rig, NULL);
  sim_add_fault (&rig.storage.device, &block);
  ck_assert_int_eq (rig_write (&rig, 0x81, 0, 1 << 20), 0);
  sim_wait_blocked (&rig.storage.device, &block, 1);
  ck_assert (!engine_is_complete (rig.engine));
  ck_assert_uint_eq (atomic_load (&rig.completed), 0);
  sim_release (&rig.storage.device, &block, 0);
  wait_for (engine_is_complete (rig.engine));
  end (&rig);
}
END_TEST

START_TEST (quiesce_goes_on_serving)
{
  struct rig rig;

  begin (&rig, NULL);
  ck_assert_int_eq (rig_write (&rig, 0x81, 3 * R, R), 0);
  sim_source_stop (&rig.source);
  engine_quiesce (rig.engine);
  ck_assert (!commit_pending (&rig.engine->clone.commit));
  ck_assert (rig_reads (&rig, 0x81, 3 * R, R));
  ck_assert_int_eq (rig_write (&rig, 0x82, 9 * R, R), 0);
  ck_assert_int_eq (rig_read (&rig, 0, R), EIO);
  engine_quiesce (rig.engine);
  rig_crash (&rig, sim_none_survives, NULL);
  rig_start (&rig);
  ck_assert (rig_reads (&rig, 0x82, 9 * R, R));
  end (&rig);
}
END_TEST

int
main (void)
{
  struct suite s = suite_new ("engine");
  TCase *t = s.tests;

  tcase_add_test (t, missing_regions_read_as_the_source);
  tcase_add_test (t, large_read_has_all_its_pieces);
  tcase_add_test (t, read_regions_are_kept);
  tcase_add_test (t, regions_read_in_part_are_hydrated_by_the_background);
  tcase_add_test (t, reads_are_not_kept_if_not_wanted);
  tcase_add_test (t, write_of_whole_regions_does_not_read_the_source);
  tcase_add_test (t, write_of_a_part_is_one_write_of_the_region);
  tcase_add_test (t, write_with_a_part_at_both_ends);
  tcase_add_test (t, write_across_two_regions_covers_neither);
  tcase_add_test (t, write_to_hydrated_regions_is_passed_on);
  tcase_add_test (t, mixed_runs);
  tcase_add_test (t, zero_of_whole_and_part_regions);
  tcase_add_test (t, flags_of_a_zero_are_kept);
  tcase_add_loop_test (t, trim_of_missing_regions_reads_as_zeroes, 0, 2);
  tcase_add_loop_test (t, trim_inside_a_region_touches_nothing_else, 0, 2);
  tcase_add_test (t, trim_of_hydrated_regions_is_passed_down);
  tcase_add_test (t, trim_without_passdown_is_zero_that_stays_allocated);
  tcase_add_test (t, fast_zero_that_would_need_the_source_fails_first);
  tcase_add_loop_test (t, fast_zero_that_the_destination_cannot_do_fails, 0, 2);
  tcase_add_test (t, beyond_the_source_is_the_destination);
  tcase_add_test (t, straddling_region_is_covered_up_to_the_source_end);
  tcase_add_test (t, request_across_the_source_end);
  tcase_add_test (t, source_end_inside_a_block);
  tcase_add_test (t, part_write_in_the_block_of_the_source_end);
  tcase_add_test (t, region_larger_than_a_batch);
  tcase_add_test (t, cache_hydrates_then_is_passed_on);
  tcase_add_test (t, flushed_writes_survive_a_power_cut);
  tcase_add_loop_test (t, fua_writes_survive_a_power_cut, 0, 2);
  tcase_add_test (t, fua_on_committed_regions_does_no_bitmap_io);
  tcase_add_test (t, fua_beyond_the_source_flushes_the_destination);
  tcase_add_test (t, fua_of_zero_and_trim);
  tcase_add_test (t, close_commits_and_marks_clean);
  tcase_add_test (t, complete);
  tcase_add_test (t, not_complete_before_it_is_committed);
  tcase_add_test (t, quiesce_goes_on_serving);
  return suite_run (s);
}
