/* nbdclone: the bitmap file.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The format, the rule by which a reader decides what is valid, and why no cut
 * does harm: see bitmap-file.c.
 */

#ifndef NBDCLONE_BITMAP_FILE_H
#define NBDCLONE_BITMAP_FILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "bitmap.h"
#include "storage.h"

#define BITMAP_FILE_NAME_MAX 4096 /* NBD's limit on an export name */
#define BITMAP_FILE_BLOCK 4096
#define BITMAP_FILE_BLOCK_HEADER (BITMAP_FILE_BLOCK - CHUNK_BYTES)

/* What the file says about the clone that it belongs to. */
struct bitmap_file_identity {
  uint64_t disk_size;   /* bytes */
  uint64_t source_size; /* bytes, 1..disk_size */
  uint64_t region_size; /* bytes, a power of two, 4 KiB..1 GiB */
  char source_name[BITMAP_FILE_NAME_MAX + 1]; /* export name */
};

struct bitmap_file;

/* How long the file of that clone is, bytes. */
extern uint64_t bitmap_file_size (const struct bitmap_file_identity *);

/* Format an empty storage that has the right size, and sync it.  0, or -1 with
 * errno set.
 */
extern int bitmap_file_format (struct storage *,
                               const struct bitmap_file_identity *);

/* Read and check the headers.  Writes nothing.  NULL if the file is not a sound
 * bitmap file; why (of why_size bytes) then says in words what was found and
 * where.  The storage must outlive the result.
 */
extern struct bitmap_file *bitmap_file_open (struct storage *, char *why,
                                             size_t why_size);

/* What the headers say; valid as long as the file is open. */
extern const struct bitmap_file_identity *
bitmap_file_identity (const struct bitmap_file *);

/* Read and check all blocks into the bitmap, which is empty and has the right
 * number of regions.  Writes nothing.  0, or -1 with `why` as above; the
 * bitmap's contents are then of no use.
 */
extern int bitmap_file_load (struct bitmap_file *, struct bitmap *, char *why,
                             size_t why_size);

/* What else there is to be seen, when it has been loaded. */
struct bitmap_file_facts {
  unsigned version;
  uint8_t uuid[16];
  uint64_t generation; /* the youngest one */
  size_t torn;         /* slots that a crash has left half written */
};
extern void bitmap_file_look (const struct bitmap_file *,
                              struct bitmap_file_facts *);

/* Was the file closed cleanly, so that nothing has to be recovered? */
extern bool bitmap_file_is_clean (const struct bitmap_file *);

/* Make durable what bitmap_file_load has read: after an unclean stop the page
 * cache may hold what never reached the disk.  Nothing may be committed before
 * this has succeeded.  0, or -1 with errno set: EOVERFLOW, here and below, if
 * the file is of the last generation that there can be.
 */
extern int bitmap_file_recover (struct bitmap_file *);

/* Commit n blocks: block i is for chunk chunks[i] and has CHUNK_BYTES of bits
 * behind BITMAP_FILE_BLOCK_HEADER bytes, which are filled in here.  Returns 0
 * when they are durable.  -1 with errno set: ENOSPC if the file could not grow;
 * then the next commit must contain at least the same chunks.  After any other
 * error nothing may be committed any more (P5).  One caller at a time.
 */
extern int bitmap_file_commit (struct bitmap_file *, const uint64_t *chunks,
                               uint8_t (*blocks)[BITMAP_FILE_BLOCK], size_t n);

/* Record that whoever had to be told of the end of the clone has been told: once
 * all bits are set and committed.  Has it been recorded?  0, or -1 with errno
 * set; then it is not, and nothing is written any more.
 */
extern int bitmap_file_announce (struct bitmap_file *);
extern bool bitmap_file_is_announced (const struct bitmap_file *);

/* Mark the file as cleanly closed, if its last commit was a success.  0, or -1
 * with errno set.
 */
extern int bitmap_file_mark_clean (struct bitmap_file *);

extern void bitmap_file_close (struct bitmap_file *);

#endif /* NBDCLONE_BITMAP_FILE_H */
