/* nbdclone: the source is an NBD server, reached through libnbd.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef NBDCLONE_SOURCE_NBD_H
#define NBDCLONE_SOURCE_NBD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "source.h"

struct source_nbd_config {
  const char *uri;        /* as uri_parse has made it */
  const char *shown;      /* for messages */
  unsigned connections;   /* most of them, >= 1 */
  uint64_t timeout_us;    /* without a byte for a request */
  uint64_t expected_size; /* bytes */
  bool may_be_larger;     /* then the rest is not looked at */
};

/* Connect once, see what is there, and disconnect.  Takes no longer than
 * timeout_us, but for the resolving of names, and ends early if stop (), which
 * may be NULL, says so when wake_fd, an eventfd or -1, is written to.  Returns
 * the size of the export in bytes, or -1 and a message in why.
 */
extern int64_t source_nbd_probe (const char *uri, uint64_t timeout_us,
                                 int wake_fd, bool (*stop) (void *opaque),
                                 void *opaque, char *why, size_t why_size);

/* Start to connect, and go on trying.  Requests may be made at once.  NULL with
 * errno set.
 */
extern struct source *source_nbd_start (const struct source_nbd_config *);

struct source_nbd_status {
  unsigned connections; /* that are up */
  uint64_t reconnects;  /* connections that were made again */
  uint64_t losses;      /* times that the last connection was lost */
  char last_error[256]; /* why a connection ended or was not made; or "" */
};

/* How it is now.  Asks nobody. */
extern void source_nbd_look (struct source *, struct source_nbd_status *);

/* From now on this is the server; it has the same disk, and its size is right.
 * What the old one does not answer within a moment is sent to the new one.
 * Waits for nobody.  0, or an error number: ESHUTDOWN if it has been stopped.
 */
extern int source_nbd_switch (struct source *, const char *uri,
                              const char *shown);

/* Fail what has not been answered, and all that is asked from now on, with
 * ESHUTDOWN, and close the connections.  From any thread, any number of times.
 */
extern void source_nbd_stop (struct source *);

/* After source_nbd_stop, when nobody uses it any more. */
extern void source_nbd_free (struct source *);

#endif /* NBDCLONE_SOURCE_NBD_H */
