/* nbdclone: powercut: the filter's parameters.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef NBDCLONE_POWERCUT_PARAMS_H
#define NBDCLONE_POWERCUT_PARAMS_H

#include <stdbool.h>
#include <stdint.h>

#include "choice.h"
#include "rules.h"

struct params {
  bool has_seed;
  uint64_t seed;
  enum keep keep;
  uint64_t cache_size; /* bytes */

  /* When to cut. */
  uint64_t at;        /* the Nth request, or 0 */
  double probability; /* per request */
  unsigned kinds;     /* that count for these two */
  int signal;         /* or 0 */
  char *file;         /* absolute path, or NULL */

  /* And then. */
  int error;    /* errno */
  char *report; /* absolute path, or NULL */

  /* Flushes that fail: the Nth, or 0, and maybe all later ones. */
  uint64_t fail_flush;
  bool fail_flush_for_ever;
  char *fail_flush_file; /* absolute path, or NULL */
  bool failed_flush_drops;

  struct rules rules;
};

/* What holds if nothing is given. */
extern const struct params default_params;

/* Take one parameter.  1 if it was one of ours, 0 if not, -1 after an error
 * message.
 */
extern int params_set (struct params *, const char *key, const char *value);

/* Choose a seed if none was given, and see that the files are right.  0, or -1
 * after an error message.
 */
extern int params_check (struct params *);

extern void params_free (struct params *);

extern const char params_help[];

#endif /* NBDCLONE_POWERCUT_PARAMS_H */
