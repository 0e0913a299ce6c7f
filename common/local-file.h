/* nbdclone: files that one server has for itself, and new ones that appear
 * complete.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef NBDCLONE_LOCAL_FILE_H
#define NBDCLONE_LOCAL_FILE_H

#include <stdbool.h>

/* How long a start waits for a lock, in milliseconds.  An io_uring writer that
 * was killed may hold it for some tens of milliseconds after its death, and
 * its last writes land until then.
 */
#define LOCAL_FILE_LOCK_MS 10000

/* Lock an open file, or wait up to wait_ms milliseconds for it.  The lock is
 * flock(2)'s: it belongs to the open file, so it survives nbdkit's fork and
 * ends with the last process that has it.  0, or -1 with errno set: EWOULDBLOCK
 * if it is in use.
 */
extern int local_file_lock (int fd, bool exclusive, int wait_ms);

/* Create an empty file beside path, mode 0600, without its name yet, and lock
 * it.  *CREATED is its temporary name, which the caller frees, or NULL if it has
 * none at all: then nothing of it is left when the process ends.  Returns a
 * descriptor that can read and write, or -1 with errno set; then *CREATED is
 * NULL.
 */
extern int local_file_create (const char *path, char **created);

/* Make the created file durable and give it its name, durably.  Fails with
 * EEXIST if there is one of that name.  0, or -1 with errno set; then the
 * temporary name may still be there.
 */
extern int local_file_publish (int fd, const char *created, const char *path);

/* Instead of that: close the file, and leave nothing of it. */
extern void local_file_discard (int fd, const char *created);

#endif /* NBDCLONE_LOCAL_FILE_H */
