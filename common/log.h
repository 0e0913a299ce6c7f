/* nbdclone: messages for the user.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Whoever links the engine defines these.  One line each, without a newline at
 * the end; %m is errno.
 */

#ifndef NBDCLONE_LOG_H
#define NBDCLONE_LOG_H

/* Something went wrong. */
extern void log_error (const char *fs, ...)
  __attribute__ ((format (printf, 1, 2)));

/* Something that is worth a line in the log. */
extern void log_info (const char *fs, ...)
  __attribute__ ((format (printf, 1, 2)));

#endif /* NBDCLONE_LOG_H */
