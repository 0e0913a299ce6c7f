/* nbdclone: crashes of a whole clone: every point, every outcome.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "crash.h"
#include "testing.h"

/* States that have been tried, by their hash; open addressing. */
#define STATES_MAX (UINT64_C (1) << 22)

/* In a path, an outcome that is no power cut: killed, then that step. */
#define KILLED UINT64_C (1000000)
#define SYNC_FAILED UINT64_C (2000000)

/* A life's first point, where several lives may follow a power cut. */
#define LIFE UINT64_C (10000)

/* All that tests share, though each is a process of its own. */
struct shared {
  uint64_t sequences, points, outcomes, states, recoveries, kills, checks;
  uint64_t path[CRASH_PATH];
  unsigned depth;
  bool told;
  uint64_t seen[STATES_MAX];
};
static struct shared *shared;

/* CRASH_REPLAY */
static uint64_t replay[CRASH_PATH];
static unsigned replay_length;
static uint64_t one_in = 1;

static const char *const names[] = {
  [STEP_WRITE] = "write",       [STEP_PART] = "part",
  [STEP_ZERO] = "zero",         [STEP_TRIM] = "trim",
  [STEP_READ] = "read",         [STEP_FUA] = "fua",
  [STEP_COPY] = "copy",         [STEP_FLUSH] = "flush",
  [STEP_COMMIT] = "commit",     [STEP_REOPEN] = "reopen",
  [STEP_ACROSS] = "across",     [STEP_PUNCH] = "punch",
  [STEP_COMPLETE] = "complete",
};

void
crash_describe (const struct step *steps, size_t n)
{
  size_t i;

  for (i = 0; i < n; ++i)
    fprintf (stderr, "%s%s%s %c", i ? ", " : "",
             steps[i].inside == 1   ? "during the destination's flush: "
             : steps[i].inside == 2 ? "during the bitmap's sync: "
                                    : "",
             names[steps[i].kind], (char) ('a' + (int) steps[i].place));
  fprintf (stderr, "\n");
}

static void
print_path (FILE *f)
{
  unsigned i;

  fprintf (f, "CRASH_REPLAY=");
  for (i = 0; i < shared->depth; ++i)
    fprintf (f, "%s%" PRIu64, i ? "/" : "", shared->path[i]);
}

/* The tape up to where it is played. */
static void
print_tape (const struct life *l, uint64_t points)
{
  size_t i;

  for (i = 0; i < l->tape.n && i < points; ++i) {
    const struct tape_entry *e = &l->tape.entries[i];

    if (e->change)
      fprintf (stderr, "  %zu: %s: %s %" PRIu64 "+%" PRIu64 "\n", i,
               e->storage ? "bitmap file" : "destination",
               e->op == SIM_FLUSH   ? "flush"
               : e->op == SIM_WRITE ? "write"
               : e->op == SIM_ZERO  ? "zero"
                                    : "trim",
               e->offset, e->length);
    else
      fprintf (stderr,
               "  %zu: promised: versions to %u, answered %u, hydrated %#x, "
               "must %#x, may %#x\n",
               i, e->promise.n_versions - 1, e->promise.answered,
               e->promise.hydrated, e->promise.must, e->promise.may);
  }
}

void
crash_failed (struct crash *c, const char *why)
{
  unsigned i;

  fprintf (stderr, "%s\nreplay with ", why);
  print_path (stderr);
  fprintf (stderr, "\n%" PRIu64 " regions: ", c->shape.regions);
  crash_describe (c->steps, c->n_steps);
  for (i = 0; 2 * i + 1 < c->depth; ++i) {
    fprintf (stderr, "life %u, up to point %" PRIu64 ":\n", i,
             c->path[2 * i + 1] % LIFE);
    print_tape (&c->lives[i], c->path[2 * i + 1] % LIFE + 1);
  }
  shared->told = true;
  abort ();
}

void
crash_count_checks (uint64_t n)
{
  shared->checks += n;
}

/* Go on to that part of the path; false if it is not the one to be replayed. */
static bool
enter (struct crash *c, unsigned depth, uint64_t number)
{
  must (depth < CRASH_PATH);
  if (replay_length && (depth >= replay_length || replay[depth] != number))
    return false;
  c->path[depth] = shared->path[depth] = number;
  c->depth = shared->depth = depth + 1;
  return true;
}

/* Is it new? */
static bool
add_state (uint64_t hash)
{
  uint64_t i;

  if (hash == 0)
    hash = 1;
  for (i = hash % STATES_MAX; shared->seen[i]; i = (i + 1) % STATES_MAX)
    if (shared->seen[i] == hash)
      return false;
  must (shared->states + shared->recoveries < STATES_MAX / 4 * 3);
  shared->seen[i] = hash;
  return true;
}

/* The bitmap file on the machine's disk. */
static uint64_t
storage_hash (const struct crash *c, uint64_t seed)
{
  return XXH3_64bits_withSeed (c->rig.storage.disk.bytes,
                               c->rig.storage.disk.size, seed);
}

