/* nbdclone: tell systemd how things are, see sd_notify(3).
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef NBDCLONE_NOTIFY_H
#define NBDCLONE_NOTIFY_H

/* Send lines like "READY=1" to whoever has started us with NOTIFY_SOCKET; do
 * nothing if nobody has.  That it cannot be sent is no error of ours.
 */
extern void notify_manager (const char *lines);

/* How many listening sockets have been handed over to this process
 * (sd_listen_fds(3)): descriptors 3 and up.
 */
extern unsigned notify_sockets (void);

#endif /* NBDCLONE_NOTIFY_H */
