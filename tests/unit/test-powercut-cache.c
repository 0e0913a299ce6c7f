/* nbdclone: tests of the powercut filter's cache and of its choice.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The layer below is an array.  Beside the cache there is a model: what reads
 * must return, and for each sector what it may hold after a cut.
 */

#include <config.h>

#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "cache-private.h"
#include "random.h"
#include "testing.h"

#define DISK_MAX (UINT32_C (700) << 10) /* more than two chunks */
#define SECTOR 512u
#define LIMIT (UINT64_C (64) << 20)
#define VERSIONS 64

/* The layer below. */
struct disk {
  struct destination below;
  pthread_mutex_t lock;
  uint64_t size;
  unsigned reads, writes, zeroes, trims, flushes;
  int write_error, flush_error; /* errno, or 0 */
  /* Called once, by the next read or write, before it does anything. */
  void (*on_read) (void *), (*on_write) (void *);
  void *opaque;
  uint8_t bytes[DISK_MAX]; /* the last: make () clears all before */
};

static struct disk disk;
static struct cache *cache;

/* The model: what is in each sector, and what was since it was durable. */
static uint8_t model[DISK_MAX];
static uint8_t durable[DISK_MAX];

static void
call_once (void (**hook) (void *))
{
  void (*f) (void *) = *hook;

  if (f == NULL)
    return;
  *hook = NULL;
  f (disk.opaque);
}

static int
disk_read (struct destination *b, void *buf, uint32_t length, uint64_t offset,
           int *err)
{
  (void) b;
  (void) err;
  ck_assert (length > 0 && offset + length <= disk.size);
  /* After the bytes have been fetched, but before they have arrived. */
  pthread_mutex_lock (&disk.lock);
  memcpy (buf, disk.bytes + offset, length);
  disk.reads++;
  pthread_mutex_unlock (&disk.lock);
  call_once (&disk.on_read);
  return 0;
}

static int
change (const void *buf, uint32_t length, uint64_t offset, unsigned *count,
        int *err)
{
  ck_assert (length > 0 && offset + length <= disk.size);
  call_once (&disk.on_write);
  if (disk.write_error) {
    *err = disk.write_error;
    return -1;
  }
  pthread_mutex_lock (&disk.lock);
  if (buf)
    memcpy (disk.bytes + offset, buf, length);
  else
    memset (disk.bytes + offset, 0, length);
  ++*count;
  pthread_mutex_unlock (&disk.lock);
  return 0;
}

static int
disk_write (struct destination *b, const void *buf, uint32_t length,
            uint64_t offset, int *err)
{
  (void) b;
  return change (buf, length, offset, &disk.writes, err);
}

static int
disk_zero (struct destination *b, uint32_t length, uint64_t offset,
           unsigned flags, int *err)
{
  (void) b;
  (void) flags;
  return change (NULL, length, offset, &disk.zeroes, err);
}

static int
disk_trim (struct destination *b, uint32_t length, uint64_t offset, int *err)
{
  (void) b;
  return change (NULL, length, offset, &disk.trims, err);
}

static int
disk_flush (struct destination *b, int *err)
{
  (void) b;
  disk.flushes++;
  if (disk.flush_error) {
    *err = disk.flush_error;
    return -1;
  }
  return 0;
}

static const struct destination_ops disk_ops = {
  .read = disk_read,
  .write = disk_write,
  .zero = disk_zero,
  .trim = disk_trim,
  .flush = disk_flush,
};

/* A new disk, full of garbage, with a cache on it. */
static void
make (uint64_t size, uint32_t sector_size, uint64_t limit)
{
  const uint64_t shown = min (size, DISK_MAX);
  uint64_t i;

  cache_free (cache);
  memset (&disk, 0, offsetof (struct disk, bytes));
  pthread_mutex_init (&disk.lock, NULL);
  disk.below.ops = &disk_ops;
  disk.size = size;
  for (i = 0; i < shown; ++i)
    disk.bytes[i] = (uint8_t) (i * 131 + i / 512 * 29 + 7);
  memcpy (model, disk.bytes, shown);
  memcpy (durable, disk.bytes, shown);
  cache = cache_new (&disk.below, size, sector_size, limit);
  ck_assert_ptr_nonnull (cache);
}

