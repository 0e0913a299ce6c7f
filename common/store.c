/* nbdclone: bytes into regions that are not hydrated.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The order is always: write to the destination, and when that has returned,
 * set the bit (P3).  A write that fails leaves the bit clear: the source's bytes
 * stay what the region holds.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <string.h>

#include "cleanup.h"
#include "store.h"

/* Zeroes in fetched data are looked for in blocks of this size. */
#define ZERO_BLOCK ((size_t) 65536)

static void
set_bits (struct clone *c, uint64_t first, uint64_t end)
{
  bitmap_set (c->bitmap, first, end, commit_changed, &c->commit);
  commit_hydrated (&c->commit);
}

static uint32_t
region_length (const struct clone *c, uint64_t region)
{
  return (uint32_t) (region_start (&c->geometry, region + 1) -
                     region_start (&c->geometry, region));
}

int
store_hydrated (struct clone *c, const struct change *change, uint64_t offset,
                uint32_t length, int *err)
{
  struct destination *d = c->destination;

  switch (change->kind) {
  case CHANGE_WRITE:
    return d->ops->write (d, change->data, length, offset, err);
  case CHANGE_ZERO:
    return d->ops->zero (d, length, offset, change->flags, err);
  case CHANGE_TRIM:
    if (change->passdown && d->can_trim)
      return d->ops->trim (d, length, offset, err);
    return d->ops->zero (d, length, offset,
                         change->passdown ? DESTINATION_MAY_TRIM : 0, err);
  }
  abort ();
}

int
store_change (struct clone *c, const struct change *change, uint64_t offset,
              uint32_t length, int *err)
{
  const struct regions r = regions_touched (&c->geometry, offset, length);
  struct destination *d = c->destination;
  struct claim claim;
  int ret;

  assert (offset == region_start (&c->geometry, r.first));
  assert (offset + length == region_start (&c->geometry, r.end));

  claim_regions (&c->claims, &claim, r);
  /* What a trim leaves behind need not be zero, and old garbage of the
   * destination must not show (P1, lesson 24).
   */
  if (change->kind == CHANGE_TRIM)
    ret = d->ops->zero (d, length, offset,
                        change->passdown ? DESTINATION_MAY_TRIM : 0, err);
  else
    ret = store_hydrated (c, change, offset, length, err);
  if (ret == 0)
    set_bits (c, r.first, r.end);
  claim_release (&c->claims, &claim);
  return ret;
}

int
store_part (struct clone *c, const struct change *change, uint64_t offset,
            uint32_t length, uint8_t *region, int *err)
{
  const uint64_t r = region_of (&c->geometry, offset);
  const uint64_t start = region_start (&c->geometry, r);
  struct destination *d = c->destination;
  struct claim claim;
  int ret;

  claim_regions (&c->claims, &claim, (struct regions){ r, r + 1 });
  if (bitmap_all_set (c->bitmap, r, r + 1)) {
    /* Somebody has overtaken our fetch (P7). */
    claim_release (&c->claims, &claim);
    return store_hydrated (c, change, offset, length, err);
  }
  if (change->kind == CHANGE_WRITE)
    memcpy (region + (offset - start), change->data, length);
  else
    memset (region + (offset - start), 0, length);
  ret = d->ops->write (d, region, region_length (c, r), start, err);
  if (ret == 0)
    set_bits (c, r, r + 1);
  claim_release (&c->claims, &claim);
  return ret;
}

/* Zero what is found not to be. */
struct zeroing {
  struct clone *clone;
  uint64_t end;  /* of the range */
  uint64_t done; /* all before this offset is zero */
  int ret;
  int err;
};

static int
zero_unless_zero (void *opaque, uint64_t offset, uint64_t length, unsigned type)
{
  struct zeroing *z = opaque;
  struct destination *d = z->clone->destination;

  assert (offset == z->done);
  if (length > z->end - offset)
    length = z->end - offset;
  /* A hole alone may be garbage. */
  if (!(type & EXTENT_ZERO))
    z->ret = d->ops->zero (d, (uint32_t) length, offset, DESTINATION_MAY_TRIM,
                           &z->err);
  if (z->ret == 0)
    z->done = offset + length;
  return z->ret;
}

