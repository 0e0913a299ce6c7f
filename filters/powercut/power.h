/* nbdclone: powercut: when requests fail, and when the power is cut.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef NBDCLONE_POWERCUT_POWER_H
#define NBDCLONE_POWERCUT_POWER_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "cache.h"
#include "params.h"
#include "request.h"

struct power {
  const struct params *params;
  struct cache *cache; /* NULL until there is one */

  /* Protects all that follows; nothing is waited for with it held. */
  pthread_mutex_t lock;
  pthread_cond_t settled; /* the state has become POWER_OFF */
  enum { POWER_ON, POWER_CUTTING, POWER_OFF } state;
  uint64_t requests; /* that have come */
  uint64_t counted;  /* of them: those of the kinds that count */
  uint64_t flushes;
};

extern void power_init (struct power *, const struct params *);
extern void power_destroy (struct power *);

/* A request comes: fill in REQUEST, and wait or fail if the faults say so.  0
 * if it is to be served, or -1 and an errno in *ERR.
 *
 * With REQUEST->last, the power is cut in power_end: what it writes must get
 * into the cache, without FUA, and then its result does not matter.
 */
extern int power_begin (struct power *, struct request *request, unsigned kinds,
                        uint64_t offset, uint64_t count, int *err);

/* It has been served, with the result R and maybe *ERR.  To be called if
 * power_begin has returned 0.  Returns the result for the client.
 */
extern int power_end (struct power *, const struct request *request, int r,
                      int *err);

/* Flush the cache, or fail as the parameters say. */
extern int power_flush (struct power *, int *err);

/* Cut the power, unless that has been done, and return when what survives has
 * been written, and the report as well.  NUMBER is the request's, or 0.
 */
extern void power_cut (struct power *, const char *trigger, uint64_t number);

extern bool power_is_cut (struct power *);

#endif /* NBDCLONE_POWERCUT_POWER_H */
