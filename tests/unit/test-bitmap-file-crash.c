/* nbdclone: a bitmap file whose process was killed or whose power was cut.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * At any point and with any of the unflushed sectors lost: the file is sound;
 * no bit is lost whose commit (or recovery) has succeeded; no bit is set that
 * no commit has tried to write.  The same goes for the announcement of the end.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "files.h"
#include "testing.h"

/* All subsets of so many sectors are tried, else a sample. */
#define ALL_OUTCOMES_MAX (SLOWER > 1 ? 5 : 12)
#define SAMPLE 300

struct fixture {
  struct sim sim;
  struct sim_storage storage;
  uint64_t regions;
  struct opened opened;
  uint8_t *durable;   /* what must be set after any crash */
  uint8_t *attempted; /* what may be set */
  /* The same of the announcement. */
  bool announced_durable, announced_attempted;
  struct random random;
};

/* All bits of these chunks in memory are (to be) in the file. */
static void
note_chunks (struct fixture *f, uint8_t *bits, const uint64_t *chunks, size_t n)
{
  uint8_t *now = file_bits (&f->opened);
  uint64_t r;
  size_t i;

  for (i = 0; i < n; ++i)
    for (r = chunks[i] * CHUNK_REGIONS;
         r < f->regions && r < (chunks[i] + 1) * CHUNK_REGIONS; ++r)
      if (now[r])
        bits[r] = 1;
  free (now);
}

/* What is loaded must be within the limits. */
static void
check_loaded (struct fixture *f)
{
  uint8_t *bits = file_bits (&f->opened);

  must (bits_within (f->durable, bits, f->regions));
  must (bits_within (bits, f->attempted, f->regions));
  free (bits);
  must (!f->announced_durable || bitmap_file_is_announced (f->opened.file));
  must (f->announced_attempted || !bitmap_file_is_announced (f->opened.file));
}

static void
reopen (struct fixture *f)
{
  file_close (&f->opened);
  sim_go_on (&f->sim);
  sim_forget (&f->sim);
  file_must_open (&f->opened, &f->storage, f->regions);
  check_loaded (f);
}

/* Recover; what was loaded is durable if that succeeds. */
static bool
recover (struct fixture *f)
{
  uint8_t *bits;

  if (bitmap_file_recover (f->opened.file) == -1)
    return false;
  bits = file_bits (&f->opened);
  memcpy (f->durable, bits, f->regions);
  free (bits);
  f->announced_durable = bitmap_file_is_announced (f->opened.file);
  return true;
}

/* Announce the end, if this is the end. */
static bool
announce (struct fixture *f)
{
  if (memchr (f->durable, 0, f->regions))
    return true;
  f->announced_attempted = true;
  if (bitmap_file_announce (f->opened.file) == -1)
    return false;
  f->announced_durable = true;
  return true;
}

/* Set n bits of a chunk and commit the chunks. */
static int
commit_chunks (struct fixture *f, const uint64_t *chunks, size_t n,
               unsigned bits)
{
  size_t i;
  unsigned k;
  int r;

  for (i = 0; i < n; ++i)
    for (k = 0; k < bits; ++k) {
      const uint64_t base = chunks[i] * CHUNK_REGIONS;
      const uint64_t left = f->regions - base;
      const uint64_t region =
        base +
        random_below (&f->random, left < CHUNK_REGIONS ? left : CHUNK_REGIONS);

      bitmap_set (f->opened.bitmap, region, region + 1, NULL, NULL);
    }
  note_chunks (f, f->attempted, chunks, n);
  r = file_commit (&f->opened, chunks, n);
  if (r == 0)
    note_chunks (f, f->durable, chunks, n);
  return r;
}

static void
fixture_init (struct fixture *f, uint64_t regions, uint64_t seed)
{
  const struct bitmap_file_identity id = file_identity (regions);

  *f = (struct fixture){ .regions = regions, .random = { seed } };
  sim_init (&f->sim);
  file_create (&f->storage, &f->sim, &id);
  f->durable = calloc (regions, 1);
  f->attempted = calloc (regions, 1);
  must (f->durable != NULL && f->attempted != NULL);
  file_must_open (&f->opened, &f->storage, regions);
}

