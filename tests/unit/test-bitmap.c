/* nbdclone: the bitmap against a plain array of bits.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "bitmap.h"
#include "region.h"
#include "testing.h"

/* The bitmap and what it should be: a byte for each region. */
struct pair {
  struct bitmap *bitmap;
  uint8_t *model;
  uint64_t regions;
};

static struct pair
pair_new (uint64_t regions)
{
  struct pair p = { bitmap_new (regions), calloc (regions, 1), regions };

  ck_assert_ptr_nonnull (p.bitmap);
  ck_assert_ptr_nonnull (p.model);
  return p;
}

static void
pair_free (struct pair *p)
{
  bitmap_free (p->bitmap);
  free (p->model);
}

/* What bitmap_set reports as changed: which chunks, and how often. */
struct changes {
  uint64_t calls;
  uint64_t first, last;
};

static void
count_change (void *opaque, uint64_t chunk)
{
  struct changes *c = opaque;

  if (c->calls == 0)
    c->first = chunk;
  else
    must (c->last < chunk);
  c->last = chunk;
  c->calls++;
}

/* Set a range in both; checks what is reported. */
static void
pair_set (struct pair *p, uint64_t first, uint64_t end)
{
  struct changes got = { 0, 0, 0 };
  uint64_t expected = 0, i, chunk = UINT64_MAX;

  for (i = first; i < end; ++i) {
    if (!p->model[i] && i / CHUNK_REGIONS != chunk) {
      chunk = i / CHUNK_REGIONS;
      expected++;
    }
    p->model[i] = 1;
  }
  bitmap_set (p->bitmap, first, end, count_change, &got);
  must (got.calls == expected);
  must (expected == 0 || got.last == chunk);
}

static uint64_t
model_count (const struct pair *p)
{
  uint64_t i, n = 0;

  for (i = 0; i < p->regions; ++i)
    n += p->model[i];
  return n;
}

/* Runs from every position, to the end and to `limit` regions further. */
static void
pair_check_runs (const struct pair *p, uint64_t limit)
{
  uint64_t at, end = 0;

  for (at = 0; at < p->regions; ++at) {
    const uint64_t stop = at + limit < p->regions ? at + limit : p->regions;
    bool set = !p->model[at];

    if (at >= end)
      for (end = at + 1; end < p->regions && p->model[end] == p->model[at];)
        end++;
    /* Not ck_assert: it takes longer than what it checks. */
    must (bitmap_run (p->bitmap, at, p->regions, &set) == end - at);
    must (set == p->model[at]);
    must (bitmap_run (p->bitmap, at, stop, &set) ==
          (end < stop ? end : stop) - at);
    must (set == p->model[at]);
    must (bitmap_all_set (p->bitmap, at, stop) ==
          (p->model[at] && end >= stop));
  }
}

static void
pair_check (const struct pair *p)
{
  ck_assert_uint_eq (bitmap_count (p->bitmap), model_count (p));
  pair_check_runs (p, 1);
  pair_check_runs (p, 65);
}

static const uint64_t sizes[] = { 1,     2,     63,    64,    65,
                                  32255, 32256, 32257, 64512, 100000 };
#define N_SIZES (sizeof sizes / sizeof sizes[0])

START_TEST (empty)
{
  struct pair p = pair_new (sizes[_i]);

  ck_assert_uint_eq (bitmap_regions (p.bitmap), p.regions);
  ck_assert_uint_eq (bitmap_chunks (p.bitmap), (p.regions + 32255) / 32256);
  pair_check (&p);
  pair_free (&p);
}
END_TEST

START_TEST (each_bit_alone)
{
  const uint64_t regions = sizes[_i];
  struct random random = { (uint64_t) _i };
  unsigned i;

  for (i = 0; i < (SLOWER > 1 ? 3 : 8); ++i) {
    struct pair p = pair_new (regions);
    const uint64_t at = i == 0   ? 0
                        : i == 1 ? regions - 1
                                 : random_below (&random, regions);

    pair_set (&p, at, at + 1);
    pair_check (&p);
    pair_set (&p, at, at + 1); /* again: nothing changes */
    ck_assert_uint_eq (bitmap_count (p.bitmap), 1);
    pair_free (&p);
  }
}
END_TEST

START_TEST (random_ranges_until_full)
{
  struct pair p = pair_new (sizes[_i]);
  struct random random = { 100 + (uint64_t) _i };
  unsigned i;

  for (i = 0; i < 24; ++i) {
    const uint64_t first = random_below (&random, p.regions);
    const uint64_t most = 1 + (p.regions >> random_below (&random, 18));
    uint64_t end = first + 1 + random_below (&random, most);

    if (end > p.regions)
      end = p.regions;
    pair_set (&p, first, end);
    if (i % (SLOWER > 1 ? 12 : 4) == 3)
      pair_check (&p);
  }
  pair_set (&p, 0, p.regions);
  pair_check (&p);
  ck_assert (bitmap_all_set (p.bitmap, 0, p.regions));
  bitmap_release_full (p.bitmap);
  pair_check (&p);
  pair_set (&p, 0, p.regions);
  pair_check (&p);
  pair_free (&p);
}
END_TEST

