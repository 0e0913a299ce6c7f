/* nbdclone: the bitmap file: what is written is read again, and what is not a
 * sound file is refused.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What happens after a crash: test-bitmap-file-crash.c; after damage:
 * test-bitmap-file-damage.c.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "files.h"
#include "region.h"
#include "testing.h"

/* Lesson 6: tiny disks, and one block of the file more or less. */
static const uint64_t sizes[] = { 1,     2,     63,    64,    65,    32255,
                                  32256, 32257, 64512, 64513, 100000 };
#define N_SIZES (sizeof sizes / sizeof sizes[0])

struct fixture {
  struct sim sim;
  struct sim_storage storage;
  struct opened opened;
  uint64_t regions;
};

static void
fixture_init (struct fixture *f, uint64_t regions)
{
  const struct bitmap_file_identity id = file_identity (regions);

  f->regions = regions;
  sim_init (&f->sim);
  file_create (&f->storage, &f->sim, &id);
  file_must_open (&f->opened, &f->storage, regions);
}

static void
fixture_destroy (struct fixture *f)
{
  file_close (&f->opened);
  sim_storage_destroy (&f->storage);
  sim_destroy (&f->sim);
}

static void
reopen (struct fixture *f)
{
  file_close (&f->opened);
  file_must_open (&f->opened, &f->storage, f->regions);
}

/* The file must be refused, with a message that has this in it. */
static void
must_refuse (struct fixture *f, const char *why)
{
  file_close (&f->opened);
  if (file_open (&f->opened, &f->storage, f->regions) ||
      strstr (f->opened.why, why) == NULL) {
    ck_abort_msg ("expected \"%s\", got \"%s\"", why, f->opened.why);
  }
}

START_TEST (new_file_is_empty_and_clean)
{
  struct fixture f;

  fixture_init (&f, sizes[_i]);
  ck_assert_uint_eq (bitmap_count (f.opened.bitmap), 0);
  ck_assert (bitmap_file_is_clean (f.opened.file));
  /* ... and durable. */
  sim_disk_cut (&f.storage.disk, sim_none_survives, NULL);
  reopen (&f);
  ck_assert_uint_eq (bitmap_count (f.opened.bitmap), 0);
  fixture_destroy (&f);
}
END_TEST

START_TEST (committed_bits_are_loaded)
{
  struct fixture f;
  struct random random = { (uint64_t) _i };
  unsigned i;

  fixture_init (&f, sizes[_i]);
  for (i = 0; i < 12; ++i) {
    const uint64_t first = i == 3   ? 0
                           : i == 7 ? f.regions - 1
                                    : random_below (&random, f.regions);
    uint64_t end = first + 1 + random_below (&random, 1 + f.regions / 20);
    uint8_t *before, *after;

    if (end > f.regions)
      end = f.regions;
    ck_assert_int_eq (file_set_and_commit (&f.opened, first, end), 0);
    before = file_bits (&f.opened);
    /* Durable, too. */
    sim_disk_cut (&f.storage.disk, sim_none_survives, NULL);
    if (i % 2)
      ck_assert_int_eq (bitmap_file_mark_clean (f.opened.file), 0);
    reopen (&f);
    ck_assert_int_eq (bitmap_file_is_clean (f.opened.file), i % 2);
    ck_assert_int_eq (bitmap_file_recover (f.opened.file), 0);
    after = file_bits (&f.opened);
    ck_assert_mem_eq (before, after, f.regions);
    free (before);
    free (after);
  }
  fixture_destroy (&f);
}
END_TEST

START_TEST (full_bitmap_is_loaded)
{
  struct fixture f;

  fixture_init (&f, sizes[_i]);
  ck_assert_int_eq (file_set_and_commit (&f.opened, 0, f.regions), 0);
  ck_assert_int_eq (bitmap_file_mark_clean (f.opened.file), 0);
  reopen (&f);
  ck_assert_uint_eq (bitmap_count (f.opened.bitmap), f.regions);
  fixture_destroy (&f);
}
END_TEST