static void
fixture_destroy (struct fixture *f)
{
  file_close (&f->opened);
  free (f->durable);
  free (f->attempted);
  sim_storage_destroy (&f->storage);
  sim_destroy (&f->sim);
}

/* Call try () for outcomes of a power cut: for all of them, or a sample.  The
 * disk is as after the cut; it and what is durable are put back afterwards.
 */
static void
for_each_outcome (struct fixture *f, unsigned all_max, unsigned sample,
                  void (*try) (struct fixture *))
{
  const size_t n = f->storage.disk.n_unflushed;
  const bool all = n <= all_max;
  const uint64_t outcomes = all ? UINT64_C (1) << n : sample;
  uint8_t *durable = malloc (f->regions);
  uint8_t *attempted = malloc (f->regions);
  const bool announced_durable = f->announced_durable;
  struct sim_disk saved;
  uint64_t i;

  must (durable != NULL && attempted != NULL);
  memcpy (durable, f->durable, f->regions);
  memcpy (attempted, f->attempted, f->regions);
  sim_disk_init (&saved, f->storage.disk.size);
  sim_disk_copy (&saved, &f->storage.disk);
  for (i = 0; i < outcomes; ++i) {
    if (all)
      sim_disk_cut (&f->storage.disk, sim_survives_mask, &i);
    else
      sim_disk_cut (&f->storage.disk, sim_survives_random, &f->random);
    try (f);
    sim_disk_copy (&f->storage.disk, &saved);
    memcpy (f->durable, durable, f->regions);
    memcpy (f->attempted, attempted, f->regions);
    f->announced_durable = announced_durable;
  }
  sim_disk_destroy (&saved);
  free (durable);
  free (attempted);
}

/* After a cut, and perhaps one during recovery: recover and go on. */
static void
recover_and_commit (struct fixture *f)
{
  const uint64_t chunks[] = { 0, (f->regions - 1) / CHUNK_REGIONS };

  reopen (f);
  must (recover (f));
  sim_disk_cut (&f->storage.disk, sim_none_survives, NULL);
  reopen (f);
  must (recover (f));
  if (!bitmap_file_is_announced (f->opened.file))
    must (commit_chunks (f, chunks, chunks[1] > 0 ? 2 : 1, 1) == 0);
  sim_disk_cut (&f->storage.disk, sim_none_survives, NULL);
  reopen (f);
}

/* After a cut: stop the recovery at each point, and cut the power again. */
static void
cut_recovery_anywhere (struct fixture *f)
{
  struct sim_disk saved;
  uint64_t stop;
  bool stopped = true;

  sim_disk_init (&saved, f->storage.disk.size);
  sim_disk_copy (&saved, &f->storage.disk);
  for (stop = 0; stopped; ++stop) {
    uint8_t *durable = malloc (f->regions);
    const bool announced_durable = f->announced_durable;

    must (durable != NULL);
    memcpy (durable, f->durable, f->regions);
    reopen (f);
    sim_stop_after (&f->sim, stop);
    stopped = !recover (f);
    for_each_outcome (f, 3, 4, recover_and_commit);
    sim_disk_copy (&f->storage.disk, &saved);
    memcpy (f->durable, durable, f->regions);
    f->announced_durable = announced_durable;
    free (durable);
  }
  sim_disk_destroy (&saved);
}

/* Lesson 6: tiny disks, and one block more or less. */
static const uint64_t sizes[] = { 1, 63, 64, 65, 32255, 32256, 32257, 70000 };
#define N_SIZES (sizeof sizes / sizeof sizes[0])

/* Stop the number-th commit after each of its writes, cut the power, and try
 * all outcomes.
 */
