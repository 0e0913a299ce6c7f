/* nbdclone: hydration in the background.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>

#include "rig.h"
#include "steer.h"
#include "testing.h"

#define R UINT64_C (4096) /* a region */
#define SIZE UINT64_C (1048576)
#define BATCH UINT64_C (65536)

static const struct rig_options sweeping = { .hydration = true };
static const struct rig_options one_at_a_time = { .hydration = true,
                                                  .threshold = 1 };

static void
end (struct rig *rig)
{
  rig_stop (rig);
  rig_destroy (rig);
}

static size_t
source_reads (struct rig *rig, uint64_t offset, uint64_t length)
{
  return sim_count (&rig->sim, &rig->source.device, SIM_READ, offset, length,
                    0);
}

static size_t
destination_changes (struct rig *rig, uint64_t offset, uint64_t length)
{
  return sim_count (&rig->sim, &rig->destination.device,
                    SIM_CHANGES & ~SIM_FLUSH, offset, length, 0);
}

static void
wait_complete (struct rig *rig)
{
  rig_pass_time_until (rig, engine_is_complete (rig->engine));
}

static uint64_t
parked (struct rig *rig)
{
  struct hydrate *h = &rig->engine->hydrate;
  uint64_t n;

  pthread_mutex_lock (&h->lock);
  n = h->parked;
  pthread_mutex_unlock (&h->lock);
  return n;
}

static unsigned
count_idle (struct hydrate *h)
{
  unsigned n;

  pthread_mutex_lock (&h->lock);
  n = h->idle;
  pthread_mutex_unlock (&h->lock);
  return n;
}

START_TEST (copies_everything_and_is_complete)
{
  struct rig rig;

  rig_init (&rig, &sweeping);
  rig_start (&rig);
  wait_complete (&rig);
  ck_assert (rig_stores_source (&rig, 0, SIZE));
  ck_assert_uint_eq (source_reads (&rig, 0, 0), SIZE / BATCH);
  ck_assert_uint_eq (atomic_load (&rig.engine->clone.bytes_fetched), SIZE);
  ck_assert_uint_eq (atomic_load (&rig.completed), 1);
  rig_stop (&rig);
  /* All of it is durable. */
  sim_disk_cut (&rig.destination.disk, sim_none_survives, NULL);
  sim_disk_cut (&rig.storage.disk, sim_none_survives, NULL);
  rig_start (&rig);
  ck_assert (engine_is_complete (rig.engine));
  ck_assert (rig_reads_source (&rig, 0, SIZE));
  end (&rig);
}
END_TEST

START_TEST (sweeps_from_the_start_to_the_end)
{
  struct rig rig;
  uint64_t next = 0;
  size_t at;

  rig_init (&rig, &one_at_a_time);
  rig_start (&rig);
  wait_complete (&rig);
  for (at = 0; at < sim_mark (&rig.sim); ++at) {
    const struct sim_event e = sim_event_at (&rig.sim, at);

    if (e.device == &rig.source.device && e.op == SIM_READ) {
      ck_assert_uint_eq (e.offset, next);
      ck_assert_uint_le (e.length, BATCH);
      next += e.length;
    }
  }
  ck_assert_uint_eq (next, SIZE);
  end (&rig);
}
END_TEST

START_TEST (so_many_copies_in_flight_as_allowed)
{
  const struct rig_options o = { .hydration = true, .threshold = 4 };
  struct sim_fault block = { .ops = SIM_READ, .block = true };
  struct rig rig;

  rig_init (&rig, &o);
  sim_add_fault (&rig.source.device, &block);
  rig_start (&rig);
  sim_wait_blocked (&rig.source.device, &block, 4);
  sim_release (&rig.source.device, &block, 0);
  wait_complete (&rig);
  ck_assert_uint_eq (source_reads (&rig, 0, 0), SIZE / BATCH);
  end (&rig);
}
END_TEST

START_TEST (hydrated_regions_are_not_fetched)
{
  struct sim_fault block = { .ops = SIM_READ, .times = 1, .block = true };
  struct rig rig;

  rig_init (&rig, &one_at_a_time);
  sim_add_fault (&rig.source.device, &block);
  rig_start (&rig);
  sim_wait_blocked (&rig.source.device, &block, 1); /* the first batch */
  ck_assert_int_eq (rig_write (&rig, 0x81, 2 * BATCH, 3 * BATCH), 0);
  sim_release (&rig.source.device, &block, 0);
  wait_complete (&rig);
  ck_assert_uint_eq (source_reads (&rig, 2 * BATCH, 3 * BATCH), 0);
  ck_assert (rig_stores (&rig, 0x81, 2 * BATCH, 3 * BATCH));
  ck_assert (rig_stores_source (&rig, 5 * BATCH, SIZE - 5 * BATCH));
  end (&rig);
}
END_TEST

