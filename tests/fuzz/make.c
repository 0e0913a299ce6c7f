/* nbdclone: bitmap files for the fuzzer to begin with.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "lives.h"
#include "make.h"

void
make_checksum (uint8_t *p, size_t bytes)
{
  layout_put (p + CHECKSUM_AT, 8, layout_checksum (p, bytes));
}

static struct bitmap_file_identity
choose_identity (size_t blocks, struct random *random)
{
  struct bitmap_file_identity id = { .source_name = "disk" };
  const uint64_t regions =
    (blocks - 1) * CHUNK_REGIONS + 1 + random_below (random, CHUNK_REGIONS);

  id.region_size = UINT64_C (4096) << random_below (random, 19);
  id.source_size =
    regions * id.region_size - random_below (random, id.region_size);
  id.disk_size = id.source_size;
  if (random_one_in (random, 3))
    id.disk_size += random_below (random, 1 << 20);
  return id;
}

/* The same file for the same numbers: the UUID is no random one. */
static void
format (struct memory *m, const struct bitmap_file_identity *id,
        struct random *random)
{
  unsigned i;

  must (bitmap_file_format (&m->storage, id) == 0);
  for (i = 0; i < UUID_BYTES; ++i)
    m->bytes[UUID_AT + i] = (uint8_t) random_next (random);
  make_checksum (m->bytes, HEADER_BYTES);
  memcpy (m->durable, m->bytes, m->size);
}

size_t
make_file (uint8_t *data, size_t blocks, struct random *random)
{
  const struct bitmap_file_identity id = choose_identity (blocks, random);
  const size_t size = layout_slot (blocks, 0);
  unsigned lives = (unsigned) random_below (random, 4);
  struct memory memory;
  struct life life;

  must (bitmap_file_size (&id) == size);
  memset (data, 0, size);
  memory_init (&memory, data, size);
  format (&memory, &id, random);
  must (life_begin (&life, &memory));
  while (lives-- > 0) {
    if (random_one_in (random, 2))
      memory_stop_after (&memory, random_below (random, 16));
    life_recover (&life);
    life_commit (&life, random);
    if (random_one_in (random, 2))
      memory_cut (&memory, random);
    memory_stop_after (&memory, UINT64_MAX);
    life_again (&life);
  }
  memcpy (data, memory.bytes, size);
  life_end (&life);
  memory_destroy (&memory);
  return size;
}