static void
cut_commit_anywhere (uint64_t regions, unsigned number,
                     void (*try) (struct fixture *))
{
  const uint64_t last = (regions - 1) / CHUNK_REGIONS;
  const uint64_t chunks[] = { 0, last };
  const size_t n = last > 0 ? 2 : 1;
  uint64_t stop;
  bool stopped = true;

  for (stop = 0; stopped; ++stop) {
    struct fixture f;
    unsigned i;

    fixture_init (&f, regions, 1000 * number + stop);
    for (i = 0; i < number; ++i)
      must (commit_chunks (&f, chunks + i % n, 1, 1) == 0);
    sim_stop_after (&f.sim, stop);
    stopped = commit_chunks (&f, chunks, n, 2) == -1;
    for_each_outcome (&f, ALL_OUTCOMES_MAX, SAMPLE / SLOWER, try);
    fixture_destroy (&f);
  }
  must (stop == n + 3); /* each write, the sync, and behind it */
}

START_TEST (power_cut_during_a_commit)
{
  const unsigned step = SLOWER > 1 ? 3 : 1;
  unsigned number;

  for (number = 0; number < 4; number += step)
    cut_commit_anywhere (sizes[_i], number, recover_and_commit);
}
END_TEST

START_TEST (power_cut_during_the_recovery_from_one)
{
  const unsigned step = SLOWER > 1 ? 3 : 1;
  unsigned number;

  for (number = 0; number < 3; number += step)
    cut_commit_anywhere (sizes[_i], number, cut_recovery_anywhere);
}
END_TEST

/* As many sectors as a block has. */
START_TEST (power_cut_during_a_commit_of_many_bits)
{
  const uint64_t chunks[] = { 0, 1, 2 };
  struct fixture f;

  fixture_init (&f, 70000, 5);
  must (commit_chunks (&f, chunks, 3, 500) == 0);
  sim_stop_after (&f.sim, 4); /* all writes, not the sync */
  must (commit_chunks (&f, chunks, 3, 500) == -1);
  must (f.storage.disk.n_unflushed > ALL_OUTCOMES_MAX);
  for_each_outcome (&f, ALL_OUTCOMES_MAX, SAMPLE / SLOWER, recover_and_commit);
  fixture_destroy (&f);
}
END_TEST

START_TEST (power_cut_while_marking_clean)
{
  uint64_t stop;

  for (stop = 0; stop < 3; ++stop) {
    const uint64_t chunk = 0;
    struct fixture f;

    fixture_init (&f, 100, stop);
    must (commit_chunks (&f, &chunk, 1, 3) == 0);
    sim_stop_after (&f.sim, stop);
    must ((bitmap_file_mark_clean (f.opened.file) == 0) == (stop == 2));
    for_each_outcome (&f, ALL_OUTCOMES_MAX, SAMPLE, recover_and_commit);
    fixture_destroy (&f);
  }
}
END_TEST

/* The last commit, a clean close or not, then the announcement, and another
 * clean close; stopped after each write and each sync of that, in a file that was
 * recovered or not.
 */
static void
announce_and_cut (uint64_t regions, bool was_clean, uint64_t stop,
                  void (*try) (struct fixture *))
{
  const uint64_t chunks[] = { 0, (regions - 1) / CHUNK_REGIONS };
  struct fixture f;

  fixture_init (&f, regions, stop);
  must (commit_chunks (&f, chunks, 1, 1) == 0);
  bitmap_set (f.opened.bitmap, 0, regions, NULL, NULL);
  must (commit_chunks (&f, chunks, chunks[1] > 0 ? 2 : 1, 0) == 0);
  if (was_clean) {
    must (bitmap_file_mark_clean (f.opened.file) == 0);
    reopen (&f);
  }
  sim_stop_after (&f.sim, stop);
  if (announce (&f))
    (void) bitmap_file_mark_clean (f.opened.file);
  must (stop > 1 || !f.announced_durable);
  for_each_outcome (&f, ALL_OUTCOMES_MAX, SAMPLE / SLOWER, try);
  fixture_destroy (&f);
}

START_TEST (power_cut_during_the_announcement)
{
  const uint64_t announced_of[] = { 1, 64, 32257 };
  uint64_t stop;
  unsigned i;

  for (i = 0; i < 3; ++i)
    for (stop = 0; stop < 6; ++stop) {
      announce_and_cut (announced_of[i], _i, stop, recover_and_commit);
      announce_and_cut (announced_of[i], _i, stop, cut_recovery_anywhere);
    }
}
END_TEST

