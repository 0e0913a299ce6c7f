/* nbdclone: libnbd's handles: connecting and polling, within bounds.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef NBDCLONE_NBD_HANDLE_H
#define NBDCLONE_NBD_HANDLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <libnbd.h>

/* Of an eventfd: from now on it counts again. */
extern void wake_fd_reset (int wake_fd);

/* What libnbd says of the last failure, without the name of the function that was
 * unhappy.  Valid until the next call of libnbd.
 */
extern const char *nbd_handle_error (void);

/* Poll a handle once, no longer than until_us (as system_clock has it).
 * wake_fd, if not -1, is an eventfd that ends the poll and is reset.  *heard_us
 * is when something arrived, or 0.  -1 if libnbd says that the handle is of no
 * use any more.
 */
extern int nbd_handle_poll (struct nbd_handle *, int wake_fd, uint64_t until_us,
                            uint64_t *heard_us);

/* The same; false and a message if it is of no use any more, or closed. */
extern bool nbd_handle_serve (struct nbd_handle *, int wake_fd,
                              uint64_t until_us, uint64_t *heard_us, char *why,
                              size_t why_size);

/* Connect within a bound, but for the resolving of names; stop (), if given,
 * ends it early.  NULL and a message in why, without anything secret.
 */
extern struct nbd_handle *nbd_handle_connect (const char *uri,
                                              uint64_t timeout_us, int wake_fd,
                                              bool (*stop) (void *opaque),
                                              void *opaque, char *why,
                                              size_t why_size);

#endif /* NBDCLONE_NBD_HANDLE_H */
