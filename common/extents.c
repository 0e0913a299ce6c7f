/* nbdclone: what clients are told about extents.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * On the disk, extents tell the truth about contents only: the destination's
 * where it is hydrated, the source's where it is not, and plain data wherever
 * one of them cannot say.  A hole that is not zero is plain data, too: clients
 * take it for "not there" and read on from something else.  On the map, what is
 * hydrated is data, and the rest a hole.
 *
 * An answer may be short, so one that would take many calls to the layers below
 * ends early.
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine-private.h"

#define CALLS_MAX 32 /* to the layers below, for one answer */
#define MAP_RUNS_MAX 4096
#define SOURCE_EXTENTS_MAX 128

/* On average, extents are at least this long, or not to be believed. */
#define EXTENT_MIN 512

/* What goes between the layers below and the client. */
struct answer {
  engine_found *found;
  void *opaque;
  bool source_away; /* it has failed once: no more waiting */
  bool one;         /* the first extent is enough */
  uint64_t at;      /* all before this offset is told */
  uint64_t end;     /* of what may be told just now */
  bool stop;
  bool failed; /* found () did not want it */
};

static int
tell (void *opaque, uint64_t offset, uint64_t length, unsigned type)
{
  struct answer *a = opaque;

  if (a->stop || offset != a->at || offset >= a->end)
    return -1;
  if (length > a->end - offset)
    length = a->end - offset;
  if (!(type & EXTENT_ZERO))
    type = 0;
  if (a->found (a->opaque, offset, length, type)) {
    a->failed = a->stop = true;
    return -1;
  }
  a->at += length;
  if (a->one)
    a->stop = true;
  return a->stop ? -1 : 0;
}

static void
tell_data (struct answer *a)
{
  (void) tell (a, a->at, a->end - a->at, 0);
}

static void
ask_destination (struct engine *e, struct answer *a)
{
  struct destination *d = e->clone.destination;
  const uint64_t before = a->at;
  int err;

  if (d->can_extents)
    (void) d->ops->extents (d, (uint32_t) (a->end - a->at), a->at, tell, a,
                            &err);
  if (a->at == before && !a->stop)
    tell_data (a);
}

/* A server could tell of a disk byte by byte, and a client would never come to
 * its end.
 */
static bool
is_absurd (const struct source_extent *extents, size_t n, uint64_t asked)
{
  uint64_t said = 0;
  size_t i;

  for (i = 0; i < n; ++i)
    said += extents[i].length;
  return n == 0 || (said < n * EXTENT_MIN && said < asked);
}

static void
ask_source (struct engine *e, struct answer *a)
{
  struct source *s = e->clone.source;
  struct source_extent extents[SOURCE_EXTENTS_MAX];
  struct source_wait wait;
  uint64_t length;
  size_t i;
  int err;

  /* Behind the source's end, but in the same block of the destination, which
   * cannot be asked about a part of a block.
   */
  if (a->at >= s->size || a->source_away) {
    tell_data (a);
    return;
  }
  if (a->end > s->size)
    a->end = s->size;
  source_start_extents (s, &wait, extents, a->one ? 1 : SOURCE_EXTENTS_MAX,
                        false, a->end - a->at, a->at);
  err = source_finish (s, &wait);
  if (err || is_absurd (extents, wait.request.n_extents, a->end - a->at)) {
    a->source_away = true;
    tell_data (a);
    return;
  }
  for (i = 0; i < wait.request.n_extents && !a->stop; ++i) {
    length = extents[i].length;
    (void) tell (a, a->at, length, extents[i].type);
  }
}

int
engine_extents (struct engine *e, uint32_t length, uint64_t offset, bool one,
                engine_found *found, void *opaque, int *err)
{
  const uint64_t end = offset + length;
  struct answer a = {
    .found = found,
    .opaque = opaque,
    .one = one,
    .at = offset,
  };
  unsigned calls;

  (void) err;
  for (calls = 0; calls < CALLS_MAX && a.at < end && !a.stop; ++calls) {
    const struct run run = run_at (e, a.at, end - a.at);

    a.end = a.at + run.length;
    if (run.hydrated)
      ask_destination (e, &a);
    else
      ask_source (e, &a);
  }
  return a.failed ? -1 : 0;
}

int
engine_map_read (struct engine *e, void *buf, uint32_t length, uint64_t offset,
                 int *err)
{
  struct destination *d = e->clone.destination;
  uint32_t done = 0;

  while (done < length) {
    const struct run run = run_at (e, offset + done, length - done);
    uint8_t *to = (uint8_t *) buf + done;

    if (!run.hydrated)
      memset (to, 0, run.length);
    else if (d->ops->read (d, to, (uint32_t) run.length, offset + done, err) ==
             -1) {
      if (*err == ENOTSUP || *err == EOPNOTSUPP)
        *err = EIO;
      return -1;
    }
    done += (uint32_t) run.length;
  }
  return 0;
}

int
engine_map_extents (struct engine *e, uint32_t length, uint64_t offset,
                    bool one, engine_found *found, void *opaque)
{
  const uint64_t end = offset + length;
  uint64_t at = offset;
  unsigned runs;

  for (runs = 0; runs < MAP_RUNS_MAX && at < end; ++runs) {
    const struct run run = run_at (e, at, end - at);

    if (found (opaque, at, run.length,
               run.hydrated ? 0 : EXTENT_HOLE | EXTENT_ZERO))
      return -1;
    at += run.length;
    if (one)
      break;
  }
  return 0;
}