/* After a kill the page cache shows what is not on the disk.  It is read,
 * recovered, more is committed; and then the power goes.
 */
static void
kill_resume_cut (uint64_t kill_after, uint64_t cut_after)
{
  const uint64_t chunks[] = { 0, 1 };
  struct fixture f;

  fixture_init (&f, 40000, 9);
  must (commit_chunks (&f, chunks, 2, 2) == 0);
  must (commit_chunks (&f, chunks, 1, 2) == 0);
  sim_stop_after (&f.sim, kill_after);
  (void) commit_chunks (&f, chunks, 2, 2);
  reopen (&f); /* killed: nothing is lost from the cache */
  sim_stop_after (&f.sim, cut_after);
  if (recover (&f))
    (void) commit_chunks (&f, chunks + 1, 1, 2);
  for_each_outcome (&f, ALL_OUTCOMES_MAX, SAMPLE / SLOWER, recover_and_commit);
  fixture_destroy (&f);
}

START_TEST (killed_then_resumed_then_power_cut)
{
  uint64_t kill_after, cut_after;

  for (kill_after = 0; kill_after < 5; ++kill_after)
    for (cut_after = 0; cut_after < 12; ++cut_after)
      kill_resume_cut (kill_after, cut_after);
}
END_TEST

/* The same, but killed between the write that marks the file as clean and its
 * sync.  The next start takes it for clean.
 */
START_TEST (killed_while_marking_clean_then_power_cut)
{
  const uint64_t chunk = 0;
  uint64_t stop;

  for (stop = 0; stop < 8; ++stop) {
    struct fixture f;

    fixture_init (&f, 100, 11 + stop);
    must (commit_chunks (&f, &chunk, 1, 3) == 0);
    must (commit_chunks (&f, &chunk, 1, 3) == 0);
    sim_stop_after (&f.sim, 1);
    must (bitmap_file_mark_clean (f.opened.file) == -1);
    reopen (&f);
    sim_stop_after (&f.sim, stop);
    if (recover (&f))
      (void) commit_chunks (&f, &chunk, 1, 3);
    for_each_outcome (&f, ALL_OUTCOMES_MAX, SAMPLE, recover_and_commit);
    fixture_destroy (&f);
  }
}
END_TEST

/* ... or the sync has failed: then a restart reads the mark from the cache, and
 * no later sync makes it durable (P5).
 */
START_TEST (marking_clean_failed_then_power_cut)
{
  const uint64_t chunk = 0;
  uint64_t stop;

  for (stop = 0; stop < 8; ++stop) {
    struct sim_fault bad = { .ops = SIM_FLUSH, .err = EIO };
    struct fixture f;

    fixture_init (&f, 100, 21 + stop);
    must (commit_chunks (&f, &chunk, 1, 3) == 0);
    must (commit_chunks (&f, &chunk, 1, 3) == 0);
    sim_add_fault (&f.storage.device, &bad);
    must (bitmap_file_mark_clean (f.opened.file) == -1);
    sim_release (&f.storage.device, &bad, 0);
    reopen (&f);
    sim_stop_after (&f.sim, stop);
    if (recover (&f))
      (void) commit_chunks (&f, &chunk, 1, 3);
    for_each_outcome (&f, ALL_OUTCOMES_MAX, SAMPLE, recover_and_commit);
    fixture_destroy (&f);
  }
}
END_TEST

