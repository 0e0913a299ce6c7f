/* nbdclone: what must not happen before what, inside the engine.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Each of these stops somebody in the middle of a write to the destination, lets
 * somebody else arrive there, and only then lets go on.
 */

#include <config.h>

#include <errno.h>

#include "cleanup.h"
#include "rig.h"
#include "testing.h"

#define R UINT64_C (4096) /* a region */

/* The first write of the destination from an offset on is stopped, ... */
static struct sim_fault
stop_write_at (uint64_t offset)
{
  return (struct sim_fault){
    .ops = SIM_WRITE, .offset = offset, .length = 1, .times = 1, .block = true
  };
}

/* ... or each read of the source. */
static struct sim_fault
stop_fetch_at (uint64_t offset)
{
  return (struct sim_fault){
    .ops = SIM_READ, .offset = offset, .length = 1, .block = true
  };
}

static unsigned
waiting_for_claims (struct rig *rig)
{
  struct claims *c = &rig->engine->clone.claims;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&c->lock);
  return c->waiting;
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

static void
start_request (struct rig *rig, struct request *r)
{
  r->rig = rig;
  request_start (r);
}

/* A client's write to region 3 is at the destination when the fetch of the same
 * region, by the other request, has ended.
 */
static void
overtake_in_the_middle (struct rig *rig, struct request *other)
{
  struct sim_fault fetch = stop_fetch_at (3 * R);
  struct sim_fault write = stop_write_at (3 * R);
  struct request first = {
    .kind = REQUEST_WRITE, .value = 0x81, .offset = 3 * R, .length = R
  };

  sim_add_fault (&rig->source.device, &fetch);
  start_request (rig, other);
  sim_wait_blocked (&rig->source.device, &fetch, 1);
  sim_add_fault (&rig->destination.device, &write);
  start_request (rig, &first);
  sim_wait_blocked (&rig->destination.device, &write, 1);
  sim_release (&rig->source.device, &fetch, 0);
  wait_for (waiting_for_claims (rig) == 1);
  sim_release (&rig->destination.device, &write, 0);
  ck_assert_int_eq (request_finish (&first), 0);
  ck_assert_int_eq (request_finish (other), 0);
}

/* Lesson 11: that the fetch has lost is found when it is its turn, not before. */
START_TEST (read_is_not_kept_over_a_write_that_was_first)
{
  struct request read = { .kind = REQUEST_READ, .offset = 3 * R, .length = R };
  struct rig rig;

  begin (&rig, NULL);
  overtake_in_the_middle (&rig, &read);
  engine_quiesce (rig.engine); /* what is kept is stored */
  ck_assert (rig_reads (&rig, 0x81, 3 * R, R));
  end (&rig);
}
END_TEST

START_TEST (part_is_stored_over_a_write_that_was_first)
{
  struct request part = {
    .kind = REQUEST_WRITE, .value = 0x82, .offset = 3 * R + 100, .length = 50
  };
  struct rig rig;

  begin (&rig, NULL);
  overtake_in_the_middle (&rig, &part);
  ck_assert (rig_reads (&rig, 0x81, 3 * R, 100));
  ck_assert (rig_reads (&rig, 0x82, 3 * R + 100, 50));
  ck_assert (rig_reads (&rig, 0x81, 3 * R + 150, R - 150));
  end (&rig);
}
END_TEST

/* Lesson 11: a client's write comes after what is just being stored, not at the
 * same time.
 */
START_TEST (write_waits_for_what_is_being_stored)
{
  struct sim_fault store = stop_write_at (3 * R);
  struct request write = {
    .kind = REQUEST_WRITE, .value = 0x81, .offset = 2 * R, .length = 3 * R
  };
  struct rig rig;

  begin (&rig, NULL);
  sim_add_fault (&rig.destination.device, &store);
  ck_assert (rig_reads_source (&rig, 3 * R, R));
  sim_wait_blocked (&rig.destination.device, &store, 1);
  start_request (&rig, &write);
  wait_for (waiting_for_claims (&rig) == 1 || atomic_load (&write.ended));
  ck_assert (!atomic_load (&write.ended));
  sim_release (&rig.destination.device, &store, 0);
  ck_assert_int_eq (request_finish (&write), 0);
  ck_assert (rig_reads (&rig, 0x81, 2 * R, 3 * R));
  end (&rig);
}
END_TEST

