/* nbdclone: commit: what is durable, when, and at what cost.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>

#include "files.h"
#include "rig.h"
#include "testing.h"

#define REGIONS (8 * CHUNK_REGIONS)

/* So many regions are worth a commit. */
#define ENOUGH 7

/* Bitmap, file, destination and a commit, without an engine. */
struct fixture {
  struct sim sim;
  struct sim_destination destination;
  struct sim_storage storage;
  struct sim_clock clock;
  struct opened opened;
  struct commit commit;
  uint64_t regions;
};

static void
start (struct fixture *f)
{
  file_must_open (&f->opened, &f->storage, f->regions);
  must (bitmap_file_recover (f->opened.file) == 0);
  must (commit_init (&f->commit, f->opened.bitmap, f->opened.file,
                     &f->destination.destination, &f->clock.clock,
                     ENOUGH) == 0);
}

static void
stop (struct fixture *f)
{
  commit_stop (&f->commit);
  commit_destroy (&f->commit);
  file_close (&f->opened);
}

static void
fixture_init (struct fixture *f, uint64_t regions)
{
  const struct bitmap_file_identity id = file_identity (regions);

  f->regions = regions;
  sim_init (&f->sim);
  sim_clock_init (&f->clock);
  sim_destination_init (&f->destination, &f->sim, 1 << 20);
  file_create (&f->storage, &f->sim, &id);
  start (f);
}

static void
fixture_destroy (struct fixture *f)
{
  stop (f);
  sim_destination_destroy (&f->destination);
  sim_storage_destroy (&f->storage);
  sim_clock_destroy (&f->clock);
  sim_destroy (&f->sim);
}

static void
set (struct fixture *f, uint64_t first, uint64_t end)
{
  bitmap_set (f->opened.bitmap, first, end, commit_changed, &f->commit);
}

/* Cut the power and start again. */
static void
crash (struct fixture *f)
{
  sim_stop_after (&f->sim, 0);
  stop (f);
  sim_disk_cut (&f->storage.disk, sim_none_survives, NULL);
  sim_go_on (&f->sim);
  start (f);
}

static bool
is_set (struct fixture *f, uint64_t region)
{
  return bitmap_all_set (f->opened.bitmap, region, region + 1);
}

static size_t
flushes (struct fixture *f, size_t mark)
{
  return sim_count (&f->sim, &f->destination.device, SIM_FLUSH, 0, 0, mark);
}

static size_t
file_writes (struct fixture *f, size_t mark)
{
  return sim_count (&f->sim, &f->storage.device, SIM_WRITE, 0, 0, mark);
}

static size_t
file_syncs (struct fixture *f, size_t mark)
{
  return sim_count (&f->sim, &f->storage.device, SIM_FLUSH, 0, 0, mark);
}

static void *
sync_thread (void *opaque)
{
  struct fixture *f = opaque;

  return (void *) (intptr_t) commit_sync (&f->commit);
}

static int
join (pthread_t thread)
{
  void *r;

  must (pthread_join (thread, &r) == 0);
  return (int) (intptr_t) r;
}

/* P4 */
START_TEST (synced_bits_survive)
{
  struct fixture f;

  fixture_init (&f, REGIONS);
  set (&f, 5, 6);
  set (&f, REGIONS - 1, REGIONS);
  ck_assert (commit_pending (&f.commit));
  ck_assert_int_eq (commit_sync (&f.commit), 0);
  ck_assert (!commit_pending (&f.commit));
  set (&f, 7, 8); /* without a sync */
  crash (&f);
  ck_assert (is_set (&f, 5));
  ck_assert (is_set (&f, REGIONS - 1));
  ck_assert (!is_set (&f, 7));
  fixture_destroy (&f);
}
END_TEST

