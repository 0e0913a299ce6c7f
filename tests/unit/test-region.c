/* nbdclone: region arithmetic.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "region.h"
#include "testing.h"

/* What touched and covered mean, from the definition: region by region.  (Not
 * with ck_assert, which takes longer than what it checks.)
 */
static void
check_range (const struct geometry *g, uint64_t offset, uint64_t length)
{
  const uint64_t end = offset + length;
  const struct regions touched = regions_touched (g, offset, length);
  const struct regions covered = regions_covered (g, offset, length);
  uint64_t from = offset >> g->shift, r;

  must (touched.first < touched.end);
  must (touched.end <= geometry_regions (g));
  must (touched.first <= covered.first);
  must (covered.end <= touched.end);
  must (covered.first <= covered.end);

  /* The ends, and what is next to them, inside and outside. */
  for (r = from > 2 ? from - 2 : 0;
       r < geometry_regions (g) && r < touched.end + 2; ++r) {
    const uint64_t start = region_start (g, r);
    const uint64_t stop = region_start (g, r + 1);
    const bool is_touched = start < end && offset < stop;
    const bool is_covered = offset <= start && stop <= end;

    must (is_touched == (r >= touched.first && r < touched.end));
    must (is_covered == (r >= covered.first && r < covered.end));
    if (r > from + 2 && touched.end > 4 && r < touched.end - 4)
      r = touched.end - 4; /* what is in the middle is all the same */
  }
}

/* All offsets and lengths near the boundaries of a small clone. */
static void
check_boundaries (uint64_t size, unsigned shift)
{
  const struct geometry g = { size, shift };
  const uint64_t unit = UINT64_C (1) << shift;
  uint64_t near[64];
  unsigned n = 0, i, j;
  uint64_t boundary;
  int d;

  for (boundary = 0; boundary <= size + unit; boundary += unit)
    for (d = -2; d <= 2; ++d) {
      const uint64_t at =
        (boundary < size ? boundary : size) + (uint64_t) (int64_t) d;

      if (at <= size && n < 64)
        near[n++] = at;
    }
  for (i = 0; i < n; ++i)
    for (j = 0; j < n; ++j)
      if (near[i] < near[j])
        check_range (&g, near[i], near[j] - near[i]);
}

START_TEST (touched_and_covered_at_all_boundaries)
{
  const uint64_t sizes[] = { 1,     2,     511,   512,  4095,  4096,
                             4097,  8191,  8192,  8193, 12287, 12288,
                             12289, 16384, 20479, 20481 };
  unsigned i;

  for (i = 0; i < sizeof sizes / sizeof sizes[0]; ++i)
    check_boundaries (sizes[i], 12);
}
END_TEST

START_TEST (touched_and_covered_at_random)
{
  struct random random = { 1 };
  unsigned i;

  for (i = 0; i < 200000; ++i) {
    const struct geometry g = {
      .size = 1 + random_below (&random, UINT64_C (1)
                                           << (1 + random_below (&random, 63))),
      .shift = 12 + (unsigned) random_below (&random, 19),
    };
    const uint64_t offset = random_below (&random, g.size);
    uint64_t length = 1 + random_below (&random, g.size - offset);

    if (random_one_in (&random, 2)) /* ... of a few regions */
      length = 1 + random_below (&random, UINT64_C (4) << g.shift);
    if (length > g.size - offset || random_one_in (&random, 8))
      length = g.size - offset;
    check_range (&g, offset, length);
  }
}
END_TEST

/* Lesson 3: a trim that is smaller than a region, wholly inside one. */
START_TEST (inside_one_region_nothing_is_covered)
{
  const struct geometry g = { 10 * 4096, 12 };
  const uint64_t cases[][2] = { { 4097, 4094 }, { 4097, 1 },    { 4096, 4095 },
                                { 4097, 4095 }, { 8191, 1 },    { 0, 1 },
                                { 0, 4095 },    { 40959, 1 },   { 36865, 4095 },
                                { 5000, 1000 }, { 36864, 4095 } };
  unsigned i;

  for (i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    const struct regions covered =
      regions_covered (&g, cases[i][0], cases[i][1]);
    const struct regions touched =
      regions_touched (&g, cases[i][0], cases[i][1]);

    ck_assert (regions_empty (covered));
    ck_assert_uint_eq (covered.first, covered.end);
    ck_assert_uint_eq (touched.first, cases[i][0] / 4096);
    ck_assert_uint_eq (touched.end, touched.first + 1);
  }
}
END_TEST

START_TEST (two_halves_of_two_regions_cover_nothing)
{
  const struct geometry g = { 10 * 4096, 12 };
  const struct regions covered = regions_covered (&g, 6144, 4096);

  ck_assert (regions_empty (covered));
  ck_assert_uint_eq (covered.first, covered.end);
}
END_TEST