static bool
keep_is_stopping (struct rig *rig)
{
  struct keep *k = &rig->engine->keep;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&k->lock);
  return k->stop;
}

static bool
hydrate_is_stopping (struct rig *rig)
{
  struct hydrate *h = &rig->engine->hydrate;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&h->lock);
  return h->stop;
}

static void *
quiesce_thread (void *opaque)
{
  struct rig *rig = opaque;

  engine_quiesce (rig->engine);
  return NULL;
}

/* Lesson 8: the last commit has what the background did while it was being
 * stopped: what it has kept of a read (0), what it has copied by itself (1).
 */
START_TEST (background_ends_before_the_last_commit)
{
  const struct rig_options o = { .hydration = _i };
  struct sim_fault store = stop_write_at (0);
  struct rig rig;
  pthread_t thread;
  uint64_t hydrated;

  rig_init (&rig, &o);
  sim_add_fault (&rig.destination.device, &store);
  rig_start (&rig);
  if (!o.hydration)
    ck_assert (rig_reads_source (&rig, 0, R));
  sim_wait_blocked (&rig.destination.device, &store, 1);
  thread_start (&thread, quiesce_thread, &rig);
  wait_for (o.hydration ? hydrate_is_stopping (&rig) : keep_is_stopping (&rig));
  sim_release (&rig.destination.device, &store, 0);
  thread_join (thread);
  hydrated = rig_hydrated (&rig);
  ck_assert (rig_is_hydrated (&rig, 0, 1));
  rig_crash (&rig, sim_none_survives, NULL);
  rig_open (&rig);
  ck_assert_uint_eq (rig_hydrated (&rig), hydrated);
  rig_close (&rig);
  rig_destroy (&rig);
}
END_TEST

/* Lesson 8: a commit that found space for its blocks, but not for its header, was
 * no last commit; a file marked clean on top of it would look damaged.
 */
START_TEST (no_mark_after_a_commit_without_space)
{
  /* The flush's commit, and the last one.  There is space again for the mark. */
  struct sim_fault full = {
    .ops = SIM_WRITE, .length = 1, .times = 2, .err = ENOSPC
  };
  struct rig rig;

  begin (&rig, NULL);
  ck_assert_int_eq (rig_write_fua (&rig, 0x81, 3 * R, R), 0);
  ck_assert_int_eq (rig_write (&rig, 0x82, 5 * R, R), 0);
  sim_add_fault (&rig.storage.device, &full);
  ck_assert_int_eq (rig_flush (&rig), ENOSPC);
  rig_stop (&rig);
  ck_assert_uint_eq (full.hits, 2);
  sim_release (&rig.storage.device, &full, 0);
  rig_open (&rig);
  ck_assert (!bitmap_file_is_clean (rig.file));
  ck_assert (rig_is_hydrated (&rig, 3, 4));
  rig_close (&rig);
  rig_destroy (&rig);
}
END_TEST

int
main (void)
{
  struct suite s = suite_new ("engine-order");

  tcase_add_test (s.tests, read_is_not_kept_over_a_write_that_was_first);
  tcase_add_test (s.tests, part_is_stored_over_a_write_that_was_first);
  tcase_add_test (s.tests, write_waits_for_what_is_being_stored);
  tcase_add_loop_test (s.tests, background_ends_before_the_last_commit, 0, 2);
  tcase_add_test (s.tests, no_mark_after_a_commit_without_space);
  return suite_run (s);
}
