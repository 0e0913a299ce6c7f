/* nbdclone: servers by name, socket or destination.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A server that "nbdclone run" has started has a name, and files in the
 * directory for such files, $XDG_RUNTIME_DIR/nbdclone or /run/nbdclone:
 *
 *   NAME.control  its control socket
 *   NAME.sock     the disk, if it is served on a Unix socket
 *   NAME.json     the record: an object with the texts "name", "destination",
 *                 "bitmap", "uri" (of the disk), "control"; and "pid", of
 *                 "nbdclone run"
 *   NAME.log      what a server in the background has said
 *   NAME.lock     locked by "nbdclone run"; when it ends, its exit status
 *
 * A control socket alone, of an nbdkit that was started by hand, will do as
 * well.  Those of a server that was killed stay until it is started again.
 */

#ifndef NBDCLONE_INSTANCE_H
#define NBDCLONE_INSTANCE_H

#include <stdbool.h>
#include <stddef.h>

#include <jansson.h>

#include "talk.h"

#define INSTANCE_NAME_MAX 64

struct instance {
  char *name;
  char *control;
  json_t *record; /* never NULL, maybe empty */
};

/* Find the server that is meant by a name, a control socket, the socket of its
 * disk, or the path of its destination.  0, or an exit status after a message.
 * Does not look whether it still runs.
 */
extern int instance_find (const char *what, struct instance *);

/* Find it, and connect to it.  0, or an exit status after a message, and then
 * there is nothing to be ended or cleared.
 */
extern int instance_connect (const char *what, struct instance *,
                             struct talk *);

/* All there are, by name.  For instances_free. */
extern struct instance *instance_list (size_t *n);

/* A text of the record; "" if it is not known. */
extern const char *instance_text (const struct instance *, const char *key);

/* The path of another file of an instance, "DIRECTORY/NAME" and the suffix; to be
 * freed.
 */
extern char *instance_file (const struct instance *, const char *suffix);

extern void instance_clear (struct instance *);
extern void instances_free (struct instance *, size_t n);

/* Where a new server has its files: the directory, made with mode 0700 if need
 * be.  NULL after a message, also if somebody else could change what is there.
 */
extern char *instance_directory (void);

/* The name that a destination suggests, in all cases a valid one. */
extern char *instance_suggest_name (const char *destination);

/* Letters, digits and "._-@:+", not a dot first. */
extern bool instance_name_is_valid (const char *);

#endif /* NBDCLONE_INSTANCE_H */
