/* nbdclone: what the command says to its user.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef NBDCLONE_MESSAGE_H
#define NBDCLONE_MESSAGE_H

/* A line "nbdclone: ..." on stderr.  It says what is wrong, with its value, and
 * what to do next.
 */
extern void complain (const char *fs, ...)
  __attribute__ ((format (printf, 1, 2)));

/* The same, for something that is no error. */
extern void note (const char *fs, ...) __attribute__ ((format (printf, 1, 2)));

/* From now on lines begin with the time: they go to a log. */
extern void message_with_times (void);

/* What a line begins with, "2026-11-21 20:15:33 " or nothing.  Returns buf. */
#define MESSAGE_TIME_MAX 32
extern const char *message_time (char buf[MESSAGE_TIME_MAX]);

/* Complain about the arguments of a verb, and point to its help.  argv0 is
 * "nbdclone VERB".  Returns EXIT_USAGE.
 */
extern int wrong_usage (const char *argv0, const char *fs, ...)
  __attribute__ ((format (printf, 2, 3)));

/* Point to the help after getopt_long has complained itself.  Returns
 * EXIT_USAGE.
 */
extern int see_help (const char *argv0);

/* What has been written to stdout has arrived?  Returns 0, or EXIT_FAILURE after
 * a message: a full disk must not look like success.
 */
extern int end_output (void);

/* Memory that has to be there: a short-lived command cannot do anything better
 * than to end without it.
 */
extern void *need (void *memory);
extern char *format (const char *fs, ...)
  __attribute__ ((format (printf, 1, 2)));

#endif /* NBDCLONE_MESSAGE_H */
