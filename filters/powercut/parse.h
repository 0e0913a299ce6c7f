/* nbdclone: powercut: what parameters are made of.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * True if the whole text was understood.  No messages: the caller knows what is
 * allowed there.
 */

#ifndef NBDCLONE_POWERCUT_PARSE_H
#define NBDCLONE_POWERCUT_PARSE_H

#include <stdbool.h>
#include <stdint.h>

/* A number without a sign; decimal, or hexadecimal after 0x. */
extern bool parse_number (const char *text, uint64_t *result);

/* Bytes, maybe with K, M, G or T; less than 2^63. */
extern bool parse_bytes (const char *text, uint64_t *result);

/* Seconds, maybe with a fraction, from 0 to 86400. */
extern bool parse_seconds (const char *text, uint64_t *us);

/* From 0 to 1. */
extern bool parse_probability (const char *text, double *result);

/* One of the errors that NBD can tell its clients. */
extern bool parse_errno (const char *text, int *result);
#define PARSE_ERRNO_ALLOWED "EIO, ENOSPC, EPERM, ENOMEM, EINVAL and ESHUTDOWN"

/* Kinds of requests, separated by commas: a set of enum request_kind. */
extern bool parse_kinds (const char *text, unsigned *result);
#define PARSE_KINDS_ALLOWED                                                 \
  "read, write, zero, trim, flush, extents, cache, fua and all, separated " \
  "by commas"

#endif /* NBDCLONE_POWERCUT_PARSE_H */