START_TEST (identity_is_kept)
{
  const struct {
    uint64_t disk, source, region;
    size_t name;
  } cases[] = { { 1, 1, 4096, 0 },
                { 4097, 1, 4096, 1 },
                { 1 << 30, 999999999, 65536, 7 },
                { INT64_MAX, INT64_MAX, 1 << 30, BITMAP_FILE_NAME_MAX } };
  struct bitmap_file_identity id = { .disk_size = cases[_i].disk };
  struct sim_storage storage;
  struct sim sim;
  struct bitmap_file *file;
  char why[512];

  id.source_size = cases[_i].source;
  id.region_size = cases[_i].region;
  memset (id.source_name, 'x', cases[_i].name);
  sim_init (&sim);
  file_create (&storage, &sim, &id);
  file = bitmap_file_open (&storage.storage, why, sizeof why);
  ck_assert_ptr_nonnull (file);
  ck_assert_mem_eq (bitmap_file_identity (file), &id, sizeof id);
  bitmap_file_close (file);
  sim_storage_destroy (&storage);
  sim_destroy (&sim);
}
END_TEST

START_TEST (open_and_load_write_nothing)
{
  struct fixture f;
  uint64_t changes;

  fixture_init (&f, 40000);
  ck_assert_int_eq (file_set_and_commit (&f.opened, 5, 39000), 0);
  changes = sim_changes (&f.sim);
  reopen (&f); /* not clean */
  ck_assert_uint_eq (sim_changes (&f.sim), changes);
  fixture_destroy (&f);
}
END_TEST

/* A commit writes what changed and a header, in one submission with one sync,
 * and never the newest slot of anything.
 */
START_TEST (commit_writes_the_other_slots_only)
{
  struct fixture f;
  unsigned i;

  fixture_init (&f, 100000);
  for (i = 0; i < 6; ++i) {
    const struct sim_device *d = &f.storage.device;
    const size_t mark = sim_mark (&f.sim);
    const unsigned slot = i % 2;

    ck_assert_int_eq (file_set_and_commit (&f.opened, 32256 + i, 32256 + i + 1),
                      0);
    ck_assert_uint_eq (sim_count (&f.sim, d, SIM_WRITE, 0, 0, mark), 2);
    ck_assert_uint_eq (sim_count (&f.sim, d, SIM_FLUSH, 0, 0, mark), 1);
    ck_assert_uint_eq (sim_count (&f.sim, d, SIM_WRITE,
                                  BLOCKS_AT + 8192 + slot * 4096, 4096, mark),
                       1);
    ck_assert_uint_eq (sim_count (&f.sim, d, SIM_WRITE,
                                  (slot ^ 1) * HEADER_BYTES, HEADER_BYTES,
                                  mark),
                       1);
  }
  fixture_destroy (&f);
}
END_TEST

START_TEST (marking_clean_twice_writes_once)
{
  struct fixture f;
  uint64_t changes;

  fixture_init (&f, 10);
  ck_assert_int_eq (file_set_and_commit (&f.opened, 5, 6), 0);
  ck_assert (!bitmap_file_is_clean (f.opened.file));
  ck_assert_int_eq (bitmap_file_mark_clean (f.opened.file), 0);
  ck_assert (bitmap_file_is_clean (f.opened.file));
  changes = sim_changes (&f.sim);
  ck_assert_int_eq (bitmap_file_mark_clean (f.opened.file), 0);
  ck_assert_uint_eq (sim_changes (&f.sim), changes);
  ck_assert_int_eq (file_set_and_commit (&f.opened, 6, 7), 0);
  ck_assert (!bitmap_file_is_clean (f.opened.file));
  reopen (&f);
  ck_assert (!bitmap_file_is_clean (f.opened.file));
  fixture_destroy (&f);
}
END_TEST

START_TEST (not_clean_after_a_commit_without_space)
{
  struct fixture f;
  struct sim_fault full = { .ops = SIM_WRITE, .times = 1, .err = ENOSPC };

  fixture_init (&f, 10);
  ck_assert_int_eq (file_set_and_commit (&f.opened, 5, 6), 0);
  sim_add_fault (&f.storage.device, &full);
  ck_assert_int_eq (file_set_and_commit (&f.opened, 6, 7), -1);
  ck_assert_int_eq (errno, ENOSPC);
  ck_assert_int_eq (bitmap_file_mark_clean (f.opened.file), 0);
  reopen (&f);
  ck_assert (!bitmap_file_is_clean (f.opened.file));
  fixture_destroy (&f);
}
END_TEST

