/* nbdclone: what has not arrived yet of a range, against a plain array.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <string.h>

#include "gaps.h"
#include "testing.h"

START_TEST (in_order)
{
  struct gaps g;

  gaps_init (&g, 1000, 3000);
  ck_assert (!gaps_none (&g));
  gaps_fill (&g, 1000, 2000);
  gaps_fill (&g, 2000, 2999);
  ck_assert (!gaps_none (&g));
  gaps_fill (&g, 2999, 3000);
  ck_assert (gaps_none (&g));
}
END_TEST

/* The same bytes twice are not two times as many. */
START_TEST (twice_is_not_whole)
{
  struct gaps g;

  gaps_init (&g, 0, 2000);
  gaps_fill (&g, 0, 1000);
  gaps_fill (&g, 0, 1000);
  ck_assert (!gaps_none (&g));
}
END_TEST

START_TEST (beyond_the_range_and_empty)
{
  struct gaps g;

  gaps_init (&g, 1000, 2000);
  gaps_fill (&g, 0, 1000);
  gaps_fill (&g, 2000, UINT64_MAX);
  gaps_fill (&g, 1500, 1500);
  gaps_fill (&g, 1800, 1200);
  ck_assert (!gaps_none (&g));
  gaps_fill (&g, 0, UINT64_MAX);
  ck_assert (gaps_none (&g));
}
END_TEST

/* Who makes too many gaps does not become whole any more. */
START_TEST (too_many)
{
  struct gaps g;
  uint64_t i;

  gaps_init (&g, 0, 100);
  for (i = 0; i < 100; i += 2)
    gaps_fill (&g, i, i + 1);
  gaps_fill (&g, 0, 100);
  ck_assert (!gaps_none (&g));
}
END_TEST

START_TEST (random_pieces)
{
  struct random random = { (uint64_t) _i };
  unsigned round;

  for (round = 0; round < 2000; ++round) {
    uint8_t model[50] = { 0 };
    struct gaps g;

    gaps_init (&g, 100, 150);
    while (!gaps_none (&g) && !g.too_many) {
      const uint64_t from = random_below (&random, 250);
      const uint64_t to = from + random_below (&random, 20);
      uint64_t i;

      gaps_fill (&g, from, to);
      for (i = from; i < to; ++i)
        if (i >= 100 && i < 150)
          model[i - 100] = 1;
      must (g.too_many || gaps_none (&g) == (memchr (model, 0, 50) == NULL));
    }
  }
}
END_TEST

int
main (void)
{
  struct suite s = suite_new ("gaps");

  tcase_add_test (s.tests, in_order);
  tcase_add_test (s.tests, twice_is_not_whole);
  tcase_add_test (s.tests, beyond_the_range_and_empty);
  tcase_add_test (s.tests, too_many);
  tcase_add_loop_test (s.tests, random_pieces, 0, 4);
  return suite_run (s);
}
