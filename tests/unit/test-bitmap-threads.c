/* nbdclone: the bitmap while many threads use it.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "bitmap.h"
#include "testing.h"

#define SETTERS 3
#define READERS 3
#define REGIONS (4 * CHUNK_REGIONS + 777)

struct shared {
  struct bitmap *bitmap;
  uint64_t *stored; /* per region: what was done before its bit was set */
  atomic_uint setters_left;
  atomic_bool stop;
  _Atomic uint64_t changes; /* calls of changed () */
};

static void
shared_init (struct shared *s, uint64_t regions)
{
  *s = (struct shared){ .bitmap = bitmap_new (regions) };
  s->stored = calloc (regions, sizeof *s->stored);
  must (s->bitmap != NULL && s->stored != NULL);
  atomic_store (&s->setters_left, SETTERS);
}

static void
shared_destroy (struct shared *s)
{
  bitmap_free (s->bitmap);
  free (s->stored);
}

static void
note_change (void *opaque, uint64_t chunk)
{
  struct shared *s = opaque;

  (void) chunk;
  atomic_fetch_add (&s->changes, 1);
}

/* Each setter has every third region, so that they meet in the same words. */
static void
set_own_share (struct shared *s, unsigned self)
{
  const uint64_t n = bitmap_regions (s->bitmap);
  uint64_t i;

  for (i = self; i < n; i += SETTERS) {
    s->stored[i] = i + 1;
    bitmap_set (s->bitmap, i, i + 1, note_change, s);
  }
  atomic_fetch_sub (&s->setters_left, 1);
}

/* What was seen set stays set (P2), and what was stored before is there (the
 * sanitizer sees it if the order is not kept).
 */
static void
read_until_set (struct shared *s, unsigned self)
{
  const uint64_t n = bitmap_regions (s->bitmap);
  struct random random = { self };
  bool last_round = false;

  while (!last_round) {
    uint64_t at = random_below (&random, n), seen_count;
    unsigned i;

    last_round = atomic_load (&s->setters_left) == 0;
    seen_count = bitmap_count (s->bitmap);
    for (i = 0; i < 50 && at < n; ++i) {
      bool set;
      const uint64_t length = bitmap_run (s->bitmap, at, n, &set);

      must (length >= 1 && length <= n - at);
      if (set) {
        must (s->stored[at] == at + 1);
        must (s->stored[at + length - 1] == at + length);
        must (bitmap_all_set (s->bitmap, at, at + length));
      }
      at += length;
    }
    must (bitmap_count (s->bitmap) >= seen_count);
  }
  must (bitmap_all_set (s->bitmap, 0, n));
}

static void
set_or_read (struct in_thread *t)
{
  if (t->self < SETTERS)
    set_own_share (t->opaque, t->self);
  else
    read_until_set (t->opaque, t->self);
}

START_TEST (setters_and_readers)
{
  struct shared s;

  shared_init (&s, REGIONS);
  run_threads (SETTERS + READERS, set_or_read, &s);
  ck_assert_uint_eq (bitmap_count (s.bitmap), REGIONS);
  ck_assert_uint_eq (atomic_load (&s.changes), REGIONS);
  shared_destroy (&s);
}
END_TEST

/* Bits of one word, all at the same time: none is lost. */
struct words {
  struct shared shared;
  atomic_uint arrived;
};

static void
meet (struct words *w, unsigned round)
{
  atomic_fetch_add (&w->arrived, 1);
  while (atomic_load (&w->arrived) < SETTERS * (round + 1))
    sched_yield ();
}

static void
set_word_together (struct in_thread *t)
{
  struct words *w = t->opaque;
  struct shared *s = &w->shared;
  unsigned round, bit;

  for (round = 0; round < 3000 / SLOWER; ++round) {
    const uint64_t base = (uint64_t) round * 64;

    meet (w, 2 * round);
    for (bit = t->self; bit < 64; bit += SETTERS)
      bitmap_set (s->bitmap, base + bit, base + bit + 1, note_change, s);
    meet (w, 2 * round + 1);
    must (bitmap_all_set (s->bitmap, base, base + 64));
  }
}