/* Lesson 1: the destination first; and once is enough. */
START_TEST (flush_once_then_write_the_file)
{
  struct fixture f;
  size_t mark;

  fixture_init (&f, REGIONS);
  mark = sim_mark (&f.sim);
  set (&f, 5, 2 * CHUNK_REGIONS);
  ck_assert_int_eq (commit_sync (&f.commit), 0);
  ck_assert_uint_eq (flushes (&f, mark), 1);
  ck_assert_uint_eq (file_writes (&f, mark), 3);
  ck_assert_uint_eq (file_syncs (&f, mark), 1);
  ck_assert_uint_lt (
    sim_find (&f.sim, &f.destination.device, SIM_FLUSH, 0, 0, mark),
    sim_find (&f.sim, &f.storage.device, SIM_WRITE, 0, 0, mark));
  ck_assert_uint_eq (atomic_load (&f.commit.count), 1);
  fixture_destroy (&f);
}
END_TEST

START_TEST (nothing_pending_costs_a_flush_and_no_bitmap_io)
{
  struct fixture f;
  size_t mark;

  fixture_init (&f, REGIONS);
  set (&f, 5, 6);
  ck_assert_int_eq (commit_sync (&f.commit), 0);
  set (&f, 5, 6); /* set already */
  mark = sim_mark (&f.sim);
  ck_assert_int_eq (commit_sync (&f.commit), 0);
  ck_assert_uint_eq (flushes (&f, mark), 1);
  ck_assert_uint_eq (file_writes (&f, mark) + file_syncs (&f, mark), 0);
  fixture_destroy (&f);
}
END_TEST

/* Lesson 2: what is set during the destination's flush is not in this commit:
 * in a chunk that is being committed (0), and in another one (1).
 */
START_TEST (bits_set_during_the_flush_wait_for_the_next)
{
  const uint64_t late = _i * CHUNK_REGIONS + 100;
  struct sim_fault block = { .ops = SIM_FLUSH, .block = true };
  struct fixture f;
  pthread_t thread;

  fixture_init (&f, REGIONS);
  set (&f, 5, 6);
  sim_add_fault (&f.destination.device, &block);
  thread_start (&thread, sync_thread, &f);
  sim_wait_blocked (&f.destination.device, &block, 1);
  set (&f, late, late + 1);
  sim_release (&f.destination.device, &block, 0);
  ck_assert_int_eq (join (thread), 0);
  ck_assert (commit_pending (&f.commit));
  crash (&f);
  ck_assert (is_set (&f, 5));
  ck_assert (!is_set (&f, late));
  fixture_destroy (&f);
}
END_TEST

START_TEST (bits_set_during_the_flush_are_in_the_next)
{
  const uint64_t late = _i * CHUNK_REGIONS + 100;
  struct sim_fault block = { .ops = SIM_FLUSH, .block = true };
  struct fixture f;
  pthread_t thread;

  fixture_init (&f, REGIONS);
  set (&f, 5, 6);
  sim_add_fault (&f.destination.device, &block);
  thread_start (&thread, sync_thread, &f);
  sim_wait_blocked (&f.destination.device, &block, 1);
  set (&f, late, late + 1);
  sim_release (&f.destination.device, &block, 0);
  ck_assert_int_eq (join (thread), 0);
  ck_assert_int_eq (commit_sync (&f.commit), 0);
  ck_assert (!commit_pending (&f.commit));
  crash (&f);
  ck_assert (is_set (&f, 5));
  ck_assert (is_set (&f, late));
  fixture_destroy (&f);
}
END_TEST