/* What clients asked for comes before the sweep. */
START_TEST (clients_come_first)
{
  struct sim_fault block = { .ops = SIM_READ, .times = 1, .block = true };
  const uint64_t wanted = 200 * R;
  struct rig rig;
  size_t mark, at;

  rig_init (&rig, &one_at_a_time);
  sim_add_fault (&rig.source.device, &block);
  rig_start (&rig);
  sim_wait_blocked (&rig.source.device, &block, 1);
  hydrate_request (&rig.engine->hydrate, (struct regions){ 200, 201 }, false);
  mark = sim_mark (&rig.sim);
  sim_release (&rig.source.device, &block, 0);
  wait_complete (&rig);
  at = sim_find (&rig.sim, &rig.source.device, SIM_READ, 0, 0, mark);
  if (sim_event_at (&rig.sim, at).offset == 0) /* the blocked one itself */
    at = sim_find (&rig.sim, &rig.source.device, SIM_READ, 0, 0, at + 1);
  ck_assert_uint_eq (sim_event_at (&rig.sim, at).offset, wanted);
  end (&rig);
}
END_TEST

/* Without the sweep, only what clients ask for. */
START_TEST (no_sweep_if_not_wanted)
{
  struct rig rig;

  rig_init (&rig, NULL);
  rig_start (&rig);
  ck_assert (rig_reads_source (&rig, 7 * R + 5, 10));
  rig_pass_time_until (&rig, rig_is_hydrated (&rig, 7, 8));
  ck_assert_uint_eq (rig_hydrated (&rig), 1);
  ck_assert_uint_eq (source_reads (&rig, 0, 7 * R), 0);
  end (&rig);
}
END_TEST

START_TEST (zero_ranges_are_not_fetched)
{
  struct rig rig;

  rig_init (&rig, &sweeping);
  sim_source_zero (&rig.source, 100 * R, 50 * R, true);
  rig_start (&rig);
  wait_complete (&rig);
  ck_assert_uint_eq (source_reads (&rig, 50 * R, 100 * R), 0);
  ck_assert (rig_stores (&rig, 0, 50 * R, 100 * R));
  ck_assert (rig_stores_source (&rig, 0, SIZE));
  ck_assert_uint_eq (atomic_load (&rig.engine->clone.bytes_fetched),
                     SIZE - 100 * R);
  end (&rig);
}
END_TEST

START_TEST (zero_on_both_sides_is_not_written)
{
  struct rig rig;

  rig_init (&rig, &sweeping);
  sim_source_zero (&rig.source, 100 * R, 50 * R, true);
  sim_disk_fill (&rig.destination.disk, 0, 100 * R, 50 * R);
  sim_destination_type (&rig.destination, EXTENT_ZERO, 60 * R, 50 * R);
  sim_destination_type (&rig.destination, EXTENT_ZERO | EXTENT_HOLE, 40 * R,
                        110 * R);
  rig_start (&rig);
  wait_complete (&rig);
  ck_assert_uint_eq (destination_changes (&rig, 50 * R, 100 * R), 0);
  ck_assert (rig_stores_source (&rig, 0, SIZE));
  end (&rig);
}
END_TEST

/* A hole alone may be garbage; and where extents are of no help, zeroes are
 * written everywhere.
 */
START_TEST (garbage_under_a_hole_is_zeroed)
{
  struct sim_fault bad = { .ops = SIM_EXTENTS, .err = EIO };
  struct rig rig;

  rig_init (&rig, &sweeping);
  sim_source_zero (&rig.source, 100 * R, 50 * R, true);
  sim_destination_type (&rig.destination, EXTENT_HOLE, SIZE, 0);
  rig.destination.destination.can_extents = _i != 1;
  if (_i == 2)
    sim_add_fault (&rig.destination.device, &bad);
  rig_start (&rig);
  wait_complete (&rig);
  ck_assert (rig_stores (&rig, 0, 50 * R, 100 * R));
  ck_assert (rig_stores_source (&rig, 0, SIZE));
  if (_i == 2)
    sim_release (&rig.destination.device, &bad, 0);
  end (&rig);
}
END_TEST