START_TEST (neighbours_set_at_once)
{
  struct words w = { .arrived = 0 };

  shared_init (&w.shared, REGIONS * 2);
  run_threads (SETTERS, set_word_together, &w);
  ck_assert_uint_eq (bitmap_count (w.shared.bitmap), 64 * (3000 / SLOWER));
  shared_destroy (&w.shared);
}
END_TEST

/* Overlapping ranges: each bit is counted once. */
static void
set_ranges (struct in_thread *t)
{
  struct shared *s = t->opaque;
  const uint64_t n = bitmap_regions (s->bitmap);
  struct random random = { 50 + t->self };
  unsigned i;

  for (i = 0; i < 3000; ++i) {
    const uint64_t first = random_below (&random, n);
    uint64_t end = first + 1 + random_below (&random, 3000);

    if (end > n)
      end = n;
    bitmap_set (s->bitmap, first, end, note_change, s);
    must (bitmap_all_set (s->bitmap, first, end));
  }
}

START_TEST (counts_add_up)
{
  struct shared s;
  uint64_t at = 0, counted = 0;

  shared_init (&s, REGIONS);
  run_threads (SETTERS, set_ranges, &s);
  while (at < REGIONS) {
    bool set;
    const uint64_t n = bitmap_run (s.bitmap, at, REGIONS, &set);

    counted += set ? n : 0;
    at += n;
  }
  ck_assert_uint_eq (bitmap_count (s.bitmap), counted);
  shared_destroy (&s);
}
END_TEST

/* A chunk becomes full, and its page goes, while it is being read: all but one
 * of its bits are set before, so whoever sees any of these clear has looked at
 * the page too late.
 */
static void
fill_or_read_chunk (struct in_thread *t)
{
  struct shared *s = t->opaque;
  const uint64_t n = bitmap_regions (s->bitmap);
  uint64_t chunk;

  if (t->self == 0) {
    for (chunk = 0; chunk < n / CHUNK_REGIONS; ++chunk)
      bitmap_set (s->bitmap, chunk * CHUNK_REGIONS, chunk * CHUNK_REGIONS + 1,
                  NULL, NULL);
    atomic_store (&s->stop, true);
    return;
  }
  while (!atomic_load (&s->stop))
    for (chunk = 0; chunk < n / CHUNK_REGIONS; ++chunk)
      must (bitmap_all_set (s->bitmap, chunk * CHUNK_REGIONS + 1,
                            (chunk + 1) * CHUNK_REGIONS));
}

START_TEST (chunks_become_full_while_they_are_read)
{
  const uint64_t chunks = 256;
  unsigned round;

  for (round = 0; round < 8; ++round) {
    struct shared s = { .bitmap = bitmap_new (chunks * CHUNK_REGIONS) };
    uint64_t chunk;

    for (chunk = 0; chunk < chunks; ++chunk)
      bitmap_set (s.bitmap, chunk * CHUNK_REGIONS + 1,
                  (chunk + 1) * CHUNK_REGIONS, NULL, NULL);
    run_threads (1 + READERS, fill_or_read_chunk, &s);
    ck_assert_uint_eq (bitmap_count (s.bitmap), chunks * CHUNK_REGIONS);
    bitmap_free (s.bitmap);
  }
}
END_TEST

/* What a copy misses is reported as changed after before () was called. */
struct copying {
  struct shared shared;
  atomic_bool changed; /* since the last copy */
};

static void
mark_changed (void *opaque, uint64_t chunk)
{
  struct copying *c = opaque;

  (void) chunk;
  atomic_store (&c->changed, true);
}

static void
clear_changed (void *opaque, uint64_t chunk)
{
  struct copying *c = opaque;

  (void) chunk;
  atomic_store (&c->changed, false);
}

static unsigned
count_bits (const uint8_t *bytes)
{
  unsigned i, n = 0;

  for (i = 0; i < CHUNK_BYTES; ++i)
    n += (unsigned) __builtin_popcount (bytes[i]);
  return n;
}