static void
teardown (void)
{
  cache_free (cache);
  cache = NULL;
}

static void
write_bytes (uint8_t byte, uint32_t count, uint64_t offset, bool fua)
{
  uint8_t *buf = malloc (count);
  int err = 0;

  ck_assert_ptr_nonnull (buf);
  memset (buf, byte, count);
  ck_assert_int_eq (cache_write (cache, buf, count, offset, fua, &err), 0);
  if (offset + count <= sizeof model)
    memset (model + offset, byte, count);
  free (buf);
}

static void
zero_bytes (enum cache_kind kind, uint32_t count, uint64_t offset, bool fua)
{
  int err = 0;

  ck_assert_int_eq (cache_zero (cache, kind, count, offset, fua, &err), 0);
  if (offset + count <= sizeof model)
    memset (model + offset, 0, count);
}

static void
flush (void)
{
  int err = 0;

  ck_assert_int_eq (cache_flush (cache, &err), 0);
  memcpy (durable, model, sizeof durable);
}

static void
expect_read (const uint8_t *expected, uint32_t count, uint64_t offset)
{
  uint8_t *buf = malloc (count);
  int err = 0;

  ck_assert_ptr_nonnull (buf);
  ck_assert_int_eq (cache_read (cache, buf, count, offset, &err), 0);
  ck_assert (memcmp (buf, expected, count) == 0);
  free (buf);
}

static struct cache_outcome
cut (uint64_t seed, enum keep keep)
{
  struct cache_outcome outcome;
  struct choice choice;

  choice_init (&choice, seed, keep);
  cache_cut (cache, &choice, &outcome);
  ck_assert_int_eq (outcome.error, 0);
  return outcome;
}

START_TEST (volatile_until_flush)
{
  make (100000, SECTOR, LIMIT);
  write_bytes (1, 4096, 4096, false);
  zero_bytes (CACHE_ZERO, 1024, 512, false);
  zero_bytes (CACHE_TRIM, 2048, 8192, false);
  expect_read (model, 100000, 0);
  ck_assert (memcmp (disk.bytes, durable, 100000) == 0);
  ck_assert_uint_eq (disk.flushes, 0);
  flush ();
  ck_assert (memcmp (disk.bytes, model, 100000) == 0);
  ck_assert_uint_eq (disk.writes, 1);
  ck_assert_uint_eq (disk.zeroes, 1);
  ck_assert_uint_eq (disk.trims, 1);
  ck_assert_uint_eq (disk.flushes, 1);
  expect_read (model, 100000, 0);
}
END_TEST

/* Only the last version of a sector is written. */
START_TEST (flush_writes_the_newest)
{
  make (100000, SECTOR, LIMIT);
  write_bytes (1, 4096, 0, false);
  zero_bytes (CACHE_ZERO, 4096, 0, false);
  write_bytes (2, 4096, 0, false);
  flush ();
  ck_assert_uint_eq (disk.writes + disk.zeroes, 1);
  ck_assert (memcmp (disk.bytes, model, 100000) == 0);
  flush ();
  ck_assert_uint_eq (disk.writes, 1);
  ck_assert_uint_eq (disk.flushes, 2);
}
END_TEST

START_TEST (fua_is_for_its_own_range)
{
  make (100000, SECTOR, LIMIT);
  write_bytes (1, 4096, 0, false);
  write_bytes (2, 1024, 1024, true);
  ck_assert_uint_eq (disk.flushes, 1);
  memset (durable + 1024, 2, 1024);
  ck_assert (memcmp (disk.bytes, durable, 100000) == 0);
  expect_read (model, 100000, 0);
  cut (1, KEEP_NOTHING);
  ck_assert (memcmp (disk.bytes, durable, 100000) == 0);
}
END_TEST

/* What is older than a FUA write cannot come back. */
START_TEST (fua_makes_older_versions_go)
{
  uint64_t seed;

  for (seed = 0; seed < 50; ++seed) {
    make (100000, SECTOR, LIMIT);
    write_bytes (1, 1024, 0, false);
    zero_bytes (CACHE_ZERO, 512, 512, true);
    write_bytes (3, 512, 0, true);
    cut (seed, KEEP_SUBSET);
    ck_assert (memcmp (disk.bytes, model, 100000) == 0);
  }
}
END_TEST