/* Zero in a part of a region only: that region is copied. */
START_TEST (zero_ranges_that_are_not_aligned)
{
  struct rig rig;

  rig_init (&rig, &sweeping);
  sim_source_zero (&rig.source, 10 * R, 50 * R + 512, true);
  sim_source_zero (&rig.source, 512, 100 * R, true);
  sim_source_zero (&rig.source, R + 512, 120 * R - 512, true);
  sim_source_zero (&rig.source, 2 * R, SIZE - 2 * R, true);
  rig_start (&rig);
  wait_complete (&rig);
  ck_assert (rig_stores_source (&rig, 0, SIZE));
  ck_assert_uint_eq (source_reads (&rig, 51 * R, 9 * R), 0);
  ck_assert_uint_eq (source_reads (&rig, SIZE - 2 * R, 2 * R), 0);
  end (&rig);
}
END_TEST

START_TEST (source_that_cannot_tell_its_extents)
{
  struct sim_fault bad = { .ops = SIM_EXTENTS, .err = EIO };
  struct rig rig;

  rig_init (&rig, &sweeping);
  sim_source_zero (&rig.source, 100 * R, 50 * R, true);
  rig.source.no_extents = _i == 0;
  if (_i == 1)
    sim_add_fault (&rig.source.device, &bad);
  rig_start (&rig);
  wait_complete (&rig);
  ck_assert (rig_stores_source (&rig, 0, SIZE));
  if (_i == 1)
    sim_release (&rig.source.device, &bad, 0);
  end (&rig);
}
END_TEST

/* Lesson 21: one bad region holds back nothing but itself.  It is parked after
 * five rounds.
 */
START_TEST (bad_region_is_left_out_and_parked)
{
  struct sim_fault bad = {
    .ops = SIM_READ, .offset = 77 * R + 100, .length = 1, .err = EIO
  };
  struct rig rig;

  forget_messages ();
  rig_init (&rig, &sweeping);
  sim_add_fault (&rig.source.device, &bad);
  rig_start (&rig);
  rig_pass_time_until (&rig, parked (&rig) > 0);
  ck_assert_uint_eq (parked (&rig), 1);
  ck_assert_uint_eq (rig_hydrated (&rig), SIZE / R - 1);
  ck_assert (!rig_is_hydrated (&rig, 77, 78));
  ck_assert (rig_stores_source (&rig, 0, 77 * R));
  ck_assert (rig_stores_source (&rig, 78 * R, SIZE - 78 * R));
  ck_assert (last_error_has ("gave up on 1 regions"));
  /* Once a round, and for good; the region alone was asked for each time. */
  ck_assert_uint_eq (error_count (), 6);
  ck_assert_uint_eq (
    sim_count (&rig.sim, &rig.source.device, SIM_READ, 77 * R + 100, 1, 0),
    5 + 4);
  ck_assert (!engine_is_complete (rig.engine));
  sim_release (&rig.source.device, &bad, 0);
  end (&rig);
}
END_TEST

START_TEST (bad_region_that_becomes_good)
{
  struct sim_fault bad = {
    .ops = SIM_READ, .offset = 77 * R, .length = 1, .err = EIO, .times = 7
  };
  struct rig rig;

  rig_init (&rig, &sweeping);
  sim_add_fault (&rig.source.device, &bad);
  rig_start (&rig);
  wait_complete (&rig);
  ck_assert (rig_stores_source (&rig, 0, SIZE));
  ck_assert_uint_eq (parked (&rig), 0);
  sim_release (&rig.source.device, &bad, 0);
  end (&rig);
}
END_TEST

/* By the only thread that there is, too. */
START_TEST (parked_region_is_tried_again)
{
  struct sim_fault bad = {
    .ops = SIM_READ, .offset = 77 * R, .length = 1, .err = EIO
  };
  const struct rig_options o = { .hydration = true, .threshold = 1 };
  struct rig rig;

  rig_init (&rig, &o);
  sim_add_fault (&rig.source.device, &bad);
  rig_start (&rig);
  rig_pass_time_until (&rig, parked (&rig) > 0);
  sim_release (&rig.source.device, &bad, 0);
  wait_complete (&rig);
  ck_assert (rig_stores_source (&rig, 0, SIZE));
  end (&rig);
}
END_TEST

