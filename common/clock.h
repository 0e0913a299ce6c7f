/* nbdclone: the seam to the clock.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef NBDCLONE_CLOCK_H
#define NBDCLONE_CLOCK_H

#include <pthread.h>
#include <stdint.h>

struct clock {
  /* Microseconds since some fixed moment; never goes back. */
  uint64_t (*now_us) (struct clock *);

  /* Wait on the condition, at most until now_us would be until_us.  The lock is
   * held, as for pthread_cond_wait(3); may wake up for no reason.
   */
  void (*wait_until) (struct clock *, pthread_cond_t *, pthread_mutex_t *,
                      uint64_t until_us);
};

/* CLOCK_MONOTONIC.  Conditions to wait on are made by clock_cond_init. */
extern struct clock system_clock;

/* Make a condition that system_clock can wait on. */
extern void clock_cond_init (pthread_cond_t *);

#endif /* NBDCLONE_CLOCK_H */
