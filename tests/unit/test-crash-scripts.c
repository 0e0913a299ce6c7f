/* nbdclone: a power cut or a kill at every point of some lives, on disks of
 * sizes where bitmaps go wrong (lesson 6).
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "bitmap.h"
#include "crash.h"
#include "testing.h"

#define STEPS_MAX 10

static const struct script {
  const char *name;
  size_t n;
  struct step steps[STEPS_MAX];
} scripts[] = {
  { "first write", 2, { { STEP_WRITE, 1, 0 }, { STEP_FLUSH, 0, 0 } } },
  { "overwrite",
    5,
    { { STEP_WRITE, 0, 0 },
      { STEP_FLUSH, 0, 0 },
      { STEP_WRITE, 0, 0 },
      { STEP_PART, 0, 0 },
      { STEP_FLUSH, 0, 0 } } },
  { "partial write",
    4,
    { { STEP_PART, 1, 0 },
      { STEP_FLUSH, 0, 0 },
      { STEP_PART, 0, 0 },
      { STEP_COMMIT, 0, 0 } } },
  { "trim",
    6,
    { { STEP_TRIM, 0, 0 },
      { STEP_PUNCH, 1, 0 },
      { STEP_FLUSH, 0, 0 },
      { STEP_TRIM, 1, 0 },
      { STEP_PUNCH, 0, 0 },
      { STEP_FLUSH, 0, 0 } } },
  { "zero",
    5,
    { { STEP_ZERO, 1, 0 },
      { STEP_COMMIT, 0, 0 },
      { STEP_WRITE, 1, 0 },
      { STEP_ZERO, 0, 0 },
      { STEP_FLUSH, 0, 0 } } },
  { "reads are kept",
    4,
    { { STEP_READ, 1, 0 },
      { STEP_COMMIT, 0, 0 },
      { STEP_READ, 0, 0 },
      { STEP_FLUSH, 0, 0 } } },
  { "FUA",
    5,
    { { STEP_FUA, 1, 0 },
      { STEP_WRITE, 0, 0 },
      { STEP_FUA, 0, 0 },
      { STEP_FUA, 1, 0 },
      { STEP_FUA, 0, 0 } } },
  { "flush after flush",
    5,
    { { STEP_FLUSH, 0, 0 },
      { STEP_COPY, 0, 0 },
      { STEP_FLUSH, 0, 0 },
      { STEP_WRITE, 0, 0 },
      { STEP_FLUSH, 0, 0 } } },
  { "commit after commit",
    6,
    { { STEP_COPY, 0, 0 },
      { STEP_COMMIT, 0, 0 },
      { STEP_COPY, 1, 0 },
      { STEP_COMMIT, 0, 0 },
      { STEP_WRITE, 1, 0 },
      { STEP_COMMIT, 0, 0 } } },
  { "resume",
    7,
    { { STEP_WRITE, 0, 0 },
      { STEP_REOPEN, 0, 0 },
      { STEP_PART, 1, 0 },
      { STEP_FLUSH, 0, 0 },
      { STEP_REOPEN, 0, 0 },
      { STEP_REOPEN, 0, 0 },
      { STEP_FUA, 1, 0 } } },
  { "overlapping commits",
    6,
    { { STEP_WRITE, 0, 0 },
      { STEP_COMMIT, 0, 0 },
      { STEP_WRITE, 1, 1 },
      { STEP_PART, 0, 1 },
      { STEP_COMMIT, 0, 0 },
      { STEP_FLUSH, 0, 0 } } },
  { "a region copied during the flush",
    4,
    { { STEP_COPY, 0, 0 },
      { STEP_FLUSH, 0, 0 },
      { STEP_COPY, 1, 1 },
      { STEP_FLUSH, 0, 0 } } },
  { "written while the bitmap is synced",
    6,
    { { STEP_PART, 0, 0 },
      { STEP_FLUSH, 0, 0 },
      { STEP_TRIM, 1, 1 },
      { STEP_WRITE, 0, 2 },
      { STEP_PART, 1, 2 },
      { STEP_FUA, 1, 0 } } },
  { "completion",
    4,
    { { STEP_WRITE, 0, 0 },
      { STEP_COMPLETE, 0, 0 },
      { STEP_WRITE, 1, 0 },
      { STEP_FLUSH, 0, 0 } } },
  { "completion, and a resume",
    5,
    { { STEP_COMPLETE, 0, 0 },
      { STEP_FUA, 0, 0 },
      { STEP_REOPEN, 0, 0 },
      { STEP_PART, 1, 0 },
      { STEP_FLUSH, 0, 0 } } },
};
#define N_SCRIPTS (sizeof scripts / sizeof scripts[0])

/* The places: first and last region, or the two last ones. */
static const struct crash_world worlds[] = {
  { .regions = 1, .places = { 0, 0 }, .extra = 512 },
  { .regions = 1, .places = { 0, 0 }, .missing = 256, .hydrated = true },
  { .regions = 2, .places = { 0, 1 }, .missing = 768, .extra = 512 },
  { .regions = 2, .places = { 1, 0 }, .zero = true },
  { .regions = 2, .places = { 0, 1 }, .missing = 768, .zero = true },
  { .regions = 63, .places = { 0, 62 }, .missing = 512 },
  { .regions = 64, .places = { 0, 63 }, .missing = 1280, .extra = 1280 },
  { .regions = 64, .places = { 62, 63 }, .hydrated = true },
  { .regions = 65, .places = { 63, 64 }, .extra = 256 },
  { .regions = 65, .places = { 0, 64 }, .hydrated = true },
  { .regions = CHUNK_REGIONS - 1, .places = { 0, CHUNK_REGIONS - 2 } },
  { .regions = CHUNK_REGIONS,
    .places = { CHUNK_REGIONS - 2, CHUNK_REGIONS - 1 },
    .hydrated = true },
  { .regions = CHUNK_REGIONS + 1,
    .places = { CHUNK_REGIONS - 1, CHUNK_REGIONS },
    .missing = 512,
    .extra = 512 },
  { .regions = CHUNK_REGIONS + 1,
    .places = { 0, CHUNK_REGIONS },
    .hydrated = true },
};
#define N_WORLDS (sizeof worlds / sizeof worlds[0])