/* Lesson 4: more than 2^32 regions. */
START_TEST (many_regions)
{
  const uint64_t regions = (UINT64_C (1) << 33) + 12345;
  const uint64_t set[] = { 0,
                           (UINT64_C (1) << 31) - 1,
                           UINT64_C (1) << 31,
                           UINT64_C (1) << 32,
                           (UINT64_C (1) << 32) + 1,
                           regions - 1 };
  const unsigned n = sizeof set / sizeof set[0];
  const uint64_t before = resident_bytes ();
  struct fixture f;
  unsigned i;

  fixture_init (&f, regions);
  for (i = 0; i < n; ++i)
    ck_assert_int_eq (file_set_and_commit (&f.opened, set[i], set[i] + 1), 0);
  sim_disk_cut (&f.storage.disk, sim_none_survives, NULL);
  reopen (&f);
  ck_assert_uint_eq (bitmap_count (f.opened.bitmap), n);
  for (i = 0; i < n; ++i)
    ck_assert (bitmap_all_set (f.opened.bitmap, set[i], set[i] + 1));
  ck_assert_uint_lt (resident_bytes (), before + (UINT64_C (64) << 20));
  fixture_destroy (&f);
}
END_TEST

/* What another program may have written, with a checksum that is right: each
 * is refused with a message that names the value.
 */
START_TEST (foreign_headers_are_refused)
{
  const struct {
    uint64_t offset;
    unsigned bytes;
    uint64_t value;
    const char *why;
  } cases[] = {
    { 48, 4, 2, "version 2" },
    { 48, 4, 0, "version 0" },
    { 52, 4, 1, "features (0x1)" },
    { 52, 4, 0x80000000, "features (0x80000000)" },
    { 56, 4, 4, "flags are 0x4, of which this program knows 0x3 only" },
    { 60, 4, 4097, "name" },
    { 60, 4, 0xffffffff, "name" },
    { 60, 4, 5, "name" }, /* has a zero byte in it */
    { 64, 8, 0, "region size is 0" },
    { 64, 8, 2048, "region size is 2048" },
    { 64, 8, 5000, "region size is 5000" },
    { 64, 8, UINT64_C (1) << 31, "region size is 2147483648" },
    { 64, 8, UINT64_C (1) << 32, "region size is 4294967296" },
    { 64, 8, 8192, "bytes long, but should be" },
    { 72, 8, 4095, "in a disk of 4095" },
    { 72, 8, UINT64_C (1) << 63, "in a disk of 9223372036854775808" },
    { 80, 8, 0, "source of 0 bytes" },
    { 80, 8, UINT64_MAX, "source of 18446744073709551615 bytes" },
    { 16, 8, 0, "generation is 0" },
    { 16, 8, UINT64_MAX, "generation is 18446744073709551615" },
    { 24, 8, 1, "sum" },
  };
  struct fixture f;
  unsigned i;

  for (i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    fixture_init (&f, 70000);
    file_set_number (&f.storage, cases[i].offset, cases[i].bytes,
                     cases[i].value);
    file_seal (&f.storage, 0, HEADER_BYTES);
    must_refuse (&f, cases[i].why);
    fixture_destroy (&f);
  }
}
END_TEST

START_TEST (headers_that_contradict_are_refused)
{
  const struct {
    uint64_t offset, value;
  } cases[] = { { 32, 77 },   { 64, 8192 }, { 72, 1 << 30 },
                { 80, 4096 }, { 60, 3 },    { 4096, 'x' } };
  struct fixture f;
  unsigned i;

  for (i = 0; i < sizeof cases / sizeof cases[0]; ++i) {
    fixture_init (&f, 10);
    ck_assert_int_eq (file_set_and_commit (&f.opened, 5, 6), 0);
    file_set_number (&f.storage, cases[i].offset,
                     cases[i].offset == 4096 ? 1 : 4, cases[i].value);
    file_seal (&f.storage, 0, HEADER_BYTES);
    must_refuse (&f, "contradict");
    fixture_destroy (&f);
  }
}
END_TEST

START_TEST (headers_of_the_same_generation_are_refused)
{
  struct fixture f;

  fixture_init (&f, 10);
  ck_assert_int_eq (file_set_and_commit (&f.opened, 5, 6), 0);
  file_set_number (&f.storage, 16, 8, 2);
  file_seal (&f.storage, 0, HEADER_BYTES);
  must_refuse (&f, "contradict");
  fixture_destroy (&f);
}
END_TEST

