/* nbdclone: fetches in flight, which others may ride on.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "flights.h"
#include "testing.h"

/* Byte i of what is fetched. */
static uint8_t
byte_at (uint64_t i)
{
  return (uint8_t) (i * 7 + (i >> 8));
}

static void
fill (uint8_t *buf, uint64_t offset, uint64_t length)
{
  uint64_t i;

  for (i = 0; i < length; ++i)
    buf[i] = byte_at (offset + i);
}

static bool
is_filled (const uint8_t *buf, uint64_t offset, uint64_t length)
{
  uint64_t i;

  for (i = 0; i < length; ++i)
    if (buf[i] != byte_at (offset + i))
      return false;
  return true;
}

/* Who has to fetch fetches just what he wants. */
static enum flight_role
join (struct flights *fs, struct flight *own, struct rider *rider, uint8_t *buf,
      uint64_t offset, uint32_t *length)
{
  *own =
    (struct flight){ .offset = offset, .end = offset + *length, .data = buf };
  return flights_join (fs, own, rider, buf, offset, length);
}

START_TEST (second_one_rides)
{
  struct flights fs;
  struct flight a, b;
  struct rider rider;
  uint8_t first[1000], second[1000], third[1000];
  uint32_t length = 1000;

  flights_init (&fs);
  ck_assert_int_eq (join (&fs, &a, &rider, first, 5000, &length), FLIGHT_OWN);
  ck_assert_uint_eq (length, 1000);
  ck_assert_int_eq (join (&fs, &b, &rider, second, 5000, &length), FLIGHT_RIDE);
  fill (first, 5000, 1000);
  flights_land (&fs, &a, 0);
  ck_assert_int_eq (rider_wait (&rider), 0);
  ck_assert (is_filled (second, 5000, 1000));

  length = 10;
  ck_assert_int_eq (join (&fs, &b, &rider, third, 5990, &length),
                    FLIGHT_LANDED);
  ck_assert (is_filled (third, 5990, 10));
  flights_end (&fs, &a);
  ck_assert_int_eq (join (&fs, &b, &rider, third, 5990, &length), FLIGHT_OWN);
  flights_land (&fs, &b, 0);
  flights_end (&fs, &b);
  flights_destroy (&fs);
}
END_TEST

/* Before, inside, over the end: the answer is for the first part only. */
START_TEST (parts_of_a_flight)
{
  struct flights fs;
  struct flight a, before, behind;
  struct rider rider;
  uint8_t buf[1000], other[1000];
  uint32_t length = 100;

  flights_init (&fs);
  ck_assert_int_eq (join (&fs, &a, &rider, buf, 500, &length), FLIGHT_OWN);
  length = 300;
  ck_assert_int_eq (join (&fs, &before, &rider, other, 400, &length),
                    FLIGHT_OWN);
  ck_assert_uint_eq (length, 100);
  length = 300;
  ck_assert_int_eq (join (&fs, &behind, &rider, other, 550, &length),
                    FLIGHT_RIDE);
  ck_assert_uint_eq (length, 50);
  length = 300;
  ck_assert_int_eq (join (&fs, &behind, NULL, other, 600, &length), FLIGHT_OWN);
  ck_assert_uint_eq (length, 300);
  fill (buf, 500, 100);
  flights_land (&fs, &a, 0);
  ck_assert_int_eq (rider_wait (&rider), 0);
  ck_assert (is_filled (other, 550, 50));
  flights_land (&fs, &before, EIO);
  flights_land (&fs, &behind, EIO);
  flights_end (&fs, &a);
  flights_end (&fs, &before);
  flights_end (&fs, &behind);
  flights_destroy (&fs);
}
END_TEST

