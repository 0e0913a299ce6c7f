/* nbdclone: damage to the bitmap file is refused, or does no harm.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "files.h"
#include "testing.h"

#define REGIONS 300

/* How many bits one goes on for the next flip: odd, where checking all of them
 * would take too long.
 */
#define STRIDE (SLOWER > 1 ? 23 : 1)

/* In so many of the files that a crash may leave, each bit is flipped. */
#define EXHAUSTIVE 2

struct fixture {
  struct sim sim;
  struct sim_storage storage;
  uint64_t regions;
  uint8_t *at_least;     /* the bits that may not be lost */
  uint8_t *at_most;      /* ... and those that may be set */
  struct sim_disk older; /* the file before the last commit */
  unsigned refused, harmless, lost;
};

static uint8_t *
bits_now (struct fixture *f)
{
  struct opened o;
  uint8_t *bits;

  file_must_open (&o, &f->storage, f->regions);
  bits = file_bits (&o);
  file_close (&o);
  return bits;
}

static int
commit_first_and_last (struct opened *o)
{
  const uint64_t chunks[] = { 0, bitmap_chunks (o->bitmap) - 1 };

  return file_commit (o, chunks, chunks[1] > 0 ? 2 : 1);
}

/* Three commits, so that both slots of everything are in use. */
static void
fixture_init (struct fixture *f, uint64_t regions, bool clean)
{
  const struct bitmap_file_identity id = file_identity (regions);
  struct opened o;
  uint64_t i;

  *f = (struct fixture){ .regions = regions };
  sim_init (&f->sim);
  file_create (&f->storage, &f->sim, &id);
  file_must_open (&o, &f->storage, regions);
  for (i = 0; i < 3; ++i) {
    if (i == 2) {
      f->at_least = file_bits (&o);
      sim_disk_init (&f->older, f->storage.disk.size);
      sim_disk_copy (&f->older, &f->storage.disk);
    }
    bitmap_set (o.bitmap, 3 * i, 3 * i + 2, NULL, NULL);
    bitmap_set (o.bitmap, regions - 1 - 2 * i, regions - 2 * i, NULL, NULL);
    must (commit_first_and_last (&o) == 0);
  }
  if (clean)
    must (bitmap_file_mark_clean (o.file) == 0);
  file_close (&o);
  f->at_most = bits_now (f);
  if (clean) {
    free (f->at_least);
    f->at_least = bits_now (f);
  }
}

static void
fixture_destroy (struct fixture *f)
{
  free (f->at_least);
  free (f->at_most);
  sim_disk_destroy (&f->older);
  sim_storage_destroy (&f->storage);
  sim_destroy (&f->sim);
}

/* Open the damaged file.  It is refused with a message, or its bits are within
 * the limits.
 */
static void
check (struct fixture *f)
{
  struct opened o;
  uint8_t *bits;

  sim_forget (&f->sim);
  if (!file_open (&o, &f->storage, f->regions)) {
    must (o.why[0] != 0);
    f->refused++;
    return;
  }
  bits = file_bits (&o);
  must (bits_within (f->at_least, bits, f->regions));
  must (bits_within (bits, f->at_most, f->regions));
  if (bits_within (f->at_most, bits, f->regions))
    f->harmless++;
  else
    f->lost++;
  free (bits);
  file_close (&o);
}

static void
flip (struct fixture *f, uint64_t bit)
{
  f->storage.disk.bytes[bit / 8] ^= (uint8_t) (1U << bit % 8);
}

static void
flip_each_bit (struct fixture *f, unsigned stride)
{
  uint64_t bit;

  for (bit = 0; bit < 8 * f->storage.disk.size; bit += stride) {
    flip (f, bit);
    check (f);
    flip (f, bit);
  }
  must (f->refused + f->harmless + f->lost ==
        (8 * f->storage.disk.size + stride - 1) / stride);
}

START_TEST (each_bit_of_a_clean_file)
{
  struct fixture f;

  fixture_init (&f, REGIONS, true);
  flip_each_bit (&f, STRIDE);
  ck_assert_uint_gt (f.refused, 0);
  ck_assert_uint_eq (f.lost, 0);
  fixture_destroy (&f);
}
END_TEST

START_TEST (bits_of_a_clean_file_of_three_blocks)
{
  struct fixture f;

  fixture_init (&f, 70000, true);
  flip_each_bit (&f, 641);
  ck_assert_uint_eq (f.lost, 0);
  fixture_destroy (&f);
}
END_TEST

/* Flips in the last commit cannot be told from its having been cut off. */
START_TEST (each_bit_of_a_file_that_was_not_closed)
{
  struct fixture f;

  fixture_init (&f, REGIONS, false);
  flip_each_bit (&f, STRIDE);
  ck_assert_uint_gt (f.lost, 0);
  fixture_destroy (&f);
}
END_TEST

