/* nbdclone: clone-on-complete: the command that is run at the end.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef NBDCLONE_ON_COMPLETE_H
#define NBDCLONE_ON_COMPLETE_H

#include "bitmap-file.h"
#include "params.h"

struct on_complete;

/* Start a thread that waits for the end.  The parameters and the file stay the
 * caller's.  NULL with errno set.
 */
extern struct on_complete *on_complete_start (const struct params *,
                                              struct bitmap_file *);

/* The clone is complete and committed; from now on nobody else writes to the
 * file.  Waits for nothing; may be called more than once, and after
 * on_complete_stop, when it has no effect.
 */
extern void on_complete_now (struct on_complete *);

/* Run it no more, and give one that runs a moment to end.  Afterwards the file
 * is not used any more.  NULL is all right, as below.
 */
extern void on_complete_stop (struct on_complete *);

extern void on_complete_free (struct on_complete *);

#endif /* NBDCLONE_ON_COMPLETE_H */
