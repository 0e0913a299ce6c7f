/* nbdclone: what clients will read next.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef NBDCLONE_READAHEAD_H
#define NBDCLONE_READAHEAD_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define READAHEAD_STREAMS 8

/* A client that reads one thing after the other. */
struct readahead_stream {
  uint64_t next;   /* where the read behind the last one would begin */
  uint64_t ahead;  /* all before this offset has been asked for */
  uint64_t window; /* bytes to be ahead */
  uint64_t used;   /* when it was used last, in calls */
};

struct readahead {
  pthread_mutex_t lock; /* protects all below; a leaf */
  uint64_t calls;
  struct readahead_stream streams[READAHEAD_STREAMS];
};

extern void readahead_init (struct readahead *);
extern void readahead_destroy (struct readahead *);

/* A client has read a range that was missing.  Returns true if it reads on
 * where it, or what was asked for on its behalf, has ended; then [*from, *to) is
 * worth being fetched, cut off at `size`.
 */
extern bool readahead_note (struct readahead *, uint64_t offset,
                            uint64_t length, uint64_t size, uint64_t *from,
                            uint64_t *to);

#endif /* NBDCLONE_READAHEAD_H */