START_TEST (wrong_sizes_are_refused)
{
  const int64_t off_by[] = { -1, 1, -4096, 4096, -8192, 8192, -16384 };
  struct fixture f;
  unsigned i;

  for (i = 0; i < sizeof off_by / sizeof off_by[0]; ++i) {
    fixture_init (&f, 70000);
    f.storage.disk.size += (uint64_t) off_by[i];
    must_refuse (&f, "bytes long");
    f.storage.disk.size -= (uint64_t) off_by[i];
    fixture_destroy (&f);
  }
}
END_TEST

/* Two sound files of the same clone, but for what makes them two. */
START_TEST (block_of_another_file_is_refused)
{
  struct fixture f, other;

  fixture_init (&f, 10);
  fixture_init (&other, 10);
  ck_assert_int_eq (file_set_and_commit (&f.opened, 5, 6), 0);
  ck_assert_int_eq (file_set_and_commit (&other.opened, 5, 6), 0);
  ck_assert_int_eq (bitmap_file_mark_clean (f.opened.file), 0);
  sim_disk_write (&f.storage.disk, other.storage.disk.bytes + BLOCKS_AT, 4096,
                  BLOCKS_AT);
  must_refuse (&f, "offset 16384: a block of another bitmap file");
  fixture_destroy (&f);
  fixture_destroy (&other);
}
END_TEST

START_TEST (block_in_the_wrong_place_is_refused)
{
  struct fixture f;

  fixture_init (&f, 70000);
  ck_assert_int_eq (file_set_and_commit (&f.opened, 5, 40000), 0);
  ck_assert_int_eq (bitmap_file_mark_clean (f.opened.file), 0);
  sim_disk_write (&f.storage.disk, f.storage.disk.bytes + BLOCKS_AT, 4096,
                  BLOCKS_AT + 8192);
  must_refuse (&f, "offset 24576: block 0 where block 1 should be");
  fixture_destroy (&f);
}
END_TEST

static void
swap (struct sim_disk *d, uint64_t a, uint64_t b, size_t length)
{
  uint8_t *copy = malloc (length);

  must (copy != NULL);
  memcpy (copy, d->bytes + a, length);
  sim_disk_write (d, d->bytes + b, length, a);
  sim_disk_write (d, copy, length, b);
  free (copy);
}

START_TEST (swapped_slots_are_the_same_file)
{
  struct fixture f;
  unsigned i;

  fixture_init (&f, 10);
  for (i = 0; i < 3; ++i)
    ck_assert_int_eq (file_set_and_commit (&f.opened, i, i + 1), 0);
  swap (&f.storage.disk, BLOCKS_AT, BLOCKS_AT + 4096, 4096);
  reopen (&f);
  ck_assert_uint_eq (bitmap_count (f.opened.bitmap), 3);
  swap (&f.storage.disk, 0, HEADER_BYTES, HEADER_BYTES);
  reopen (&f);
  ck_assert_uint_eq (bitmap_count (f.opened.bitmap), 3);
  /* ... and goes on like one. */
  ck_assert_int_eq (bitmap_file_recover (f.opened.file), 0);
  ck_assert_int_eq (file_set_and_commit (&f.opened, 7, 8), 0);
  reopen (&f);
  ck_assert_uint_eq (bitmap_count (f.opened.bitmap), 4);
  fixture_destroy (&f);
}
END_TEST

START_TEST (bits_behind_the_last_region_are_refused)
{
  struct fixture f;

  fixture_init (&f, 10);
  ck_assert_int_eq (file_set_and_commit (&f.opened, 5, 6), 0);
  file_set_number (&f.storage, BLOCKS_AT + 65, 1, 4);
  file_seal (&f.storage, BLOCKS_AT, 4096);
  must_refuse (&f, "offset 16384: bits behind the last region are set");
  fixture_destroy (&f);
}
END_TEST