/* A sync during another one's flush needs a flush of its own. */
START_TEST (sync_during_a_flush_flushes_again)
{
  struct sim_fault block = { .ops = SIM_FLUSH, .times = 1, .block = true };
  struct fixture f;
  pthread_t first, second;
  size_t mark;

  fixture_init (&f, REGIONS);
  mark = sim_mark (&f.sim);
  sim_add_fault (&f.destination.device, &block);
  thread_start (&first, sync_thread, &f);
  sim_wait_blocked (&f.destination.device, &block, 1);
  set (&f, 9, 10);
  thread_start (&second, sync_thread, &f);
  sim_release (&f.destination.device, &block, 0);
  ck_assert_int_eq (join (first), 0);
  ck_assert_int_eq (join (second), 0);
  ck_assert_uint_eq (flushes (&f, mark), 2);
  crash (&f);
  ck_assert (is_set (&f, 9));
  fixture_destroy (&f);
}
END_TEST

/* P5: fails once, then "succeeds": nothing is committed ever after. */
START_TEST (failed_flush_stays_failed)
{
  struct sim_fault bad = { .ops = SIM_FLUSH, .times = 1, .err = ENOSPC };
  struct fixture f;
  size_t mark;

  forget_messages ();
  fixture_init (&f, REGIONS);
  set (&f, 5, 6);
  sim_add_fault (&f.destination.device, &bad);
  mark = sim_mark (&f.sim);
  ck_assert_int_eq (commit_sync (&f.commit), EIO);
  ck_assert (commit_failed (&f.commit));
  ck_assert (last_error_has ("the destination's flush failed"));
  ck_assert_int_eq (commit_sync (&f.commit), EIO);
  ck_assert_int_eq (commit_flush (&f.commit), EIO);
  ck_assert_int_eq (commit_sync_regions (&f.commit, 5, 6), EIO);
  ck_assert_uint_eq (file_writes (&f, mark), 0);
  ck_assert_uint_eq (flushes (&f, mark), 1);
  ck_assert_uint_eq (error_count (), 1);
  sim_release (&f.destination.device, &bad, 0);
  fixture_destroy (&f);
}
END_TEST

START_TEST (failed_bitmap_write_stays_failed)
{
  const unsigned ops = _i ? SIM_FLUSH : SIM_WRITE;
  struct sim_fault bad = { .ops = ops, .times = 1, .err = EIO };
  struct fixture f;
  size_t mark;

  fixture_init (&f, REGIONS);
  set (&f, 5, 6);
  sim_add_fault (&f.storage.device, &bad);
  ck_assert_int_eq (commit_sync (&f.commit), EIO);
  ck_assert (commit_failed (&f.commit));
  mark = sim_mark (&f.sim);
  ck_assert_int_eq (commit_sync (&f.commit), EIO);
  ck_assert_uint_eq (file_writes (&f, mark), 0);
  sim_release (&f.storage.device, &bad, 0);
  fixture_destroy (&f);
}
END_TEST

/* Who shares the flush that fails learns of it. */
START_TEST (failed_flush_reaches_all_who_wait)
{
  struct sim_fault bad = { .ops = SIM_FLUSH, .times = 1, .block = true };
  struct fixture f;
  pthread_t threads[6];
  unsigned i;

  fixture_init (&f, REGIONS);
  set (&f, 5, 6);
  sim_add_fault (&f.destination.device, &bad);
  for (i = 0; i < 6; ++i)
    thread_start (&threads[i], sync_thread, &f);
  sim_wait_blocked (&f.destination.device, &bad, 1);
  sim_release (&f.destination.device, &bad, EIO);
  for (i = 0; i < 6; ++i)
    ck_assert_int_eq (join (threads[i]), EIO);
  fixture_destroy (&f);
}
END_TEST

