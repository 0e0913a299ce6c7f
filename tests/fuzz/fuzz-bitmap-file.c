/* nbdclone: a fuzzer for bitmap files (libFuzzer).
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The input is a bitmap file.  Either it is refused, with a message, or it is
 * sound: then its bits are in it, it can be recovered, and goes on to keep every
 * bit through commits and power cuts.  A file is not written to before it is
 * recovered.
 *
 * Where the power is cut, and what is committed, depends on the input alone.
 */

#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "lives.h"

/* The most bytes of a file: three blocks, and some more. */
extern const size_t fuzz_size_max;
const size_t fuzz_size_max = 49152;

extern int LLVMFuzzerTestOneInput (const uint8_t *data, size_t size);

/* All bits of a block are in one of its slots, and there is none behind the last
 * region.
 */
static void
check_block (struct life *l, size_t block, const uint8_t *data)
{
  const uint64_t end = bitmap_regions (l->bitmap) - block * CHUNK_REGIONS;
  uint8_t bits[CHUNK_BYTES];
  bool found;
  unsigned slot;

  life_bits (l, block, bits);
  found = layout_all_zero (bits, sizeof bits);
  for (slot = 0; slot < 2 && !found; ++slot) {
    const uint8_t *p = data + layout_slot (block, slot);

    found = memcmp (p + BITS_AT, bits, BITS_BYTES) == 0 &&
            layout_slot_is_sound (p, block);
  }
  must (found);
  if (end < CHUNK_REGIONS) {
    const size_t whole = end / 8;

    must (bits[whole] >> end % 8 == 0);
    must (whole + 1 == BITS_BYTES ||
          layout_all_zero (bits + whole + 1, BITS_BYTES - whole - 1));
  }
}

/* What the headers say is possible. */
static void
check_identity (const struct bitmap_file_identity *id, size_t size)
{
  must (id->region_size >= 4096 && id->region_size <= UINT64_C (1) << 30);
  must ((id->region_size & (id->region_size - 1)) == 0);
  must (id->source_size > 0 && id->source_size <= id->disk_size);
  must (id->disk_size <= INT64_MAX);
  must (memchr (id->source_name, 0, sizeof id->source_name) != NULL);
  must (bitmap_file_size (id) == size);
}

/* Does it have slots that hold something, but no block?  Recovery overwrites them
 * with zeroes; if that is cut off in the middle of such a slot, what is left may
 * be a block.  After a real crash it is one that was there before, and too old to
 * matter; in a hostile file it may be anything.
 */
static bool
has_torn_slots (const uint8_t *data, size_t size)
{
  size_t block;
  unsigned slot;

  for (block = 0; block < layout_blocks (size); ++block)
    for (slot = 0; slot < 2; ++slot) {
      const uint8_t *p = data + layout_slot (block, slot);

      if (!layout_all_zero (p, SLOT_BYTES) && !layout_slot_is_sound (p, block))
        return true;
    }
  return false;
}

/* A few lives; each ends in a power cut, in order, or by being killed: then what
 * was not synced stays readable.
 */
static void
live (struct life *l, bool cut_recovery, struct random *random)
{
  unsigned i;

  for (i = 0; i < 3; ++i) {
    if (cut_recovery && random_one_in (random, 3))
      memory_stop_after (l->memory, random_below (random, 12));
    life_recover (l);
    if (!memory_has_stopped (l->memory) && random_one_in (random, 3))
      memory_stop_after (l->memory, random_below (random, 12));
    life_commit (l, random);
    if (random_one_in (random, 2))
      memory_cut (l->memory, random);
    memory_stop_after (l->memory, UINT64_MAX);
    life_again (l);
    cut_recovery = true;
  }
}

int
LLVMFuzzerTestOneInput (const uint8_t *data, size_t size)
{
  struct random random = { size };
  struct memory memory;
  struct life life;
  size_t block;

  if (size >= BLOCKS_AT)
    random.state = layout_checksum (data, size);
  memory_init (&memory, data, size);
  if (life_begin (&life, &memory)) {
    check_identity (bitmap_file_identity (life.file), size);
    must (life.chunks == layout_blocks (size));
    for (block = 0; block < life.chunks; ++block)
      check_block (&life, block, data);
    must (memory.changes == 0);
    live (&life, !has_torn_slots (data, size), &random);
    life_end (&life);
  }
  else
    must (memory.changes == 0);
  memory_destroy (&memory);
  return 0;
}
