/* nbdclone: clients' requests, when something fails or hangs.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>

#include "rig.h"
#include "testing.h"

#define R UINT64_C (4096) /* a region */
#define SIZE UINT64_C (1048576)
#define LARGE UINT64_C (1048576) /* a region that is larger than a batch */

/* How to block what the source is asked for, from one offset on. */
static struct sim_fault
blocked_at (uint64_t offset)
{
  return (struct sim_fault){
    .ops = SIM_READ, .offset = offset, .length = 1, .block = true
  };
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

static size_t
source_reads (struct rig *rig, size_t mark)
{
  return sim_count (&rig->sim, &rig->source.device, SIM_READ, 0, 0, mark);
}

static void
start_request (struct rig *rig, struct request *r)
{
  r->rig = rig;
  request_start (r);
}

/* P7: the write does not wait, and the late fetch does not undo it.  Who waited
 * for the fetch reads what is newer.
 */
START_TEST (write_overtakes_a_fetch)
{
  struct sim_fault block = blocked_at (3 * R);
  struct request read = {
    .kind = REQUEST_READ, .value = 0x81, .offset = 3 * R, .length = R
  };
  struct rig rig;

  begin (&rig, NULL);
  sim_add_fault (&rig.source.device, &block);
  start_request (&rig, &read);
  sim_wait_blocked (&rig.source.device, &block, 1);
  ck_assert_int_eq (rig_write (&rig, 0x81, 3 * R, R), 0);
  ck_assert (rig_reads (&rig, 0x81, 3 * R, R));
  sim_release (&rig.source.device, &block, _i ? EIO : 0);
  ck_assert_int_eq (request_finish (&read), 0);
  ck_assert (read.as_expected);
  engine_quiesce (rig.engine); /* what is kept is stored */
  ck_assert (rig_reads (&rig, 0x81, 3 * R, R));
  end (&rig);
}
END_TEST

START_TEST (write_overtakes_the_background)
{
  const struct rig_options o = { .hydration = true };
  struct sim_fault block = { .ops = SIM_READ, .block = true };
  struct rig rig;

  rig_init (&rig, &o);
  sim_add_fault (&rig.source.device, &block);
  rig_start (&rig);
  sim_wait_blocked (&rig.source.device, &block, 2);
  ck_assert_int_eq (rig_write (&rig, 0x81, 3 * R, R), 0);
  ck_assert_int_eq (rig_zero (&rig, 6 * R, R), 0);
  ck_assert_int_eq (rig_trim (&rig, 8 * R, R), 0);
  sim_release (&rig.source.device, &block, 0);
  rig_pass_time_until (&rig, engine_is_complete (rig.engine));
  ck_assert (rig_stores (&rig, 0x81, 3 * R, R));
  ck_assert (rig_stores (&rig, 0, 6 * R, R));
  ck_assert (rig_stores (&rig, 0, 8 * R, R));
  ck_assert (rig_stores_source (&rig, 0, 3 * R));
  ck_assert (rig_stores_source (&rig, 9 * R, SIZE - 9 * R));
  end (&rig);
}
END_TEST

/* A partial write that waited for the fetch puts its own bytes on top, whether
 * the fetch succeeds or not.
 */
static void
part_of_an_overtaken_region (uint64_t region, uint32_t batch, int err)
{
  const struct rig_options o = { .source_size = 4 * region,
                                 .region_size = region,
                                 .batch = batch };
  struct sim_fault block = blocked_at (region);
  struct request part = {
    .kind = REQUEST_WRITE, .value = 0x82, .offset = region + 100, .length = 50
  };
  struct rig rig;

  begin (&rig, &o);
  sim_add_fault (&rig.source.device, &block);
  start_request (&rig, &part);
  sim_wait_blocked (&rig.source.device, &block, 1);
  ck_assert_int_eq (rig_write (&rig, 0x81, region, region), 0);
  sim_release (&rig.source.device, &block, err);
  ck_assert_int_eq (request_finish (&part), 0);
  ck_assert (rig_reads (&rig, 0x81, region, 100));
  ck_assert (rig_reads (&rig, 0x82, region + 100, 50));
  ck_assert (rig_reads (&rig, 0x81, region + 150, region - 150));
  end (&rig);
}

START_TEST (part_write_goes_on_top_of_what_overtook_it)
{
  part_of_an_overtaken_region (R, 64 << 10, _i ? EIO : 0);
}
END_TEST

START_TEST (part_write_to_a_large_region_goes_on_top)
{
  part_of_an_overtaken_region (LARGE, 64 << 10, _i ? EIO : 0);
}
END_TEST

/* P8: with every thread of the background stuck in a fetch, and clients too. */
START_TEST (hydrated_regions_wait_for_nothing)
{
  const struct rig_options o = { .hydration = true };
  struct sim_fault block = { .ops = SIM_READ, .block = true };
  struct request reads[4];
  struct rig rig;
  unsigned i;

  rig_init (&rig, &o);
  sim_add_fault (&rig.source.device, &block);
  rig_start (&rig);
  sim_wait_blocked (&rig.source.device, &block, 2);
  ck_assert_int_eq (rig_write (&rig, 0x81, 100 * R, 10 * R), 0);
  for (i = 0; i < 4; ++i) {
    reads[i] = (struct request){ .kind = REQUEST_READ,
                                 .offset = (90 + i) * R,
                                 .length = R };
    start_request (&rig, &reads[i]);
  }
  sim_wait_blocked (&rig.source.device, &block, 6);
  ck_assert (rig_reads (&rig, 0x81, 100 * R, 10 * R));
  ck_assert_int_eq (rig_write (&rig, 0x82, 101 * R + 7, R), 0);
  ck_assert_int_eq (rig_zero (&rig, 103 * R + 7, R), 0);
  ck_assert_int_eq (rig_trim (&rig, 105 * R, R), 0);
  ck_assert_int_eq (rig_flush (&rig), 0);
  ck_assert_int_eq (rig_write_fua (&rig, 0x83, 100 * R, 5), 0);
  ck_assert (rig_reads (&rig, 0x82, 101 * R + 7, R));
  sim_release (&rig.source.device, &block, 0);
  for (i = 0; i < 4; ++i) {
    ck_assert_int_eq (request_finish (&reads[i]), 0);
    ck_assert (reads[i].as_expected);
  }
  end (&rig);
}
END_TEST

/* ... nor for a commit that hangs. */
START_TEST (hydrated_regions_do_not_wait_for_a_commit)
{
  struct sim_fault block = { .ops = SIM_FLUSH, .block = true };
  struct request flush = { .kind = REQUEST_FLUSH };
  struct sim_device *hangs;
  struct rig rig;

  begin (&rig, NULL);
  hangs = _i ? &rig.storage.device : &rig.destination.device;
  ck_assert_int_eq (rig_write (&rig, 0x81, 3 * R, R), 0);
  sim_add_fault (hangs, &block);
  start_request (&rig, &flush);
  sim_wait_blocked (hangs, &block, 1);
  ck_assert (rig_reads (&rig, 0x81, 3 * R, R));
  ck_assert_int_eq (rig_write (&rig, 0x82, 3 * R + 5, 9), 0);
  ck_assert_int_eq (rig_write (&rig, 0x83, 4 * R, R), 0);
  ck_assert (rig_reads (&rig, 0x83, 4 * R, R));
  ck_assert (!atomic_load (&flush.ended));
  sim_release (hangs, &block, 0);
  ck_assert_int_eq (request_finish (&flush), 0);
  end (&rig);
}
END_TEST

/* Lesson 16 */
START_TEST (failed_fetch_is_never_kept)
{
  struct sim_fault bad = {
    .ops = SIM_READ, .offset = 5 * R, .length = R, .err = _i ? ENOTCONN : EIO
  };
  struct rig rig;

  begin (&rig, NULL);
  sim_add_fault (&rig.source.device, &bad);
  ck_assert_int_eq (rig_read (&rig, 3 * R, 10 * R), EIO);
  ck_assert_int_eq (rig_read (&rig, 5 * R + 5, 5), EIO);
  ck_assert_int_eq (rig_write (&rig, 0x81, 5 * R + 5, 5), EIO);
  ck_assert_int_eq (rig_zero (&rig, 5 * R + 5, 5), EIO);
  ck_assert_int_eq (rig_trim (&rig, 5 * R + 5, 5), EIO);
  ck_assert_int_eq (rig_cache (&rig, 5 * R, 5), EIO);
  ck_assert (!rig_is_hydrated (&rig, 5, 6));
  ck_assert (rig_stores (&rig, RIG_GARBAGE, 5 * R, R));
  sim_release (&rig.source.device, &bad, 0);
  ck_assert (rig_reads_source (&rig, 3 * R, 10 * R));
  wait_for (rig_is_hydrated (&rig, 3, 13));
  ck_assert (rig_stores_source (&rig, 3 * R, 10 * R));
  end (&rig);
}
END_TEST

/* P7: also while the source is down. */
START_TEST (writes_go_on_without_a_source)
{
  struct sim_fault away = { .ops = SIM_READ | SIM_EXTENTS, .err = ENOTCONN };
  struct rig rig;

  begin (&rig, NULL);
  sim_add_fault (&rig.source.device, &away);
  ck_assert_int_eq (rig_write_fua (&rig, 0x81, 3 * R, 2 * R), 0);
  ck_assert_int_eq (rig_zero (&rig, 10 * R, 2 * R), 0);
  ck_assert_int_eq (rig_trim (&rig, 20 * R, 2 * R), 0);
  ck_assert (rig_reads (&rig, 0x81, 3 * R, 2 * R));
  ck_assert (rig_reads (&rig, 0, 10 * R, 2 * R));
  ck_assert_int_eq (rig_read (&rig, 0, R), EIO);
  sim_release (&rig.source.device, &away, 0);
  end (&rig);
}
END_TEST

/* A write that fails leaves the source's bytes in place (P1, P3). */
START_TEST (failed_write_hydrates_nothing)
{
  struct sim_fault bad = { .ops = SIM_WRITE | SIM_ZERO,
                           .err = ENOSPC,
                           .partial = 1024 };
  struct rig rig;

  begin (&rig, NULL);
  sim_add_fault (&rig.destination.device, &bad);
  ck_assert_int_eq (rig_write (&rig, 0x81, 3 * R, R), ENOSPC);
  ck_assert_int_eq (rig_write (&rig, 0x81, 4 * R + 5, 5), ENOSPC);
  ck_assert_int_eq (rig_zero (&rig, 5 * R, R), ENOSPC);
  ck_assert_int_eq (rig_trim (&rig, 6 * R, R), ENOSPC);
  ck_assert_uint_eq (rig_hydrated (&rig), 0);
  sim_release (&rig.destination.device, &bad, 0);
  ck_assert (rig_reads_source (&rig, 0, SIZE));
  end (&rig);
}
END_TEST

/* The read is answered all the same. */
START_TEST (full_destination_does_not_hurt_reads)
{
  struct sim_fault full = { .ops = SIM_WRITE | SIM_ZERO,
                            .err = _i ? EIO : ENOSPC };
  struct rig rig;

  begin (&rig, NULL);
  sim_add_fault (&rig.destination.device, &full);
  ck_assert (rig_reads_source (&rig, 0, 100 * R));
  ck_assert (rig_reads_source (&rig, 5, 100 * R));
  sim_release (&rig.destination.device, &full, 0);
  ck_assert (rig_reads_source (&rig, 0, 100 * R));
  end (&rig);
}
END_TEST

/* ENOTSUP has a meaning of its own in NBD. */
START_TEST (clients_never_see_enotsup)
{
  struct sim_fault odd = { .ops = SIM_READ | SIM_WRITE | SIM_CACHE | SIM_TRIM,
                           .err = _i ? EOPNOTSUPP : ENOTSUP };
  struct rig rig;

  begin (&rig, NULL);
  ck_assert_int_eq (rig_write (&rig, 0x81, 3 * R, R), 0);
  sim_add_fault (&rig.destination.device, &odd);
  ck_assert_int_eq (rig_read (&rig, 3 * R, R), EIO);
  ck_assert_int_eq (rig_write (&rig, 0x81, 3 * R, R), EIO);
  ck_assert_int_eq (rig_write (&rig, 0x81, 4 * R, R), EIO);
  ck_assert_int_eq (rig_trim (&rig, 3 * R, R), EIO);
  ck_assert_int_eq (rig_cache (&rig, 3 * R, R), EIO);
  sim_release (&rig.destination.device, &odd, 0);
  end (&rig);
}
END_TEST

/* P9: what reads fetched and cannot be stored yet has a fixed budget; what did
 * not fit is left to the background.
 */
START_TEST (clone_on_read_has_a_budget)
{
  const uint64_t budget = UINT64_C (16) << 20, size = UINT64_C (24) << 20;
  const struct rig_options o = { .source_size = size,
                                 .region_size = 65536,
                                 .batch = 1 << 20 };
  struct sim_fault block = { .ops = SIM_WRITE, .block = true };
  struct rig rig;
  uint64_t at;

  rig_init (&rig, &o);
  rig.destination.disk.write_through = true;
  rig_start (&rig);
  sim_add_fault (&rig.destination.device, &block);
  for (at = 0; at < size; at += 1 << 20)
    ck_assert (rig_reads_source (&rig, at, 1 << 20));
  pthread_mutex_lock (&rig.engine->keep.lock);
  ck_assert_uint_eq (rig.engine->keep.bytes, budget);
  pthread_mutex_unlock (&rig.engine->keep.lock);
  ck_assert_uint_eq (rig_hydrated (&rig), 0);
  sim_release (&rig.destination.device, &block, 0);
  rig_pass_time_until (&rig, engine_is_complete (rig.engine));
  ck_assert (rig_stores_source (&rig, 0, size));
  end (&rig);
}
END_TEST

/* P5, lessons 13 and 23. */
static void
check_failed (struct rig *rig)
{
  int err;

  ck_assert_int_eq (rig_flush (rig), EIO);
  ck_assert_int_eq (rig_write (rig, 0x91, 3 * R, R), EIO);
  ck_assert_int_eq (rig_write (rig, 0x91, 9 * R, R), EIO);
  ck_assert_int_eq (rig_write_fua (rig, 0x91, 3 * R, R), EIO);
  ck_assert_int_eq (rig_zero (rig, 3 * R, R), EIO);
  ck_assert_int_eq (rig_trim (rig, 3 * R, R), EIO);
  ck_assert_int_eq (
    engine_zero (rig->engine, R, 3 * R, false, true, false, &err), -1);
  ck_assert_int_eq (err, EIO);
  /* Reads go on: what was written, and the source's. */
  ck_assert (rig_reads (rig, 0x81, 3 * R, R));
  ck_assert (rig_reads (rig, 0x82, 4 * R, R));
  ck_assert (rig_reads_source (rig, 5 * R, 100 * R));
}

static void
fail_then_restart (bool storage, unsigned op, int err)
{
  struct sim_fault bad = { .ops = op, .times = 1, .err = err };
  struct sim_device *d;
  struct rig rig;

  forget_messages ();
  begin (&rig, NULL);
  d = storage ? &rig.storage.device : &rig.destination.device;
  ck_assert_int_eq (rig_write_fua (&rig, 0x81, 3 * R, R), 0);
  ck_assert_int_eq (rig_write (&rig, 0x82, 4 * R, R), 0);
  sim_add_fault (d, &bad);
  check_failed (&rig);
  sim_release (d, &bad, 0);
  check_failed (&rig);
  ck_assert_uint_eq (error_count (), 1);
  ck_assert (last_error_has ("restart the server"));
  rig_stop (&rig);
  rig_open (&rig);
  ck_assert (!bitmap_file_is_clean (rig.file));
  rig_close (&rig);
  /* The last commit is what remains after a power cut. */
  sim_disk_cut (&rig.destination.disk, sim_none_survives, NULL);
  sim_disk_cut (&rig.storage.disk, sim_none_survives, NULL);
  rig_start (&rig);
  ck_assert (rig_reads (&rig, 0x81, 3 * R, R));
  end (&rig);
}

START_TEST (failed_flush_fails_all_that_follows)
{
  fail_then_restart (false, SIM_FLUSH, EIO);
}
END_TEST

START_TEST (failed_flush_for_lack_of_space_does_so_too)
{
  fail_then_restart (false, SIM_FLUSH, ENOSPC);
}
END_TEST

START_TEST (failed_bitmap_sync_fails_all_that_follows)
{
  fail_then_restart (true, SIM_FLUSH, EIO);
}
END_TEST

START_TEST (failed_bitmap_write_fails_all_that_follows)
{
  fail_then_restart (true, SIM_WRITE, EIO);
}
END_TEST

/* The flush fails, the bits stay pending, the next commit tries again. */
START_TEST (bitmap_file_without_space)
{
  struct sim_fault full = { .ops = SIM_WRITE, .err = ENOSPC };
  struct rig rig;

  begin (&rig, NULL);
  ck_assert_int_eq (rig_write (&rig, 0x81, 3 * R, R), 0);
  sim_add_fault (&rig.storage.device, &full);
  ck_assert_int_eq (rig_flush (&rig), ENOSPC);
  ck_assert_int_eq (rig_write_fua (&rig, 0x82, 5 * R, R), ENOSPC);
  ck_assert_int_eq (rig_write (&rig, 0x83, 7 * R, R), 0);
  ck_assert (rig_reads (&rig, 0x81, 3 * R, R));
  sim_release (&rig.storage.device, &full, 0);
  ck_assert_int_eq (rig_flush (&rig), 0);
  rig_crash (&rig, sim_none_survives, NULL);
  rig_start (&rig);
  ck_assert (rig_reads (&rig, 0x81, 3 * R, R));
  ck_assert (rig_reads (&rig, 0x82, 5 * R, R));
  ck_assert (rig_reads (&rig, 0x83, 7 * R, R));
  end (&rig);
}
END_TEST

START_TEST (close_without_space_is_not_clean)
{
  struct sim_fault full = { .ops = SIM_WRITE, .err = ENOSPC };
  struct rig rig;

  begin (&rig, NULL);
  ck_assert_int_eq (rig_write_fua (&rig, 0x81, 3 * R, R), 0);
  ck_assert_int_eq (rig_write (&rig, 0x82, 5 * R, R), 0);
  sim_add_fault (&rig.storage.device, &full);
  rig_stop (&rig);
  sim_release (&rig.storage.device, &full, 0);
  rig_start (&rig);
  ck_assert (rig_reads (&rig, 0x81, 3 * R, R));
  ck_assert (rig_reads_source (&rig, 5 * R, R));
  end (&rig);
}
END_TEST

/* All is hydrated, but it cannot be committed: that is not complete. */
START_TEST (not_complete_without_space)
{
  const struct rig_options o = { .commit_interval_us = 1000000 };
  struct sim_fault full = { .ops = SIM_WRITE, .err = ENOSPC };
  struct rig rig;

  forget_messages ();
  begin (&rig, &o);
  sim_add_fault (&rig.storage.device, &full);
  ck_assert_int_eq (rig_write (&rig, 0x81, 0, SIZE), 0);
  rig_pass_time_until (&rig, last_error_has ("no space"));
  /* Twice more, so that the first time has been looked at. */
  wait_for (sim_clock_skip (&rig.clock, UINT64_C (2000000)));
  wait_for (sim_clock_skip (&rig.clock, UINT64_C (2000000)));
  ck_assert (!engine_is_complete (rig.engine));
  ck_assert_uint_eq (atomic_load (&rig.completed), 0);
  sim_release (&rig.storage.device, &full, 0);
  rig_pass_time_until (&rig, engine_is_complete (rig.engine));
  end (&rig);
}
END_TEST

/* P10: requests that wait for the source fail, the background ends, and a last
 * commit is made.
 */
START_TEST (quiesce_while_the_source_hangs)
{
  const struct rig_options o = { .hydration = true };
  struct sim_fault block = { .ops = SIM_READ, .block = true };
  struct request requests[] = {
    { .kind = REQUEST_READ, .offset = 90 * R, .length = R },
    { .kind = REQUEST_WRITE, .offset = 92 * R + 1, .length = 9, .value = 9 },
  };
  struct rig rig;
  unsigned i;

  rig_init (&rig, &o);
  sim_add_fault (&rig.source.device, &block);
  rig_start (&rig);
  sim_wait_blocked (&rig.source.device, &block, 2);
  ck_assert_int_eq (rig_write (&rig, 0x81, 100 * R, R), 0);
  for (i = 0; i < 2; ++i)
    start_request (&rig, &requests[i]);
  sim_wait_blocked (&rig.source.device, &block, 4);
  sim_source_stop (&rig.source);
  engine_quiesce (rig.engine);
  for (i = 0; i < 2; ++i)
    ck_assert_int_eq (request_finish (&requests[i]), EIO);
  ck_assert_uint_eq (rig.engine->hydrate.n_threads, 0);
  ck_assert (rig_reads (&rig, 0x81, 100 * R, R));
  sim_release (&rig.source.device, &block, 0);
  rig_crash (&rig, sim_none_survives, NULL);
  rig_open (&rig);
  ck_assert (rig_is_hydrated (&rig, 100, 101));
  ck_assert_uint_eq (rig_hydrated (&rig), 1);
  ck_assert (rig_stores (&rig, 0x81, 100 * R, R));
  rig_close (&rig);
  rig_destroy (&rig);
}
END_TEST

/* A read that is in flight at the source when all becomes hydrated. */
START_TEST (read_during_completion)
{
  struct sim_fault block = blocked_at (3 * R);
  struct request read = {
    .kind = REQUEST_READ, .value = 0x81, .offset = 3 * R, .length = R
  };
  struct rig rig;
  size_t mark;

  begin (&rig, NULL);
  sim_add_fault (&rig.source.device, &block);
  start_request (&rig, &read);
  sim_wait_blocked (&rig.source.device, &block, 1);
  ck_assert_int_eq (rig_write (&rig, 0x81, 0, SIZE), 0);
  wait_for (engine_is_complete (rig.engine));
  ck_assert_int_eq (request_finish (&read), 0);
  ck_assert (read.as_expected);
  sim_release (&rig.source.device, &block, 0);
  mark = sim_mark (&rig.sim);
  ck_assert (rig_reads (&rig, 0x81, 0, SIZE));
  ck_assert_uint_eq (source_reads (&rig, mark), 0);
  end (&rig);
}
END_TEST

/* Two parts of the same region at once: both are in it. */
START_TEST (two_parts_of_one_region)
{
  struct sim_fault block = blocked_at (3 * R);
  struct request parts[] = {
    { .kind = REQUEST_WRITE, .value = 0x81, .offset = 3 * R, .length = 10 },
    { .kind = REQUEST_FUA, .value = 0x82, .offset = 3 * R + 20, .length = 10 },
    { .kind = REQUEST_WRITE, .value = 0x83, .offset = 4 * R - 9, .length = 9 },
  };
  struct rig rig;
  unsigned i;

  begin (&rig, NULL);
  sim_add_fault (&rig.source.device, &block);
  for (i = 0; i < 3; ++i)
    start_request (&rig, &parts[i]);
  /* One fetch for all three. */
  wait_for (atomic_load (&rig.engine->clone.clients) == 3);
  sim_wait_blocked (&rig.source.device, &block, 1);
  sim_release (&rig.source.device, &block, 0);
  for (i = 0; i < 3; ++i)
    ck_assert_int_eq (request_finish (&parts[i]), 0);
  ck_assert (rig_reads (&rig, 0x81, 3 * R, 10));
  ck_assert (rig_reads_source (&rig, 3 * R + 10, 10));
  ck_assert (rig_reads (&rig, 0x82, 3 * R + 20, 10));
  ck_assert (rig_reads_source (&rig, 3 * R + 30, R - 39));
  ck_assert (rig_reads (&rig, 0x83, 4 * R - 9, 9));
  end (&rig);
}
END_TEST

int
main (void)
{
  struct suite s = suite_new ("engine-faults");
  TCase *t = s.tests;

  tcase_add_loop_test (t, write_overtakes_a_fetch, 0, 2);
  tcase_add_test (t, write_overtakes_the_background);
  tcase_add_loop_test (t, part_write_goes_on_top_of_what_overtook_it, 0, 2);
  tcase_add_loop_test (t, part_write_to_a_large_region_goes_on_top, 0, 2);
  tcase_add_test (t, hydrated_regions_wait_for_nothing);
  tcase_add_loop_test (t, hydrated_regions_do_not_wait_for_a_commit, 0, 2);
  tcase_add_loop_test (t, failed_fetch_is_never_kept, 0, 2);
  tcase_add_test (t, writes_go_on_without_a_source);
  tcase_add_test (t, failed_write_hydrates_nothing);
  tcase_add_loop_test (t, full_destination_does_not_hurt_reads, 0, 2);
  tcase_add_loop_test (t, clients_never_see_enotsup, 0, 2);
  tcase_add_test (t, clone_on_read_has_a_budget);
  tcase_add_test (t, failed_flush_fails_all_that_follows);
  tcase_add_test (t, failed_flush_for_lack_of_space_does_so_too);
  tcase_add_test (t, failed_bitmap_sync_fails_all_that_follows);
  tcase_add_test (t, failed_bitmap_write_fails_all_that_follows);
  tcase_add_test (t, bitmap_file_without_space);
  tcase_add_test (t, close_without_space_is_not_clean);
  tcase_add_test (t, not_complete_without_space);
  tcase_add_test (t, quiesce_while_the_source_hangs);
  tcase_add_test (t, read_during_completion);
  tcase_add_test (t, two_parts_of_one_region);
  return suite_run (s);
}