static void
set_or_copy (struct in_thread *t)
{
  struct copying *c = t->opaque;
  struct shared *s = &c->shared;
  uint8_t bytes[CHUNK_BYTES];
  unsigned before = 0;
  uint64_t i;

  if (t->self < SETTERS) {
    for (i = t->self; i < CHUNK_REGIONS; i += SETTERS)
      bitmap_set (s->bitmap, i, i + 1, mark_changed, c);
    atomic_fetch_sub (&s->setters_left, 1);
    return;
  }
  while (atomic_load (&s->setters_left) > 0) {
    unsigned n;

    bitmap_copy_chunk (s->bitmap, 0, bytes, clear_changed, c);
    n = count_bits (bytes);
    must (n >= before);
    before = n;
  }
  /* All are set, and nobody sets any more. */
  must (before == CHUNK_REGIONS || atomic_load (&c->changed));
  bitmap_copy_chunk (s->bitmap, 0, bytes, NULL, NULL);
  must (count_bits (bytes) == CHUNK_REGIONS);
}

START_TEST (copy_or_mark_has_each_bit)
{
  unsigned round;

  for (round = 0; round < 4; ++round) {
    struct copying c = { .changed = false };

    shared_init (&c.shared, CHUNK_REGIONS);
    run_threads (SETTERS + 1, set_or_copy, &c);
    shared_destroy (&c.shared);
  }
}
END_TEST

static void
release_or_read (struct in_thread *t)
{
  struct shared *s = t->opaque;
  const uint64_t n = bitmap_regions (s->bitmap);
  uint8_t bytes[CHUNK_BYTES];
  bool set, last = false;

  if (t->self == 0) {
    wait_for (atomic_load (&s->setters_left) == 0);
    bitmap_release_full (s->bitmap);
    atomic_store (&s->stop, true);
    return;
  }
  atomic_fetch_sub (&s->setters_left, 1);
  while (!last) {
    last = atomic_load (&s->stop);
    must (bitmap_run (s->bitmap, 0, n, &set) == n && set);
    must (bitmap_all_set (s->bitmap, n - 1, n));
    bitmap_copy_chunk (s->bitmap, 0, bytes, NULL, NULL);
    must (count_bits (bytes) == CHUNK_REGIONS);
  }
}

START_TEST (release_while_it_is_read)
{
  unsigned round;

  for (round = 0; round < 200; ++round) {
    const uint64_t regions = 64 * CHUNK_REGIONS;
    struct shared s = { .bitmap = bitmap_new (regions) };

    atomic_store (&s.setters_left, READERS);
    bitmap_set (s.bitmap, 0, regions, NULL, NULL);
    run_threads (1 + READERS, release_or_read, &s);
    bitmap_free (s.bitmap);
  }
}
END_TEST

/* A writer of a region that was missing when it looked sets its bit even if the
 * region has become hydrated meanwhile (store.c), perhaps just when the whole
 * bitmap is being given back.  No bit may be counted twice then, or be
 * reported as changed.
 */
static void
release_or_set (struct in_thread *t)
{
  struct shared *s = t->opaque;
  const uint64_t n = bitmap_regions (s->bitmap);
  bool last = false;

  if (t->self == 0) {
    wait_for (atomic_load (&s->setters_left) == 0);
    bitmap_release_full (s->bitmap);
    atomic_store (&s->stop, true);
    return;
  }
  atomic_fetch_sub (&s->setters_left, 1);
  while (!last) {
    last = atomic_load (&s->stop);
    bitmap_set (s->bitmap, 0, n, note_change, s);
  }
}

START_TEST (release_while_set_bits_are_set_again)
{
  const uint64_t regions = 20000 * CHUNK_REGIONS;
  unsigned round;

  for (round = 0; round < 20; ++round) {
    struct shared s = { .bitmap = bitmap_new (regions) };

    atomic_store (&s.setters_left, 2);
    bitmap_set (s.bitmap, 0, regions, NULL, NULL);
    run_threads (3, release_or_set, &s);
    ck_assert_uint_eq (bitmap_count (s.bitmap), regions);
    ck_assert_uint_eq (atomic_load (&s.changes), 0);
    bitmap_free (s.bitmap);
  }
}
END_TEST

int
main (void)
{
  struct suite s = suite_new ("bitmap-threads");

  tcase_add_test (s.tests, setters_and_readers);
  tcase_add_test (s.tests, neighbours_set_at_once);
  tcase_add_test (s.tests, counts_add_up);
  tcase_add_test (s.tests, chunks_become_full_while_they_are_read);
  tcase_add_test (s.tests, copy_or_mark_has_each_bit);
  tcase_add_test (s.tests, release_while_it_is_read);
  tcase_add_test (s.tests, release_while_set_bits_are_set_again);
  return suite_run (s);
}