/* Another server need not wait for that. */
START_TEST (parked_region_is_asked_of_another_server)
{
  struct sim_fault bad = {
    .ops = SIM_READ, .offset = 77 * R, .length = 1, .err = EIO
  };
  struct rig rig;
  uint64_t parked_us;

  rig_init (&rig, &sweeping);
  sim_add_fault (&rig.source.device, &bad);
  rig_start (&rig);
  rig_pass_time_until (&rig, parked (&rig) > 0);
  parked_us = rig.clock.clock.now_us (&rig.clock.clock);
  sim_release (&rig.source.device, &bad, 0);
  engine_source_changed (rig.engine);
  wait_for (engine_is_complete (rig.engine) ||
            (sim_clock_skip (&rig.clock, 10000), false));
  ck_assert_uint_lt (rig.clock.clock.now_us (&rig.clock.clock),
                     parked_us + 100000000);
  end (&rig);
}
END_TEST

START_TEST (read_tries_a_parked_region_again)
{
  struct sim_fault bad = {
    .ops = SIM_READ, .offset = 77 * R, .length = 1, .err = EIO
  };
  struct rig rig;

  rig_init (&rig, &sweeping);
  sim_add_fault (&rig.source.device, &bad);
  rig_start (&rig);
  rig_pass_time_until (&rig, parked (&rig) == 1);
  ck_assert_int_eq (rig_read (&rig, 77 * R, R), EIO);
  sim_release (&rig.source.device, &bad, 0);
  ck_assert (rig_reads_source (&rig, 77 * R + 5, 10));
  wait_complete (&rig);
  ck_assert (rig_stores_source (&rig, 0, SIZE));
  end (&rig);
}
END_TEST

/* The pauses between rounds grow: 1, 2, 4 and 8 seconds. */
START_TEST (pauses_grow)
{
  struct sim_fault bad = { .ops = SIM_READ, .err = EIO };
  struct rig rig;
  uint64_t start;

  rig_init (&rig, &sweeping);
  sim_add_fault (&rig.source.device, &bad);
  rig_start (&rig);
  start = rig.clock.clock.now_us (&rig.clock.clock);
  rig_pass_time_until (&rig, parked (&rig) > 0);
  ck_assert_uint_eq (rig.clock.clock.now_us (&rig.clock.clock) - start,
                     15000000);
  ck_assert_uint_eq (parked (&rig), SIZE / R);
  sim_release (&rig.source.device, &bad, 0);
  end (&rig);
}
END_TEST

/* However long it takes, nothing is parked. */
START_TEST (source_that_is_away_is_waited_for)
{
  struct sim_fault away = { .ops = SIM_READ, .skip = 3, .err = ENOTCONN };
  struct rig rig;
  unsigned i;

  rig_init (&rig, &one_at_a_time);
  sim_add_fault (&rig.source.device, &away);
  rig_start (&rig);
  for (i = 0; i < 50; ++i)
    wait_for (sim_clock_skip (&rig.clock, UINT64_C (2000000)));
  ck_assert_uint_eq (parked (&rig), 0);
  ck_assert_uint_eq (rig_hydrated (&rig), 3 * BATCH / R);
  /* It tries the same again, and nothing else. */
  ck_assert_uint_ge (source_reads (&rig, 3 * BATCH, BATCH), 50);
  ck_assert_uint_eq (source_reads (&rig, 4 * BATCH, SIZE - 4 * BATCH), 0);
  sim_release (&rig.source.device, &away, 0);
  wait_complete (&rig);
  ck_assert (rig_stores_source (&rig, 0, SIZE));
  end (&rig);
}
END_TEST

START_TEST (full_destination_is_waited_for)
{
  struct sim_fault full = { .ops = SIM_WRITE | SIM_ZERO,
                            .skip = 3,
                            .err = _i ? EDQUOT : ENOSPC };
  struct rig rig;
  unsigned i;

  forget_messages ();
  rig_init (&rig, &one_at_a_time);
  sim_source_zero (&rig.source, 2 * BATCH, SIZE / 2, true);
  sim_add_fault (&rig.destination.device, &full);
  rig_start (&rig);
  for (i = 0; i < 50; ++i)
    wait_for (sim_clock_skip (&rig.clock, UINT64_C (2000000)));
  ck_assert_uint_eq (parked (&rig), 0);
  ck_assert_uint_eq (error_count (), 1);
  ck_assert (last_error_has ("cannot write to the destination at offset"));
  ck_assert_uint_eq (rig_hydrated (&rig), 3 * BATCH / R);
  sim_release (&rig.destination.device, &full, 0);
  wait_complete (&rig);
  ck_assert (rig_stores_source (&rig, 0, SIZE));
  end (&rig);
}
END_TEST