/* No space for one of the writes; then the same chunks or more; then a cut. */
static void
full_then_retry (unsigned full_at, uint64_t stop)
{
  const uint64_t chunks[] = { 0, 1, 2 };
  struct sim_fault full = { .ops = SIM_WRITE,
                            .skip = full_at,
                            .times = 1,
                            .err = ENOSPC,
                            .partial = full_at % 2 ? 1024 : 0 };
  const size_t n = 2 + stop % 2;
  struct fixture f;

  fixture_init (&f, 70000, 100 + full_at);
  must (commit_chunks (&f, chunks, 2, 1) == 0);
  sim_add_fault (&f.storage.device, &full);
  must (commit_chunks (&f, chunks, 2, 2) == -1 && errno == ENOSPC);
  sim_release (&f.storage.device, &full, 0);
  sim_stop_after (&f.sim, stop);
  (void) commit_chunks (&f, chunks, n, 1);
  for_each_outcome (&f, ALL_OUTCOMES_MAX, SAMPLE / SLOWER, recover_and_commit);
  fixture_destroy (&f);
}

START_TEST (no_space_then_again_then_power_cut)
{
  unsigned full_at;
  uint64_t stop;

  for (full_at = 0; full_at < 3; ++full_at)
    for (stop = 0; stop < 6; ++stop)
      full_then_retry (full_at, stop);
}
END_TEST

START_TEST (no_space_then_killed)
{
  const uint64_t chunks[] = { 0, 1 };
  unsigned full_at;

  for (full_at = 0; full_at < 3; ++full_at) {
    struct sim_fault full = {
      .ops = SIM_WRITE, .skip = full_at, .times = 1, .err = ENOSPC
    };
    struct fixture f;

    fixture_init (&f, 40000, 200 + full_at);
    must (commit_chunks (&f, chunks, 2, 1) == 0);
    sim_add_fault (&f.storage.device, &full);
    must (commit_chunks (&f, chunks, 2, 2) == -1);
    sim_release (&f.storage.device, &full, 0);
    reopen (&f);
    must (recover (&f));
    for_each_outcome (&f, ALL_OUTCOMES_MAX, SAMPLE, recover_and_commit);
    fixture_destroy (&f);
  }
}
END_TEST

/* A cut leaves a slot torn: sector 0 has arrived, what belongs to it has not.
 * Later the same bits are committed again, into the same slot, and the power is
 * cut again so that now the other sectors have arrived, but not sector 0.  That
 * must not make a sound block of the first attempt.
 */
#define IN_SECTOR_0 UINT64_C (100)
#define IN_SECTOR_5 UINT64_C (22000)

/* Which of the sectors of block 0's slots have survived. */
struct survivors {
  const struct sim_disk *disk;
  bool first; /* those with a slot's header, or the others */
};

static bool
survives_in_block_0 (void *opaque, size_t i)
{
  const struct survivors *s = opaque;
  const uint64_t offset = s->disk->unflushed[i].sector * SIM_SECTOR;

  return offset >= BLOCKS_AT && offset < BLOCKS_AT + 8192 &&
         (offset % 4096 == 0) == s->first;
}

static void
commit_and_cut (struct fixture *f, bool first)
{
  struct survivors survivors = { &f->storage.disk, first };
  const uint64_t chunk = 0;

  bitmap_set (f->opened.bitmap, IN_SECTOR_0, IN_SECTOR_0 + 1, NULL, NULL);
  bitmap_set (f->opened.bitmap, IN_SECTOR_5, IN_SECTOR_5 + 1, NULL, NULL);
  sim_stop_after (&f->sim, 2);
  must (commit_chunks (f, &chunk, 1, 0) == -1);
  sim_disk_cut (&f->storage.disk, survives_in_block_0, &survivors);
  reopen (f);
  must (recover (f));
}

START_TEST (torn_slot_is_never_completed)
{
  const uint64_t chunks[] = { 0, 1 };
  struct fixture f;
  int between;

  for (between = 0; between < 4; ++between) {
    fixture_init (&f, 40000, 31);
    must (commit_chunks (&f, chunks, 1, 1) == 0);
    must (commit_chunks (&f, chunks, 1, 1) == 0);
    if (_i) {
      must (bitmap_file_mark_clean (f.opened.file) == 0);
      reopen (&f);
    }
    commit_and_cut (&f, true);
    if (between & 1)
      must (commit_chunks (&f, chunks + 1, 1, 1) == 0);
    if (between & 2)
      must (commit_chunks (&f, chunks + 1, 1, 1) == 0);
    commit_and_cut (&f, false);
    recover_and_commit (&f);
    fixture_destroy (&f);
  }
}
END_TEST