START_TEST (short_last_region_is_covered_up_to_the_end)
{
  const struct geometry g = { 2 * 4096 + 100, 12 };
  struct regions covered;

  ck_assert_uint_eq (geometry_regions (&g), 3);
  ck_assert_uint_eq (region_start (&g, 3), 2 * 4096 + 100);
  covered = regions_covered (&g, 2 * 4096, 100);
  ck_assert_uint_eq (covered.first, 2);
  ck_assert_uint_eq (covered.end, 3);
  ck_assert (regions_empty (regions_covered (&g, 2 * 4096, 99)));
  ck_assert (regions_empty (regions_covered (&g, 2 * 4096 + 1, 99)));
  covered = regions_covered (&g, 4095, 4096 + 101);
  ck_assert_uint_eq (covered.first, 1);
  ck_assert_uint_eq (covered.end, 3);
}
END_TEST

START_TEST (clone_of_one_byte)
{
  const struct geometry g = { 1, 30 };
  const struct regions covered = regions_covered (&g, 0, 1);

  ck_assert_uint_eq (geometry_regions (&g), 1);
  ck_assert_uint_eq (covered.first, 0);
  ck_assert_uint_eq (covered.end, 1);
}
END_TEST

START_TEST (empty_clone_has_no_regions)
{
  const struct geometry g = { 0, 12 };

  ck_assert_uint_eq (geometry_regions (&g), 0);
  ck_assert_uint_eq (region_start (&g, 0), 0);
}
END_TEST

/* Lesson 4: the largest disk that NBD can have, and more than 2^32 regions. */
START_TEST (near_2_to_the_63)
{
  const uint64_t size = INT64_MAX;
  const struct geometry large = { size, 30 };
  const struct geometry small = { size - 4095, 12 };
  struct regions r;

  ck_assert_uint_eq (geometry_regions (&large), UINT64_C (1) << 33);
  check_range (&large, 0, size);
  check_range (&large, size - 1, 1);
  check_range (&large, size - (UINT64_C (1) << 30), UINT64_C (1) << 30);
  check_range (&large, size - (UINT64_C (1) << 31), UINT64_C (1) << 30);
  r = regions_covered (&large, 1, size - 1);
  ck_assert_uint_eq (r.first, 1);
  ck_assert_uint_eq (r.end, UINT64_C (1) << 33);

  ck_assert_uint_eq (geometry_regions (&small), (UINT64_C (1) << 51) - 1);
  ck_assert_uint_eq (region_start (&small, (UINT64_C (1) << 51) - 2),
                     size - 4095 - 4096);
  check_range (&small, size - 3 * 4096, 4096);
}
END_TEST

START_TEST (regions_beyond_2_to_the_31_and_32)
{
  const struct geometry g = { (UINT64_C (1) << 46) + 5, 12 };
  const uint64_t numbers[] = { (UINT64_C (1) << 31) - 1, UINT64_C (1) << 31,
                               (UINT64_C (1) << 32) - 1, UINT64_C (1) << 32,
                               (UINT64_C (1) << 32) + 1, UINT64_C (1) << 34 };
  unsigned i;

  ck_assert_uint_eq (geometry_regions (&g), (UINT64_C (1) << 34) + 1);
  for (i = 0; i < sizeof numbers / sizeof numbers[0]; ++i) {
    const uint64_t start = region_start (&g, numbers[i]);

    ck_assert_uint_eq (start, numbers[i] * 4096);
    ck_assert_uint_eq (region_of (&g, start), numbers[i]);
    if (numbers[i] < UINT64_C (1) << 34)
      ck_assert_uint_eq (region_of (&g, start + 4095), numbers[i]);
    check_range (&g, start, 5);
    check_range (&g, start - 4096, 4096);
    check_range (&g, start - 4097, 4099);
  }
}
END_TEST

int
main (void)
{
  struct suite s = suite_new ("region");

  tcase_add_test (s.tests, touched_and_covered_at_all_boundaries);
  tcase_add_test (s.tests, touched_and_covered_at_random);
  tcase_add_test (s.tests, inside_one_region_nothing_is_covered);
  tcase_add_test (s.tests, two_halves_of_two_regions_cover_nothing);
  tcase_add_test (s.tests, short_last_region_is_covered_up_to_the_end);
  tcase_add_test (s.tests, clone_of_one_byte);
  tcase_add_test (s.tests, empty_clone_has_no_regions);
  tcase_add_test (s.tests, near_2_to_the_63);
  tcase_add_test (s.tests, regions_beyond_2_to_the_31_and_32);
  return suite_run (s);
}