START_TEST (bad_destination_is_parked)
{
  struct sim_fault bad = {
    .ops = SIM_WRITE, .offset = 77 * R, .length = 1, .err = EIO
  };
  struct rig rig;

  rig_init (&rig, &sweeping);
  sim_add_fault (&rig.destination.device, &bad);
  rig_start (&rig);
  rig_pass_time_until (&rig, parked (&rig) > 0);
  ck_assert (!rig_is_hydrated (&rig, 77, 78));
  ck_assert_uint_eq (parked (&rig), BATCH / R);
  sim_release (&rig.destination.device, &bad, 0);
  end (&rig);
}
END_TEST

/* Never more than the limit allows for, plus the copies that have begun. */
START_TEST (rate_is_kept)
{
  const struct rig_options o = { .hydration = true, .rate = 256 << 10 };
  const uint64_t slack = 2 * (256 << 10) / 8;
  struct rig rig;
  uint64_t start, now;

  rig_init (&rig, &o);
  rig_start (&rig);
  start = rig.clock.clock.now_us (&rig.clock.clock);
  while (rig_hydrated (&rig) < SIZE / R) {
    now = rig.clock.clock.now_us (&rig.clock.clock);
    ck_assert_uint_le (atomic_load (&rig.engine->clone.bytes_fetched),
                       (now - start) * (256 << 10) / 1000000 + slack);
    if (!sim_clock_skip (&rig.clock, UINT64_C (10000000)))
      nap ();
  }
  now = rig.clock.clock.now_us (&rig.clock.clock);
  ck_assert_uint_ge (now - start, 3500000);
  ck_assert_uint_le (now - start, 4500000);
  end (&rig);
}
END_TEST

/* Lesson 20: a client that waits for the source does not stop the sweep, which
 * leaves to him what he is fetching.
 */
START_TEST (yields_to_clients_but_goes_on)
{
  const struct rig_options o = { .hydration = true, .threshold = 4 };
  const uint64_t last = SIZE - R;
  struct sim_fault client = {
    .ops = SIM_READ, .offset = last + 10, .length = 1, .times = 1, .block = true
  };
  struct sim_fault sweep = { .ops = SIM_READ, .block = true };
  struct request read = { .kind = REQUEST_READ, .offset = last, .length = 20 };
  struct rig rig;

  rig_init (&rig, &o);
  sim_add_fault (&rig.source.device, &sweep);
  rig_start (&rig);
  sim_wait_blocked (&rig.source.device, &sweep, 4);
  sim_add_fault (&rig.source.device, &client); /* looked at first */
  read.rig = &rig;
  request_start (&read);
  sim_wait_blocked (&rig.source.device, &client, 1);
  sim_release (&rig.source.device, &sweep, 0);
  rig_pass_time_until (&rig, rig_hydrated (&rig) == SIZE / R - 1);
  sim_release (&rig.source.device, &client, 0);
  ck_assert_int_eq (request_finish (&read), 0);
  ck_assert (read.as_expected);
  wait_complete (&rig);
  end (&rig);
}
END_TEST

/* ... but there is only one copy in flight, however long it takes. */
START_TEST (one_copy_while_a_client_waits)
{
  const struct rig_options o = { .hydration = true, .threshold = 4 };
  struct sim_fault first = { .ops = SIM_READ, .block = true };
  struct sim_fault second = { .ops = SIM_READ, .block = true };
  struct rig rig;
  struct hydrate *h;

  rig_init (&rig, &o);
  sim_add_fault (&rig.source.device, &first);
  rig_start (&rig);
  sim_wait_blocked (&rig.source.device, &first, 4);
  atomic_fetch_add (&rig.engine->clone.clients, 1);
  sim_add_fault (&rig.source.device, &second);
  sim_release (&rig.source.device, &first, 0);
  sim_wait_blocked (&rig.source.device, &second, 1);
  h = &rig.engine->hydrate;
  wait_for (count_idle (h) == 3);
  ck_assert_uint_eq (h->n_active, 1);
  atomic_fetch_sub (&rig.engine->clone.clients, 1);
  sim_release (&rig.source.device, &second, 0);
  wait_complete (&rig);
  end (&rig);
}
END_TEST

