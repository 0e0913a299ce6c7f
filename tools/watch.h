/* nbdclone: follow a server, through its control socket.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Events say when something happens.  When nothing does, the figures are asked
 * for now and then all the same, for rates grow old.
 */

#ifndef NBDCLONE_WATCH_H
#define NBDCLONE_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#include "progress.h"
#include "talk.h"

#define WATCH_TICK_MS 2000

struct watch {
  struct talk talk;
  struct progress progress;
  bool known; /* a first answer has come */
  uint64_t heard_us;
};

/* Connect; the answers come later.  The path is kept, and progress is left as it
 * is.  0, or an exit status with the reason in talk.error.
 */
extern int watch_begin (struct watch *, const char *control);

/* Wait for something to happen, at most so long, and take it over.  0, also if
 * nothing has, or an exit status with the reason in talk.error.
 */
extern int watch_for (struct watch *, int timeout_ms);

extern void watch_end (struct watch *);

#endif /* NBDCLONE_WATCH_H */