static uint64_t
disks_hash (const struct crash *c, uint64_t seed)
{
  uint64_t h = storage_hash (c, seed);
  unsigned i;

  for (i = 0; i < c->shape.n_windows; ++i)
    h = XXH3_64bits_withSeed (c->rig.destination.disk.bytes +
                                c->shape.windows[i].offset,
                              c->shape.windows[i].length, h);
  return h;
}

/* Which unflushed writes of both disks survive? */
struct outcome {
  enum { OUTCOME_MASK, OUTCOME_DISKS, OUTCOME_RANDOM } kind;
  uint64_t
    mask; /* per sector, or (DISKS) 1 the destination's, 2 the storage's */
  struct random random;
  uint64_t of; /* RANDOM: so many of 8 survive */
  size_t base; /* what comes before this disk */
};

static bool
survives (void *opaque, size_t i)
{
  struct outcome *o = opaque;

  switch (o->kind) {
  case OUTCOME_MASK:
    return (o->mask >> (o->base + i)) & 1;
  case OUTCOME_DISKS:
    return (o->mask >> (o->base > 0)) & 1;
  default:
    return random_below (&o->random, 8) < o->of;
  }
}

/* Put one outcome of a power cut onto the machine's disks. */
static void
cut (struct crash *c, const struct life *l, bool all, uint64_t number)
{
  static const uint64_t shares[] = { 4, 1, 7, 4 };
  struct outcome o = { OUTCOME_MASK, number, { 0 }, 0, 0 };

  if (!all && number < 4)
    o.kind = OUTCOME_DISKS;
  else if (!all) {
    o.kind = OUTCOME_RANDOM;
    o.random.state = XXH3_64bits (c->path, c->depth * sizeof c->path[0]);
    o.of = shares[number % 4];
  }
  crash_load (c, l);
  sim_disk_cut (&c->rig.destination.disk, survives, &o);
  o.base = o.kind == OUTCOME_DISKS ? 1 : l->destination.n_unflushed;
  sim_disk_cut (&c->rig.storage.disk, survives, &o);
  crash_set_types (c);
}

static void play_life (struct crash *c, unsigned number, size_t from,
                       uint64_t first, bool recovery);

/* A new life begins with what is on the machine's disks. */
static void
next_life (struct crash *c, const struct model *m, unsigned number)
{
  struct life *l = &c->lives[number];

  must (number < CRASH_LIVES);
  sim_disk_copy (&l->destination, &c->rig.destination.disk);
  sim_disk_copy (&l->storage, &c->rig.storage.disk);
  model_copy (&l->model, m);
}

/* Record a life and play it. */
static void
record_and_play (struct crash *c, unsigned number, const struct step *steps,
                 size_t n, uint64_t first, enum before before)
{
  struct life *l = &c->lives[number];
  const struct promise promise = l->model.now;

  crash_record (c, l, steps, n, before);
  l->model.now = promise;
  play_life (c, number, 0, first, before == BEFORE_CUT);
}

/* What the process does that comes after a crash. */
static const struct step after_cut[][2] = {
  { { STEP_WRITE, 1, 0 }, { STEP_FLUSH, 0, 0 } },
  { { STEP_FUA, 0, 0 }, { STEP_COMMIT, 0, 0 } },
  { { STEP_TRIM, 0, 0 }, { STEP_COMMIT, 0, 0 } },
  { { STEP_COPY, 1, 0 }, { STEP_FLUSH, 0, 0 } },
};

/* A power cut has happened: the outcome is on the machine's disks. */
static void
try_outcome (struct crash *c, unsigned number, uint64_t promised, bool recovery)
{
  const struct model *m = &c->lives[number].model;
  const unsigned depth = c->depth;
  uint64_t i;

  shared->outcomes++;
  if (!add_state (disks_hash (c, promised)) && !replay_length)
    return;
  shared->states++;
  if (recovery ||
      (!add_state (storage_hash (c, m->now.must)) && !replay_length)) {
    crash_check (c, m, BEFORE_CUT);
    return;
  }
  shared->recoveries++;
  next_life (c, m, number + 1);
  life_copy_disks (&c->after_cut, &c->lives[number + 1]);
  for (i = 0; i < sizeof after_cut / sizeof after_cut[0]; ++i) {
    life_copy_disks (&c->lives[number + 1], &c->after_cut);
    model_copy (&c->lives[number + 1].model, m);
    record_and_play (c, number + 1, after_cut[i], 2, LIFE * i, BEFORE_CUT);
    c->depth = depth;
  }
}

/* The process is killed here, and its successor does that step.  Or a sync of
 * the bitmap file has failed before: what it was for stays readable, and no
 * later sync makes it durable.
 */