/* A last commit of which only a part has arrived. */
START_TEST (each_bit_of_a_file_left_by_a_crash)
{
  struct random random = { (uint64_t) _i };
  struct fixture f;
  struct opened o;

  fixture_init (&f, REGIONS, false);
  free (f.at_least);
  f.at_least = bits_now (&f);
  file_must_open (&o, &f.storage, REGIONS);
  sim_stop_after (&f.sim, 2); /* both writes, but not the sync */
  must (file_set_and_commit (&o, 100, 150) == -1);
  free (f.at_most);
  f.at_most = file_bits (&o);
  file_close (&o);
  sim_disk_cut (&f.storage.disk, sim_survives_random, &random);
  sim_go_on (&f.sim);
  check (&f);
  must (f.refused == 0);
  /* Damage to what that commit left untouched may cost more: it is found, or
   * it was not needed.  Never more than that commit and the one before it.
   */
  free (f.at_least);
  f.at_least = calloc (REGIONS, 1);
  must (f.at_least != NULL);
  memset (f.at_least, 1, 2);
  memset (f.at_least + 3, 1, 2);
  f.refused = f.harmless = f.lost = 0;
  flip_each_bit (&f, _i < EXHAUSTIVE ? STRIDE : 101);
  fixture_destroy (&f);
}
END_TEST

START_TEST (each_truncation)
{
  struct fixture f;
  uint64_t full;

  fixture_init (&f, REGIONS, _i);
  full = f.storage.disk.size;
  while (f.storage.disk.size-- > 0)
    check (&f);
  f.storage.disk.size = full;
  ck_assert_uint_eq (f.refused, full);
  fixture_destroy (&f);
}
END_TEST

/* Each sector becomes zeroes, ones, garbage, or its neighbour. */
START_TEST (each_sector_of_a_clean_file)
{
  struct random random = { 3 };
  uint8_t saved[SIM_SECTOR];
  struct fixture f;
  uint64_t at;
  unsigned kind, i;

  fixture_init (&f, 70000, true);
  for (at = 0; at < f.storage.disk.size; at += SIM_SECTOR)
    for (kind = 0; kind < 4; ++kind) {
      uint8_t *sector = f.storage.disk.bytes + at;

      memcpy (saved, sector, SIM_SECTOR);
      if (kind < 2)
        memset (sector, kind ? 0xff : 0, SIM_SECTOR);
      else if (kind == 2)
        for (i = 0; i < SIM_SECTOR; ++i)
          sector[i] = (uint8_t) random_next (&random);
      else
        memmove (sector, at ? sector - SIM_SECTOR : sector + SIM_SECTOR,
                 SIM_SECTOR);
      check (&f);
      memcpy (sector, saved, SIM_SECTOR);
    }
  ck_assert_uint_gt (f.refused, 0);
  ck_assert_uint_eq (f.lost, 0);
  fixture_destroy (&f);
}
END_TEST

/* A write of the last commit, or of marking it clean, that the disk has claimed
 * to have done: each sector and each slot of 4096 bytes as it was before.
 */
START_TEST (lost_writes_of_a_clean_file)
{
  const uint64_t unit = _i ? 4096 : SIM_SECTOR;
  uint8_t saved[4096];
  struct fixture f;
  uint64_t at;

  fixture_init (&f, REGIONS, true);
  for (at = 0; at < f.storage.disk.size; at += unit) {
    memcpy (saved, f.storage.disk.bytes + at, unit);
    memcpy (f.storage.disk.bytes + at, f.older.bytes + at, unit);
    check (&f);
    memcpy (f.storage.disk.bytes + at, saved, unit);
  }
  ck_assert_uint_gt (f.refused, 0);
  ck_assert_uint_eq (f.lost, 0);
  fixture_destroy (&f);
}
END_TEST

int
main (void)
{
  struct suite s = suite_new ("bitmap-file-damage");

  tcase_add_test (s.tests, each_bit_of_a_clean_file);
  tcase_add_test (s.tests, bits_of_a_clean_file_of_three_blocks);
  tcase_add_test (s.tests, each_bit_of_a_file_that_was_not_closed);
  tcase_add_loop_test (s.tests, each_bit_of_a_file_left_by_a_crash, 0, 12);
  tcase_add_loop_test (s.tests, each_truncation, 0, 2);
  tcase_add_test (s.tests, each_sector_of_a_clean_file);
  tcase_add_loop_test (s.tests, lost_writes_of_a_clean_file, 0, 2);
  return suite_run (s);
}
