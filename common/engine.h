/* nbdclone: the engine: clients' requests on a disk that is being cloned.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Everything but engine_new, engine_start, engine_quiesce and engine_close may
 * be called from any thread, any number at once.  Offsets and lengths are in
 * bytes, inside the disk, length > 0.  Requests return 0, or -1 with *err set to
 * the error number for the client; never ENOTSUP, but for a fast zero.
 */

#ifndef NBDCLONE_ENGINE_H
#define NBDCLONE_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "bitmap-file.h"
#include "bitmap.h"
#include "clock.h"
#include "destination.h"
#include "source.h"

struct engine_config {
  uint32_t batch;     /* bytes, 4096..32 MiB */
  unsigned threshold; /* 1..HYDRATE_THRESHOLD_MAX */
  uint64_t rate;      /* bytes a second, 0 = no limit */
  bool hydration;
  bool on_read;
  bool discard_passdown;
  uint64_t gather_us; /* what reads fetched waits so long for company */
  uint64_t commit_interval_us;

  /* Called once, when all is hydrated and committed, from a thread of the
   * engine's: the source is not needed any more and has to fail what it has
   * not answered.
   */
  void (*complete) (void *opaque);
  /* Called once after that, when engine_is_complete, unless it was from the
   * start.  May be NULL.
   */
  void (*completed) (void *opaque);
  void *opaque;
};

struct engine;

/* The bitmap has been loaded from the file, and the file is recovered.  The
 * source may be NULL if all is hydrated.  All of them stay the caller's and must
 * outlive the engine.  NULL with errno set.
 */
extern struct engine *engine_new (const struct engine_config *,
                                  struct destination *, struct source *,
                                  struct clock *, struct bitmap *,
                                  struct bitmap_file *);

/* Start the background threads.  0, or an error number. */
extern int engine_start (struct engine *);

/* Stop the background and commit, while clients may go on.  The source has to
 * fail what it has not answered before this is called.
 */
extern void engine_quiesce (struct engine *);

/* When no request is in progress any more: quiesce, commit, mark the file as
 * clean, and free all.  false if not all that was acknowledged is durable.
 */
extern bool engine_close (struct engine *);

extern bool engine_is_complete (struct engine *);

extern int engine_read (struct engine *, void *buf, uint32_t length,
                        uint64_t offset, int *err);
extern int engine_write (struct engine *, const void *buf, uint32_t length,
                         uint64_t offset, bool fua, int *err);
extern int engine_zero (struct engine *, uint32_t length, uint64_t offset,
                        bool may_trim, bool fast, bool fua, int *err);
extern int engine_trim (struct engine *, uint32_t length, uint64_t offset,
                        bool fua, int *err);
extern int engine_flush (struct engine *, int *err);
extern int engine_cache (struct engine *, uint32_t length, uint64_t offset,
                         int *err);

/* Calls found () for consecutive extents from offset on, at least one and not
 * beyond the range, with a type of EXTENT_HOLE, EXTENT_ZERO; it returns nonzero
 * to stop, and then -1 is returned with *err untouched.
 */
typedef int engine_found (void *opaque, uint64_t offset, uint64_t length,
                          unsigned type);
extern int engine_extents (struct engine *, uint32_t length, uint64_t offset,
                           bool one, engine_found *found, void *opaque,
                           int *err);

/* The destination as it stands: what is not hydrated reads as zeroes. */
extern int engine_map_read (struct engine *, void *buf, uint32_t length,
                            uint64_t offset, int *err);
extern int engine_map_extents (struct engine *, uint32_t length,
                               uint64_t offset, bool one, engine_found *found,
                               void *opaque);

#endif /* NBDCLONE_ENGINE_H */
