/* nbdclone: the filter's parameters.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef NBDCLONE_PARAMS_H
#define NBDCLONE_PARAMS_H

#include <stdbool.h>
#include <stdint.h>

#include "uri.h"

#define BATCH_MIN UINT64_C (4096)
#define BATCH_MAX (UINT64_C (32) << 20)
#define COMMIT_INTERVAL_MIN 0.01 /* seconds */
#define COMMIT_INTERVAL_MAX 86400.

enum bitmap_mode { BITMAP_AUTO, BITMAP_CREATE, BITMAP_RESUME };

struct params {
  struct uri source;
  char *bitmap; /* absolute path */
  enum bitmap_mode bitmap_mode;
  uint64_t region_size; /* bytes, or 0 if not given */
  bool hydration;
  bool on_read;
  uint32_t batch; /* bytes */
  unsigned threshold;
  uint64_t rate; /* bytes a second, 0 = none */
  unsigned connections;
  uint64_t commit_interval_us;
  uint64_t source_timeout_us;
  bool source_force;
  bool discard_passdown;
  char *map_export;
  char *control;     /* absolute path, or NULL */
  char *on_complete; /* for the shell, or NULL */
};

/* What holds if nothing is given. */
extern const struct params default_params;

/* Take one parameter.  1 if it was one of ours, 0 if not, -1 after an error
 * message.
 */
extern int params_set (struct params *, const char *key, const char *value);

/* Is all there that has to be?  0, or -1 after an error message. */
extern int params_check (struct params *);

extern void params_free (struct params *);

extern const char params_help[];

#endif /* NBDCLONE_PARAMS_H */