static int
zero_range (struct clone *c, uint64_t offset, uint64_t end, int *err)
{
  struct destination *d = c->destination;
  struct zeroing z = { .clone = c, .end = end, .done = offset };

  while (z.done < end && z.ret == 0) {
    const uint64_t before = z.done;
    const uint32_t length = (uint32_t) (end - z.done);

    if (!d->can_extents ||
        (d->ops->extents (d, length, z.done, zero_unless_zero, &z, err) == -1 &&
         z.ret == 0) ||
        (z.done == before && z.ret == 0))
      (void) zero_unless_zero (&z, z.done, length, 0);
  }
  if (z.ret == -1)
    *err = z.err;
  return z.ret;
}

/* How many bytes at data have the same answer to: are they all zero?  Looked at
 * in blocks of ZERO_BLOCK; the last one may be short.
 */
static size_t
zero_run (const uint8_t *data, size_t length, bool *zero)
{
  size_t at = 0;

  do {
    const size_t n = length - at < ZERO_BLOCK ? length - at : ZERO_BLOCK;
    const bool z =
      data[at] == 0 && memcmp (data + at, data + at + 1, n - 1) == 0;

    if (at == 0)
      *zero = z;
    else if (z != *zero)
      break;
    at += n;
  } while (at < length);
  return at;
}

/* Write the source's bytes, but keep what is zero sparse.  The range is claimed
 * and not hydrated.
 */
static int
write_fetched (struct clone *c, const uint8_t *data, uint32_t length,
               uint64_t offset, int *err)
{
  struct destination *d = c->destination;
  uint32_t done = 0;
  int ret = 0;

  while (done < length && ret == 0) {
    bool zero;
    const uint32_t n = (uint32_t) zero_run (data + done, length - done, &zero);

    if (zero)
      ret = zero_range (c, offset + done, offset + done + n, err);
    else
      ret = d->ops->write (d, data + done, n, offset + done, err);
    done += n;
  }
  return ret;
}

int
store_fetched (struct clone *c, struct regions regions, const uint8_t *data,
               int *err)
{
  const uint64_t start = region_start (&c->geometry, regions.first);
  uint64_t r = regions.first;
  struct claim claim;
  int ret = 0;

  claim_regions (&c->claims, &claim, regions);
  while (r < regions.end && ret == 0) {
    bool hydrated;
    uint64_t n = bitmap_run (c->bitmap, r, regions.end, &hydrated);

    if (!hydrated) {
      const uint64_t from = region_start (&c->geometry, r);
      const uint64_t to = region_start (&c->geometry, r + n);

      ret = write_fetched (c, data + (from - start), (uint32_t) (to - from),
                           from, err);
      if (ret == 0)
        set_bits (c, r, r + n);
    }
    r += n;
  }
  claim_release (&c->claims, &claim);
  return ret;
}

int
store_piece (struct clone *c, uint64_t region, const uint8_t *data,
             uint64_t offset, uint32_t length, bool last, bool *hydrated,
             int *err)
{
  struct claim claim;
  int ret = 0;

  claim_regions (&c->claims, &claim, (struct regions){ region, region + 1 });
  *hydrated = bitmap_all_set (c->bitmap, region, region + 1);
  if (!*hydrated) {
    if (data)
      ret = write_fetched (c, data, length, offset, err);
    else
      ret = zero_range (c, offset, offset + length, err);
    if (ret == 0 && last)
      set_bits (c, region, region + 1);
  }
  claim_release (&c->claims, &claim);
  return ret;
}

int
store_zeroes (struct clone *c, struct regions regions, int *err)
{
  uint64_t r = regions.first;
  struct claim claim;
  int ret = 0;

  claim_regions (&c->claims, &claim, regions);
  while (r < regions.end && ret == 0) {
    bool hydrated;
    uint64_t n = bitmap_run (c->bitmap, r, regions.end, &hydrated);

    if (!hydrated) {
      ret = zero_range (c, region_start (&c->geometry, r),
                        region_start (&c->geometry, r + n), err);
      if (ret == 0)
        set_bits (c, r, r + n);
    }
    r += n;
  }
  claim_release (&c->claims, &claim);
  return ret;
}