START_TEST (whole_chunk_at_once)
{
  struct pair p = pair_new (100000);

  pair_set (&p, CHUNK_REGIONS, 2 * CHUNK_REGIONS);
  pair_check (&p);
  pair_set (&p, CHUNK_REGIONS - 1, CHUNK_REGIONS); /* joins it from the left */
  pair_set (&p, 3 * CHUNK_REGIONS, 100000);        /* the short last chunk */
  pair_check (&p);
  pair_free (&p);
}
END_TEST

START_TEST (empty_range_sets_nothing)
{
  struct pair p = pair_new (100);

  pair_set (&p, 0, 0);
  pair_set (&p, 50, 50);
  pair_set (&p, 100, 100);
  pair_check (&p);
  pair_free (&p);
}
END_TEST

/* Whoever sees a bit has to find that its chunk has changed: else he would take
 * it for committed, and what he writes there and flushes would be lost with it.
 */
struct watched {
  struct bitmap *bitmap;
  uint64_t first, end;
  unsigned calls;
};

static void
nothing_is_seen_yet (void *opaque, uint64_t chunk)
{
  struct watched *w = opaque;
  const uint64_t base = chunk * CHUNK_REGIONS;
  const uint64_t first = w->first > base ? w->first : base;
  bool set;

  bitmap_run (w->bitmap, first, first + 1, &set);
  must (!set);
  w->calls++;
}

START_TEST (change_is_told_before_it_is_seen)
{
  struct watched w = {
    .bitmap = bitmap_new (3 * CHUNK_REGIONS),
    .first = CHUNK_REGIONS - 1,
    .end = 2 * CHUNK_REGIONS + 1,
  };

  bitmap_set (w.bitmap, w.first, w.end, nothing_is_seen_yet, &w);
  ck_assert_uint_eq (w.calls, 3);
  bitmap_set (w.bitmap, w.first, w.end, nothing_is_seen_yet, &w);
  ck_assert_uint_eq (w.calls, 3);
  w.first = 0;
  bitmap_set (w.bitmap, 0, 3 * CHUNK_REGIONS - 1, NULL, NULL);
  w.first = 3 * CHUNK_REGIONS - 1;
  bitmap_set (w.bitmap, w.first, w.first + 1, nothing_is_seen_yet, &w);
  ck_assert_uint_eq (w.calls, 4);
  bitmap_free (w.bitmap);
}
END_TEST

/* A copy of each chunk, loaded into another bitmap, makes it the same. */
START_TEST (copies_load_again)
{
  struct pair p = pair_new (sizes[_i]);
  struct random random = { 200 + (uint64_t) _i };
  unsigned round;

  for (round = 0; round < 4; ++round) {
    struct pair q = { bitmap_new (p.regions), p.model, p.regions };
    uint64_t chunk, i;

    for (chunk = 0; chunk < bitmap_chunks (p.bitmap); ++chunk) {
      uint8_t bytes[CHUNK_BYTES];

      bitmap_copy_chunk (p.bitmap, chunk, bytes, NULL, NULL);
      for (i = 0; i < CHUNK_REGIONS; ++i) {
        const uint64_t region = chunk * CHUNK_REGIONS + i;

        must (((bytes[i / 8] >> (i % 8)) & 1) ==
              (region < p.regions && p.model[region]));
      }
      ck_assert_int_eq (bitmap_load_chunk (q.bitmap, chunk, bytes), 0);
    }
    pair_check (&q);
    bitmap_free (q.bitmap);

    if (round == 2)
      pair_set (&p, 0, p.regions);
    else
      for (i = 0; i < p.regions; i += 1 + random_below (&random, 100))
        pair_set (&p, i, i + 1);
  }
  pair_free (&p);
}
END_TEST

START_TEST (copy_of_a_released_bitmap_is_full)
{
  struct pair p = pair_new (32256 + 9);
  uint8_t bytes[CHUNK_BYTES];

  pair_set (&p, 0, p.regions);
  bitmap_release_full (p.bitmap);
  bitmap_copy_chunk (p.bitmap, 0, bytes, NULL, NULL);
  ck_assert_uint_eq (bytes[0], 0xff);
  ck_assert_uint_eq (bytes[CHUNK_BYTES - 1], 0xff);
  bitmap_copy_chunk (p.bitmap, 1, bytes, NULL, NULL);
  ck_assert_uint_eq (bytes[0], 0xff);
  ck_assert_uint_eq (bytes[1], 1);
  ck_assert_uint_eq (bytes[2], 0);
  pair_free (&p);
}
END_TEST

START_TEST (load_refuses_bits_behind_the_end)
{
  const uint64_t regions = 32256 + 9;
  uint8_t bytes[CHUNK_BYTES] = { 0xff, 1 };
  unsigned bit;

  for (bit = 9; bit < 8 * CHUNK_BYTES; bit += bit < 70 ? 1 : 997) {
    struct bitmap *b = bitmap_new (regions);

    bytes[bit / 8] |= (uint8_t) (1U << bit % 8);
    ck_assert_int_eq (bitmap_load_chunk (b, 1, bytes), -1);
    bytes[bit / 8] &= (uint8_t) ~(1U << bit % 8);
    ck_assert_int_eq (bitmap_load_chunk (b, 1, bytes), 0);
    ck_assert_uint_eq (bitmap_count (b), 9);
    ck_assert (bitmap_all_set (b, 32256, regions));
    bitmap_free (b);
  }
}
END_TEST