START_TEST (regions_larger_than_a_batch)
{
  const struct rig_options o = {
    .source_size = (3 << 20) + 1000,
    .disk_size = 4 << 20,
    .region_size = 1 << 20,
    .hydration = true,
  };
  struct rig rig;

  rig_init (&rig, &o);
  sim_source_zero (&rig.source, 1 << 20, 1 << 20, true);
  sim_source_zero (&rig.source, 300000, (2 << 20) + 5, true);
  rig_start (&rig);
  wait_complete (&rig);
  ck_assert (rig_stores_source (&rig, 0, (3 << 20) + 1000));
  ck_assert (rig_stores (&rig, RIG_GARBAGE, (3 << 20) + 1000, 1000));
  end (&rig);
}
END_TEST

/* P9: the bit of a region comes after its last piece. */
START_TEST (large_region_that_fails_in_the_middle)
{
  const struct rig_options o = { .source_size = 2 << 20,
                                 .region_size = 1 << 20,
                                 .hydration = true };
  struct sim_fault bad = {
    .ops = SIM_READ, .offset = 512 << 10, .length = 1, .err = EIO
  };
  struct rig rig;

  rig_init (&rig, &o);
  sim_add_fault (&rig.source.device, &bad);
  rig_start (&rig);
  rig_pass_time_until (&rig, parked (&rig) == 1);
  ck_assert (!rig_is_hydrated (&rig, 0, 1));
  ck_assert (rig_is_hydrated (&rig, 1, 2));
  ck_assert_int_eq (rig_write (&rig, 0x81, 0, 1 << 20), 0);
  wait_complete (&rig);
  ck_assert (rig_stores (&rig, 0x81, 0, 1 << 20));
  sim_release (&rig.source.device, &bad, 0);
  end (&rig);
}
END_TEST

/* Lesson 20: whatever clients are fetching, all becomes hydrated. */
static void
one_read_in_flight_for_ever (const struct rig_options *o, uint64_t length)
{
  struct sim_fault block = {
    .ops = SIM_READ, .length = length, .times = 1, .block = true
  };
  struct rig rig;
  struct request read = { .rig = &rig, .kind = REQUEST_READ, .length = length };

  rig_init (&rig, o);
  sim_add_fault (&rig.source.device, &block);
  rig_start (&rig);
  request_start (&read);
  sim_wait_blocked (&rig.source.device, &block, 1);
  /* The sweep begins now, so that the read came first. */
  pthread_mutex_lock (&rig.engine->hydrate.lock);
  rig.engine->hydrate.sweeping = true;
  pthread_cond_broadcast (&rig.engine->hydrate.wake);
  pthread_mutex_unlock (&rig.engine->hydrate.lock);
  wait_complete (&rig);
  sim_release (&rig.source.device, &block, 0);
  ck_assert_int_eq (request_finish (&read), 0);
  ck_assert (read.as_expected);
  ck_assert (rig_stores_source (&rig, 0, o->source_size));
  end (&rig);
}

START_TEST (read_of_a_part_of_a_large_region_in_flight)
{
  const struct rig_options o = { .source_size = SIZE, .region_size = SIZE };

  one_read_in_flight_for_ever (&o, 4096);
}
END_TEST

START_TEST (read_of_a_region_in_flight)
{
  const struct rig_options o = { .source_size = SIZE };
  const struct rig_options forgetful = {
    .source_size = SIZE,
    .forget_reads = true,
  };

  one_read_in_flight_for_ever (&o, R);
  one_read_in_flight_for_ever (&forgetful, R);
}
END_TEST

START_TEST (source_end_inside_a_region)
{
  const struct rig_options o = { .source_size = 100 * R + 777,
                                 .disk_size = 200 * R,
                                 .hydration = true };
  struct rig rig;

  rig_init (&rig, &o);
  if (_i)
    sim_source_zero (&rig.source, 20 * R + 777, 80 * R, true);
  rig_start (&rig);
  wait_complete (&rig);
  ck_assert (rig_stores_source (&rig, 0, 100 * R + 777));
  ck_assert (rig_stores (&rig, RIG_GARBAGE, 100 * R + 777, 99 * R));
  end (&rig);
}
END_TEST

