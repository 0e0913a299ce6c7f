/* nbdclone: how much the background may have in flight.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Too little in flight does not fill a long line; too much makes a queue before
 * the narrowest place, at the end of which a client's request has to wait.  By
 * Little's law what is in flight is throughput times latency.  So the window is
 *
 *   throughput × (shortest latency + DELAY)
 *
 * with both measured at the copies as they end, fetched and stored.  While the
 * line is not full, more in flight means more throughput and the same latency:
 * the window grows by the factor (shortest + DELAY) / shortest.  When it is full,
 * throughput does not change any more, and the window comes to rest where the
 * queue is DELAY long.  (BBR and LEDBAT look at the same two figures.)
 *
 * DELAY is PACE_DELAY_US, or the shortest latency where that is longer, so that
 * the window at least doubles.  The shortest latency is that of the last ten to
 * twenty seconds, as routes change; and lest the queue itself be taken for it,
 * every ten seconds the window shrinks for a moment to let the queue drain.
 *
 * While clients need the source, the background yields: an eighth of the window,
 * and the whole window for an eighth of the time, so that it is still measured
 * and a disk that is never idle becomes complete, too (lesson 20).
 */

#ifndef NBDCLONE_PACE_H
#define NBDCLONE_PACE_H

#include <stdbool.h>
#include <stdint.h>

#define PACE_DELAY_US UINT64_C (50000)
#define PACE_WINDOW_MIN (UINT64_C (128) << 10)
#define PACE_YIELD 8

/* Protected by whoever it belongs to.  Times in microseconds. */
struct pace {
  uint64_t window, most; /* bytes */
  uint64_t bytes;        /* that were copied since `since_us` */
  uint64_t since_us;
  bool warming; /* only copies that began after since_us tell something */
  uint64_t shortest_us[2]; /* now, and in the ten seconds before */
  uint64_t turn_us;        /* when the former becomes the latter */
  uint64_t drain_until_us;
};

/* At most `most` bytes ever, at first `first`. */
extern void pace_init (struct pace *, uint64_t first, uint64_t most);

/* From now on at most `most` bytes. */
extern void pace_bound (struct pace *, uint64_t most);

/* How many bytes may be in flight now; `yield`: clients need the source. */
extern uint64_t pace_limit (struct pace *, uint64_t now_us, bool yield);

/* How many bytes fill the line without a queue anywhere. */
extern uint64_t pace_line (const struct pace *);

/* A copy could begin as far as the window goes, but there is another reason why
 * not: what is measured now says nothing about the line.
 */
extern void pace_idle (struct pace *, uint64_t now_us);

/* A copy of so many bytes has ended. */
extern void pace_copied (struct pace *, uint64_t bytes, uint64_t began_us,
                         uint64_t now_us);

#endif /* NBDCLONE_PACE_H */
