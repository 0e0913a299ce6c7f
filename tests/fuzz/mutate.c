/* nbdclone: mutations that know what a bitmap file looks like.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A random change is found by a checksum at once, and nothing behind the
 * checksums is ever tried.  So most mutations change a field, or move whole
 * slots about, and then make some of the checksums and sums right again.
 */

#include <config.h>

#include <string.h>

#include "make.h"

#define SECTOR 512

extern const size_t fuzz_size_max;

/* libFuzzer's. */
extern size_t LLVMFuzzerMutate (uint8_t *data, size_t size, size_t max);
extern size_t LLVMFuzzerCustomMutator (uint8_t *data, size_t size, size_t max,
                                       unsigned seed);
extern size_t LLVMFuzzerCustomCrossOver (const uint8_t *a, size_t a_size,
                                         const uint8_t *b, size_t b_size,
                                         uint8_t *out, size_t max,
                                         unsigned seed);

struct field {
  unsigned at, bytes;
};

static const struct field header_fields[] = {
  { 0, 8 },
  { CHECKSUM_AT, 8 },
  { GENERATION_AT, 8 },
  { SUM_AT, 8 },
  { UUID_AT, 8 },
  { VERSION_AT, 4 },
  { FEATURES_AT, 4 },
  { FLAGS_AT, 4 },
  { NAME_LENGTH_AT, 4 },
  { REGION_SIZE_AT, 8 },
  { DISK_SIZE_AT, 8 },
  { SOURCE_SIZE_AT, 8 },
  { NAME_AT, 8 },
};
#define N_HEADER_FIELDS (sizeof header_fields / sizeof header_fields[0])

static const struct field slot_fields[] = {
  { 0, 8 },       { CHECKSUM_AT, 8 }, { GENERATION_AT, 8 }, { INDEX_AT, 8 },
  { UUID_AT, 8 }, { BITS_AT, 8 },     { SLOT_BYTES - 8, 8 }
};
#define N_SLOT_FIELDS (sizeof slot_fields / sizeof slot_fields[0])

/* A file that has at least one block. */
struct file {
  uint8_t *data;
  size_t size, max, blocks;
  struct random *random;
};

static uint8_t *
any_header (struct file *f)
{
  return f->data + random_below (f->random, 2) * HEADER_BYTES;
}

static uint8_t *
any_slot (struct file *f)
{
  return f->data + layout_slot (random_below (f->random, f->blocks),
                                (unsigned) random_below (f->random, 2));
}

/* A number near one that is in the file already, or at a limit. */
static uint64_t
interesting (struct file *f, uint64_t now)
{
  static const uint64_t limits[] = {
    0,          1,          4096,      UINT64_C (1) << 30, INT64_MAX,
    UINT32_MAX, UINT64_MAX, INT64_MIN, UINT64_C (1) << 52,
  };
  const uint64_t by = random_below (f->random, 4);

  switch (random_below (f->random, 6)) {
  case 0:
    return layout_get (any_header (f) + GENERATION_AT, 8) + by;
  case 1:
    return layout_get (any_slot (f) + GENERATION_AT, 8) + by;
  case 2:
    return limits[random_below (f->random, sizeof limits / sizeof *limits)];
  case 3:
    return now ^ UINT64_C (1) << random_below (f->random, 64);
  case 4:
    return now + by;
  default:
    return now - by;
  }
}

static void
change_field (struct file *f, uint8_t *p, const struct field *field)
{
  p += field->at;
  layout_put (p, field->bytes, interesting (f, layout_get (p, field->bytes)));
}

/* In a header, and perhaps, as most fields have to be, in the other one as well. */
static void
change_header_field (struct file *f)
{
  const struct field *field =
    &header_fields[random_below (f->random, N_HEADER_FIELDS)];
  uint8_t *p = any_header (f);

  change_field (f, p, field);
  if (random_one_in (f->random, 2))
    memcpy ((p == f->data ? f->data + HEADER_BYTES : f->data) + field->at,
            p + field->at, field->bytes);
}

/* A name of about the greatest length, or of any other. */
static void
change_name (struct file *f)
{
  const size_t most = HEADER_BYTES - NAME_AT;
  const size_t length = random_one_in (f->random, 2)
                          ? most - 1 + random_below (f->random, 3)
                          : random_below (f->random, most);
  unsigned i;

  for (i = 0; i < 2; ++i) {
    uint8_t *p = f->data + i * HEADER_BYTES;

    memset (p + NAME_AT, 'x', length < most ? length : most);
    layout_put (p + NAME_LENGTH_AT, 4, length);
  }
}

/* Make the size of the file and what its headers say of it fit again. */
static void
fit_sizes (struct file *f)
{
  unsigned i;

  for (i = 0; i < 2; ++i) {
    uint8_t *p = f->data + i * HEADER_BYTES;
    const uint64_t size =
      (f->blocks * 8 * BITS_BYTES - random_below (f->random, 8 * BITS_BYTES)) *
      layout_get (p + REGION_SIZE_AT, 8);

    layout_put (p + SOURCE_SIZE_AT, 8, size);
    layout_put (p + DISK_SIZE_AT, 8, size);
  }
}

/* A block more, or less. */
static void
change_size (struct file *f)
{
  if (f->blocks > 1 && random_one_in (f->random, 2))
    f->blocks--;
  else if (layout_slot (f->blocks + 1, 0) <= f->max) {
    memset (f->data + layout_slot (f->blocks, 0), 0, PAIR_BYTES);
    f->blocks++;
  }
  f->size = layout_slot (f->blocks, 0);
  if (!random_one_in (f->random, 4))
    fit_sizes (f);
}

