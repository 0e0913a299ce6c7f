/* nbdclone: nbdkit-uring-plugin: its parameters.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef NBDCLONE_URING_PARAMS_H
#define NBDCLONE_URING_PARAMS_H

#include <stdbool.h>
#include <stdint.h>

struct params {
  char *file;      /* absolute path */
  uint64_t create; /* bytes; 0: the file must exist */
  bool prealloc;   /* falloc, not none */
  bool direct;
  bool has_identity; /* identity= was given: its device, and inode or 0 */
  uint64_t device, inode;
};

/* For --help. */
extern const char params_help[];

/* One key=value.  0, or -1 after a message. */
extern int params_set (struct params *, const char *key, const char *value);

/* All of them have been seen.  0, or -1 after a message. */
extern int params_check (const struct params *);

extern void params_free (struct params *);

#endif /* NBDCLONE_URING_PARAMS_H */
