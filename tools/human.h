/* nbdclone: sizes and durations, as people write and read them.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef NBDCLONE_HUMAN_H
#define NBDCLONE_HUMAN_H

#include <stdbool.h>
#include <stdint.h>

#define HUMAN_MAX 32 /* bytes that are enough for any of these */

/* "17.3 GiB": about four digits, rounded down, so that what is not all there is
 * never shown as all of it.  Returns buf.
 */
extern char *human_size (char buf[HUMAN_MAX], uint64_t bytes);

/* "2 h 03 min".  Returns buf. */
extern char *human_duration (char buf[HUMAN_MAX], uint64_t seconds);

/* "99.9 %" is never 100 before all is done.  Returns buf. */
extern char *human_percent (char buf[HUMAN_MAX], uint64_t part, uint64_t all);

/* A size with nbdkit's suffixes: b, s (512), k, M, G, T, P, E, in either case.
 * false if it is none, or 2^63 or more.
 */
extern bool human_parse_size (const char *, uint64_t *bytes);

/* Seconds, maybe with a fraction, or with one of the suffixes s, m, h and d. */
extern bool human_parse_seconds (const char *, double *seconds);

#endif /* NBDCLONE_HUMAN_H */
