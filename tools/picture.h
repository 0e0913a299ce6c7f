/* nbdclone: a disk as a picture: cells of the same size, and how much of each is
 * hydrated.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef NBDCLONE_PICTURE_H
#define NBDCLONE_PICTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct picture {
  uint64_t size;      /* of the disk, bytes, > 0 */
  unsigned columns;   /* cells in a row */
  unsigned rows;      /* the last one may have fewer cells */
  size_t n_cells;     /* each has at least a byte */
  uint64_t *hydrated; /* of each cell, bytes */
};

/* How it is drawn. */
struct style {
  bool utf8, colour;
  bool again; /* on top of the last one, on the terminal */
};

/* With cells of at least `unit` bytes, so that small disks have fewer. */
extern void picture_init (struct picture *, uint64_t size, uint64_t unit,
                          unsigned columns, unsigned rows);
extern void picture_clear (struct picture *);

/* This range of the disk is hydrated. */
extern void picture_add (struct picture *, uint64_t offset, uint64_t length);

extern uint64_t picture_hydrated (const struct picture *);

/* Columns that picture_draw uses beside the cells. */
#define PICTURE_MARGIN 12

extern void picture_draw (const struct picture *, const char *name,
                          const struct style *, FILE *);
extern void picture_draw_svg (const struct picture *, const char *name, FILE *);

#endif /* NBDCLONE_PICTURE_H */
