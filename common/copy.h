/* nbdclone: fetch from the source, and store.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef NBDCLONE_COPY_H
#define NBDCLONE_COPY_H

#include "clone.h"

/* Why a copy has failed, which decides who is to blame and who tries again. */
enum copy_result {
  COPY_OK,
  COPY_SOURCE_BAD,  /* the source cannot read this range */
  COPY_SOURCE_AWAY, /* there is no source, for now */
  COPY_DESTINATION_FULL,
  COPY_DESTINATION_BAD,
  COPY_STOPPED,
};

/* Bytes of the clone on their way into a buffer.  What lies behind the source's
 * end, in the destination's last block, comes from there.
 */
struct fetch {
  struct source_wait wait;
  bool started;
  int err; /* of the destination's part */
};

extern void fetch_start (struct clone *, struct fetch *, void *buf,
                         uint64_t length, uint64_t offset);

/* 0, or the error as in source.h. */
extern int fetch_finish (struct clone *, struct fetch *);

/* Make these regions hydrated, which together are no larger than the clone's
 * batch, or are one region.  buf has room for a batch.  *err gets the error
 * number for a client.
 */
extern enum copy_result copy_regions (struct clone *, struct regions,
                                      uint8_t *buf, int *err);

#endif /* NBDCLONE_COPY_H */
