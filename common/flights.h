/* nbdclone: fetches in flight, which others may ride on.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A flight is a range of the clone that somebody is fetching, or has fetched and
 * not stored yet.  Who wants bytes that are in flight does not ask the source for
 * them once more:
 *
 *   begun ──land──▶ landed ──(move to another buffer)──▶ ended
 *
 *   begun    others leave a rider behind, which gets its bytes when the fetch
 *            ends, from whichever thread that happens in;
 *   landed   others take their bytes at once.
 *
 * Flights never overlap, so they are kept in a tree that compares ranges.  They
 * say nothing about who may write where (claims.h), nor what is newest: whoever
 * got his bytes looks at the bitmap afterwards, as after a fetch of his own.
 */

#ifndef NBDCLONE_FLIGHTS_H
#define NBDCLONE_FLIGHTS_H

#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stdint.h>

/* Somebody who waits for bytes of a flight. */
struct rider {
  struct rider *next;
  uint8_t *buf;
  uint64_t offset; /* bytes */
  uint32_t length;
  sem_t ended;
  int err; /* out: 0, or why there are none */
};

/* Belongs to whoever has begun it, until it is ended. */
struct flight {
  uint64_t offset, end;
  const uint8_t *data;
  bool listed; /* others can find it */
  bool landed;
  unsigned readers; /* who copy from data just now */
  struct rider *riders;
};

struct flights {
  pthread_mutex_t lock;  /* protects all below, and the flights; a leaf */
  pthread_cond_t unread; /* a flight has no readers any more */
  void *tree;            /* of the flights that are listed */
};

extern void flights_init (struct flights *);
extern void flights_destroy (struct flights *);

enum flight_role {
  FLIGHT_OWN,   /* the caller has to fetch; his flight has begun */
  FLIGHT_RIDE,  /* rider_wait says when the bytes are there */
  FLIGHT_LANDED /* the bytes are in the caller's buffer */
};

/* How to get at `*length` bytes from the offset on, into buf.  *length becomes
 * smaller if the answer holds for the first part only.  `own` says what the
 * caller would fetch, and whereto: these bytes at least.  Its end, too, may
 * become smaller.
 */
extern enum flight_role flights_join (struct flights *, struct flight *own,
                                      struct rider *, uint8_t *buf,
                                      uint64_t offset, uint32_t *length);

/* Begin a flight of the whole range into buf.  If a part of it is in flight
 * already, it is one that nobody finds.
 */
extern void flights_begin (struct flights *, struct flight *,
                           const uint8_t *buf, uint64_t offset,
                           uint64_t length);

/* The fetch has ended, with an error or 0.  Once; from any thread; takes only
 * leaf locks.
 */
extern void flights_land (struct flights *, struct flight *, int err);

/* Go on with a landed flight as another one, of a part of the range, whose
 * bytes are at data.  Afterwards nobody looks at the first one's.
 */
extern void flights_move (struct flights *, struct flight *from,
                          struct flight *to, const uint8_t *data,
                          uint64_t offset, uint64_t end);

/* Nobody looks at the flight's bytes afterwards. */
extern void flights_end (struct flights *, struct flight *);

/* The first flight that overlaps [from, to): its range, cut off at both ends.
 * false if there is none.
 */
extern bool flights_find (struct flights *, uint64_t from, uint64_t to,
                          uint64_t *start, uint64_t *end);

/* Wait for the flight.  Returns its error. */
extern int rider_wait (struct rider *);

#endif /* NBDCLONE_FLIGHTS_H */
