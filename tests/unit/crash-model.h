/* nbdclone: what a cloned disk may look like after a crash.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The model knows nothing of the engine.  It has all contents that the disk has
 * had in the eyes of its clients, one version a change; and what has been
 * promised: per cell the oldest version that may still show, and the regions
 * whose bits must, or may, be in the bitmap file.
 *
 * A cell is half a sector, since the source may end within a sector.  Each cell
 * has to hold one of the versions that it may show, whatever the cells beside
 * it hold: writes may be torn.
 *
 * Of a large disk only some regions are looked at (windows); the others are
 * never touched, and their bits are all clear or all set.
 */

#ifndef NBDCLONE_CRASH_MODEL_H
#define NBDCLONE_CRASH_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define MODEL_REGION UINT64_C (4096)
#define MODEL_CELL 256
#define MODEL_CELLS_MAX 96
#define MODEL_WINDOWS 2
#define MODEL_SLOTS 6
#define MODEL_VERSIONS 24

/* The disk and what is looked at of it.  All in bytes. */
struct model_disk {
  uint64_t regions;
  uint64_t source_size; /* multiples of MODEL_CELL */
  uint64_t disk_size;

  struct model_window {
    uint64_t offset, length;
    size_t at; /* where it is in a version */
  } windows[MODEL_WINDOWS];
  unsigned n_windows;
  size_t bytes; /* of a version */

  uint64_t slots[MODEL_SLOTS]; /* the regions in the windows */
  unsigned n_slots;
  bool outside; /* the bits of the other regions */
};

/* What holds at one moment.  Sets of regions: bit i is for slots[i]. */
struct promise {
  unsigned n_versions;
  unsigned answered; /* the newest version whose request was answered */
  uint32_t hydrated; /* in memory */
  uint32_t must, may;
  uint8_t oldest[MODEL_CELLS_MAX];
};

struct model {
  const struct model_disk *disk;
  uint8_t *versions; /* bytes each */
  struct promise now;
};

/* A disk of so many regions, of which the last one is `missing` bytes short at
 * the source, while the destination goes on for `extra` bytes behind the
 * source's end.
 */
extern void model_disk_init (struct model_disk *, uint64_t regions,
                             uint64_t missing, uint64_t extra);
/* Where that byte of the disk is in a version; SIZE_MAX if in none. */
extern size_t model_at (const struct model_disk *, uint64_t offset);
/* The regions, below the source's end, that a range touches. */
extern uint32_t model_touched (const struct model_disk *, uint64_t offset,
                               uint64_t length);

/* One version, filled in by the caller. */
extern void model_init (struct model *, const struct model_disk *);
extern void model_destroy (struct model *);
/* Both of the same disk. */
extern void model_copy (struct model *to, const struct model *from);

extern uint8_t *model_newest (struct model *);
/* Begin a new version, a copy of the newest one. */
extern uint8_t *model_change (struct model *);
/* From now on a range must not show anything older than this version, and those
 * bits must be in the file.  Length 0: all.
 */
extern void model_durable (struct model *, uint64_t offset, uint64_t length,
                           unsigned version, uint32_t bits);
/* A number for all that a check depends on. */
extern uint64_t model_hash (const struct model *);

/* Is this what may be found?  Looks at those regions, and at what is behind the
 * source if `behind`.  killed: nothing was lost, so that regions which are
 * hydrated show what was answered last.  false with the first thing that is
 * wrong in why; *checks is increased.
 */
extern bool model_check_bytes (const struct model *, const uint8_t *bytes,
                               uint32_t regions, bool behind, bool killed,
                               char *why, size_t why_size, uint64_t *checks);
extern bool model_check_bits (const struct model *, uint32_t seen, char *why,
                              size_t why_size, uint64_t *checks);

#endif /* NBDCLONE_CRASH_MODEL_H */