/* Two generations ahead of the header: no crash leaves this behind. */
START_TEST (block_that_is_too_young_is_refused)
{
  struct fixture f;

  fixture_init (&f, 10);
  ck_assert_int_eq (file_set_and_commit (&f.opened, 5, 6), 0); /* 2 */
  sim_disk_write (&f.storage.disk, f.storage.disk.bytes + BLOCKS_AT, 4096,
                  BLOCKS_AT + 4096);
  file_set_number (&f.storage, BLOCKS_AT + 4096 + 16, 8, 4);
  file_seal (&f.storage, BLOCKS_AT + 4096, 4096);
  must_refuse (&f, "");
  ck_assert_str_ne (f.opened.why, "");
  fixture_destroy (&f);
}
END_TEST

/* A hostile file: the last generation but one, and the last. */
START_TEST (generations_come_to_an_end)
{
  const uint64_t chunk = 0;
  struct fixture f;

  fixture_init (&f, 10);
  file_close (&f.opened);
  file_set_number (&f.storage, 16, 8, INT64_MAX - 1);
  file_seal (&f.storage, 0, HEADER_BYTES);
  file_must_open (&f.opened, &f.storage, 10);
  ck_assert_int_eq (file_set_and_commit (&f.opened, 5, 6), 0);
  errno = 0;
  ck_assert_int_eq (file_set_and_commit (&f.opened, 6, 7), -1);
  ck_assert_int_eq (errno, EOVERFLOW);
  errno = 0;
  ck_assert_int_eq (bitmap_file_mark_clean (f.opened.file), -1);
  ck_assert_int_eq (errno, EOVERFLOW);
  file_close (&f.opened);

  ck_assert (file_open (&f.opened, &f.storage, 10));
  ck_assert (bitmap_all_set (f.opened.bitmap, 5, 6));
  ck_assert (!bitmap_all_set (f.opened.bitmap, 6, 7));
  errno = 0;
  ck_assert_int_eq (bitmap_file_recover (f.opened.file), -1);
  ck_assert_int_eq (errno, EOVERFLOW);
  ck_assert_int_eq (file_commit (&f.opened, &chunk, 1), -1);
  fixture_destroy (&f);
}
END_TEST

/* The flag stays, whatever is written to the file afterwards. */
START_TEST (announcement_is_kept)
{
  struct fixture f;

  fixture_init (&f, 70000);
  ck_assert_int_eq (file_set_and_commit (&f.opened, 0, 70000), 0);
  ck_assert (!bitmap_file_is_announced (f.opened.file));
  ck_assert_int_eq (bitmap_file_announce (f.opened.file), 0);
  ck_assert (bitmap_file_is_announced (f.opened.file));
  reopen (&f);
  ck_assert (bitmap_file_is_announced (f.opened.file));
  ck_assert (!bitmap_file_is_clean (f.opened.file));
  ck_assert_int_eq (bitmap_file_recover (f.opened.file), 0);
  reopen (&f);
  ck_assert (bitmap_file_is_announced (f.opened.file));
  ck_assert_int_eq (bitmap_file_recover (f.opened.file), 0);
  ck_assert_int_eq (bitmap_file_mark_clean (f.opened.file), 0);
  reopen (&f);
  ck_assert (bitmap_file_is_announced (f.opened.file));
  ck_assert (bitmap_file_is_clean (f.opened.file));
  ck_assert_uint_eq (bitmap_count (f.opened.bitmap), 70000);
  fixture_destroy (&f);
}
END_TEST

/* A file that was closed before, and is only opened for the announcement. */
START_TEST (announcement_leaves_a_clean_file_clean)
{
  struct fixture f;

  fixture_init (&f, 10);
  ck_assert_int_eq (file_set_and_commit (&f.opened, 0, 10), 0);
  ck_assert_int_eq (bitmap_file_mark_clean (f.opened.file), 0);
  reopen (&f);
  ck_assert_int_eq (bitmap_file_announce (f.opened.file), 0);
  reopen (&f);
  ck_assert (bitmap_file_is_announced (f.opened.file));
  ck_assert (bitmap_file_is_clean (f.opened.file));
  fixture_destroy (&f);
}
END_TEST

