/* nbdclone: make the corpus that the fuzzer begins with.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * usage: seeds DIRECTORY
 */

#include <config.h>

#include <stdio.h>

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

int
main (int argc, char **argv)
{
  static uint8_t data[BLOCKS_AT + 2 * PAIR_BYTES];
  size_t i;

  must (argc == 2);
  for (i = 0; i < N_SEEDS; ++i) {
    struct random random = { seeds[i].random };
    const size_t size = make_file (data, seeds[i].blocks, &random);
    char path[4096];
    FILE *f;

    snprintf (path, sizeof path, "%s/%s", argv[1], seeds[i].name);
    f = fopen (path, "wb");
    must (f != NULL);
    must (fwrite (data, 1, size, f) == size);
    must (fclose (f) == 0);
  }
  return 0;
}