/* A life with everything in it.  Each step: what happens, then what the next
 * process finds.
 */
static bool
random_commit (struct fixture *f)
{
  const uint64_t all = (f->regions - 1) / CHUNK_REGIONS + 1;
  uint64_t chunks[8];
  size_t n = 0;
  uint64_t i;

  for (i = 0; i < all; ++i)
    if (random_one_in (&f->random, 2) || (n == 0 && i == all - 1))
      chunks[n++] = i;
  if (random_one_in (&f->random, 5)) { /* no space at first */
    struct sim_fault full = {
      .ops = SIM_WRITE,
      .skip = (unsigned) random_below (&f->random, n + 1),
      .times = 1,
      .err = ENOSPC,
      .partial = 512 * (uint32_t) random_below (&f->random, 8),
    };
    int r;

    sim_add_fault (&f->storage.device, &full);
    r = commit_chunks (f, chunks, n, 1);
    sim_release (&f->storage.device, &full, 0);
    must (r == -1);
    if (errno != ENOSPC || random_one_in (&f->random, 3))
      return false;
  }
  return commit_chunks (f, chunks, n, 1 + f->regions / 1000) == 0;
}

static void
crash (struct fixture *f)
{
  if (random_one_in (&f->random, 2))
    sim_disk_cut (&f->storage.disk, sim_survives_random, &f->random);
}

/* One process, from its start to its end. */
static void
live (struct fixture *f)
{
  struct sim_fault bad = {
    .ops = SIM_FLUSH,
    .skip = (unsigned) random_below (&f->random, 6),
    .times = 1,
    .err = EIO,
  };
  const bool failing = random_one_in (&f->random, 4);
  bool alive;

  reopen (f);
  if (random_one_in (&f->random, 2))
    sim_stop_after (&f->sim, random_below (&f->random, 30));
  if (failing)
    sim_add_fault (&f->storage.device, &bad);
  alive = recover (f);
  while (alive && !random_one_in (&f->random, 5) &&
         !bitmap_file_is_announced (f->opened.file))
    alive = random_commit (f);
  if (alive && random_one_in (&f->random, 4))
    alive = announce (f);
  if (alive && random_one_in (&f->random, 2))
    (void) bitmap_file_mark_clean (f->opened.file);
  if (failing)
    sim_release (&f->storage.device, &bad, 0);
  crash (f);
}

START_TEST (random_lives)
{
  const uint64_t lives_of[] = { 1, 2, 64, 65, 300, 32257, 100000 };
  uint64_t seed;

  for (seed = 0; seed < 600 / SLOWER; ++seed) {
    struct fixture f;
    unsigned i;

    fixture_init (&f, lives_of[seed % 7], seed);
    for (i = 0; i < 12; ++i)
      live (&f);
    reopen (&f);
    fixture_destroy (&f);
  }
}
END_TEST

int
main (void)
{
  struct suite s = suite_new ("bitmap-file-crash");

  tcase_add_loop_test (s.tests, power_cut_during_a_commit, 0, N_SIZES);
  tcase_add_loop_test (s.tests, power_cut_during_the_recovery_from_one, 0,
                       N_SIZES);
  tcase_add_test (s.tests, power_cut_during_a_commit_of_many_bits);
  tcase_add_test (s.tests, power_cut_while_marking_clean);
  tcase_add_loop_test (s.tests, power_cut_during_the_announcement, 0, 2);
  tcase_add_test (s.tests, killed_then_resumed_then_power_cut);
  tcase_add_test (s.tests, killed_while_marking_clean_then_power_cut);
  tcase_add_test (s.tests, marking_clean_failed_then_power_cut);
  tcase_add_test (s.tests, no_space_then_again_then_power_cut);
  tcase_add_test (s.tests, no_space_then_killed);
  tcase_add_loop_test (s.tests, torn_slot_is_never_completed, 0, 2);
  tcase_add_test (s.tests, random_lives);
  return suite_run (s);
}