START_TEST (no_space_then_success)
{
  struct sim_fault full = { .ops = SIM_WRITE, .skip = 1, .err = ENOSPC };
  struct fixture f;

  fixture_init (&f, REGIONS);
  set (&f, 5, CHUNK_REGIONS + 6);
  sim_add_fault (&f.storage.device, &full);
  ck_assert_int_eq (commit_sync (&f.commit), ENOSPC);
  ck_assert (!commit_failed (&f.commit));
  ck_assert (commit_pending (&f.commit));
  set (&f, 5 * CHUNK_REGIONS, 5 * CHUNK_REGIONS + 1); /* more chunks */
  set (&f, 1, 2);                                     /* the same again */
  ck_assert_int_eq (commit_sync (&f.commit), ENOSPC);
  sim_release (&f.storage.device, &full, 0);
  ck_assert_int_eq (commit_sync (&f.commit), 0);
  /* A chunk that changed after it was taken may be written once too often. */
  ck_assert_int_eq (commit_sync (&f.commit), 0);
  ck_assert (!commit_pending (&f.commit));
  crash (&f);
  ck_assert (bitmap_all_set (f.opened.bitmap, 5, CHUNK_REGIONS + 6));
  ck_assert (is_set (&f, 5 * CHUNK_REGIONS));
  ck_assert (is_set (&f, 1));
  fixture_destroy (&f);
}
END_TEST

/* What found no space is in the next commit again, whatever else is. */
START_TEST (no_space_then_killed)
{
  struct sim_fault full = { .ops = SIM_WRITE, .skip = 1, .err = ENOSPC };
  struct fixture f;

  fixture_init (&f, REGIONS);
  set (&f, 5, CHUNK_REGIONS + 6);
  ck_assert_int_eq (commit_sync (&f.commit), 0);
  set (&f, 2 * CHUNK_REGIONS - 9, 2 * CHUNK_REGIONS + 9);
  sim_add_fault (&f.storage.device, &full);
  ck_assert_int_eq (commit_sync (&f.commit), ENOSPC);
  sim_release (&f.storage.device, &full, 0);
  crash (&f);
  ck_assert (bitmap_all_set (f.opened.bitmap, 5, CHUNK_REGIONS + 6));
  set (&f, 0, 1);
  ck_assert_int_eq (commit_sync (&f.commit), 0);
  crash (&f);
  ck_assert (is_set (&f, 0));
  fixture_destroy (&f);
}
END_TEST

/* More than one round: memory is bounded (P9). */
START_TEST (many_chunks)
{
  const uint64_t chunks = 2 * 4096 + 100;
  struct fixture f;
  size_t mark;
  uint64_t i;

  fixture_init (&f, chunks * CHUNK_REGIONS);
  for (i = 0; i < chunks; ++i)
    set (&f, i * CHUNK_REGIONS + i % 7, i * CHUNK_REGIONS + i % 7 + 1);
  mark = sim_mark (&f.sim);
  ck_assert_int_eq (commit_sync (&f.commit), 0);
  ck_assert (!commit_pending (&f.commit));
  ck_assert_uint_eq (flushes (&f, mark), 3);
  ck_assert_uint_eq (file_writes (&f, mark), chunks + 3);
  crash (&f);
  ck_assert_uint_eq (bitmap_count (f.opened.bitmap), chunks);
  fixture_destroy (&f);
}
END_TEST

/* Lesson 5: FUA on a region that is hydrated but not committed. */
START_TEST (fua_on_uncommitted_regions_commits)
{
  struct fixture f;

  fixture_init (&f, REGIONS);
  set (&f, 5, 6);
  ck_assert_int_eq (commit_sync_regions (&f.commit, 5, 6), 0);
  crash (&f);
  ck_assert (is_set (&f, 5));
  fixture_destroy (&f);
}
END_TEST

/* ... and while another commit, which has the bit, is at its flush. */
static void *
fua_thread (void *opaque)
{
  struct fixture *f = opaque;

  return (void *) (intptr_t) commit_sync_regions (&f->commit, 5, 6);
}