/* More may be fetched than is wanted, and then others get at it. */
START_TEST (more_than_is_wanted)
{
  struct flights fs;
  struct flight a, b;
  struct rider rider;
  uint8_t region[1000], wanted[10], other[1000];
  uint32_t length = 10;

  flights_init (&fs);
  a = (struct flight){ .offset = 2000, .end = 3000, .data = region };
  ck_assert_int_eq (flights_join (&fs, &a, &rider, wanted, 2500, &length),
                    FLIGHT_OWN);
  ck_assert_uint_eq (length, 10);
  length = 1000;
  ck_assert_int_eq (join (&fs, &b, &rider, other, 2100, &length), FLIGHT_RIDE);
  ck_assert_uint_eq (length, 900);
  fill (region, 2000, 1000);
  flights_land (&fs, &a, 0);
  ck_assert_int_eq (rider_wait (&rider), 0);
  ck_assert (is_filled (other, 2100, 900));
  flights_end (&fs, &a);
  flights_destroy (&fs);
}
END_TEST

/* Lesson 16: what has failed is nothing to be had any more. */
START_TEST (failure)
{
  struct flights fs;
  struct flight a, b;
  struct rider riders[2];
  uint8_t buf[100];
  uint32_t length = 100;
  uint64_t start, end;

  flights_init (&fs);
  flights_begin (&fs, &a, buf, 0, 100);
  join (&fs, &b, &riders[0], buf, 0, &length);
  join (&fs, &b, &riders[1], buf, 0, &length);
  flights_land (&fs, &a, ENOTCONN);
  ck_assert_int_eq (rider_wait (&riders[0]), ENOTCONN);
  ck_assert_int_eq (rider_wait (&riders[1]), ENOTCONN);
  ck_assert (!flights_find (&fs, 0, 100, &start, &end));
  ck_assert_int_eq (join (&fs, &b, &riders[0], buf, 0, &length), FLIGHT_OWN);
  flights_end (&fs, &a);
  flights_end (&fs, &b);
  flights_destroy (&fs);
}
END_TEST

START_TEST (flight_that_overlaps_is_not_found)
{
  struct flights fs;
  struct flight a, b;
  uint8_t buf[200];
  uint64_t start, end;

  flights_init (&fs);
  flights_begin (&fs, &a, buf, 100, 100);
  flights_begin (&fs, &b, buf, 50, 200);
  ck_assert (a.listed && !b.listed);
  ck_assert (!flights_find (&fs, 0, 100, &start, &end));
  ck_assert (!flights_find (&fs, 200, 300, &start, &end));
  ck_assert (flights_find (&fs, 0, 150, &start, &end));
  ck_assert_uint_eq (start, 100);
  ck_assert_uint_eq (end, 150);
  ck_assert (flights_find (&fs, 199, 1000, &start, &end));
  ck_assert_uint_eq (start, 199);
  ck_assert_uint_eq (end, 200);
  flights_land (&fs, &b, 0);
  flights_end (&fs, &b);
  ck_assert (flights_find (&fs, 0, 1000, &start, &end));
  flights_end (&fs, &a);
  flights_destroy (&fs);
}
END_TEST

START_TEST (the_first_of_many_is_found)
{
  struct flight flights[100];
  struct flights fs;
  uint64_t start, end, i;

  flights_init (&fs);
  for (i = 0; i < 100; ++i) {
    const uint64_t at = (i * 37) % 100 * 10;

    flights_begin (&fs, &flights[i], NULL, at, 5);
  }
  for (i = 0; i < 1000; ++i) {
    const bool found = flights_find (&fs, i, 1000, &start, &end);

    ck_assert (found == (i < 995));
    if (found)
      ck_assert_uint_eq (start, i % 10 < 5 ? i : i / 10 * 10 + 10);
  }
  for (i = 0; i < 100; ++i)
    flights_end (&fs, &flights[i]);
  flights_destroy (&fs);
}
END_TEST

/* Many threads that fetch from a disk of the same few bytes.  Each one sees the
 * right ones, and nobody's buffer is looked at when it is gone.
 */
#define DISK 4096
#define THREADS 8

static struct flights shared;
static atomic_uint rides, fetches;

