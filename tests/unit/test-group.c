/* nbdclone: many callers share one run.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdatomic.h>

#include "group.h"
#include "testing.h"

#define THREADS 8

struct shared {
  struct group group;
  atomic_uint begun, ended;
  atomic_bool hold; /* runs wait while it is set */
  atomic_uint calling, returned;
  atomic_int result;
  unsigned rounds;
};

static int
run (void *opaque)
{
  struct shared *s = opaque;

  /* Runs never overlap. */
  must (atomic_fetch_add (&s->begun, 1) == atomic_load (&s->ended));
  wait_for (!atomic_load (&s->hold));
  atomic_fetch_add (&s->ended, 1);
  return atomic_load (&s->result);
}

static void
shared_init (struct shared *s)
{
  *s = (struct shared){ .rounds = 2000 };
  group_init (&s->group);
}

static void *
call_once (void *opaque)
{
  struct shared *s = opaque;
  int r;

  atomic_fetch_add (&s->calling, 1);
  r = group_run (&s->group, run, s);
  atomic_fetch_add (&s->returned, 1);
  return (void *) (intptr_t) r;
}

static void
call_many (struct in_thread *t)
{
  struct shared *s = t->opaque;
  unsigned i;

  for (i = 0; i < s->rounds; ++i) {
    const unsigned begun = atomic_load (&s->begun);
    unsigned ended;

    must (group_run (&s->group, run, s) == 0);
    ended = atomic_load (&s->ended);
    /* The run of number begun + 1 is the first that began after the call; one
     * that was going on does not count.
     */
    must (ended >= begun + 1);
  }
}

START_TEST (a_run_begins_after_each_call)
{
  struct shared s;

  shared_init (&s);
  run_threads (THREADS, call_many, &s);
  ck_assert_uint_le (atomic_load (&s.begun), THREADS * s.rounds);
  group_destroy (&s.group);
}
END_TEST

START_TEST (one_call_one_run)
{
  struct shared s;

  shared_init (&s);
  ck_assert_int_eq (group_run (&s.group, run, &s), 0);
  ck_assert_uint_eq (atomic_load (&s.begun), 1);
  ck_assert_int_eq (group_run (&s.group, run, &s), 0);
  ck_assert_uint_eq (atomic_load (&s.begun), 2);
  group_destroy (&s.group);
}
END_TEST

/* Start the first caller, whose run is held, and then the others. */
static void
start_callers (struct shared *s, pthread_t threads[THREADS])
{
  unsigned i;

  atomic_store (&s->hold, true);
  thread_start (&threads[0], call_once, s);
  wait_for (atomic_load (&s->begun) == 1);
  for (i = 1; i < THREADS; ++i)
    thread_start (&threads[i], call_once, s);
  wait_for (atomic_load (&s->calling) == THREADS);
  /* A caller that is about to take the lock cannot be told from one that waits:
   * taking it ourselves a few times lets them in.
   */
  for (i = 0; i < 20; ++i) {
    pthread_mutex_lock (&s->group.lock);
    pthread_mutex_unlock (&s->group.lock);
    nap ();
  }
}

static void
join_callers (pthread_t threads[THREADS], intptr_t results[THREADS])
{
  unsigned i;

  for (i = 0; i < THREADS; ++i) {
    void *r;

    must (pthread_join (threads[i], &r) == 0);
    results[i] = (intptr_t) r;
  }
}

START_TEST (who_comes_during_a_run_shares_the_next)
{
  pthread_t threads[THREADS];
  intptr_t results[THREADS];
  struct shared s;

  shared_init (&s);
  start_callers (&s, threads);
  ck_assert_uint_eq (atomic_load (&s.returned), 0);
  atomic_store (&s.hold, false);
  join_callers (threads, results);
  /* A caller that was slow to arrive may need one of its own. */
  ck_assert_uint_ge (atomic_load (&s.begun), 2);
  ck_assert_uint_le (atomic_load (&s.begun), 3);
  group_destroy (&s.group);
}
END_TEST

static int
fail_then_succeed (void *opaque)
{
  struct shared *s = opaque;
  const int r = run (s);

  return atomic_load (&s->ended) == 1 ? r : 0;
}

START_TEST (error_is_returned)
{
  struct shared s;

  shared_init (&s);
  atomic_store (&s.result, 28);
  ck_assert_int_eq (group_run (&s.group, run, &s), 28);
  atomic_store (&s.result, 5);
  ck_assert_int_eq (group_run (&s.group, run, &s), 5);
  group_destroy (&s.group);
}
END_TEST

START_TEST (run_after_an_error_succeeds)
{
  struct shared s;

  shared_init (&s);
  atomic_store (&s.result, 28);
  ck_assert_int_eq (group_run (&s.group, fail_then_succeed, &s), 28);
  ck_assert_int_eq (group_run (&s.group, fail_then_succeed, &s), 0);
  group_destroy (&s.group);
}
END_TEST

/* All who shared it learn of it; and the error of a run that began before they
 * called is not theirs.
 */
START_TEST (error_reaches_all_who_shared_the_run)
{
  pthread_t threads[THREADS];
  intptr_t results[THREADS];
  struct shared s;
  unsigned i;

  shared_init (&s);
  atomic_store (&s.result, 28);
  start_callers (&s, threads);
  atomic_store (&s.hold, false);
  join_callers (threads, results);
  for (i = 0; i < THREADS; ++i)
    ck_assert_int_eq (results[i], 28);
  group_destroy (&s.group);
}
END_TEST

static int
fail_first (void *opaque)
{
  struct shared *s = opaque;
  const bool first = atomic_load (&s->begun) == 0;

  (void) run (s);
  return first ? 28 : 0;
}

static void *
call_fail_first (void *opaque)
{
  struct shared *s = opaque;

  atomic_fetch_add (&s->calling, 1);
  return (void *) (intptr_t) group_run (&s->group, fail_first, s);
}

START_TEST (error_of_an_earlier_run_is_not_mine)
{
  pthread_t first, second;
  struct shared s;
  void *r;

  shared_init (&s);
  atomic_store (&s.hold, true);
  thread_start (&first, call_fail_first, &s);
  wait_for (atomic_load (&s.begun) == 1);
  thread_start (&second, call_fail_first, &s);
  wait_for (atomic_load (&s.calling) == 2);
  atomic_store (&s.hold, false);
  must (pthread_join (second, &r) == 0);
  ck_assert_int_eq ((intptr_t) r, 0);
  /* The first one's own run has failed; only a later success covers it. */
  thread_join (first);
  group_destroy (&s.group);
}
END_TEST

int
main (void)
{
  struct suite s = suite_new ("group");

  tcase_add_test (s.tests, a_run_begins_after_each_call);
  tcase_add_test (s.tests, one_call_one_run);
  tcase_add_test (s.tests, who_comes_during_a_run_shares_the_next);
  tcase_add_test (s.tests, error_is_returned);
  tcase_add_test (s.tests, run_after_an_error_succeeds);
  tcase_add_test (s.tests, error_reaches_all_who_shared_the_run);
  tcase_add_test (s.tests, error_of_an_earlier_run_is_not_mine);
  return suite_run (s);
}
