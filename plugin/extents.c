/* nbdclone: nbdkit-uring-plugin: where a file has holes.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * lseek(2) with SEEK_DATA and SEEK_HOLE. It moves the descriptor's offset,
 * which nobody uses, and returns what it found to each caller, so calls need
 * no lock.  A device has no holes that the kernel knows of: it is data from end
 * to end.
 */

#include <config.h>

#include <errno.h>
#include <unistd.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "disk.h"
#include "extents.h"

#define HOLE_ZERO (NBDKIT_EXTENT_HOLE | NBDKIT_EXTENT_ZERO)

bool
extents_known (const struct disk *d)
{
  return lseek (d->fd, 0, SEEK_HOLE) != -1 || errno == ENXIO;
}

/* Where data or a hole begins, at or after offset; `end` if not before that.
 * -1 with errno set.
 */
static int64_t
next (const struct disk *d, uint64_t offset, uint64_t end, int whence)
{
  const off_t r = lseek (d->fd, (off_t) offset, whence);

  if (r == -1 && errno != ENXIO)
    return -1;
  return r == -1 || (uint64_t) r > end ? (int64_t) end : (int64_t) r;
}

int
extents_add (struct disk *d, uint64_t count, uint64_t offset, bool one,
             struct nbdkit_extents *extents)
{
  const uint64_t end = offset + count;

  while (offset < end) {
    const int64_t data = next (d, offset, end, SEEK_DATA);
    int64_t hole;

    if (data == -1)
      return -1;
    if ((uint64_t) data > offset) {
      if (nbdkit_add_extent (extents, offset, (uint64_t) data - offset,
                             HOLE_ZERO) == -1)
        return -1;
      offset = (uint64_t) data;
    }
    else {
      hole = next (d, offset, end, SEEK_HOLE);
      if (hole == -1)
        return -1;
      /* It was a hole when we looked at it, and has become one since. */
      if ((uint64_t) hole == offset)
        continue;
      if (nbdkit_add_extent (extents, offset, (uint64_t) hole - offset, 0) ==
          -1)
        return -1;
      offset = (uint64_t) hole;
    }
    if (one)
      break;
  }
  return 0;
}
