/* nbdclone: a simulated machine behind the engine's seams.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The machine (struct sim) has devices: a destination, a source, a storage for
 * the bitmap file.  They share one lock, so that there is one true order of all
 * their operations; it can be looked up in the machine's log.
 *
 * A disk has a volatile write cache.  Reads return what was written last; what
 * is durable is what was written before a flush that succeeded.  When the power
 * is cut, each 512-byte sector holds any one of the contents that it has had
 * since it was last durable: sim_disk_cut asks for each write of a sector
 * whether it has survived, which makes every combination possible, torn writes
 * included.  A flush that fails takes what was written before it out of the
 * cache of things to be made durable, as Linux does: it stays readable, and
 * later flushes "succeed" without it (lesson 13).
 *
 * To simulate a crash: sim_stop_after (n) lets n more changes (writes, zeroes,
 * trims, flushes) happen; then every operation fails with EIO and does nothing.
 * The process may then be "killed" (throw away engine, bitmap and bitmap file,
 * and sim_go_on), or also lose its power (sim_disk_cut on each disk first).
 * sim_disk_copy makes it possible to try many outcomes of one crash.
 */

#ifndef NBDCLONE_SIM_H
#define NBDCLONE_SIM_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clock.h"
#include "destination.h"
#include "source.h"
#include "storage.h"

#define SIM_SECTOR 512

/* Operations: bits, so that a fault can be for several of them. */
#define SIM_READ 1U
#define SIM_WRITE 2U
#define SIM_ZERO 4U
#define SIM_TRIM 8U
#define SIM_FLUSH 16U
#define SIM_EXTENTS 32U
#define SIM_CACHE 64U
#define SIM_CHANGES (SIM_WRITE | SIM_ZERO | SIM_TRIM | SIM_FLUSH)

struct sim_device;

/* What has happened: one operation of one device, when it took effect. */
struct sim_event {
  const struct sim_device *device;
  unsigned op; /* SIM_... */
  uint64_t offset, length;
  unsigned flags; /* of a zero */
  int err;        /* 0 if it succeeded */
};

struct sim {
  pthread_mutex_t lock; /* protects all below and all devices; a leaf */
  pthread_cond_t changed;
  struct sim_event *events;
  size_t n_events, events_allocated;
  uint64_t changes;      /* that have happened */
  uint64_t changes_left; /* until the machine stops; UINT64_MAX = for ever */

  /* Who looks on; may be NULL.  Set while nothing is going on.  watch () is
   * told of each operation when it has taken effect, with the lock held.
   * flushed () is called when a flush has succeeded and is not answered yet,
   * with no lock held: it may do what another client would do at that moment.
   */
  void (*watch) (void *opaque, const struct sim_event *);
  void (*flushed) (void *opaque, const struct sim_device *);
  void *opaque;
};

/* Something that is to go wrong.  It belongs to the test and must stay where it
 * is while it is in force.
 */
struct sim_fault {
  unsigned ops;            /* for which operations */
  uint64_t offset, length; /* that touch this range; length 0: any */
  unsigned skip;           /* so many of them are let through first */
  unsigned times;          /* then so many are hit; 0 = all of them */
  int err;                 /* they fail with it; 0: they don't */
  uint32_t partial;        /* bytes of a failing write that arrive */
  bool block;              /* they wait for sim_release first */

  /* The simulation's own. */
  unsigned hits;    /* how many have been hit */
  unsigned blocked; /* how many are waiting */
  struct sim_fault *next;
};

struct sim_device {
  struct sim *sim;
  const char *name;
  struct sim_fault *faults;
};

extern void sim_init (struct sim *);
extern void sim_destroy (struct sim *);

extern void sim_add_fault (struct sim_device *, struct sim_fault *);
/* Take the fault out of force.  What it has blocked goes on, with err. */
extern void sim_release (struct sim_device *, struct sim_fault *, int err);
/* Wait until so many operations are blocked by it. */
extern void sim_wait_blocked (struct sim_device *, struct sim_fault *,
                              unsigned n);

extern void sim_stop_after (struct sim *, uint64_t changes);
extern bool sim_has_stopped (struct sim *);
extern void sim_go_on (struct sim *);
/* How many changes have happened. */
extern uint64_t sim_changes (struct sim *);

/* The log.  Marks are positions in it: an operation that happens after the call
 * is behind the mark.
 */
extern size_t sim_mark (struct sim *);
/* Forget all of it; for tests that run long. */
extern void sim_forget (struct sim *);
/* How many operations of these kinds that touch the range (length 0: any) have
 * happened on the device since the mark, failed ones included.
 */
extern size_t sim_count (struct sim *, const struct sim_device *, unsigned ops,
                         uint64_t offset, uint64_t length, size_t mark);
/* The position of the first one of them, or SIZE_MAX. */
extern size_t sim_find (struct sim *, const struct sim_device *, unsigned ops,
                        uint64_t offset, uint64_t length, size_t mark);
extern struct sim_event sim_event_at (struct sim *, size_t position);

/* A write to a sector that is not durable yet. */
struct sim_unflushed {
  uint64_t sector;
  bool lost; /* a flush has failed since: no flush makes it durable */
  uint8_t before[SIM_SECTOR], after[SIM_SECTOR];
};