START_TEST (announcement_that_fails_is_the_last_write)
{
  struct sim_fault bad = { .ops = SIM_FLUSH, .err = EIO };
  struct fixture f;
  size_t writes;

  fixture_init (&f, 10);
  ck_assert_int_eq (file_set_and_commit (&f.opened, 0, 10), 0);
  sim_add_fault (&f.storage.device, &bad);
  ck_assert_int_eq (bitmap_file_announce (f.opened.file), -1);
  ck_assert (!bitmap_file_is_announced (f.opened.file));
  sim_release (&f.storage.device, &bad, 0);
  writes = f.storage.disk.n_unflushed;
  ck_assert_int_eq (bitmap_file_mark_clean (f.opened.file), 0);
  ck_assert_uint_eq (f.storage.disk.n_unflushed, writes);
  fixture_destroy (&f);
}
END_TEST

START_TEST (announcement_without_all_bits_is_refused)
{
  struct fixture f;

  fixture_init (&f, 10);
  ck_assert_int_eq (file_set_and_commit (&f.opened, 0, 9), 0);
  ck_assert_int_eq (bitmap_file_announce (f.opened.file), 0);
  must_refuse (&f, "the header at offset 0 says that the end was announced, "
                   "but only 9 of 10 regions are hydrated");
  fixture_destroy (&f);
}
END_TEST

START_TEST (file_that_cannot_be_read_is_refused)
{
  struct sim_fault bad = { .ops = SIM_READ, .err = EIO };
  struct fixture f;

  fixture_init (&f, 70000);
  ck_assert_int_eq (file_set_and_commit (&f.opened, 5, 60000), 0);
  sim_add_fault (&f.storage.device, &bad);
  must_refuse (&f, strerror (EIO));
  sim_release (&f.storage.device, &bad, 0);
  bad = (struct sim_fault){
    .ops = SIM_READ, .offset = BLOCKS_AT, .length = 1, .err = EIO
  };
  sim_add_fault (&f.storage.device, &bad);
  must_refuse (&f, strerror (EIO));
  sim_release (&f.storage.device, &bad, 0);
  fixture_destroy (&f);
}
END_TEST

START_TEST (error_of_a_sync_is_returned)
{
  struct sim_fault bad = { .ops = SIM_FLUSH, .err = EIO };
  struct fixture f;

  fixture_init (&f, 10);
  sim_add_fault (&f.storage.device, &bad);
  ck_assert_int_eq (file_set_and_commit (&f.opened, 5, 6), -1);
  ck_assert_int_eq (errno, EIO);
  fixture_destroy (&f);
}
END_TEST

int
main (void)
{
  struct suite s = suite_new ("bitmap-file");

  tcase_add_loop_test (s.tests, new_file_is_empty_and_clean, 0, N_SIZES);
  tcase_add_loop_test (s.tests, committed_bits_are_loaded, 0, N_SIZES);
  tcase_add_loop_test (s.tests, full_bitmap_is_loaded, 0, N_SIZES);
  tcase_add_loop_test (s.tests, identity_is_kept, 0, 4);
  tcase_add_test (s.tests, open_and_load_write_nothing);
  tcase_add_test (s.tests, commit_writes_the_other_slots_only);
  tcase_add_test (s.tests, marking_clean_twice_writes_once);
  tcase_add_test (s.tests, not_clean_after_a_commit_without_space);
  tcase_add_test (s.tests, many_regions);
  tcase_add_test (s.tests, foreign_headers_are_refused);
  tcase_add_test (s.tests, headers_that_contradict_are_refused);
  tcase_add_test (s.tests, headers_of_the_same_generation_are_refused);
  tcase_add_test (s.tests, wrong_sizes_are_refused);
  tcase_add_test (s.tests, block_of_another_file_is_refused);
  tcase_add_test (s.tests, block_in_the_wrong_place_is_refused);
  tcase_add_test (s.tests, swapped_slots_are_the_same_file);
  tcase_add_test (s.tests, bits_behind_the_last_region_are_refused);
  tcase_add_test (s.tests, block_that_is_too_young_is_refused);
  tcase_add_test (s.tests, generations_come_to_an_end);
  tcase_add_test (s.tests, announcement_is_kept);
  tcase_add_test (s.tests, announcement_leaves_a_clean_file_clean);
  tcase_add_test (s.tests, announcement_that_fails_is_the_last_write);
  tcase_add_test (s.tests, announcement_without_all_bits_is_refused);
  tcase_add_test (s.tests, file_that_cannot_be_read_is_refused);
  tcase_add_test (s.tests, error_of_a_sync_is_returned);
  return suite_run (s);
}
