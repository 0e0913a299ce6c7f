/* nbdclone: what clients notice of the background.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Clients that work on hydrated regions do not need the source, but they and the
 * background write to the same destination.  So their latency there is measured,
 * and the background gets the share of its window with which the mean is
 *
 *   2 × (the mean without the background) + SLACK_US
 *
 * What a client waits for beyond the mean without it is what is in flight before
 * the destination, so after each interval the share is multiplied with what it
 * may wait, and divided by what it has waited; but it grows slowly.  It is never
 * less than COURTESY_LEAST, and one copy may always be in flight: a disk that is
 * never idle becomes complete, too (lesson 20).
 *
 * The mean without the background is measured now and then, by letting it pause:
 * what is in flight has to drain, and then an interval is measured.  It takes
 * some tens of milliseconds every PROBE_US, and only while clients are busy.  If
 * the least share does not help, the background may not be the reason, and it is
 * measured again sooner.
 *
 * An interval has at least INTERVAL_US and REQUESTS requests, or LONG_US and two;
 * with less than that, clients are not busy.
 */

#ifndef NBDCLONE_COURTESY_H
#define NBDCLONE_COURTESY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

/* Shares are parts of COURTESY_ALL. */
#define COURTESY_ALL 1000
#define COURTESY_LEAST 5

/* Requests up to this size are measured: larger ones take their time anyway. */
#define COURTESY_SMALL (UINT32_C (64) << 10)

/* Protected by whoever it belongs to, but for the first two.  Microseconds. */
struct courtesy {
  _Atomic uint64_t total_us, requests; /* of clients; any thread, relaxed */

  uint64_t since_us; /* the interval's begin, and what they were then */
  uint64_t total_then_us, requests_then;

  enum { COURTESY_RUN, COURTESY_DRAIN, COURTESY_PROBE } phase;
  uint64_t phase_us;      /* since when */
  uint64_t next_probe_us; /* 0: as soon as clients are busy */
  uint64_t alone_us;      /* the mean without the background */
  unsigned share;
};

extern void courtesy_init (struct courtesy *);

/* A client's request to what is hydrated has taken so long.  From any thread. */
static inline void
courtesy_note (struct courtesy *c, uint64_t us)
{
  atomic_fetch_add_explicit (&c->total_us, us, memory_order_relaxed);
  atomic_fetch_add_explicit (&c->requests, 1, memory_order_relaxed);
}

/* How much of its window the background may use now, of COURTESY_ALL; 0 while it
 * has to pause.  `quiet`: nothing is in flight.
 */
extern unsigned courtesy_share (struct courtesy *, uint64_t now_us, bool quiet);

#endif /* NBDCLONE_COURTESY_H */
