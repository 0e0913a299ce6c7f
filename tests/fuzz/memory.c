/* nbdclone: a bitmap file in memory, whose power can be cut, for the fuzzer.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "memory.h"

#define SECTOR 512

static struct memory *
memory_of (struct storage *s)
{
  return (struct memory *) s;
}

static int64_t
memory_size (struct storage *s)
{
  return (int64_t) memory_of (s)->size;
}

static int
memory_read (struct storage *s, void *data, size_t length, uint64_t offset)
{
  const struct memory *m = memory_of (s);

  if (offset > m->size || length > m->size - offset) {
    errno = EIO;
    return -1;
  }
  memcpy (data, m->bytes + offset, length);
  return 0;
}

/* Whole sectors of zeroes are holes. */
static int64_t
memory_next_data (struct storage *s, uint64_t offset)
{
  const struct memory *m = memory_of (s);
  uint64_t at;

  for (at = offset; at < m->size; at += SECTOR - at % SECTOR) {
    const size_t end = (at / SECTOR + 1) * SECTOR;

    if (!layout_all_zero (m->bytes + at, (end < m->size ? end : m->size) - at))
      break;
  }
  return (int64_t) (at < m->size ? at : m->size);
}

/* May one more thing happen? */
static bool
happens (struct memory *m)
{
  if (m->left == 0) {
    errno = EIO;
    return false;
  }
  m->left--;
  m->changes++;
  return true;
}

static int
memory_write (struct storage *s, const struct storage_write *writes, size_t n,
              bool sync)
{
  struct memory *m = memory_of (s);
  size_t i;

  for (i = 0; i < n; ++i) {
    /* The file never grows, and nothing outside is written. */
    must (writes[i].length > 0 && writes[i].offset <= m->size &&
          writes[i].length <= m->size - writes[i].offset);
    if (!happens (m))
      return -1;
    memcpy (m->bytes + writes[i].offset, writes[i].data, writes[i].length);
  }
  if (sync) {
    if (!happens (m))
      return -1;
    memcpy (m->durable, m->bytes, m->size);
  }
  return 0;
}

static const struct storage_ops memory_ops = {
  .size = memory_size,
  .read = memory_read,
  .next_data = memory_next_data,
  .write = memory_write,
};

void
memory_init (struct memory *m, const uint8_t *data, size_t size)
{
  *m = (struct memory){
    .storage = { .ops = &memory_ops },
    .bytes = malloc (size + 1),
    .durable = malloc (size + 1),
    .size = size,
    .left = UINT64_MAX,
  };
  must (m->bytes && m->durable);
  memcpy (m->bytes, data, size);
  memcpy (m->durable, data, size);
}

void
memory_destroy (struct memory *m)
{
  free (m->bytes);
  free (m->durable);
}

void
memory_stop_after (struct memory *m, uint64_t changes)
{
  m->left = changes;
}

bool
memory_has_stopped (const struct memory *m)
{
  return m->left == 0;
}

void
memory_cut (struct memory *m, struct random *random)
{
  size_t at;

  for (at = 0; at < m->size; at += SECTOR) {
    const size_t n = m->size - at < SECTOR ? m->size - at : SECTOR;

    if (memcmp (m->durable + at, m->bytes + at, n) != 0 &&
        random_one_in (random, 2))
      memcpy (m->durable + at, m->bytes + at, n);
  }
  memcpy (m->bytes, m->durable, m->size);
  m->left = UINT64_MAX;
}
