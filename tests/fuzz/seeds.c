/* nbdclone: the corpus that the fuzzer begins with.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * usage: seeds make DIRECTORY
 *        seeds check FILE...
 *
 * Makes the files, or says whether they are bitmap files (still).
 */

#include <config.h>

#include <stdio.h>
#include <string.h>

#include "lives.h"
#include "make.h"

/* Numbers that make what is wanted, found by trying. */
static const struct {
  const char *name;
  uint64_t random;
  size_t blocks;
} seeds[] = {
  { "new", 1, 1 },           /* never committed to */
  { "clean", 20, 1 },        /* closed in order, both slots in use */
  { "blocks-first", 48, 1 }, /* a commit was cut: its header is missing ... */
  { "header-first", 73, 1 }, /* ... or its block */
  { "torn", 367, 2 },        /* ... or is torn */
};
#define N_SEEDS (sizeof seeds / sizeof seeds[0])

/* Room for the largest one. */
static uint8_t data[BLOCKS_AT + 2 * PAIR_BYTES];

static void
make (const char *directory)
{
  size_t i;

  for (i = 0; i < N_SEEDS; ++i) {
    struct random random = { seeds[i].random };
    const size_t size = make_file (data, seeds[i].blocks, &random);
    char path[4096];
    FILE *f;

    snprintf (path, sizeof path, "%s/%s", directory, seeds[i].name);
    f = fopen (path, "wb");
    must (f != NULL);
    must (fwrite (data, 1, size, f) == size);
    must (fclose (f) == 0);
  }
}

static bool
check (const char *path)
{
  FILE *f = fopen (path, "rb");
  struct memory memory;
  struct life life;
  size_t size;
  bool sound;

  must (f != NULL);
  size = fread (data, 1, sizeof data, f);
  fclose (f);
  memory_init (&memory, data, size);
  sound = life_begin (&life, &memory);
  if (sound)
    life_end (&life);
  else
    printf ("%s: %s\n", path, life.why);
  memory_destroy (&memory);
  return sound;
}

int
main (int argc, char **argv)
{
  bool sound = true;
  int i;

  must (argc > 2);
  if (strcmp (argv[1], "make") == 0)
    make (argv[2]);
  else
    for (i = 2; i < argc; ++i)
      sound &= check (argv[i]);
  return sound ? 0 : 1;
}
