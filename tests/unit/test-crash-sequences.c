/* nbdclone: a power cut or a kill at every point of all short sequences of
 * requests.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Two regions, the second one straddles the source's end.  A sequence's number
 * has its steps as digits; that of a shorter one is smaller.
 */

#include <config.h>

#include <stdlib.h>

#include "crash.h"
#include "testing.h"

#define LENGTH_MAX 4

static const struct step alphabet[] = {
  { STEP_WRITE, 0, 0 }, { STEP_WRITE, 1, 0 },  { STEP_PART, 0, 0 },
  { STEP_PART, 1, 0 },  { STEP_ZERO, 0, 0 },   { STEP_ZERO, 1, 0 },
  { STEP_TRIM, 0, 0 },  { STEP_TRIM, 1, 0 },   { STEP_READ, 0, 0 },
  { STEP_READ, 1, 0 },  { STEP_FUA, 0, 0 },    { STEP_FUA, 1, 0 },
  { STEP_COPY, 0, 0 },  { STEP_COPY, 1, 0 },   { STEP_ACROSS, 0, 0 },
  { STEP_FLUSH, 0, 0 }, { STEP_COMMIT, 0, 0 }, { STEP_REOPEN, 0, 0 },
};
#define N_STEPS (sizeof alphabet / sizeof alphabet[0])

static const struct crash_world world = {
  .regions = 2,
  .places = { 0, 1 },
  .missing = 5 * MODEL_CELL,
  .extra = 7 * MODEL_CELL,
};

/* Sequence 0 is empty; then those of one step, and so on. */
static size_t
sequence (uint64_t number, struct step *steps)
{
  size_t n = 0;

  for (; number > 0; number = (number - 1) / N_STEPS)
    steps[n++] = alphabet[(number - 1) % N_STEPS];
  return n;
}

/* How many sequences are shorter than that. */
static uint64_t
shorter_than (unsigned length)
{
  uint64_t n = 0, of_length = 1;

  for (; length > 0; length--) {
    n += of_length;
    of_length *= N_STEPS;
  }
  return n;
}

static void
run_sequence (struct crash *c, uint64_t number, const struct crash_plan *plan)
{
  struct step steps[LENGTH_MAX];
  const size_t n = sequence (number, steps);

  crash_run (c, number, steps, n, plan);
}

/* What comes before the last step has been cut in a shorter sequence. */
static const struct crash_plan plans[] = {
  { .last_step = true,
    .all_max = SLOWER > 1 ? 4 : 12,
    .sample = SLOWER > 1 ? 6 : 64,
    .later_all_max = SLOWER > 1 ? 2 : 8,
    .later_sample = SLOWER > 1 ? 4 : 24,
    .after_kill = alphabet,
    .n_after_kill = SLOWER > 1 ? 2 : N_STEPS },
  { .last_step = true,
    .all_max = SLOWER > 1 ? 2 : 9,
    .sample = SLOWER > 1 ? 4 : 64,
    .later_all_max = SLOWER > 1 ? 2 : 6,
    .later_sample = SLOWER > 1 ? 4 : 12,
    .after_kill = alphabet + 15,
    .n_after_kill = SLOWER > 1 ? 0 : 2 },
  { .last_step = true,
    .all_max = SLOWER > 1 ? 2 : 4,
    .sample = SLOWER > 1 ? 4 : 14,
    .later_all_max = SLOWER > 1 ? 2 : 4,
    .later_sample = SLOWER > 1 ? 4 : 8 },
};

/* All of a length, or, of long ones, a sample. */
static void
all_of_length (unsigned length, const struct crash_plan *plan, uint64_t step)
{
  const uint64_t end = shorter_than (length + 1);
  struct random random = { length };
  struct crash c;
  uint64_t i;

  crash_init (&c, &world);
  for (i = shorter_than (length); i < end;
       i += step == 1 ? 1 : 1 + random_below (&random, 2 * step - 1))
    run_sequence (&c, i, plan);
  crash_destroy (&c);
}

START_TEST (sequences_of_up_to_one_step)
{
  all_of_length (0, &plans[0], 1);
  all_of_length (1, &plans[0], 1);
}
END_TEST

START_TEST (sequences_of_two_steps)
{
  all_of_length (2, &plans[1], 1);
}
END_TEST

START_TEST (sequences_of_three_steps)
{
  all_of_length (3, &plans[2], SLOWER > 1 ? 20 : 1);
}
END_TEST

START_TEST (some_sequences_of_four_steps)
{
  all_of_length (4, &plans[2], 60 * (SLOWER > 1 ? 20 : 1));
}
END_TEST

int
main (void)
{
  struct suite s = suite_new ("crash-sequences");

  crash_begin ();
  tcase_set_timeout (s.tests, 300);
  tcase_add_test (s.tests, sequences_of_up_to_one_step);
  tcase_add_test (s.tests, sequences_of_two_steps);
  tcase_add_test (s.tests, sequences_of_three_steps);
  tcase_add_test (s.tests, some_sequences_of_four_steps);
  return crash_end ("test-crash-sequences", suite_run (s));
}
