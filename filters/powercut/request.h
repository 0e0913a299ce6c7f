/* nbdclone: powercut: a client's request, as far as it decides about faults.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef NBDCLONE_POWERCUT_REQUEST_H
#define NBDCLONE_POWERCUT_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

/* Kinds of requests: a request has one, a parameter has a set of them.  FUA is
 * for writes, zeroes and trims with that flag.
 */
enum request_kind {
  REQUEST_READ = 1,
  REQUEST_WRITE = 2,
  REQUEST_ZERO = 4,
  REQUEST_TRIM = 8,
  REQUEST_FLUSH = 16,
  REQUEST_EXTENTS = 32,
  REQUEST_CACHE = 64,
  REQUEST_FUA = 128,
  REQUEST_ALL = 255,
};

struct request {
  unsigned kinds;         /* its own, and maybe REQUEST_FUA */
  uint64_t offset, count; /* bytes; a flush has none */
  uint64_t number;        /* from 1, in the order in which they came */
  bool last;              /* the power is cut while it is served */
};

#endif /* NBDCLONE_POWERCUT_REQUEST_H */