START_TEST (cut_keeps_nothing_or_all)
{
  struct cache_outcome outcome;

  make (100000, SECTOR, LIMIT);
  write_bytes (1, 4096, 0, false);
  flush ();
  write_bytes (2, 1024, 0, false);
  write_bytes (3, 1024, 512, false);
  outcome = cut (1, KEEP_NOTHING);
  ck_assert_uint_eq (outcome.sectors, 3);
  ck_assert_uint_eq (outcome.kept, 0);
  ck_assert (memcmp (disk.bytes, durable, 100000) == 0);

  make (100000, SECTOR, LIMIT);
  write_bytes (2, 1024, 0, false);
  write_bytes (3, 1024, 512, false);
  zero_bytes (CACHE_TRIM, 1000, 99000, false);
  outcome = cut (1, KEEP_ALL);
  ck_assert_uint_eq (outcome.sectors, 6);
  ck_assert_uint_eq (outcome.kept, 6);
  ck_assert (memcmp (disk.bytes, model, 100000) == 0);
}
END_TEST

START_TEST (nothing_after_a_cut)
{
  uint8_t buf[512] = { 0 };
  unsigned writes, flushes;
  int err;

  make (100000, SECTOR, LIMIT);
  write_bytes (2, 1024, 0, false);
  cut (1, KEEP_ALL);
  writes = disk.writes;
  flushes = disk.flushes;
  ck_assert_int_eq (cache_write (cache, buf, 512, 0, false, &err), -1);
  ck_assert_int_eq (err, EIO);
  ck_assert_int_eq (cache_write (cache, buf, 512, 0, true, &err), -1);
  ck_assert_int_eq (cache_zero (cache, CACHE_TRIM, 512, 0, true, &err), -1);
  ck_assert_int_eq (cache_read (cache, buf, 512, 0, &err), -1);
  ck_assert_int_eq (cache_flush (cache, &err), -1);
  ck_assert_uint_eq (disk.writes, writes);
  ck_assert_uint_eq (disk.zeroes + disk.trims + disk.reads, 0);
  ck_assert_uint_eq (disk.flushes, flushes);
}
END_TEST

/* Two overlapping writes of three sectors, at 0 and at 1: of what the four
 * sectors hold afterwards, as a number in base 3 (0 old, 1 and 2 the writes),
 * every possible one turns up, and no other.
 */
START_TEST (every_subset_can_happen)
{
  unsigned seen[81] = { 0 }, different = 0, i;
  uint64_t seed;

  for (seed = 0; seed < 5000; ++seed) {
    unsigned state = 0;

    make (2048, SECTOR, LIMIT);
    memset (disk.bytes, 0, 2048);
    write_bytes (1, 3 * 512, 0, false);
    write_bytes (2, 3 * 512, 512, false);
    cut (seed, KEEP_SUBSET);
    for (i = 0; i < 4; ++i) {
      const uint8_t *sector = disk.bytes + 512 * i;

      ck_assert (memcmp (sector, sector + 1, 511) == 0);
      ck_assert_uint_le (*sector, 2);
      state = 3 * state + *sector;
    }
    /* The first sector is the first write's only, the last the second's. */
    ck_assert_uint_ne (state / 27, 2);
    ck_assert_uint_ne (state % 3, 1);
    seen[state]++;
  }
  for (i = 0; i < 81; ++i)
    different += seen[i] > 0;
  ck_assert_uint_eq (different, 2 * 3 * 3 * 2);
}
END_TEST

/* The same, where the seed tears nothing: whole requests only, and either may
 * be on top.
 */
