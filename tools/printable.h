/* nbdclone: texts of others, for a terminal.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What comes from sockets, records and servers may be anything, and a terminal
 * obeys control characters: it could be told to show something else than what is
 * so.  So every such text goes through here, where it is read.
 */

#ifndef NBDCLONE_PRINTABLE_H
#define NBDCLONE_PRINTABLE_H

#include <stdbool.h>

#include <jansson.h>

/* Has it no control characters, but for tabs, neither ASCII's nor Unicode's? */
extern bool is_printable (const char *);

/* Make question marks of them.  Returns its argument. */
extern char *make_printable (char *);

/* The same for all texts in a value, at any depth. */
extern void make_json_printable (json_t *);

#endif /* NBDCLONE_PRINTABLE_H */
