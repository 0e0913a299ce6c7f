/* nbdclone: extents of the disk and of the map export, and the map's reads.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The disk's extents are about contents only, and never say that there is a hole
 * that is not zero; those of the map are about what is hydrated.
 */

#include <config.h>

#include <errno.h>
#include <string.h>

#include "rig.h"
#include "testing.h"

#define R UINT64_C (4096)
#define HZ (EXTENT_HOLE | EXTENT_ZERO)
#define LIST_MAX 64

/* What an answer consisted of, neighbours of one type joined. */
struct list {
  uint64_t at, end; /* told so far, and what was asked for */
  unsigned n, calls, refuse_after;
  struct {
    uint64_t length;
    unsigned type;
  } extents[LIST_MAX];
};

static int
add (void *opaque, uint64_t offset, uint64_t length, unsigned type)
{
  struct list *l = opaque;

  if (l->refuse_after && l->calls == l->refuse_after)
    return 1;
  l->calls++;
  ck_assert_uint_eq (offset, l->at);
  ck_assert_uint_gt (length, 0);
  ck_assert_uint_le (length, l->end - l->at);
  l->at += length;
  if (l->n > 0 && l->extents[l->n - 1].type == type)
    l->extents[l->n - 1].length += length;
  else {
    must (l->n < LIST_MAX);
    l->extents[l->n].length = length;
    l->extents[l->n++].type = type;
  }
  return 0;
}

static struct list
ask (struct rig *rig, uint64_t length, uint64_t offset, bool one)
{
  struct list l = { .at = offset, .end = offset + length };
  int err = 0;

  ck_assert_int_eq (
    engine_extents (rig->engine, (uint32_t) length, offset, one, add, &l, &err),
    0);
  ck_assert_uint_gt (l.n, 0);
  return l;
}

static struct list
ask_map (struct rig *rig, uint64_t length, uint64_t offset, bool one)
{
  struct list l = { .at = offset, .end = offset + length };

  ck_assert_int_eq (
    engine_map_extents (rig->engine, (uint32_t) length, offset, one, add, &l),
    0);
  return l;
}

#define expect_extent(l, i, l_length, l_type)            \
  do {                                                   \
    ck_assert_uint_lt (i, (l).n);                        \
    ck_assert_uint_eq ((l).extents[i].length, l_length); \
    ck_assert_uint_eq ((l).extents[i].type, l_type);     \
  } while (0)

static void
end (struct rig *rig)
{
  rig_stop (rig);
  rig_destroy (rig);
}

static const struct rig_options some = { .source_size = 16 * 4096 };

/* Where it is not hydrated the source's, where it is the destination's; both
 * without holes that are not zero.
 */
START_TEST (of_whoever_has_the_data)
{
  struct rig rig;
  struct list l;

  rig_init (&rig, &some);
  sim_source_zero (&rig.source, 4 * R, 4 * R, true);
  rig_start (&rig);
  ck_assert_int_eq (rig_write (&rig, 1, 0, R), 0);
  ck_assert_int_eq (rig_zero (&rig, R, R), 0);
  sim_destination_type (&rig.destination, HZ, R, R);
  l = ask (&rig, 16 * R, 0, false);
  ck_assert_uint_eq (l.at, 16 * R);
  expect_extent (l, 0, R, 0);
  expect_extent (l, 1, R, HZ);
  expect_extent (l, 2, 2 * R, 0);
  expect_extent (l, 3, 4 * R, HZ);
  expect_extent (l, 4, 8 * R, 0);

  /* qemu-img takes a hole for "not there". */
  sim_destination_type (&rig.destination, EXTENT_HOLE, R, 0);
  l = ask (&rig, R, 0, false);
  expect_extent (l, 0, R, 0);
  end (&rig);
}
END_TEST