START_TEST (fua_during_a_commit_waits_for_the_bits)
{
  struct sim_fault block = { .ops = SIM_WRITE, .times = 1, .block = true };
  struct fixture f;
  pthread_t sync, fua;

  fixture_init (&f, REGIONS);
  set (&f, 5, 6);
  sim_add_fault (&f.storage.device, &block);
  thread_start (&sync, sync_thread, &f);
  sim_wait_blocked (&f.storage.device, &block, 1);
  thread_start (&fua, fua_thread, &f);
  /* The commit that goes on fails: then FUA must not have been answered. */
  sim_release (&f.storage.device, &block, EIO);
  ck_assert_int_eq (join (sync), EIO);
  ck_assert_int_eq (join (fua), EIO);
  fixture_destroy (&f);
}
END_TEST

START_TEST (fua_on_committed_regions_does_no_bitmap_io)
{
  struct fixture f;
  size_t mark;

  fixture_init (&f, REGIONS);
  set (&f, 5, 6);
  ck_assert_int_eq (commit_sync (&f.commit), 0);
  set (&f, 3 * CHUNK_REGIONS, 3 * CHUNK_REGIONS + 1); /* pending elsewhere */
  mark = sim_mark (&f.sim);
  ck_assert_int_eq (commit_sync_regions (&f.commit, 5, 6), 0);
  ck_assert_int_eq (commit_sync_regions (&f.commit, 0, 0), 0);
  ck_assert_uint_eq (flushes (&f, mark), 2);
  ck_assert_uint_eq (file_writes (&f, mark), 0);
  fixture_destroy (&f);
}
END_TEST

START_TEST (fua_looks_at_all_of_its_chunks)
{
  struct fixture f;
  size_t mark;

  fixture_init (&f, REGIONS);
  set (&f, 2 * CHUNK_REGIONS, 2 * CHUNK_REGIONS + 1);
  mark = sim_mark (&f.sim);
  ck_assert_int_eq (
    commit_sync_regions (&f.commit, CHUNK_REGIONS - 1, 2 * CHUNK_REGIONS), 0);
  ck_assert_uint_eq (file_writes (&f, mark), 0);
  ck_assert_int_eq (
    commit_sync_regions (&f.commit, CHUNK_REGIONS - 1, 2 * CHUNK_REGIONS + 1),
    0);
  ck_assert_uint_eq (file_writes (&f, mark), 2);
  fixture_destroy (&f);
}
END_TEST

/* The thread: commits once the interval is over, and when poked. */
static bool
never_done (void *opaque)
{
  (void) opaque;
  return false;
}

START_TEST (thread_commits_after_the_interval)
{
  struct fixture f;
  size_t mark;

  fixture_init (&f, REGIONS);
  ck_assert_int_eq (commit_start (&f.commit, 1000000, never_done, NULL), 0);
  set (&f, 5, 6);
  wait_for (!commit_pending (&f.commit) ||
            (sim_clock_skip (&f.clock, 1000000), false));
  /* ... and does nothing when there is nothing. */
  mark = sim_mark (&f.sim);
  wait_for (sim_clock_skip (&f.clock, 1000000));
  wait_for (sim_clock_skip (&f.clock, 1000000));
  ck_assert_uint_eq (flushes (&f, mark), 0);
  fixture_destroy (&f);
}
END_TEST

START_TEST (thread_commits_when_poked)
{
  struct fixture f;

  fixture_init (&f, REGIONS);
  ck_assert_int_eq (commit_start (&f.commit, 1000000, never_done, NULL), 0);
  set (&f, 5, 6);
  commit_poke (&f.commit);
  wait_for (!commit_pending (&f.commit));
  fixture_destroy (&f);
}
END_TEST

START_TEST (thread_commits_when_there_is_enough)
{
  struct fixture f;

  fixture_init (&f, REGIONS);
  ck_assert_int_eq (commit_start (&f.commit, 1000000, never_done, NULL), 0);
  set (&f, 5, 5 + ENOUGH - 1);
  commit_hydrated (&f.commit);
  ck_assert (commit_pending (&f.commit));
  set (&f, 5 + ENOUGH - 1, 5 + ENOUGH);
  commit_hydrated (&f.commit);
  wait_for (!commit_pending (&f.commit));
  /* It counts from the commit on. */
  set (&f, 5 + ENOUGH, 4 + 2 * ENOUGH);
  commit_hydrated (&f.commit);
  ck_assert (commit_pending (&f.commit));
  fixture_destroy (&f);
}
END_TEST

