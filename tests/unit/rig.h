/* nbdclone: an engine between simulated disks, for tests.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef NBDCLONE_RIG_H
#define NBDCLONE_RIG_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "bitmap-file.h"
#include "bitmap.h"
#include "engine-private.h"
#include "engine.h"
#include "sim.h"

/* What is not set has the default that is named. */
struct rig_options {
  uint64_t source_size;   /* bytes, 1 MiB */
  uint64_t disk_size;     /* bytes, the source's */
  uint64_t region_size;   /* bytes, 4096 */
  uint32_t block_minimum; /* of the destination, 1 */
  uint32_t batch;         /* bytes, 64 KiB */
  unsigned threshold;     /* 2 */
  uint64_t rate;
  bool hydration;              /* the sweep; off */
  bool forget_reads;           /* on_read = false */
  bool keep_discarded;         /* discard_passdown = false */
  uint64_t commit_interval_us; /* an hour */
};

/* What the destination is filled with at first. */
#define RIG_GARBAGE 0xdb

struct rig {
  struct sim sim;
  struct sim_destination destination;
  struct sim_source source;
  struct sim_storage storage;
  struct sim_clock clock;
  struct rig_options options;
  struct bitmap *bitmap;
  struct bitmap_file *file;
  struct engine *engine;
  atomic_uint completed; /* how often the engine has said so */
};

/* Make the disks and a new bitmap file.  Before rig_start a test may change
 * them as it likes.
 */
extern void rig_init (struct rig *, const struct rig_options *);
extern void rig_destroy (struct rig *);

/* Open and recover the bitmap file only; close it. */
extern void rig_open (struct rig *);
extern void rig_close (struct rig *);

/* The same with the engine; may be done again after rig_stop or rig_crash.
 * rig_stop makes the source fail what it has not answered.
 */
extern void rig_start (struct rig *);
extern void rig_stop (struct rig *);

/* Cut the power, now, of destination and storage. */
extern void rig_crash (struct rig *, bool (*survives) (void *opaque, size_t i),
                       void *opaque);

extern uint64_t rig_hydrated (struct rig *);
extern bool rig_is_hydrated (struct rig *, uint64_t first, uint64_t end);

/* Read through the engine: is it the source's data, or all of that value? */
extern bool rig_reads_source (struct rig *, uint64_t offset, uint64_t length);
extern bool rig_reads (struct rig *, uint8_t value, uint64_t offset,
                       uint64_t length);
/* What is on the destination itself. */
extern bool rig_stores_source (struct rig *, uint64_t offset, uint64_t length);
extern bool rig_stores (struct rig *, uint8_t value, uint64_t offset,
                        uint64_t length);

/* Write bytes of that value; 0 or an error number. */
extern int rig_write (struct rig *, uint8_t value, uint64_t offset,
                      uint64_t length);
extern int rig_write_fua (struct rig *, uint8_t value, uint64_t offset,
                          uint64_t length);
extern int rig_zero (struct rig *, uint64_t offset, uint64_t length);
extern int rig_trim (struct rig *, uint64_t offset, uint64_t length);
extern int rig_flush (struct rig *);
/* Read without looking at the bytes; 0 or an error number. */
extern int rig_read (struct rig *, uint64_t offset, uint64_t length);
extern int rig_cache (struct rig *, uint64_t offset, uint64_t length);

/* A request in a thread of its own. */
struct request {
  struct rig *rig;
  enum { REQUEST_READ, REQUEST_WRITE, REQUEST_FUA, REQUEST_FLUSH } kind;
  uint8_t value; /* written, or expected; 0: expect the source's */
  uint64_t offset, length;

  bool as_expected; /* what was read */
  int err;
  atomic_bool ended;
  pthread_t thread;
};

extern void request_start (struct request *);
/* Wait for it; returns its error. */
extern int request_finish (struct request *);

/* Let time pass until the condition holds; by leaps of at most an hour. */
#define rig_pass_time_until(rig, condition) \
  wait_for ((condition) ||                  \
            (sim_clock_skip (&(rig)->clock, UINT64_C (600000000)), false))

#endif /* NBDCLONE_RIG_H */