START_TEST (never_beyond_the_range)
{
  struct rig rig;
  struct list l;

  rig_init (&rig, &some);
  sim_source_zero (&rig.source, 16 * R, 0, true);
  rig_start (&rig);
  l = ask (&rig, 1000, 5 * R + 7, false);
  ck_assert_uint_eq (l.at, 5 * R + 1007);
  expect_extent (l, 0, 1000, HZ);
  ck_assert_int_eq (rig_write (&rig, 1, 0, 4 * R), 0);
  l = ask (&rig, R, 2 * R, false);
  expect_extent (l, 0, R, 0);
  end (&rig);
}
END_TEST

/* One extent is enough, and the source is told so. */
START_TEST (one_is_one)
{
  struct rig rig;
  struct list l;

  rig_init (&rig, &some);
  sim_source_zero (&rig.source, 4 * R, 4 * R, true);
  rig_start (&rig);
  l = ask (&rig, 16 * R, 0, true);
  ck_assert_uint_eq (l.calls, 1);
  expect_extent (l, 0, 4 * R, 0);
  ck_assert_int_eq (rig_write (&rig, 1, 0, R), 0);
  l = ask_map (&rig, 16 * R, 0, true);
  ck_assert_uint_eq (l.calls, 1);
  expect_extent (l, 0, R, 0);
  end (&rig);
}
END_TEST

/* A source, or a destination, that cannot say or fails: data, and no error.
 * After its first failure the source is left alone for the rest of the answer,
 * since each attempt may take long.
 */
START_TEST (what_nobody_knows_is_data)
{
  struct sim_fault fault = { .ops = SIM_EXTENTS, .err = EIO };
  struct sim_fault other = fault;
  struct rig rig;
  struct list l;
  size_t mark;

  rig_init (&rig, &some);
  sim_source_zero (&rig.source, 16 * R, 0, true);
  rig_start (&rig);
  ck_assert_int_eq (rig_write (&rig, 1, 4 * R, R), 0);
  ck_assert_int_eq (rig_write (&rig, 1, 8 * R, R), 0);
  sim_add_fault (&rig.source.device, &fault);
  mark = sim_mark (&rig.sim);
  l = ask (&rig, 16 * R, 0, false);
  ck_assert_uint_eq (l.n, 1);
  expect_extent (l, 0, 16 * R, 0);
  ck_assert_uint_eq (
    sim_count (&rig.sim, &rig.source.device, SIM_EXTENTS, 0, 0, mark), 1);
  sim_release (&rig.source.device, &fault, 0);

  sim_destination_type (&rig.destination, HZ, R, 4 * R);
  sim_add_fault (&rig.destination.device, &other);
  l = ask (&rig, R, 4 * R, false);
  expect_extent (l, 0, R, 0);
  sim_release (&rig.destination.device, &other, 0);
  end (&rig);
}
END_TEST

/* Behind the source's end it is the destination that says; but it is never asked
 * about a part of a block, so the rest of the block there is data.
 */
START_TEST (behind_the_source_s_end)
{
  const struct rig_options options = { .source_size = 2 * 4096 + 1024,
                                       .disk_size = 8 * 4096,
                                       .block_minimum = _i ? 4096 : 1 };
  struct rig rig;
  struct list l;

  rig_init (&rig, &options);
  sim_source_zero (&rig.source, 2 * R + 1024, 0, true);
  sim_destination_type (&rig.destination, HZ, 4 * R, 4 * R);
  rig_start (&rig);
  l = ask (&rig, 8 * R, 0, false);
  ck_assert_uint_eq (l.at, 8 * R);
  expect_extent (l, 0, 2 * R + 1024, HZ);
  expect_extent (l, 1, 2 * R - 1024, 0);
  expect_extent (l, 2, 4 * R, HZ);
  end (&rig);
}
END_TEST