START_TEST (whole_requests_in_any_order)
{
  unsigned seen[81] = { 0 }, i;
  struct choice choice;
  uint64_t seed;

  for (seed = 0; seed < 500; ++seed) {
    unsigned state = 0;

    choice_init (&choice, seed, KEEP_SUBSET);
    if (choice.torn > 0)
      continue;
    make (2048, SECTOR, LIMIT);
    memset (disk.bytes, 0, 2048);
    write_bytes (1, 3 * 512, 0, false);
    write_bytes (2, 3 * 512, 512, false);
    cut (seed, KEEP_SUBSET);
    for (i = 0; i < 4; ++i)
      state = 3 * state + disk.bytes[512 * i];
    seen[state]++;
  }
  for (i = 0; i < 81; ++i)
    switch (i) {
    case 0:                      /* 0000 */
    case 1 * 27 + 9 + 3:         /* 1110 */
    case 2 * 9 + 2 * 3 + 2:      /* 0222 */
    case 27 + 2 * 9 + 2 * 3 + 2: /* 1222 */
    case 27 + 9 + 3 + 2:         /* 1112 */
      ck_assert_uint_gt (seen[i], 0);
      break;
    default:
      ck_assert_uint_eq (seen[i], 0);
    }
}
END_TEST

START_TEST (any_is_all_three)
{
  unsigned seen[4] = { 0 };
  struct choice choice;
  uint64_t seed;

  for (seed = 0; seed < 100; ++seed) {
    choice_init (&choice, seed, KEEP_ANY);
    seen[choice.keep]++;
  }
  ck_assert_uint_eq (seen[KEEP_ANY], 0);
  ck_assert_uint_ge (seen[KEEP_NOTHING], 10);
  ck_assert_uint_ge (seen[KEEP_ALL], 10);
  ck_assert_uint_ge (seen[KEEP_SUBSET], 10);
}
END_TEST

/* The kernel's way: readable, but not dirty any more. */
START_TEST (lost_data)
{
  make (100000, SECTOR, LIMIT);
  write_bytes (1, 1024, 0, false);
  cache_lose (cache);
  expect_read (model, 1024, 0);
  flush ();
  ck_assert_uint_eq (disk.writes, 0);
  expect_read (model, 1024, 0);

  /* A newer write makes its sectors dirty again, and hides the lost ones for
   * ever.
   */
  write_bytes (2, 512, 512, false);
  flush ();
  ck_assert_uint_eq (disk.writes, 1);
  expect_read (model, 1024, 0);
  ck_assert_uint_eq (cut (1, KEEP_ALL).sectors, 0);
  ck_assert_uint_ne (disk.bytes[0], 1);
  ck_assert_uint_eq (disk.bytes[512], 2);
}
END_TEST

START_TEST (errors_below)
{
  uint8_t buf[512] = { 0 };
  int err = 0;

  make (100000, SECTOR, LIMIT);
  write_bytes (1, 1024, 0, false);
  disk.write_error = ENOSPC;
  ck_assert_int_eq (cache_flush (cache, &err), -1);
  ck_assert_int_eq (err, ENOSPC);
  ck_assert_int_eq (cache_write (cache, buf, 512, 8192, true, &err), -1);
  ck_assert_int_eq (err, ENOSPC);
  disk.write_error = 0;
  disk.flush_error = EIO;
  ck_assert_int_eq (cache_write (cache, buf, 512, 8192, true, &err), -1);
  ck_assert_int_eq (err, EIO);
  disk.flush_error = 0;
  expect_read (model, 1024, 0);
  ck_assert_int_eq (cache_flush (cache, &err), 0);
  ck_assert (memcmp (disk.bytes, model, 1024) == 0);
}
END_TEST

static void
write_seven (void *opaque)
{
  (void) opaque;
  write_bytes (7, 512, 0, false);
}

static void
write_seven_twice (void *opaque)
{
  write_seven (opaque);
  write_bytes (7, 512, 300 * 1024, false);
}

/* What comes while a flush is at work is not part of it, neither where it has
 * been already nor where it has not.
 */
START_TEST (write_during_a_flush)
{
  make (DISK_MAX, SECTOR, LIMIT);
  write_bytes (1, 512, 0, false);
  write_bytes (1, 512, 300 * 1024, false);
  memcpy (durable, model, DISK_MAX);
  disk.on_write = write_seven_twice;
  ck_assert_int_eq (cache_flush (cache, &(int){ 0 }), 0);
  ck_assert (memcmp (disk.bytes, durable, DISK_MAX) == 0);
  expect_read (model, DISK_MAX, 0);
  ck_assert_uint_eq (cut (1, KEEP_NOTHING).sectors, 2);
  ck_assert (memcmp (disk.bytes, durable, DISK_MAX) == 0);
}
END_TEST

