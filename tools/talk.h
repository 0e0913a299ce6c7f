/* nbdclone: talk to a server through its control socket, which is described in
 * nbdkit-clone-filter(1).
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Nothing here waits longer than it is told to.  Functions return 0, or else one
 * of the exit statuses and a reason in "error", which has the whole sentence.
 */

#ifndef NBDCLONE_TALK_H
#define NBDCLONE_TALK_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include <jansson.h>

#define TALK_TIMEOUT_MS 10000 /* for what a server does at once */

struct talk {
  const char *path;
  int fd;
  bool dead; /* it is the socket of a server that does not run any more */
  char *buf; /* what has come and has not been a line yet */
  size_t length, size;
  char error[512];
};

/* The path is kept, not copied.  EXIT_NO_SERVER if nobody listens there. */
extern int talk_connect (struct talk *, const char *path);

/* Send a command and wait for what it returns.  The arguments may be NULL and
 * are taken.  *result is for the caller to decref; result may be NULL.  Events
 * that come in between are dropped.  timeout_ms of -1: as long as the server
 * lives.
 */
extern int talk_ask (struct talk *, const char *execute, json_t *arguments,
                     int timeout_ms, json_t **result);

/* Send a command, whose answer talk_next will have. */
extern int talk_send (struct talk *, const char *execute, json_t *arguments,
                      int timeout_ms);

/* The next line, an event for one who has asked for them.  EXIT_TIMED_OUT
 * leaves everything as it was, for another try.
 */
extern int talk_next (struct talk *, int timeout_ms, json_t **line);

/* The process that listens, or -1. */
extern pid_t talk_pid (const struct talk *);

extern void talk_end (struct talk *);

/* All of this at once, with a message about what fails. */
extern int talk_once (const char *path, const char *execute, json_t *arguments,
                      int timeout_ms, json_t **result);

#endif /* NBDCLONE_TALK_H */
