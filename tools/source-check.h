/* nbdclone: a look at the source before a clone is started.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef NBDCLONE_SOURCE_CHECK_H
#define NBDCLONE_SOURCE_CHECK_H

#include <stdint.h>

#include "destination-file.h"
#include "uri.h"

/* Is the server on this machine, as far as the URI tells? */
extern bool source_is_local (const struct uri *);

/* Connect, ask how large it is, and see whether a server on this machine has the
 * destination open: cloning a disk onto itself destroys it.  What the server is
 * can only be seen if this user may; a server elsewhere is not looked at.
 *
 * 0; EXIT_NO_SERVER if it cannot be reached, with the reason in why; or
 * EXIT_FAILURE after a message.
 */
extern int source_check (const struct uri *, const struct destination_file *,
                         uint64_t *size, char *why, size_t why_size);

#endif /* NBDCLONE_SOURCE_CHECK_H */