static void
kill_and_do (struct crash *c, unsigned number, size_t step, bool sync_failed)
{
  struct life *next = &c->lives[number + 1];

  shared->kills++;
  crash_load (c, &c->lives[number]);
  next_life (c, &c->lives[number].model, number + 1);
  if (sync_failed)
    sim_disk_fail_flush (&next->storage);
  record_and_play (c, number + 1, &c->plan->after_kill[step], 1, 0,
                   BEFORE_KILL);
}

static void
kill_here (struct crash *c, unsigned number)
{
  const bool unsynced = c->lives[number].storage.n_unflushed > 0;
  const unsigned depth = c->depth;
  size_t i;

  for (i = 0; i < c->plan->n_after_kill; ++i) {
    if (enter (c, depth, KILLED + i))
      kill_and_do (c, number, i, false);
    if (unsynced && enter (c, depth, SYNC_FAILED + i))
      kill_and_do (c, number, i, true);
  }
  c->depth = depth;
}

/* Cut the power at this point of the life, in all ways. */
static void
cut_here (struct crash *c, unsigned number, bool recovery)
{
  const struct life *l = &c->lives[number];
  const struct crash_plan *plan = c->plan;
  const size_t n = l->destination.n_unflushed + l->storage.n_unflushed;
  const unsigned all_max = number > 0 ? plan->later_all_max : plan->all_max;
  const bool all = n <= all_max;
  const uint64_t outcomes = all          ? UINT64_C (1) << n
                            : number > 0 ? plan->later_sample
                                         : plan->sample;
  const uint64_t promised = model_hash (&l->model);
  const unsigned depth = c->depth;
  uint64_t i;

  shared->points++;
  for (i = 0; i < outcomes; ++i) {
    if (!enter (c, depth, i))
      continue;
    cut (c, l, all, i);
    try_outcome (c, number, promised, recovery);
  }
  c->depth = depth;
  if (number == 0)
    kill_here (c, number);
}

static void
play_entry (struct life *l, const struct tape_entry *e)
{
  struct sim_disk *d = e->storage ? &l->storage : &l->destination;

  l->model.now = e->promise;
  if (!e->change)
    return;
  if (e->op == SIM_FLUSH)
    sim_disk_flush (d);
  else
    sim_disk_write (d, l->tape.bytes + e->at, e->length, e->offset);
}

static void
play_life (struct crash *c, unsigned number, size_t from, uint64_t first,
           bool recovery)
{
  struct life *l = &c->lives[number];
  const unsigned depth = c->depth;
  size_t i;

  for (i = 0; i < l->tape.n; ++i) {
    const struct tape_entry *e = &l->tape.entries[i];

    play_entry (l, e);
    if (i < from || (!e->change && !e->stronger) ||
        !enter (c, depth, first + i))
      continue;
    cut_here (c, number, recovery);
    c->depth = depth;
  }
}

void
crash_run (struct crash *c, uint64_t number, const struct step *steps, size_t n,
           const struct crash_plan *plan)
{
  struct life *l = &c->lives[0];

  c->depth = 0;
  if ((one_in > 1 && !replay_length && number % one_in != 0) ||
      !enter (c, 0, number))
    return;
  shared->sequences++;
  c->plan = plan;
  c->steps = steps;
  c->n_steps = n;
  life_copy_disks (l, &c->start);
  model_copy (&l->model, &c->start.model);
  crash_record (c, l, steps, n, BEFORE_NOTHING);
  l->model.now = c->start.model.now;
  play_life (c, 0, plan->last_step ? l->last_step : 0, 0, false);
  if (replay_length) {
    fprintf (stderr, "replayed: ");
    crash_describe (steps, n);
    print_tape (l, l->tape.n);
  }
}

void
crash_begin (void)
{
  const char *path = getenv ("CRASH_REPLAY");
  const char *n = getenv ("CRASH_ONE_IN");

  shared = mmap (NULL, sizeof *shared, PROT_READ | PROT_WRITE,
                 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  must (shared != MAP_FAILED);
  if (n && atoi (n) > 0)
    one_in = (uint64_t) atoi (n);
  while (path && *path && replay_length < CRASH_PATH) {
    char *end;

    replay[replay_length++] = strtoull (path, &end, 10);
    path = *end == '/' ? end + 1 : "";
  }
}

int
crash_end (const char *program, int status)
{
  printf ("%s: %" PRIu64 " sequences, %" PRIu64 " cut points, %" PRIu64
          " cuts, %" PRIu64 " distinct states, %" PRIu64
          " of them with a recovery cut at every point, %" PRIu64
          " kills, %" PRIu64 " checks\n",
          program, shared->sequences, shared->points, shared->outcomes,
          shared->states, shared->recoveries, shared->kills, shared->checks);
  if (status != EXIT_SUCCESS && !shared->told) {
    printf ("failed in the middle of ");
    print_path (stdout);
    printf ("\n");
  }
  munmap (shared, sizeof *shared);
  return status;
}
