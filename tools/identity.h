/* nbdclone: which destination a bitmap file belongs to.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The filter cannot see which file or device is below it (nbdkit-clone-filter(1)),
 * and a bitmap that is used with another one serves garbage as if it had been
 * cloned.  So "run" keeps a record beside the bitmap file, BITMAP.id:
 *
 *   {"destination": PATH, "device": "MAJOR:MINOR", "inode": N, "born": TEXT,
 *    "hardware": TEXT, "boot": UUID}
 *
 * and refuses another one.  Of a file, "device" is that of its file system; of a
 * device, its own, and "inode" is missing.
 *
 * Numbers of devices may be others after a reboot, so they count only in the
 * same boot.  After another one a file is known by its inode and the moment when
 * it was made, to the nanosecond, and a device by its serial number or the like.
 * Where these are not known, the numbers have to do.
 */

#ifndef NBDCLONE_IDENTITY_H
#define NBDCLONE_IDENTITY_H

#include <jansson.h>

#include "destination-file.h"

/* What the destination is now; its path is UTF-8. */
extern json_t *identity_of (const struct destination_file *);

/* Read a record; *identity is NULL if there is none.  0, or an exit status after
 * a message.
 */
extern int identity_load (const char *path, json_t **identity);

/* Are these the same destination? */
extern bool identity_is_same (const json_t *recorded, const json_t *now);

/* "/path (device 8:1, inode 12)", to be freed. */
extern char *identity_text (const json_t *);

/* Write the record, in place of an older one, all or nothing, and durably.  0,
 * or an exit status after a message.
 */
extern int identity_save (const char *path, const json_t *identity);

#endif /* NBDCLONE_IDENTITY_H */
