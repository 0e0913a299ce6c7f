/* nbdclone: fetch from the source, and store.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef NBDCLONE_COPY_H
#define NBDCLONE_COPY_H

#include "clone.h"
#include "flights.h"

/* Why a copy has failed, which decides who is to blame and who tries again. */
enum copy_result {
  COPY_OK,
  COPY_SOURCE_BAD,  /* the source cannot read this range */
  COPY_SOURCE_AWAY, /* there is no source, for now */
  COPY_DESTINATION_FULL,
  COPY_DESTINATION_BAD,
  COPY_STOPPED,
};

/* Bytes of the clone on their way into a buffer.  What lies behind the source's
 * end, in the destination's last block, comes from there.
 */
struct fetch {
  struct source_wait wait; /* first */
  struct flights *flights;
  struct flight flight;
  bool started;
  int err; /* of the destination's part */
};

/* For whom, which decides what goes first; and since when he waits for these
 * bytes (clock's time; 0 for now), which decides when it has been too long.
 */
struct purpose {
  bool client;
  uint64_t since_us;
};

/* The fetch's flight has begun, or is all zero.  It lands when the fetch ends;
 * to end it is the caller's.
 */
extern void fetch_start (struct clone *, struct fetch *, struct purpose,
                         void *buf, uint64_t length, uint64_t offset);

/* 0, or the error as in source.h. */
extern int fetch_finish (struct clone *, struct fetch *);

/* Bytes that a client wants.  They are fetched, or come from whoever is fetching
 * them already.
 */
struct want {
  uint8_t *buf;
  uint64_t offset;
  uint32_t length;
  uint64_t since_us;
  enum flight_role role;
  struct fetch fetch; /* FLIGHT_OWN: its flight is to be ended */
  struct rider rider;
};

/* Start to get them into buf.  If that takes a fetch, it is of [from, to), at
 * least what is wanted, into data.  The wanted length may become smaller: then
 * the rest is another want.
 */
extern void want_start (struct clone *, struct want *, uint8_t *data,
                        uint64_t from, uint64_t to);

/* Wait until they are in buf.  0, or the error as in source.h. */
extern int want_finish (struct clone *, struct want *);

/* What the background does between the pieces of a copy. */
struct copy_pace {
  /* So many bytes have been copied; another piece follows.  Waits until it may.
   * false if the copy is to end here.
   */
  bool (*next_piece) (struct copy_pace *, uint64_t bytes);
};

/* Make these regions hydrated.  They are fetched at once if they fit into the
 * buffer of buf_size bytes; else they must be one region, which is fetched in
 * pieces of that size, a multiple of 64 KiB.  COPY_OK whenever they are
 * hydrated in the end, by whomever.  *err gets the error number for a client.
 * Without a pace a client waits for it.
 */
extern enum copy_result copy_regions (struct clone *, struct regions,
                                      uint8_t *buf, uint32_t buf_size,
                                      struct copy_pace *, int *err);

#endif /* NBDCLONE_COPY_H */