START_TEST (thread_complains_of_no_space_once)
{
  struct sim_fault full = { .ops = SIM_WRITE, .err = ENOSPC };
  struct fixture f;
  unsigned i;

  forget_messages ();
  fixture_init (&f, REGIONS);
  sim_add_fault (&f.storage.device, &full);
  ck_assert_int_eq (commit_start (&f.commit, 1000000, never_done, NULL), 0);
  set (&f, 5, 6);
  for (i = 0; i < 5; ++i)
    wait_for (sim_clock_skip (&f.clock, 1000000));
  wait_for (error_count () == 1);
  ck_assert (last_error_has ("no space to write the bitmap file"));
  sim_release (&f.storage.device, &full, 0);
  wait_for (!commit_pending (&f.commit) ||
            (sim_clock_skip (&f.clock, 1000000), false));
  ck_assert_uint_eq (error_count (), 1);
  fixture_destroy (&f);
}
END_TEST

/* Many setters, each of which syncs what it has set: P4 for each of them. */
static void
set_and_sync (struct in_thread *t)
{
  struct fixture *f = t->opaque;
  uint64_t i;

  for (i = 0; i < 60; ++i) {
    const uint64_t region = i * 64 + t->self + (i % 8) * CHUNK_REGIONS;

    set (f, region, region + 1);
    must (commit_sync (&f->commit) == 0);
  }
}

START_TEST (many_sync_at_once)
{
  struct fixture f;
  uint64_t i, self;

  fixture_init (&f, REGIONS);
  run_threads (6, set_and_sync, &f);
  ck_assert (!commit_pending (&f.commit));
  crash (&f);
  for (i = 0; i < 60; ++i)
    for (self = 0; self < 6; ++self)
      must (is_set (&f, i * 64 + self + (i % 8) * CHUNK_REGIONS));
  fixture_destroy (&f);
}
END_TEST

int
main (void)
{
  struct suite s = suite_new ("commit");

  tcase_add_test (s.tests, synced_bits_survive);
  tcase_add_test (s.tests, flush_once_then_write_the_file);
  tcase_add_test (s.tests, nothing_pending_costs_a_flush_and_no_bitmap_io);
  tcase_add_loop_test (s.tests, bits_set_during_the_flush_wait_for_the_next, 0,
                       2);
  tcase_add_loop_test (s.tests, bits_set_during_the_flush_are_in_the_next, 0,
                       2);
  tcase_add_test (s.tests, sync_during_a_flush_flushes_again);
  tcase_add_test (s.tests, failed_flush_stays_failed);
  tcase_add_loop_test (s.tests, failed_bitmap_write_stays_failed, 0, 2);
  tcase_add_test (s.tests, failed_flush_reaches_all_who_wait);
  tcase_add_test (s.tests, no_space_then_success);
  tcase_add_test (s.tests, no_space_then_killed);
  tcase_add_test (s.tests, many_chunks);
  tcase_add_test (s.tests, fua_on_uncommitted_regions_commits);
  tcase_add_test (s.tests, fua_during_a_commit_waits_for_the_bits);
  tcase_add_test (s.tests, fua_on_committed_regions_does_no_bitmap_io);
  tcase_add_test (s.tests, fua_looks_at_all_of_its_chunks);
  tcase_add_test (s.tests, thread_commits_after_the_interval);
  tcase_add_test (s.tests, thread_commits_when_poked);
  tcase_add_test (s.tests, thread_commits_when_there_is_enough);
  tcase_add_test (s.tests, thread_complains_of_no_space_once);
  tcase_add_test (s.tests, many_sync_at_once);
  return suite_run (s);
}
