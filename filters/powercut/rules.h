/* nbdclone: powercut: errors and delays on request.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef NBDCLONE_POWERCUT_RULES_H
#define NBDCLONE_POWERCUT_RULES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "request.h"

/* An error or a delay, and when. */
struct rule {
  int error;         /* errno, or 0 for a delay */
  uint64_t delay_us; /* if it is one */
  unsigned kinds;    /* a set of enum request_kind */
  bool has_range;
  uint64_t offset, count; /* bytes */
  double rate;            /* probability, 0 to 1 */
  char *file;             /* has to exist; absolute path, or NULL */
};

struct rules {
  struct rule *rules;
  size_t count;
};

/* Add VALUE, which was given as the parameter KEY, for an error or a delay.  0,
 * or -1 after an error message.
 */
extern int rules_add (struct rules *, const char *key, const char *value,
                      bool is_delay);
extern void rules_free (struct rules *);

/* What the rules do to a request: the sum of the delays, and the errno of the
 * first error or 0.  It depends on nothing else than the seed, the request, and
 * which files exist.
 */
extern void rules_apply (const struct rules *, uint64_t seed,
                         const struct request *, uint64_t *delay_us,
                         int *error);

#endif /* NBDCLONE_POWERCUT_RULES_H */
