/* nbdclone: the bitmap file on a file system.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef NBDCLONE_STORAGE_FILE_H
#define NBDCLONE_STORAGE_FILE_H

#include "storage.h"

/* Open an existing file for reading and writing and lock it.  Waits up to
 * wait_ms milliseconds for the lock: a writer that was killed may hold it for a
 * moment after its death.  NULL with errno set: EWOULDBLOCK if it is in use, EINVAL if it
 * is no regular file, or as open(2).  Writes with plain system calls until
 * storage_file_start.
 */
extern struct storage *storage_file_open (const char *path, int wait_ms);

/* The same to read only, beside others who do, and not beside a server. */
extern struct storage *storage_file_open_to_read (const char *path,
                                                  int wait_ms);

/* Create a file of that size, mode 0600, without a name yet, beside path, and
 * lock it.  NULL with errno set.
 */
extern struct storage *storage_file_create (const char *path, uint64_t size);

/* Give the created file, which is durable, its name, durably.  Fails with
 * EEXIST if there is one of that name.  0, or -1 with errno set.
 */
extern int storage_file_publish (struct storage *);

/* From now on write through io_uring.  Call after the last fork.  -1 with
 * errno set if the kernel does not let us: then it goes on as before.
 */
extern int storage_file_start (struct storage *);

/* Unlock and close.  A file that was created and never published is gone. */
extern void storage_file_close (struct storage *);

#endif /* NBDCLONE_STORAGE_FILE_H */
