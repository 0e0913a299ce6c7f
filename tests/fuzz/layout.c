/* nbdclone: the bitmap file as bytes, for the fuzzer.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "layout.h"

uint64_t
layout_get (const uint8_t *p, unsigned bytes)
{
  uint64_t value = 0;

  while (bytes-- > 0)
    value = value << 8 | p[bytes];
  return value;
}

void
layout_put (uint8_t *p, unsigned bytes, uint64_t value)
{
  unsigned i;

  for (i = 0; i < bytes; ++i, value >>= 8)
    p[i] = (uint8_t) value;
}

size_t
layout_blocks (size_t size)
{
  return size < BLOCKS_AT ? 0 : (size - BLOCKS_AT) / PAIR_BYTES;
}

size_t
layout_slot (size_t block, unsigned slot)
{
  return BLOCKS_AT + block * PAIR_BYTES + slot * SLOT_BYTES;
}

uint64_t
layout_checksum (const uint8_t *p, size_t bytes)
{
  return XXH3_64bits (p + GENERATION_AT, bytes - GENERATION_AT);
}

bool
layout_all_zero (const uint8_t *p, size_t bytes)
{
  return p[0] == 0 && memcmp (p, p + 1, bytes - 1) == 0;
}

bool
layout_slot_is_sound (const uint8_t *p, size_t block)
{
  return memcmp (p, "nbdclblk", 8) == 0 &&
         layout_get (p + CHECKSUM_AT, 8) == layout_checksum (p, SLOT_BYTES) &&
         layout_get (p + INDEX_AT, 8) == block &&
         layout_get (p + GENERATION_AT, 8) != 0;
}

uint64_t
layout_sum (const uint8_t *file, size_t size, uint64_t generation)
{
  uint64_t sum = 0;
  size_t block;

  for (block = 0; block < layout_blocks (size); ++block) {
    uint64_t newest = 0, checksum = 0;
    unsigned slot;

    for (slot = 0; slot < 2; ++slot) {
      const uint8_t *p = file + layout_slot (block, slot);
      const uint64_t its = layout_get (p + GENERATION_AT, 8);

      if (layout_slot_is_sound (p, block) && its <= generation &&
          its > newest) {
        newest = its;
        checksum = layout_get (p + CHECKSUM_AT, 8);
      }
    }
    sum ^= checksum;
  }
  return sum;
}

uint64_t
random_next (struct random *r)
{
  uint64_t x = r->state += UINT64_C (0x9e3779b97f4a7c15);

  x = (x ^ (x >> 30)) * UINT64_C (0xbf58476d1ce4e5b9);
  x = (x ^ (x >> 27)) * UINT64_C (0x94d049bb133111eb);
  return x ^ (x >> 31);
}

uint64_t
random_below (struct random *r, uint64_t n)
{
  return random_next (r) % n;
}

bool
random_one_in (struct random *r, uint64_t n)
{
  return random_below (r, n) == 0;
}

void
must_failed (const char *file, int line, const char *condition)
{
  fprintf (stderr, "%s:%d: not so: %s\n", file, line, condition);
  abort ();
}
