/* nbdclone: the window of the source's extents, against a plain array.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "destination.h"
#include "extent-map.h"
#include "testing.h"

static struct extent_map *
map_new (uint64_t offset)
{
  struct extent_map *m = calloc (1, sizeof *m);

  must (m != NULL);
  extent_map_reset (m, offset);
  return m;
}

static void
add (struct extent_map *m, uint64_t length, unsigned type)
{
  const struct source_extent e = { length, type };

  extent_map_add (m, &e, 1);
}

START_TEST (nothing_is_known_at_first)
{
  struct extent_map *m = map_new (1000);
  uint64_t end;
  bool zero;

  ck_assert (!extent_map_find (m, 0, &zero, &end));
  ck_assert (!extent_map_find (m, 999, &zero, &end));
  ck_assert (!extent_map_find (m, 1000, &zero, &end));
  ck_assert (!extent_map_find (m, UINT64_MAX, &zero, &end));
  ck_assert_uint_eq (extent_map_room (m), EXTENT_MAP_MAX);
  free (m);
}
END_TEST

START_TEST (only_zero_is_zero)
{
  const struct {
    unsigned type;
    bool zero;
  } cases[] = { { 0, false },
                { EXTENT_HOLE, false },
                { EXTENT_ZERO, true },
                { EXTENT_HOLE | EXTENT_ZERO, true } };
  unsigned i;

  for (i = 0; i < 4; ++i) {
    struct extent_map *m = map_new (0);
    uint64_t end;
    bool zero;

    add (m, 10, cases[i].type);
    ck_assert (extent_map_find (m, 9, &zero, &end));
    ck_assert (zero == cases[i].zero);
    ck_assert_uint_eq (end, 10);
    free (m);
  }
}
END_TEST

START_TEST (neighbours_of_one_kind_are_one)
{
  struct extent_map *m = map_new (0);
  uint64_t end;
  bool zero;

  add (m, 10, EXTENT_ZERO);
  add (m, 10, EXTENT_ZERO | EXTENT_HOLE);
  add (m, 10, EXTENT_HOLE);
  add (m, 10, 0);
  ck_assert (extent_map_find (m, 0, &zero, &end));
  ck_assert_uint_eq (end, 20);
  ck_assert (extent_map_find (m, 20, &zero, &end));
  ck_assert_uint_eq (end, 40);
  ck_assert_uint_eq (extent_map_room (m), EXTENT_MAP_MAX - 2);
  free (m);
}
END_TEST

START_TEST (it_holds_as_much_as_it_says)
{
  struct extent_map *m = map_new (0);
  unsigned i;

  for (i = 0; i < EXTENT_MAP_MAX; ++i)
    add (m, 1, i % 2 ? EXTENT_ZERO : 0);
  ck_assert_uint_eq (extent_map_room (m), 0);
  extent_map_forget (m, 100);
  ck_assert_uint_eq (extent_map_room (m), 100);
  free (m);
}
END_TEST

START_TEST (forgetting_all_leaves_nothing)
{
  struct extent_map *m = map_new (0);
  uint64_t end;
  bool zero;

  add (m, 10, 0);
  extent_map_forget (m, 100);
  ck_assert (!extent_map_find (m, 9, &zero, &end));
  ck_assert (!extent_map_find (m, 100, &zero, &end));
  add (m, 5, EXTENT_ZERO); /* goes on where it was */
  ck_assert (extent_map_find (m, 10, &zero, &end));
  ck_assert (zero);
  ck_assert_uint_eq (end, 15);
  free (m);
}
END_TEST

#define SPACE 20000

START_TEST (random_adds_and_forgets)
{
  struct random random = { (uint64_t) _i };
  struct extent_map *m = map_new (0);
  uint8_t *model = calloc (SPACE, 1);
  uint64_t from = 0, to = 0, at;

  must (model != NULL);
  while (to < SPACE - 100) {
    uint64_t length = 1 + random_below (&random, 60), end, want;
    const unsigned type = (unsigned) random_below (&random, 4);
    bool zero;

    memset (model + to, type & EXTENT_ZERO ? 1 : 0, length);
    add (m, length, type);
    to += length;
    if (random_one_in (&random, 3)) {
      const uint64_t forget = from + random_below (&random, to - from + 1);

      extent_map_forget (m, forget);
      from = forget;
    }
    for (at = from > 5 ? from - 5 : 0; at < to + 5; ++at) {
      must (extent_map_find (m, at, &zero, &end) == (at >= from && at < to));
      if (at < from || at >= to)
        continue;
      must (zero == model[at]);
      for (want = at; want < to && model[want] == model[at];)
        want++;
      must (end == want);
      if (to - from > 400)
        at += random_below (&random, 50);
    }
  }
  free (model);
  free (m);
}
END_TEST

int
main (void)
{
  struct suite s = suite_new ("extent-map");

  tcase_add_test (s.tests, nothing_is_known_at_first);
  tcase_add_test (s.tests, only_zero_is_zero);
  tcase_add_test (s.tests, neighbours_of_one_kind_are_one);
  tcase_add_test (s.tests, it_holds_as_much_as_it_says);
  tcase_add_test (s.tests, forgetting_all_leaves_nothing);
  tcase_add_loop_test (s.tests, random_adds_and_forgets, 0, 8);
  return suite_run (s);
}