static void
one_fetch (struct random *random)
{
  const uint64_t offset = random_below (random, DISK - 1);
  uint32_t length =
    (uint32_t) (1 + random_below (random,
                                  DISK - offset < 500 ? DISK - offset : 500));
  uint8_t *buf = malloc (length), *kept;
  struct flight own, moved;
  struct rider rider;
  const int err = random_one_in (random, 10) ? EIO : 0;

  must (buf != NULL);
  switch (join (&shared, &own, &rider, buf, offset, &length)) {
  case FLIGHT_RIDE:
    atomic_fetch_add (&rides, 1);
    if (rider_wait (&rider) == 0)
      must (is_filled (buf, offset, length));
    break;
  case FLIGHT_LANDED:
    must (is_filled (buf, offset, length));
    break;
  case FLIGHT_OWN:
    atomic_fetch_add (&fetches, 1);
    if (random_one_in (random, 2))
      sched_yield ();
    if (!err)
      fill (buf, offset, length);
    flights_land (&shared, &own, err);
    if (!err && random_one_in (random, 2)) {
      kept = malloc (length);
      must (kept != NULL);
      memcpy (kept, buf, length);
      flights_move (&shared, &own, &moved, kept + length / 3,
                    offset + length / 3, offset + length);
      memset (buf, 0, length);
      sched_yield ();
      flights_end (&shared, &moved);
      memset (kept, 0, length);
      free (kept);
    }
    else
      flights_end (&shared, &own);
    memset (buf, 0xee, length);
    break;
  }
  free (buf);
}

static void *
fetch_thread (void *opaque)
{
  struct random random = { (uintptr_t) opaque };
  unsigned i;

  for (i = 0; i < 5000; ++i)
    one_fetch (&random);
  return NULL;
}

START_TEST (many_threads)
{
  pthread_t threads[THREADS];
  uintptr_t i;

  flights_init (&shared);
  for (i = 0; i < THREADS; ++i)
    must (pthread_create (&threads[i], NULL, fetch_thread, (void *) (i + 1)) ==
          0);
  for (i = 0; i < THREADS; ++i)
    pthread_join (threads[i], NULL);
  flights_destroy (&shared);
  ck_assert_uint_gt (atomic_load (&fetches), 0);
}
END_TEST

/* Many who take bytes of a landed flight, one after the other without a pause,
 * do not keep its owner from going on.
 */
static uint8_t landed_bytes[4 << 20], moved_bytes[4 << 20];
static atomic_bool has_moved;

static void *
take_again_and_again (void *opaque)
{
  uint8_t *buf = malloc (sizeof landed_bytes);

  (void) opaque;
  must (buf != NULL);
  while (!atomic_load (&has_moved)) {
    uint32_t length = sizeof landed_bytes;
    struct flight own;
    struct rider rider;

    must (join (&shared, &own, &rider, buf, 0, &length) == FLIGHT_LANDED);
  }
  free (buf);
  return NULL;
}

START_TEST (owner_does_not_wait_for_the_next_reader)
{
  const uint64_t length = sizeof landed_bytes;
  pthread_t threads[THREADS];
  struct flight a, b;
  unsigned i;

  flights_init (&shared);
  flights_begin (&shared, &a, landed_bytes, 0, length);
  flights_land (&shared, &a, 0);
  for (i = 0; i < THREADS; ++i)
    thread_start (&threads[i], take_again_and_again, NULL);
  for (i = 0; i < 10; ++i) {
    nap ();
    flights_move (&shared, &a, &b, moved_bytes, 0, length);
    nap ();
    flights_move (&shared, &b, &a, landed_bytes, 0, length);
  }
  atomic_store (&has_moved, true);
  for (i = 0; i < THREADS; ++i)
    thread_join (threads[i]);
  flights_end (&shared, &a);
  flights_destroy (&shared);
}
END_TEST

int
main (void)
{
  struct suite s = suite_new ("flights");

  tcase_add_test (s.tests, second_one_rides);
  tcase_add_test (s.tests, parts_of_a_flight);
  tcase_add_test (s.tests, more_than_is_wanted);
  tcase_add_test (s.tests, failure);
  tcase_add_test (s.tests, flight_that_overlaps_is_not_found);
  tcase_add_test (s.tests, the_first_of_many_is_found);
  tcase_add_test (s.tests, many_threads);
  tcase_add_test (s.tests, owner_does_not_wait_for_the_next_reader);
  return suite_run (s);
}