static void
check_before (void *opaque, uint64_t chunk)
{
  ck_assert_uint_eq (chunk, 1);
  *(unsigned *) opaque += 1;
}

START_TEST (copy_calls_before_once)
{
  struct bitmap *b = bitmap_new (40000);
  uint8_t bytes[CHUNK_BYTES];
  unsigned calls = 0;

  bitmap_copy_chunk (b, 1, bytes, check_before, &calls);
  ck_assert_uint_eq (calls, 1);
  bitmap_free (b);
}
END_TEST

#ifndef MEMCHECK /* valgrind's address space is not that large */
/* P9, lesson 4: the largest bitmap that there may be.  What is hydrated wholly
 * or not at all costs next to nothing, what is so in part costs a page for each
 * 32256 regions.
 */
START_TEST (huge_bitmap_takes_little_memory)
{
  const uint64_t regions = REGIONS_MAX;
  const uint64_t before = resident_bytes ();
  struct bitmap *b = bitmap_new (regions);
  bool set;
  uint64_t i;

  ck_assert_ptr_nonnull (b);
  ck_assert_uint_eq (bitmap_regions (b), regions);
  /* 2^35 regions wholly hydrated: a million chunks. */
  bitmap_set (b, UINT64_C (1) << 36, (UINT64_C (1) << 36) + (1U << 31), NULL,
              NULL);
  for (i = 0; i < 40; ++i)
    bitmap_set (b, (UINT64_C (1) << i) - 1, UINT64_C (1) << i, NULL, NULL);
  bitmap_set (b, regions - 1, regions, NULL, NULL);

  ck_assert_uint_eq (bitmap_count (b), (UINT64_C (1) << 31) + 41);
  ck_assert (bitmap_all_set (b, regions - 1, regions));
  ck_assert_uint_eq (
    bitmap_run (b, UINT64_C (1) << 36, (UINT64_C (1) << 36) + (1U << 31), &set),
    UINT64_C (1) << 31);
  ck_assert (set);
  ck_assert_uint_eq (
    bitmap_run (b, UINT64_C (1) << 31, UINT64_C (1) << 32, &set),
    (UINT64_C (1) << 31) - 1);
  ck_assert (!set);
  ck_assert_uint_eq (
    bitmap_run (b, (UINT64_C (1) << 32) - 1, UINT64_C (1) << 33, &set), 1);
  ck_assert (set);
  ck_assert_uint_lt (resident_bytes () - before, UINT64_C (8) << 20);
  bitmap_free (b);
}
END_TEST
#endif

/* ... and the page of a chunk that has become full is given back. */
START_TEST (full_chunks_give_their_memory_back)
{
  const uint64_t chunks = 8192 / SLOWER; /* 32 MiB of pages */
  struct bitmap *b = bitmap_new (chunks * CHUNK_REGIONS);
  uint64_t before = resident_bytes (), i;

  for (i = 0; i < chunks; ++i)
    bitmap_set (b, i * CHUNK_REGIONS, (i + 1) * CHUNK_REGIONS - 1, NULL, NULL);
  if (before)
    ck_assert_uint_gt (resident_bytes () - before, UINT64_C (31) << 20);
  for (i = 0; i < chunks; ++i)
    bitmap_set (b, (i + 1) * CHUNK_REGIONS - 1, (i + 1) * CHUNK_REGIONS, NULL,
                NULL);
  ck_assert_uint_eq (bitmap_count (b), chunks * CHUNK_REGIONS);
  ck_assert_uint_le (resident_bytes (), before + (UINT64_C (4) << 20));
  bitmap_free (b);
}
END_TEST

int
main (void)
{
  struct suite s = suite_new ("bitmap");

  tcase_add_loop_test (s.tests, empty, 0, N_SIZES);
  tcase_add_loop_test (s.tests, each_bit_alone, 0, N_SIZES);
  tcase_add_loop_test (s.tests, random_ranges_until_full, 0, N_SIZES);
  tcase_add_test (s.tests, whole_chunk_at_once);
  tcase_add_test (s.tests, empty_range_sets_nothing);
  tcase_add_test (s.tests, change_is_told_before_it_is_seen);
  tcase_add_loop_test (s.tests, copies_load_again, 0, N_SIZES);
  tcase_add_test (s.tests, copy_of_a_released_bitmap_is_full);
  tcase_add_test (s.tests, load_refuses_bits_behind_the_end);
  tcase_add_test (s.tests, copy_calls_before_once);
#ifndef MEMCHECK
  tcase_add_test (s.tests, huge_bitmap_takes_little_memory);
#endif
  tcase_add_test (s.tests, full_chunks_give_their_memory_back);
  return suite_run (s);
}