/* What comes while room is made for something else is not forgotten. */
START_TEST (write_while_making_room)
{
  make (DISK_MAX, SECTOR, 65536);
  write_bytes (1, 50000, 0, false);
  disk.on_write = write_seven;
  write_bytes (2, 50000, 300 * 1024, false);
  ck_assert_ptr_null (disk.on_write);
  memset (model, 7, 512);
  expect_read (model, DISK_MAX, 0);
  ck_assert_uint_eq (disk.flushes, 0);
  flush ();
  ck_assert (memcmp (disk.bytes, model, DISK_MAX) == 0);
}
END_TEST

static void
write_seven_and_flush (void *opaque)
{
  write_seven (opaque);
  flush ();
}

/* While a write of a part of a sector waits for the rest of it from below, the
 * whole sector is written and leaves the cache.
 */
START_TEST (write_during_a_partial_write)
{
  make (100000, SECTOR, LIMIT);
  disk.on_read = write_seven_and_flush;
  write_bytes (8, 10, 100, false);
  ck_assert_uint_eq (disk.reads, 2);
  memset (model, 7, 512);
  memset (model + 100, 8, 10);
  expect_read (model, 512, 0);
}
END_TEST

/* The same, but it stays in the cache. */
START_TEST (cached_during_a_partial_write)
{
  make (100000, SECTOR, LIMIT);
  disk.on_read = write_seven;
  write_bytes (8, 10, 100, false);
  memset (model, 7, 512);
  memset (model + 100, 8, 10);
  expect_read (model, 512, 0);
}
END_TEST

START_TEST (extents)
{
  struct cache_extent e[10];

  make (DISK_MAX, SECTOR, LIMIT);
  write_bytes (1, 1024, 1024, false);
  zero_bytes (CACHE_TRIM, 512, 2048, false);
  zero_bytes (CACHE_ZERO, 1024, 512 * 1024, false);
  ck_assert_uint_eq (cache_extents (cache, 600 * 1024, 1536, e, 10), 5);
  ck_assert_uint_eq (e[0].offset, 1536);
  ck_assert_uint_eq (e[0].length, 512);
  ck_assert (e[0].cached && e[0].kind == CACHE_WRITE);
  ck_assert_uint_eq (e[1].offset, 2048);
  ck_assert (e[1].cached && e[1].kind == CACHE_TRIM);
  ck_assert_uint_eq (e[2].offset, 2560);
  ck_assert_uint_eq (e[2].length, 512 * 1024 - 2560);
  ck_assert (!e[2].cached);
  ck_assert (e[3].cached && e[3].kind == CACHE_ZERO);
  ck_assert_uint_eq (e[4].offset + e[4].length, 1536 + 600 * 1024);
  ck_assert (!e[4].cached);
  ck_assert_uint_eq (cache_extents (cache, 600 * 1024, 1536, e, 2), 2);
}
END_TEST

/* The far end of a very large disk, and zeroes that take little memory. */
START_TEST (large)
{
  const uint64_t size = UINT64_C (0x7ffffffffffffe00);
  const uint32_t zeroes = UINT32_MAX - 511;
  struct cache_extent e[2];
  uint8_t expected[1024];

  make (size, SECTOR, LIMIT);
  write_bytes (5, 1024, size - 1024, false);
  memset (expected, 5, 1024);
  expect_read (expected, 1024, size - 1024);
  zero_bytes (CACHE_TRIM, zeroes, size - zeroes, false);
  memset (expected, 0, 1024);
  expect_read (expected, 1024, size - 1024);
  ck_assert_uint_le (cache->table.bytes, UINT64_C (4) << 20);
  ck_assert_uint_eq (cache_extents (cache, 4096, size - zeroes - 512, e, 2), 2);
  ck_assert (!e[0].cached && e[1].cached);
}
END_TEST

/* The same requests at random, on the cache and on the model.  With memory for
 * very little, data is written before it is flushed, but reads never notice.
 */
