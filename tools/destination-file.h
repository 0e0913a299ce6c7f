/* nbdclone: the file or device that "run" is to clone onto.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Everything that can be known is looked at before anything is touched: a clone
 * onto the wrong disk cannot be taken back.  It is opened once, and whatever is
 * found out is of the open file: what has its name may change meanwhile, and a
 * server that opens it by name has to be told which one is meant.  As long as a
 * device is open here, nobody can mount it, or make it a part of another one
 * (O_EXCL, see open(2)).
 */

#ifndef NBDCLONE_DESTINATION_FILE_H
#define NBDCLONE_DESTINATION_FILE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

struct destination_file {
  char *path; /* absolute, without symbolic links */
  bool exists;

  /* If it exists. */
  int fd; /* can read and write; else -1 */
  bool is_device;
  uint64_t size;
  struct stat st;
};

/* Look at what has this name.  0, or an exit status after a message if it cannot
 * be a destination: because of what it is, or because it is mounted or in use by
 * the kernel in another way.
 */
extern int destination_look (const char *path, struct destination_file *);

/* Has it contents that a clone would destroy?  A file has, if anything but holes
 * is in it.  A device has, if a byte is not zero in its first or last MiB or in
 * samples between them.  Returns 1, or 0, or -1 after a message.
 */
extern int destination_has_contents (const struct destination_file *);

/* Make the file with this size, mode 0600, durably, and with space for all of it
 * if `prealloc`; then it is as if destination_look had found it.  0, or an exit
 * status after a message, and then there is no file.
 */
extern int destination_create (struct destination_file *, uint64_t size,
                               bool prealloc);

/* Reserve space for a file that exists.  0, or an exit status after a message.
 */
extern int destination_reserve (const struct destination_file *);

/* Has its name still the file that was looked at? */
extern bool destination_is_there (const struct destination_file *);

extern void destination_clear (struct destination_file *);

#endif /* NBDCLONE_DESTINATION_FILE_H */