/* Memory-backed; may be much larger than RAM as long as little is written. */
struct sim_disk {
  uint64_t size;      /* bytes */
  uint8_t *bytes;     /* what a read returns */
  uint8_t *touched;   /* per SIM_TOUCHED bytes: ever written? */
  bool write_through; /* all is durable at once */
  struct sim_unflushed *unflushed;
  size_t n_unflushed, unflushed_allocated;
};
#define SIM_TOUCHED UINT64_C (16384)

/* Without a lock: for who has the disk for himself. */
extern void sim_disk_init (struct sim_disk *, uint64_t size);
extern void sim_disk_destroy (struct sim_disk *);
extern void sim_disk_write (struct sim_disk *, const void *data,
                            uint64_t length, uint64_t offset);
extern void sim_disk_fill (struct sim_disk *, uint8_t value, uint64_t length,
                           uint64_t offset);
extern void sim_disk_flush (struct sim_disk *);
extern void sim_disk_fail_flush (struct sim_disk *);
/* Make `to`, which is initialized and of the same size, like `from`. */
extern void sim_disk_copy (struct sim_disk *to, const struct sim_disk *from);
/* Cut the power: the i-th unflushed write of a sector (0 <= i < n_unflushed, in
 * their order) has reached the disk if survives () says so.
 */
extern void sim_disk_cut (struct sim_disk *,
                          bool (*survives) (void *opaque, size_t i),
                          void *opaque);

/* Ready-made answers.  A mask has bit i % 64 for write i. */
extern bool sim_none_survives (void *unused, size_t i);
extern bool sim_all_survive (void *unused, size_t i);
extern bool sim_survives_mask (void *mask, size_t i);
/* Each with a probability of a half; opaque is a struct random. */
extern bool sim_survives_random (void *random, size_t i);

/* The bitmap file's storage. */
struct sim_storage {
  struct storage storage; /* first: the seam */
  struct sim_device device;
  struct sim_disk disk;
};

extern void sim_storage_init (struct sim_storage *, struct sim *,
                              uint64_t size);
extern void sim_storage_destroy (struct sim_storage *);

/* The destination.  A trim leaves garbage behind; so does the test, if it wants
 * (sim_disk_fill), before the first use.  Misuse ends the process: ranges
 * outside of the disk or not aligned, flags that were not offered.
 */
struct sim_destination {
  struct destination destination; /* first: the seam */
  struct sim_device device;
  struct sim_disk disk;
  uint8_t *types; /* per sector: EXTENT_HOLE, EXTENT_ZERO */
};
#define SIM_TRIMMED 0xa5

extern void sim_destination_init (struct sim_destination *, struct sim *,
                                  uint64_t size);
extern void sim_destination_destroy (struct sim_destination *);
/* What its extents say of a range, until something is written there. */
extern void sim_destination_type (struct sim_destination *, unsigned type,
                                  uint64_t length, uint64_t offset);

/* The source.  Its requests are answered before read () returns, unless they
 * are blocked: then by whoever releases them.
 */
struct sim_source {
  struct source source; /* first: the seam */
  struct sim_device device;
  uint8_t *bytes;  /* the test may change them, as long as nobody reads */
  uint8_t *types;  /* per sector: EXTENT_HOLE, EXTENT_ZERO */
  bool no_extents; /* it cannot say */
  bool stopped;
  struct sim_waiting *waiting; /* requests that are blocked */
};

/* Its bytes are sim_source_byte (offset). */
extern void sim_source_init (struct sim_source *, struct sim *, uint64_t size);
extern void sim_source_destroy (struct sim_source *);
extern uint8_t sim_source_byte (uint64_t offset);
/* Make a range zero, and, if told, say so of its whole sectors. */
extern void sim_source_zero (struct sim_source *, uint64_t length,
                             uint64_t offset, bool told);
/* Fail what is blocked, and all that follows, with ESHUTDOWN. */
extern void sim_source_stop (struct sim_source *);

/* A clock that goes only when it is told to. */
struct sim_clock {
  struct clock clock;   /* first: the seam */
  pthread_mutex_t lock; /* protects all below; a leaf */
  pthread_cond_t arrived;
  uint64_t now_us;
  struct sim_sleeper *sleepers;
};

extern void sim_clock_init (struct sim_clock *);
extern void sim_clock_destroy (struct sim_clock *);
extern void sim_clock_advance (struct sim_clock *, uint64_t us);
/* Advance to the moment that somebody waits for that is nearest, if somebody
 * does; says whether it is not later than limit_us from now.
 */
extern bool sim_clock_skip (struct sim_clock *, uint64_t limit_us);

/* For the devices' code: start an operation, under the machine's lock; waits if
 * it has to.  Returns the error that it fails with, or 0; *partial is how much
 * of a failing write arrives.
 */
extern int sim_begin (struct sim_device *, unsigned op, uint64_t offset,
                      uint64_t length, uint32_t *partial);
/* Which fault hits this operation?  NULL: none.  Under the machine's lock. */
extern struct sim_fault *sim_hit (struct sim_device *, unsigned op,
                                  uint64_t offset, uint64_t length);
/* The machine has stopped, or this change is the last that it allows. */
extern bool sim_is_off (struct sim *, unsigned op);
extern void sim_note (struct sim_device *, unsigned op, uint64_t offset,
                      uint64_t length, unsigned flags, int err);

#endif /* NBDCLONE_SIM_H */