/* P10: with everything blocked. */
START_TEST (stops_while_the_source_hangs)
{
  struct sim_fault block = { .ops = SIM_READ | SIM_EXTENTS, .block = true };
  struct rig rig;

  rig_init (&rig, &sweeping);
  if (_i)
    block.ops = SIM_READ;
  sim_add_fault (&rig.source.device, &block);
  rig_start (&rig);
  sim_wait_blocked (&rig.source.device, &block, 1);
  ck_assert_int_eq (rig_write (&rig, 0x81, 3 * R, R), 0);
  rig_stop (&rig); /* the source fails what it has not answered */
  sim_release (&rig.source.device, &block, 0);
  rig_open (&rig);
  ck_assert (bitmap_file_is_clean (rig.file));
  ck_assert (rig_is_hydrated (&rig, 3, 4));
  ck_assert_uint_eq (rig_hydrated (&rig), 1);
  rig_close (&rig);
  rig_destroy (&rig);
}
END_TEST

/* P5: no copy begins any more. */
START_TEST (stands_still_after_a_failed_flush)
{
  struct sim_fault block = { .ops = SIM_READ, .block = true };
  struct sim_fault bad = { .ops = SIM_FLUSH, .times = 1, .err = EIO };
  struct rig rig;

  rig_init (&rig, &sweeping);
  sim_add_fault (&rig.source.device, &block);
  sim_add_fault (&rig.destination.device, &bad);
  rig_start (&rig);
  sim_wait_blocked (&rig.source.device, &block, 2);
  ck_assert_int_eq (rig_flush (&rig), EIO);
  sim_release (&rig.source.device, &block, 0);
  wait_for (rig_hydrated (&rig) == 2 * BATCH / R);
  ck_assert (!sim_clock_skip (&rig.clock, UINT64_C (60000000)));
  ck_assert_uint_eq (rig_hydrated (&rig), 2 * BATCH / R);
  sim_release (&rig.destination.device, &bad, 0);
  end (&rig);
}
END_TEST

int
main (void)
{
  struct suite s = suite_new ("hydrate");
  TCase *t = s.tests;

  tcase_add_test (t, copies_everything_and_is_complete);
  tcase_add_test (t, sweeps_from_the_start_to_the_end);
  tcase_add_test (t, so_many_copies_in_flight_as_allowed);
  tcase_add_test (t, hydrated_regions_are_not_fetched);
  tcase_add_test (t, clients_come_first);
  tcase_add_test (t, no_sweep_if_not_wanted);
  tcase_add_test (t, zero_ranges_are_not_fetched);
  tcase_add_test (t, zero_on_both_sides_is_not_written);
  tcase_add_loop_test (t, garbage_under_a_hole_is_zeroed, 0, 3);
  tcase_add_test (t, zero_ranges_that_are_not_aligned);
  tcase_add_loop_test (t, source_that_cannot_tell_its_extents, 0, 2);
  tcase_add_test (t, bad_region_is_left_out_and_parked);
  tcase_add_test (t, bad_region_that_becomes_good);
  tcase_add_test (s.tests, parked_region_is_tried_again);
  tcase_add_test (s.tests, parked_region_is_asked_of_another_server);
  tcase_add_test (t, read_tries_a_parked_region_again);
  tcase_add_test (t, pauses_grow);
  tcase_add_test (t, source_that_is_away_is_waited_for);
  tcase_add_loop_test (t, full_destination_is_waited_for, 0, 2);
  tcase_add_test (t, bad_destination_is_parked);
  tcase_add_test (t, rate_is_kept);
  tcase_add_test (t, yields_to_clients_but_goes_on);
  tcase_add_test (t, one_copy_while_a_client_waits);
  tcase_add_test (t, regions_larger_than_a_batch);
  tcase_add_test (t, large_region_that_fails_in_the_middle);
  tcase_add_test (t, read_of_a_part_of_a_large_region_in_flight);
  tcase_add_test (t, read_of_a_region_in_flight);
  tcase_add_loop_test (t, source_end_inside_a_region, 0, 2);
  tcase_add_loop_test (t, stops_while_the_source_hangs, 0, 2);
  tcase_add_test (t, stands_still_after_a_failed_flush);
  return suite_run (s);
}
