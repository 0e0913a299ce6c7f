/* nbdclone: nbdkit-uring-plugin: rings, and memory that O_DIRECT can use.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef NBDCLONE_URING_LANES_H
#define NBDCLONE_URING_LANES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A request is cut into pieces of at most this, and a lane has this many of
 * them in flight.  See lanes.c.
 */
#define PIECE_SIZE (UINT32_C (256) << 10)
#define PIECES_IN_FLIGHT 4

/* How far into the bounce buffer its data may begin, see transfer.c. */
#define BOUNCE_SHIFT UINT32_C (2048)

/* One piece on its way.  What is not said to be the lane's belongs to the
 * caller.
 */
struct piece {
  char *data;
  uint32_t length; /* bytes */
  uint64_t offset; /* in the file */
  bool write;
  int flags; /* RWF_*, see pwritev2(2) */

  /* The lane's. */
  int32_t result; /* bytes that were moved, or -errno */
  char *bounce;   /* PIECE_SIZE + BOUNCE_SHIFT bytes, aligned to a page */
  struct piece *next;
};

struct lane {
  struct piece pieces[PIECES_IN_FLIGHT]; /* which of them is in flight, the user
                                            of the lane keeps in mind */
  /* Only lanes.c looks at these. */
  struct lanes *lanes;
  struct lane *next;
  struct lane_ring *ring;  /* NULL: system calls */
  char *memory;            /* all of the bounce buffers */
  struct piece *completed; /* without a ring: what lane_wait has not seen */
};

/* For a file.  Call after the last fork.  Says so in the log (log.h) if the
 * kernel does not let us use io_uring; system calls do the same then, one after
 * the other.  NULL with errno set.
 */
extern struct lanes *lanes_new (int fd);

extern void lanes_free (struct lanes *);

/* A lane for the caller alone; waits for one while all are in use. */
extern struct lane *lane_take (struct lanes *);

/* No piece may be in flight. */
extern void lane_give_back (struct lane *);

/* Start one of the lane's pieces.  It is really on its way at the latest when
 * lane_wait is called.
 */
extern void lane_start (struct lane *, struct piece *);

/* Wait until one of the pieces that were started has ended, and return it. */
extern struct piece *lane_wait (struct lane *);

#endif /* NBDCLONE_URING_LANES_H */
