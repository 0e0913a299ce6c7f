/* nbdclone: powercut: cuts that do not come from a request.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef NBDCLONE_POWERCUT_WATCH_H
#define NBDCLONE_POWERCUT_WATCH_H

#include <pthread.h>
#include <stdbool.h>

/* A thread that waits for a signal or for a file. */
struct watch {
  int signal;       /* or 0 */
  const char *file; /* or NULL */
  int pipe[2];      /* what the signal's handler and watch_stop write to */
  pthread_t thread;
  bool prepared, started;

  /* Called in the thread, at most once; TRIGGER is "signal" or "file". */
  void (*cut) (void *opaque, const char *trigger);
  void *opaque;
};

/* From here on the signal does not end the process.  Set "signal" and "file"
 * before.  All zero otherwise.  0, or -1 after an error message.
 */
extern int watch_prepare (struct watch *);

/* Start the thread, after the last fork.  Set the others before.  0, or -1
 * after an error message.
 */
extern int watch_start (struct watch *);

/* Ends the thread, unless there is none; "cut" is not called any more after
 * that.
 */
extern void watch_stop (struct watch *);

#endif /* NBDCLONE_POWERCUT_WATCH_H */
