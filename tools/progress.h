/* nbdclone: show how far a clone is.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * On a terminal that is a line that is drawn again and again, with a bar; in
 * other places, and where TERM is "dumb", lines that are worth keeping: one for
 * each five percent, after ten minutes, and when the state changes.
 */

#ifndef NBDCLONE_PROGRESS_H
#define NBDCLONE_PROGRESS_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <jansson.h>

#define PROGRESS_TEXT_MAX 160

struct progress {
  FILE *out;
  bool terminal;
  bool drawn; /* the line is there now */
  char state[16];
  uint64_t size, region_size, regions, hydrated, fetched, rate;
  int64_t eta; /* seconds, -1 if nobody knows */
  /* The last line that was kept. */
  unsigned said_step;
  char said_state[16];
  uint64_t said_us;
};

extern void progress_init (struct progress *, FILE *out);

/* Take over what "status" returned, or the data of a progress event. */
extern void progress_update (struct progress *, const json_t *);

/* Show it, as far as it is time for that. */
extern void progress_show (struct progress *);

/* Take the drawn line away, before something else is printed. */
extern void progress_hide (struct progress *);

/* All of it in words.  Returns buf. */
extern char *progress_text (const struct progress *,
                            char buf[PROGRESS_TEXT_MAX]);

extern bool progress_has_ended (const struct progress *);

#endif /* NBDCLONE_PROGRESS_H */
