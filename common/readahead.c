/* nbdclone: what clients will read next.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A few streams are remembered, the one that was not used for the longest time
 * gives way to a new one.  A read belongs to a stream if it begins between the
 * end of its last read and the end of what has been asked for: what was fetched
 * ahead does not come here any more, only the first read behind it does.  Each
 * time the window doubles, as in Linux's readahead for files.  Reads at random
 * places match no stream and fetch nothing ahead.
 */

#include <config.h>

#include "cleanup.h"
#include "readahead.h"

#define WINDOW_MIN (UINT64_C (128) << 10)
#define WINDOW_MAX (UINT64_C (16) << 20)

void
readahead_init (struct readahead *ra)
{
  *ra = (struct readahead){ .calls = 0 };
  pthread_mutex_init (&ra->lock, NULL);
}

void
readahead_destroy (struct readahead *ra)
{
  pthread_mutex_destroy (&ra->lock);
}

/* The stream that a read at the offset belongs to, or else the oldest one. */
static struct readahead_stream *
find_stream (struct readahead *ra, uint64_t offset, bool *found)
{
  struct readahead_stream *oldest = &ra->streams[0];
  unsigned i;

  for (i = 0; i < READAHEAD_STREAMS; ++i) {
    struct readahead_stream *s = &ra->streams[i];

    if (s->used && s->next <= offset && offset <= s->ahead) {
      *found = true;
      return s;
    }
    if (s->used < oldest->used)
      oldest = s;
  }
  *found = false;
  return oldest;
}

bool
readahead_note (struct readahead *ra, uint64_t offset, uint64_t length,
                uint64_t size, uint64_t *from, uint64_t *to)
{
  const uint64_t end = offset + length;
  struct readahead_stream *s;
  bool found;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&ra->lock);
  s = find_stream (ra, offset, &found);
  s->used = ++ra->calls;
  s->next = end;
  if (!found) {
    s->ahead = end;
    s->window = 0;
    return false;
  }
  s->window = s->window ? 2 * s->window : WINDOW_MIN;
  if (s->window < 2 * length)
    s->window = 2 * length;
  if (s->window > WINDOW_MAX)
    s->window = WINDOW_MAX;
  *from = s->ahead > end ? s->ahead : end;
  *to = end + s->window < size ? end + s->window : size;
  if (*from >= *to)
    return false;
  s->ahead = *to;
  return true;
}
