/* nbdclone: crashes of a whole clone: destination and bitmap file lose their
 * power at the same moment.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A life is what one process does: it opens the bitmap file, recovers, and then
 * a number of steps.  The engine is the real one, between simulated disks;
 * everything happens in one order, that only depends on the steps.  While it
 * runs, a tape records all changes of both disks and what was promised at that
 * moment (crash-model.h).
 *
 * Then the tape is played: at each point, each outcome of a power cut is put
 * onto the disks (crash-explore.c), and a new process has to find what was
 * promised.  Its own life is recorded as well, and cut at each of its points;
 * once for each state of the bitmap file, since its recovery depends on nothing
 * else.
 * A process may also be killed alone; then the disks keep what is in their
 * caches, and the power is cut in its successor's life.
 *
 * A state is named by a path: sequence/point/outcome, and so on for the lives
 * that follow.  CRASH_REPLAY=path in the environment tries that one only, and
 * tells what happens.  CRASH_ONE_IN=n tries only each n-th sequence.
 */

#ifndef NBDCLONE_CRASH_H
#define NBDCLONE_CRASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "crash-model.h"
#include "rig.h"
#include "sim.h"

enum step_kind {
  STEP_WRITE,  /* the whole region, to the end of the disk if it is the last */
  STEP_PART,   /* a part of it, not aligned to sectors */
  STEP_ZERO,   /* the whole region */
  STEP_TRIM,   /* the whole region */
  STEP_READ,   /* all of it, until it is kept */
  STEP_FUA,    /* write a part of it */
  STEP_COPY,   /* as the background does it */
  STEP_FLUSH,  /* a client's */
  STEP_COMMIT, /* the timer's */
  STEP_REOPEN, /* close cleanly, open again */
  STEP_ACROSS, /* write a part of the region and a part of the next one */
  STEP_PUNCH,  /* trim a part of the region */
  STEP_COMPLETE, /* in the background, to the end */
};

struct step {
  enum step_kind kind;
  unsigned place; /* 0 or 1: which of the world's two regions */
  /* Done when the flush of the destination (1), or the sync of the bitmap file
   * (2), that the step before causes, has taken effect and is not answered yet.
   */
  unsigned inside;
};

/* A disk to begin with: nothing is hydrated, or all but the two regions. */
struct crash_world {
  uint64_t regions;
  uint64_t places[2]; /* regions that the steps are about */
  uint64_t missing;   /* bytes: model_disk_init */
  uint64_t extra;
  bool zero;     /* the second place is zero at the source, which says so */
  bool hydrated; /* all but the two places */
};

/* How far to go. */
struct crash_plan {
  bool last_step;   /* cut in the last step only; else from the beginning */
  unsigned all_max; /* try all outcomes of so many unflushed sectors ... */
  unsigned sample;  /* ... and so many if there are more */
  unsigned later_all_max, later_sample; /* in the lives that follow */
  /* Also kill it, and let a new process do one of these; then cut. */
  const struct step *after_kill;
  size_t n_after_kill;
};

/* One change of a disk, or a new promise. */
struct tape_entry {
  bool change;
  bool storage; /* or the destination */
  bool stronger;
  unsigned op;
  uint64_t offset, length;
  size_t at; /* the bytes, among the tape's */
  struct promise promise;
};

struct tape {
  struct tape_entry *entries;
  size_t n, allocated;
  uint8_t *bytes;
  size_t n_bytes, bytes_allocated;
};

/* A life that is recorded or played, and the disks at a point of it. */
struct life {
  struct sim_disk destination, storage;
  struct model model;
  struct tape tape;
  size_t last_step; /* where on the tape that begins */
};
#define CRASH_LIVES 3
#define CRASH_PATH 8

enum before {
  BEFORE_NOTHING, /* formatted, or closed cleanly */
  BEFORE_KILL,
  BEFORE_CUT,
};

struct crash {
  const struct crash_world *world;
  struct model_disk shape;
  struct rig rig;
  struct life start;
  struct life lives[CRASH_LIVES];
  struct life after_cut; /* its disks only */
  struct life *recording;

  /* The steps that are going on. */
  const struct step *inside;
  size_t n_inside;
  bool has_background; /* the threads that keep reads exist */

  uint8_t *found; /* what a new process reads */
  uint32_t seen;  /* the bits that it finds */
  uint8_t value;  /* written last */

  /* What is being tried. */
  const struct crash_plan *plan;
  const struct step *steps;
  size_t n_steps;
  uint64_t path[CRASH_PATH];
  unsigned depth;
};

/* crash-life.c */

extern void crash_init (struct crash *, const struct crash_world *);
extern void crash_destroy (struct crash *);
extern void life_copy_disks (struct life *to, const struct life *from);
/* Put the life's disks into the machine. */
extern void crash_load (struct crash *, const struct life *);
/* The types of the destination's extents are those of its bytes. */
extern void crash_set_types (struct crash *);
/* With the machine's disks: open, check against the model, recover, read and
 * check, close.
 */
extern void crash_check (struct crash *, const struct model *, enum before);
/* The same, then the steps, and all is recorded.  The life's disks are as at
 * its beginning, and its model; this becomes the one at the end.
 */
extern void crash_record (struct crash *, struct life *, const struct step *,
                          size_t n, enum before);

/* crash.c */

/* A promise is broken: tell all that is known, and end the process. */
extern void crash_failed (struct crash *, const char *why)
  __attribute__ ((noreturn));
extern void crash_describe (const struct step *, size_t n);
/* More of these has been done; to be printed at the end. */
extern void crash_count_checks (uint64_t n);

/* Try everything about these steps.  The number names them. */
extern void crash_run (struct crash *, uint64_t number, const struct step *,
                       size_t n, const struct crash_plan *);

/* Before the suite runs, and after it; the second prints the totals, and must
 * be given what suite_run returned.
 */
extern void crash_begin (void);
extern int crash_end (const char *program, int status);

#endif /* NBDCLONE_CRASH_H */