static void
random_requests (uint64_t seed, uint64_t size, uint32_t sector_size,
                 uint64_t limit)
{
  uint64_t i;

  make (size, sector_size, limit);
  for (i = 0; i < 1500 / SLOWER; ++i) {
    const uint64_t what = random_number (seed, 1, i, 0) % 100;
    const uint64_t length = random_number (seed, 2, i, 0);
    const uint64_t offset = random_number (seed, 3, i, 0) % size;
    const uint64_t most = length % 8 == 0 ? 300000 : length % 3 ? 3000 : 20000;
    const uint64_t wanted = 1 + (length >> 8) % most;
    const uint32_t count = (uint32_t) min (wanted, size - offset);
    const bool fua = random_number (seed, 4, i, 0) % 10 == 0;

    if (what < 50)
      write_bytes ((uint8_t) (i + 1), count, offset, fua);
    else if (what < 60)
      zero_bytes (CACHE_ZERO, count, offset, fua);
    else if (what < 65)
      zero_bytes (CACHE_ZERO_MAY_TRIM, count, offset, fua);
    else if (what < 70)
      zero_bytes (CACHE_TRIM, count, offset, fua);
    else if (what < 98)
      expect_read (model + offset, count, offset);
    else
      flush ();
    ck_assert_uint_le (cache->table.bytes, limit + 400000);
  }
  expect_read (model, (uint32_t) size, 0);
  flush ();
  ck_assert (memcmp (disk.bytes, model, size) == 0);
  ck_assert_uint_eq (cache->table.bytes, 0);
}

START_TEST (random_small_sectors)
{
  random_requests ((uint64_t) _i, DISK_MAX, 512, LIMIT);
  random_requests ((uint64_t) _i, DISK_MAX - 100, 512, LIMIT);
  random_requests ((uint64_t) _i, 700, 512, LIMIT);
}
END_TEST

START_TEST (random_large_sectors)
{
  random_requests ((uint64_t) _i, DISK_MAX - 1, 4096, LIMIT);
  random_requests ((uint64_t) _i, 65536, 65536, LIMIT);
}
END_TEST

START_TEST (random_little_memory)
{
  random_requests ((uint64_t) _i, DISK_MAX - 1, 512, 65536);
  random_requests ((uint64_t) _i, DISK_MAX - 1, 4096, 65536);
}
END_TEST

/* What a sector may hold after a cut: all that it was since it was durable. */
struct versions {
  uint8_t bytes[VERSIONS][512];
  unsigned count;
};

static struct versions versions[64];

static void
note_versions (bool durable_now, uint64_t first, uint64_t end)
{
  uint64_t s;

  for (s = first; s < end; ++s) {
    struct versions *v = &versions[s];

    if (durable_now)
      v->count = 0;
    ck_assert_uint_lt (v->count, VERSIONS);
    memcpy (v->bytes[v->count++], model + 512 * s, 512);
  }
}

/* Requests at random, then a cut: each sector holds one of its versions, and
 * the same seed does the same thing again.
 */
START_TEST (random_cut)
{
  static uint8_t before[sizeof versions / sizeof versions[0] * 512];
  const uint64_t size = sizeof before, seed = (uint64_t) _i;
  unsigned round, v;
  uint64_t i, s;

  for (round = 0; round < 2; ++round) {
    make (size, SECTOR, LIMIT);
    note_versions (true, 0, 64);
    for (i = 0; i < 60; ++i) {
      const uint64_t offset = random_number (seed, 3, i, 0) % size;
      const uint32_t count = (uint32_t) min (
        1 + random_number (seed, 2, i, 0) % 6000, size - offset);
      const uint64_t what = random_number (seed, 1, i, 0) % 20;

      if (what == 0) {
        flush ();
        note_versions (true, 0, 64);
        continue;
      }
      if (what < 15)
        write_bytes ((uint8_t) (i + 1), count, offset, what == 1);
      else
        zero_bytes (CACHE_ZERO, count, offset, what == 15);
      note_versions (what == 1 || what == 15, offset / 512,
                     (offset + count - 1) / 512 + 1);
    }
    cut (seed, KEEP_SUBSET);
    for (s = 0; s < 64; ++s) {
      for (v = 0; v < versions[s].count; ++v)
        if (memcmp (disk.bytes + 512 * s, versions[s].bytes[v], 512) == 0)
          break;
      ck_assert_msg (v < versions[s].count,
                     "sector %d holds something that it never was", (int) s);
    }
    if (round == 1)
      ck_assert (memcmp (disk.bytes, before, size) == 0);
    memcpy (before, disk.bytes, size);
  }
}
END_TEST