/* What a process does that comes after a killed one. */
static const struct step after_kill[] = {
  { STEP_FLUSH, 0, 0 },
  { STEP_FUA, 1, 0 },
  { STEP_WRITE, 1, 0 },
  { STEP_REOPEN, 0, 0 },
};
#define N_AFTER_KILL (sizeof after_kill / sizeof after_kill[0])

/* The small worlds thoroughly, the others less so. */
static const struct crash_plan plans[] = {
  { .all_max = SLOWER > 1 ? 4 : 12,
    .sample = SLOWER > 1 ? 8 : 64,
    .later_all_max = SLOWER > 1 ? 2 : 6,
    .later_sample = SLOWER > 1 ? 4 : 12,
    .after_kill = after_kill,
    .n_after_kill = SLOWER > 1 ? 1 : N_AFTER_KILL },
  { .all_max = SLOWER > 1 ? 1 : 8,
    .sample = SLOWER > 1 ? 5 : 16,
    .later_all_max = SLOWER > 1 ? 1 : 4,
    .later_sample = SLOWER > 1 ? 4 : 6,
    .after_kill = after_kill,
    .n_after_kill = SLOWER > 1 ? 0 : 2 },
};
#define SMALL 2 /* regions */

/* Does it hydrate all there is?  Only where that is not much. */
static bool
is_too_large (const struct crash_world *world, const struct script *script)
{
  size_t i;

  for (i = 0; i < script->n; ++i)
    if (script->steps[i].kind == STEP_COMPLETE)
      return world->regions > 2 && !world->hydrated;
  return false;
}

START_TEST (all_scripts)
{
  struct crash c;
  size_t i;

  crash_init (&c, &worlds[_i]);
  for (i = 0; i < N_SCRIPTS; ++i)
    if (!is_too_large (&worlds[_i], &scripts[i]))
      crash_run (&c, (uint64_t) _i * 100 + i, scripts[i].steps, scripts[i].n,
                 &plans[worlds[_i].regions > SMALL]);
  crash_destroy (&c);
}
END_TEST

int
main (void)
{
  struct suite s = suite_new ("crash-scripts");

  crash_begin ();
  tcase_set_timeout (s.tests, 300);
  tcase_add_loop_test (s.tests, all_scripts, 0, N_WORLDS);
  return crash_end ("test-crash-scripts", suite_run (s));
}
