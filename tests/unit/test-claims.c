/* nbdclone: claims exclude each other where they overlap, and only there.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <sched.h>
#include <stdatomic.h>

#include "claims.h"
#include "testing.h"

#define REGIONS 64
#define THREADS 8

struct shared {
  struct claims claims;
  atomic_uint holders[REGIONS];
  unsigned unlocked[REGIONS]; /* no atomics: the claim is what protects it */
  atomic_uint inside;
  unsigned rounds;
};

static void
check_in (struct shared *s, struct regions r)
{
  uint64_t i;

  for (i = r.first; i < r.end; ++i) {
    must (atomic_fetch_add (&s->holders[i], 1) == 0);
    s->unlocked[i]++;
  }
}

static void
check_out (struct shared *s, struct regions r)
{
  uint64_t i;

  for (i = r.first; i < r.end; ++i)
    must (atomic_fetch_sub (&s->holders[i], 1) == 1);
}

static void
claim_at_random (struct in_thread *t)
{
  struct shared *s = t->opaque;
  struct random random = { t->self };
  unsigned i;

  for (i = 0; i < s->rounds; ++i) {
    const uint64_t first = random_below (&random, REGIONS);
    const struct regions r = {
      first, first + 1 + random_below (&random, REGIONS - first)
    };
    struct claim claim;

    claim_regions (&s->claims, &claim, r);
    check_in (s, r);
    if (random_one_in (&random, 4))
      sched_yield ();
    check_out (s, r);
    claim_release (&s->claims, &claim);
  }
}

/* Also: nobody is left waiting, else this would not end. */
START_TEST (overlapping_claims_exclude_each_other)
{
  struct shared s = { .rounds = 5000 };

  claims_init (&s.claims);
  run_threads (THREADS, claim_at_random, &s);
  ck_assert_ptr_null (s.claims.held);
  claims_destroy (&s.claims);
}
END_TEST

static void
claim_own_and_meet (struct in_thread *t)
{
  struct shared *s = t->opaque;
  const struct regions mine = { 2 * t->self, 2 * t->self + 2 };
  struct claim claim;

  claim_regions (&s->claims, &claim, mine);
  atomic_fetch_add (&s->inside, 1);
  wait_for (atomic_load (&s->inside) == THREADS);
  claim_release (&s->claims, &claim);
}

/* All hold theirs at the same time, or they would wait for each other. */
START_TEST (adjacent_claims_are_held_together)
{
  struct shared s = { .rounds = 0 };

  claims_init (&s.claims);
  run_threads (THREADS, claim_own_and_meet, &s);
  claims_destroy (&s.claims);
}
END_TEST

static void *
claim_middle (void *opaque)
{
  struct shared *s = opaque;
  struct claim claim;

  claim_regions (&s->claims, &claim, (struct regions){ 3, 7 });
  atomic_store (&s->inside, 1);
  claim_release (&s->claims, &claim);
  return NULL;
}

static unsigned
waiting (struct claims *c)
{
  unsigned n;

  pthread_mutex_lock (&c->lock);
  n = c->waiting;
  pthread_mutex_unlock (&c->lock);
  return n;
}

/* Each overlap, however small, keeps the claim [3, 7) from being granted; it is
 * granted when that is gone.
 */
START_TEST (waits_for_each_overlap_and_wakes_up)
{
  const struct regions held[] = { { 0, 4 }, { 6, 9 }, { 4, 5 },
                                  { 0, 9 }, { 3, 7 }, { 6, 7 } };
  unsigned i;

  for (i = 0; i < sizeof held / sizeof held[0]; ++i) {
    struct shared s = { .rounds = 0 };
    struct claim claim;
    pthread_t thread;

    claims_init (&s.claims);
    claim_regions (&s.claims, &claim, held[i]);
    thread_start (&thread, claim_middle, &s);
    wait_for (waiting (&s.claims) == 1);
    ck_assert_uint_eq (atomic_load (&s.inside), 0);
    claim_release (&s.claims, &claim);
    thread_join (thread);
    ck_assert_uint_eq (atomic_load (&s.inside), 1);
    claims_destroy (&s.claims);
  }
}
END_TEST

START_TEST (neighbours_do_not_wait)
{
  struct claims claims;
  struct claim left, right, middle;

  claims_init (&claims);
  claim_regions (&claims, &left, (struct regions){ 0, 3 });
  claim_regions (&claims, &right, (struct regions){ 7, 9 });
  claim_regions (&claims, &middle, (struct regions){ 3, 7 });
  claim_release (&claims, &right);
  claim_release (&claims, &left);
  claim_release (&claims, &middle);
  claims_destroy (&claims);
}
END_TEST

/* The release of one of two obstacles wakes us up in vain. */
START_TEST (waits_until_the_last_overlap_is_gone)
{
  struct shared s = { .rounds = 0 };
  struct claim left, right;
  pthread_t thread;

  claims_init (&s.claims);
  claim_regions (&s.claims, &left, (struct regions){ 0, 4 });
  claim_regions (&s.claims, &right, (struct regions){ 6, 8 });
  thread_start (&thread, claim_middle, &s);
  wait_for (waiting (&s.claims) == 1);
  claim_release (&s.claims, &left);
  wait_for (waiting (&s.claims) == 1);
  ck_assert_uint_eq (atomic_load (&s.inside), 0);
  claim_release (&s.claims, &right);
  thread_join (thread);
  claims_destroy (&s.claims);
}
END_TEST

/* Two who do not overlap wait for the same claim: both are granted when it is
 * released, and hold theirs together.
 */
struct pair {
  struct claims claims;
  atomic_uint inside;
};

static void
claim_own_half (struct in_thread *t)
{
  struct pair *p = t->opaque;
  struct claim claim;

  claim_regions (&p->claims, &claim,
                 (struct regions){ 4 * t->self, 4 * t->self + 2 });
  atomic_fetch_add (&p->inside, 1);
  wait_for (atomic_load (&p->inside) == 2);
  claim_release (&p->claims, &claim);
}

static void *
run_two_halves (void *opaque)
{
  run_threads (2, claim_own_half, opaque);
  return NULL;
}

START_TEST (release_wakes_all_who_wait)
{
  struct pair p = { .inside = 0 };
  struct claim all;
  pthread_t thread;

  claims_init (&p.claims);
  claim_regions (&p.claims, &all, (struct regions){ 0, 8 });
  thread_start (&thread, run_two_halves, &p);
  wait_for (waiting (&p.claims) == 2);
  claim_release (&p.claims, &all);
  thread_join (thread);
  claims_destroy (&p.claims);
}
END_TEST

int
main (void)
{
  struct suite s = suite_new ("claims");

  tcase_add_test (s.tests, overlapping_claims_exclude_each_other);
  tcase_add_test (s.tests, adjacent_claims_are_held_together);
  tcase_add_test (s.tests, waits_for_each_overlap_and_wakes_up);
  tcase_add_test (s.tests, neighbours_do_not_wait);
  tcase_add_test (s.tests, waits_until_the_last_overlap_is_gone);
  tcase_add_test (s.tests, release_wakes_all_who_wait);
  return suite_run (s);
}