/* Threads that write their own bytes of the same sectors, and check them, while
 * others flush, and memory is short.
 */
#define WRITERS 4
#define ROUNDS 400

static atomic_uint writers_left;

static void *
writer (void *opaque)
{
  const uint64_t me = *(unsigned *) opaque;
  uint64_t i, j;

  for (i = 0; i < ROUNDS; ++i) {
    const uint64_t offset = random_number (me, 1, i, 0) % 500 * 100 + me * 20;
    uint8_t bytes[20], got[20];
    int err;

    for (j = 0; j < 20; ++j)
      bytes[j] = (uint8_t) random_number (me, 2, i, j);
    ck_assert_int_eq (cache_write (cache, bytes, 20, offset, i % 50 == 0, &err),
                      0);
    ck_assert_int_eq (cache_read (cache, got, 20, offset, &err), 0);
    ck_assert (memcmp (bytes, got, 20) == 0);
    memcpy (model + offset, bytes, 20);
  }
  atomic_fetch_sub_explicit (&writers_left, 1, memory_order_relaxed);
  return NULL;
}

static void *
flusher (void *opaque)
{
  int err;

  while (atomic_load_explicit (&writers_left, memory_order_relaxed) > 0)
    ck_assert_int_eq (cache_flush (cache, &err), 0);
  return opaque;
}

START_TEST (threads)
{
  pthread_t thread[WRITERS + 1];
  unsigned number[WRITERS], i;

  make (100000, SECTOR, 65536);
  atomic_store_explicit (&writers_left, WRITERS, memory_order_relaxed);
  for (i = 0; i < WRITERS; ++i) {
    number[i] = i;
    ck_assert_int_eq (pthread_create (&thread[i], NULL, writer, &number[i]), 0);
  }
  ck_assert_int_eq (pthread_create (&thread[i], NULL, flusher, NULL), 0);
  for (i = 0; i <= WRITERS; ++i)
    pthread_join (thread[i], NULL);
  expect_read (model, 100000, 0);
  flush ();
  ck_assert (memcmp (disk.bytes, model, 100000) == 0);
}
END_TEST

int
main (void)
{
  Suite *suite = suite_create ("powercut-cache");
  TCase *tcase = tcase_create ("cache");
  SRunner *runner = srunner_create (suite);
  int failed;

  tcase_add_checked_fixture (tcase, NULL, teardown);
  tcase_set_timeout (tcase, 120);
  tcase_add_test (tcase, volatile_until_flush);
  tcase_add_test (tcase, flush_writes_the_newest);
  tcase_add_test (tcase, fua_is_for_its_own_range);
  tcase_add_test (tcase, fua_makes_older_versions_go);
  tcase_add_test (tcase, cut_keeps_nothing_or_all);
  tcase_add_test (tcase, nothing_after_a_cut);
  tcase_add_test (tcase, every_subset_can_happen);
  tcase_add_test (tcase, whole_requests_in_any_order);
  tcase_add_test (tcase, any_is_all_three);
  tcase_add_test (tcase, lost_data);
  tcase_add_test (tcase, errors_below);
  tcase_add_test (tcase, write_during_a_flush);
  tcase_add_test (tcase, write_while_making_room);
  tcase_add_test (tcase, write_during_a_partial_write);
  tcase_add_test (tcase, cached_during_a_partial_write);
  tcase_add_test (tcase, extents);
  tcase_add_test (tcase, large);
  tcase_add_loop_test (tcase, random_small_sectors, 0, 5);
  tcase_add_loop_test (tcase, random_large_sectors, 0, 5);
  tcase_add_loop_test (tcase, random_little_memory, 0, 5);
  tcase_add_loop_test (tcase, random_cut, 0, 100);
  tcase_add_test (tcase, threads);
  suite_add_tcase (suite, tcase);
  srunner_run_all (runner, CK_NORMAL);
  failed = srunner_ntests_failed (runner);
  srunner_free (runner);
  return failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
