/* nbdclone: a disk as a picture.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Cell i of n is the bytes from size * i / n, rounded down, to where the next one
 * begins.  A cell is shown as nothing or as all only if it is just that.
 */

#include <config.h>

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "human.h"
#include "message.h"
#include "picture.h"

#define LEVELS 5 /* nothing, three in between, all */

#define CELL_PX 8U

static const char *const marks[2][LEVELS] = {
  { ".", "-", "+", "*", "#" },
  { "·", "░", "▒", "▓", "█" },
};

/* SGR sequences, and for SVG. */
static const char *const sgr[LEVELS] = { "2", "33", "33", "33", "32" };
static const char *const fills[LEVELS] = { "#e4e4e4", "#ffe5a8", "#ffc94d",
                                           "#b5cf4e", "#3a9a4b" };

static uint64_t
cell_start (const struct picture *p, size_t i)
{
  return (uint64_t) ((unsigned __int128) p->size * i / p->n_cells);
}

/* The last cell that begins at or before the offset. */
static size_t
cell_of (const struct picture *p, uint64_t offset)
{
  return (size_t) (((unsigned __int128) (offset + 1) * p->n_cells - 1) /
                   p->size);
}

void
picture_init (struct picture *p, uint64_t size, uint64_t unit, unsigned columns,
              unsigned rows)
{
  const uint64_t units = (size - 1) / unit + 1;
  const uint64_t n = (uint64_t) columns * rows;

  *p = (struct picture){ .size = size, .columns = columns };
  p->n_cells = (size_t) (units < n ? units : n);
  p->rows = (unsigned) ((p->n_cells - 1) / columns + 1);
  p->hydrated = need (calloc (p->n_cells, sizeof *p->hydrated));
}

void
picture_clear (struct picture *p)
{
  free (p->hydrated);
  p->hydrated = NULL;
}

void
picture_add (struct picture *p, uint64_t offset, uint64_t length)
{
  const uint64_t end = offset + length;

  while (offset < end) {
    const size_t i = cell_of (p, offset);
    const uint64_t next = cell_start (p, i + 1);
    const uint64_t n = (next < end ? next : end) - offset;

    p->hydrated[i] += n;
    offset += n;
  }
}

uint64_t
picture_hydrated (const struct picture *p)
{
  uint64_t sum = 0;
  size_t i;

  for (i = 0; i < p->n_cells; ++i)
    sum += p->hydrated[i];
  return sum;
}

static unsigned
level_of (const struct picture *p, size_t i)
{
  const uint64_t all = cell_start (p, i + 1) - cell_start (p, i);
  const uint64_t part = p->hydrated[i];

  if (part == 0)
    return 0;
  if (part >= all)
    return LEVELS - 1;
  return 1 + (unsigned) ((unsigned __int128) part * (LEVELS - 2) / all);
}

static void
end_line (const struct style *style, FILE *out)
{
  fputs (style->again ? "\033[K\n" : "\n", out);
}

static void
draw_row (const struct picture *p, unsigned row, const struct style *style,
          FILE *out)
{
  const size_t first = (size_t) row * p->columns;
  const size_t left = p->n_cells - first;
  const size_t end = first + (left < p->columns ? left : p->columns);
  char offset[HUMAN_MAX];
  unsigned last = LEVELS;
  size_t i;

  fprintf (out, "%*s ", PICTURE_MARGIN - 2,
           human_size (offset, cell_start (p, first)));
  for (i = first; i < end; ++i) {
    const unsigned level = level_of (p, i);

    if (style->colour && (last == LEVELS || sgr[level] != sgr[last]))
      fprintf (out, "\033[0;%sm", sgr[level]);
    fputs (marks[style->utf8][level], out);
    last = level;
  }
  if (style->colour)
    fputs ("\033[0m", out);
  end_line (style, out);
}

void
picture_draw (const struct picture *p, const char *name,
              const struct style *style, FILE *out)
{
  const char *const *mark = marks[style->utf8];
  char size[HUMAN_MAX], cell[HUMAN_MAX], percent[HUMAN_MAX];
  const int columns = (int) p->columns + PICTURE_MARGIN - 1;
  unsigned row;

  if (style->again)
    fprintf (out, "\033[%uA", p->rows + 3);
  fprintf (out, "%.*s", columns, name);
  end_line (style, out);
  fprintf (out, "%s of %s hydrated",
           human_percent (percent, picture_hydrated (p), p->size),
           human_size (size, p->size));
  end_line (style, out);
  for (row = 0; row < p->rows; ++row)
    draw_row (p, row, style, out);
  human_size (cell, (p->size - 1) / p->n_cells + 1);
  fprintf (out, "%*s %s nothing %s all, a cell is %s", PICTURE_MARGIN - 2, "",
           mark[0], mark[LEVELS - 1], cell);
  end_line (style, out);
}

/* Text in XML. */
static void
put_text (const char *s, FILE *out)
{
  for (; *s; ++s)
    if (strchr ("&<>\"", *s) || (unsigned char) *s < 32)
      fprintf (out, "&#%d;", *s < 32 && *s > 0 ? 63 : *s);
    else
      fputc (*s, out);
}

void
picture_draw_svg (const struct picture *p, const char *name, FILE *out)
{
  char size[HUMAN_MAX], percent[HUMAN_MAX];
  size_t i, end;

  fprintf (out,
           "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%u\" "
           "height=\"%u\">\n<title>",
           p->columns * CELL_PX, p->rows * CELL_PX + 24);
  put_text (name, out);
  fprintf (out,
           "</title>\n<text x=\"0\" y=\"16\" font-family=\"sans-serif\" "
           "font-size=\"14\">%s of %s hydrated: ",
           human_percent (percent, picture_hydrated (p), p->size),
           human_size (size, p->size));
  put_text (name, out);
  fputs ("</text>\n", out);
  for (i = 0; i < p->n_cells; i = end) {
    const unsigned level = level_of (p, i);

    /* Neighbours of one level are one rectangle. */
    end = i + 1;
    while (end < p->n_cells && end % p->columns != 0 &&
           level_of (p, end) == level)
      end++;
    fprintf (out,
             "<rect x=\"%zu\" y=\"%zu\" width=\"%zu\" height=\"%u\" "
             "fill=\"%s\"/>\n",
             i % p->columns * CELL_PX, i / p->columns * CELL_PX + 24,
             (end - i) * CELL_PX, CELL_PX, fills[level]);
  }
  fputs ("</svg>\n", out);
}
