/* nbdclone: clients on hydrated regions and the background, on a simulated
 * destination.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * One client asks again as soon as it has its answer, which takes `alone_us`, and
 * so much longer for each copy that is in flight.
 */

#include <config.h>

#include "courtesy.h"
#include "testing.h"

#define COPIES 100 /* in flight with the whole window */

struct disk {
  struct courtesy courtesy;
  uint64_t now_us, alone_us, each_us;
  unsigned in_flight;
  uint64_t probes;    /* pauses that have ended */
  uint64_t paused_us; /* in them */
};

static void
disk_init (struct disk *d, uint64_t alone_us, uint64_t each_us)
{
  *d = (struct disk){ .now_us = 1000000,
                      .alone_us = alone_us,
                      .each_us = each_us };
  courtesy_init (&d->courtesy);
}

/* Run for so long; copies end and begin whenever the client has its answer.
 * Returns its mean latency.
 */
static uint64_t
run (struct disk *d, double seconds, bool client)
{
  const uint64_t began = d->now_us, until = began + (uint64_t) (seconds * 1e6);
  uint64_t requests = 0;

  while (d->now_us < until) {
    const uint64_t us = d->alone_us + d->each_us * d->in_flight;
    unsigned share;

    d->now_us += us;
    requests++;
    if (client)
      courtesy_note (&d->courtesy, us);
    if (d->in_flight > 0)
      d->in_flight--;
    share = courtesy_share (&d->courtesy, d->now_us, d->in_flight == 0);
    must (share <= COURTESY_ALL);
    if (share == 0)
      d->paused_us += us;
    else {
      must (share >= COURTESY_LEAST);
      d->in_flight = COPIES * share / COURTESY_ALL;
      if (d->in_flight == 0)
        d->in_flight = 1;
    }
  }
  return (d->now_us - began) / requests;
}

/* Without clients, and beside those whom it does not hurt, it has all. */
START_TEST (whole_window)
{
  struct disk d;

  disk_init (&d, 1000, 10);
  (void) run (&d, 30, false);
  ck_assert_uint_eq (d.courtesy.share, COURTESY_ALL);
  ck_assert_uint_eq (d.paused_us, 0);
  (void) run (&d, 30, true);
  ck_assert_uint_eq (d.courtesy.share, COURTESY_ALL);
}
END_TEST

/* Latency comes to rest near twice of what it is alone. */
START_TEST (clients_are_spared)
{
  struct disk d;
  uint64_t mean;

  disk_init (&d, 1000, 100); /* alone 1 ms, with the whole window 11 ms */
  (void) run (&d, 5, true);
  mean = run (&d, 20, true);
  ck_assert_uint_ge (mean, 1500);
  ck_assert_uint_le (mean, 2500);
  /* When they are gone, all of it again. */
  (void) run (&d, 2, false);
  ck_assert_uint_eq (d.courtesy.share, COURTESY_ALL);
}
END_TEST

/* Even if that cannot be reached, the least share is kept. */
START_TEST (a_share_is_kept)
{
  struct disk d;

  disk_init (&d, 1000, 2000);
  (void) run (&d, 5, true);
  ck_assert_uint_eq (d.courtesy.share, COURTESY_LEAST);
  d.paused_us = 0;
  (void) run (&d, 60, true);
  ck_assert_uint_eq (d.courtesy.share, COURTESY_LEAST);
  /* The looks at it without the background cost little. */
  ck_assert_uint_le (d.paused_us, 60 * 1000000 / 10);
}
END_TEST

/* Requests that take longer for another reason are not the background's fault. */
START_TEST (other_reasons)
{
  struct disk d;

  disk_init (&d, 100, 1);
  (void) run (&d, 5, true);
  ck_assert_uint_eq (d.courtesy.share, COURTESY_ALL);
  d.alone_us = 5000;
  (void) run (&d, 15, true);
  ck_assert_uint_eq (d.courtesy.share, COURTESY_ALL);
}
END_TEST

/* It does not drain: the background goes on all the same. */
START_TEST (no_drain)
{
  struct courtesy c;
  uint64_t now = 1000000, paused = 0;

  courtesy_init (&c);
  while (now < 11000000) {
    now += 1000;
    courtesy_note (&c, 1000);
    paused += courtesy_share (&c, now, false) == 0;
  }
  ck_assert_uint_le (paused, 10000 / 2);
}
END_TEST

int
main (void)
{
  struct suite s = suite_new ("courtesy");

  tcase_add_test (s.tests, whole_window);
  tcase_add_test (s.tests, clients_are_spared);
  tcase_add_test (s.tests, a_share_is_kept);
  tcase_add_test (s.tests, other_reasons);
  tcase_add_test (s.tests, no_drain);
  return suite_run (s);
}
