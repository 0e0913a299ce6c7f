/* nbdclone: the control socket.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What can be said through it is in nbdkit-clone-filter(1), how it works in
 * control.c.
 */

#ifndef NBDCLONE_CONTROL_H
#define NBDCLONE_CONTROL_H

#include "params.h"
#include "setup.h"

struct control;

/* Could there be a socket of this name (an absolute path)?  Changes nothing.
 * 0, or -1 after an error message.
 */
extern int control_check (const char *path);

/* Make the socket, in place of one that a dead server has left.  Whoever
 * connects waits until control_start.  NULL after an error message.
 */
extern struct control *control_listen (const char *path);

/* Serve clients in a thread.  Both stay the caller's and must outlive it.  0, or
 * an error number.
 */
extern int control_start (struct control *, const struct setup *,
                          const struct params *);

/* Hang up and remove the socket.  NULL is all right. */
extern void control_free (struct control *);

#endif /* NBDCLONE_CONTROL_H */
