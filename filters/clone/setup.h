/* nbdclone: what the filter does before it serves.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef NBDCLONE_SETUP_H
#define NBDCLONE_SETUP_H

#include <nbdkit-filter.h>

#include "bitmap-file.h"
#include "bitmap.h"
#include "destination.h"
#include "engine.h"
#include "on-complete.h"
#include "params.h"
#include "source.h"
#include "storage.h"

/* All that there is while the filter runs. */
struct setup {
  bool parallel; /* the plugin is */
  bool creating; /* there is no bitmap file yet */
  struct bitmap_file_identity identity;
  struct storage *storage;
  struct bitmap_file *file;
  struct bitmap *bitmap;
  struct destination *destination;
  struct source *source; /* NULL if it is complete from the start */
  struct engine *engine;
  struct on_complete *on_complete; /* or NULL */
};

/* Before the fork: the bitmap file and its lock, and the source if it can be
 * reached.  Writes nothing.  0, or -1 after an error message.
 */
extern int setup_get_ready (struct setup *, const struct params *,
                            int thread_model);

/* After the fork: the destination, the bitmap file if there was none, and all
 * that has threads.  0, or -1 after an error message.
 */
extern int setup_after_fork (struct setup *, const struct params *,
                             nbdkit_backend *);

/* The reverse of both.  false if not all that was acknowledged is durable. */
extern bool setup_free (struct setup *);

#endif /* NBDCLONE_SETUP_H */