START_TEST (who_refuses_an_extent_gets_an_error)
{
  struct list l = { .end = 16 * R, .refuse_after = 1 };
  struct rig rig;
  int err = 0;

  rig_init (&rig, &some);
  sim_source_zero (&rig.source, 4 * R, 4 * R, true);
  rig_start (&rig);
  ck_assert_int_eq (rig_write (&rig, 1, 0, R), 0);
  ck_assert_int_eq (
    engine_extents (rig.engine, (uint32_t) (16 * R), 0, false, add, &l, &err),
    -1);
  ck_assert_int_eq (err, 0);
  ck_assert_uint_eq (l.calls, 1);
  l = (struct list){ .end = 16 * R, .refuse_after = 1 };
  ck_assert_int_eq (
    engine_map_extents (rig.engine, (uint32_t) (16 * R), 0, false, add, &l),
    -1);
  ck_assert_uint_eq (l.calls, 1);
  end (&rig);
}
END_TEST

/* The map: data is what is hydrated, whatever it holds; the rest reads as
 * zeroes, without a word to the source.
 */
START_TEST (the_map_is_the_destination)
{
  uint8_t buf[4 * 4096], zero[4096] = { 0 };
  struct rig rig;
  struct list l;
  size_t mark;
  int err = 0;

  rig_init (&rig, &some);
  rig_start (&rig);
  ck_assert_int_eq (rig_write (&rig, 0x81, 2 * R, 2 * R), 0);
  ck_assert_int_eq (rig_zero (&rig, 5 * R, R), 0);
  mark = sim_mark (&rig.sim);
  l = ask_map (&rig, 16 * R, 0, false);
  ck_assert_uint_eq (l.at, 16 * R);
  expect_extent (l, 0, 2 * R, HZ);
  expect_extent (l, 1, 2 * R, 0);
  expect_extent (l, 2, R, HZ);
  memset (buf, 0xee, sizeof buf);
  ck_assert_int_eq (engine_map_read (rig.engine, buf, sizeof buf, R, &err), 0);
  ck_assert_mem_eq (buf, zero, R);
  ck_assert_mem_eq (buf + 3 * R, zero, R);
  ck_assert (buf[R] == 0x81 && memcmp (buf + R, buf + R + 1, 2 * R - 1) == 0);
  ck_assert_uint_eq (sim_count (&rig.sim, &rig.source.device,
                                SIM_READ | SIM_EXTENTS, 0, 0, mark),
                     0);
  end (&rig);
}
END_TEST

/* ... and its errors are the destination's, but never ENOTSUP. */
START_TEST (errors_of_the_map)
{
  const int given[] = { EIO, EPERM, ENOTSUP, EOPNOTSUPP };
  const int expected[] = { EIO, EPERM, EIO, EIO };
  struct sim_fault fault = { .ops = SIM_READ, .err = given[_i] };
  uint8_t buf[4096];
  struct rig rig;
  int err = 0;

  rig_init (&rig, &some);
  rig_start (&rig);
  ck_assert_int_eq (rig_write (&rig, 1, 0, R), 0);
  sim_add_fault (&rig.destination.device, &fault);
  ck_assert_int_eq (engine_map_read (rig.engine, buf, R, 0, &err), -1);
  ck_assert_int_eq (err, expected[_i]);
  ck_assert_int_eq (engine_map_read (rig.engine, buf, R, R, &err), 0);
  sim_release (&rig.destination.device, &fault, 0);
  end (&rig);
}
END_TEST

int
main (void)
{
  struct suite s = suite_new ("extents");

  tcase_add_test (s.tests, of_whoever_has_the_data);
  tcase_add_test (s.tests, never_beyond_the_range);
  tcase_add_test (s.tests, one_is_one);
  tcase_add_test (s.tests, what_nobody_knows_is_data);
  tcase_add_loop_test (s.tests, behind_the_source_s_end, 0, 2);
  tcase_add_test (s.tests, who_refuses_an_extent_gets_an_error);
  tcase_add_test (s.tests, the_map_is_the_destination);
  tcase_add_loop_test (s.tests, errors_of_the_map, 0, 4);
  return suite_run (s);
}