/* Put a part of one slot into another one; as a cut does. */
static void
move_sectors (struct file *f, uint8_t *to, const uint8_t *from, size_t bytes)
{
  const size_t first = random_below (f->random, bytes / SECTOR) * SECTOR;
  const size_t n = (1 + random_below (f->random, bytes / SECTOR)) * SECTOR;

  memmove (to + first, from + first, n < bytes - first ? n : bytes - first);
}

static void
change_slots (struct file *f)
{
  uint8_t *a = any_slot (f), *b = any_slot (f);
  uint8_t swap[SLOT_BYTES];

  switch (random_below (f->random, 6)) {
  case 0:
    memset (a, 0, SLOT_BYTES);
    break;
  case 1:
    memmove (a, b, SLOT_BYTES);
    break;
  case 2:
    memcpy (swap, a, SLOT_BYTES);
    memmove (a, b, SLOT_BYTES);
    memcpy (b, swap, SLOT_BYTES);
    break;
  case 3:
    move_sectors (f, a, b, SLOT_BYTES);
    break;
  case 4:
    LLVMFuzzerMutate (a + BITS_AT, BITS_BYTES, BITS_BYTES);
    break;
  default:
    a[BITS_AT + random_below (f->random, BITS_BYTES)] ^=
      (uint8_t) (1U << random_below (f->random, 8));
  }
}

static void
change_headers (struct file *f)
{
  uint8_t *a = any_header (f);
  uint8_t *b = f->data + (a == f->data ? HEADER_BYTES : 0);

  switch (random_below (f->random, 4)) {
  case 0:
    memset (a, 0, HEADER_BYTES);
    break;
  case 1:
    memcpy (a, b, HEADER_BYTES);
    layout_put (a + GENERATION_AT, 8,
                layout_get (b + GENERATION_AT, 8) +
                  random_below (f->random, 5) - 2);
    break;
  case 2:
    move_sectors (f, a, b, HEADER_BYTES);
    break;
  default:
    a[FLAGS_AT] ^= 1;
  }
}

/* Make right what the change has made wrong, as far as wanted. */
static void
repair (struct file *f)
{
  size_t block;
  unsigned i;

  for (block = 0; block < f->blocks; ++block)
    for (i = 0; i < 2; ++i) {
      uint8_t *p = f->data + layout_slot (block, i);

      if (layout_all_zero (p, SLOT_BYTES))
        continue;
      if (!random_one_in (f->random, 8)) {
        memcpy (p, "nbdclblk", 8);
        layout_put (p + INDEX_AT, 8, block);
        memcpy (p + UUID_AT, f->data + UUID_AT, UUID_BYTES);
      }
      if (!random_one_in (f->random, 8))
        make_checksum (p, SLOT_BYTES);
    }
  for (i = 0; i < 2; ++i) {
    uint8_t *p = f->data + i * HEADER_BYTES;

    if (layout_all_zero (p, HEADER_BYTES))
      continue;
    if (!random_one_in (f->random, 4))
      layout_put (
        p + SUM_AT, 8,
        layout_sum (f->data, f->size, layout_get (p + GENERATION_AT, 8)));
    if (!random_one_in (f->random, 16))
      make_checksum (p, HEADER_BYTES);
  }
}

static void
change (struct file *f)
{
  const uint64_t kind = random_below (f->random, 16);

  if (kind < 4)
    change_header_field (f);
  else if (kind < 8)
    change_field (f, any_slot (f),
                  &slot_fields[random_below (f->random, N_SLOT_FIELDS)]);
  else if (kind < 10)
    change_headers (f);
  else if (kind < 11)
    change_name (f);
  else if (kind < 12)
    change_size (f);
  else
    change_slots (f);
}

/* A new file, as large as there is room for. */
static size_t
new_file (uint8_t *data, size_t max, struct random *random)
{
  const size_t most = layout_blocks (max < fuzz_size_max ? max : fuzz_size_max);

  return make_file (data, 1 + random_below (random, most), random);
}

size_t
LLVMFuzzerCustomMutator (uint8_t *data, size_t size, size_t max, unsigned seed)
{
  struct random random = { seed };
  struct file f = { data, size, max, layout_blocks (size), &random };
  unsigned changes = 1 + (unsigned) random_below (&random, 3);

  if (layout_blocks (max) > 0 && (f.blocks == 0 || random_one_in (&random, 32)))
    return new_file (data, max, &random);
  if (f.blocks == 0 || random_one_in (&random, 32))
    return LLVMFuzzerMutate (data, size, max);
  while (changes-- > 0)
    change (&f);
  if (!random_one_in (&random, 16))
    repair (&f);
  return f.size;
}

/* Slots of one file in the other. */
size_t
LLVMFuzzerCustomCrossOver (const uint8_t *a, size_t a_size, const uint8_t *b,
                           size_t b_size, uint8_t *out, size_t max,
                           unsigned seed)
{
  struct random random = { seed };
  const size_t blocks = layout_blocks (a_size < b_size ? a_size : b_size);
  struct file f = { out, a_size, max, layout_blocks (a_size), &random };
  size_t block;
  unsigned i;

  if (a_size > max || blocks == 0)
    return 0;
  memcpy (out, a, a_size);
  if (random_one_in (&random, 4)) {
    const size_t at = random_below (&random, 2) * HEADER_BYTES;

    memcpy (out + at, b + at, HEADER_BYTES);
  }
  for (block = 0; block < blocks; ++block)
    for (i = 0; i < 2; ++i)
      if (random_one_in (&random, 2))
        memcpy (out + layout_slot (block, i), b + layout_slot (block, i),
                SLOT_BYTES);
  repair (&f);
  return f.size;
}
