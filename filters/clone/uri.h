/* nbdclone: NBD URIs, as far as libnbd leaves them to us.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef NBDCLONE_URI_H
#define NBDCLONE_URI_H

#include <stdbool.h>
#include <stddef.h>

struct uri {
  char *uri; /* for libnbd; paths in it are absolute */
  char *export_name;
  char *shown; /* for messages: without user and query */
};

/* Check a URI and take it apart.  Refuses schemes and query parameters that
 * libnbd does not know: it would ignore the latter, and with them perhaps what
 * was meant to make the connection safe.  Paths in it may be relative to where
 * nbdkit is, or not.  0, or -1 and why (of why_size bytes) not, without the URI,
 * in which there may be something secret.
 */
extern int uri_read (const char *value, bool relative, struct uri *, char *why,
                     size_t why_size);

/* The same, with an error message that names the parameter `key`; paths may be
 * relative.
 */
extern int uri_parse (const char *key, const char *value, struct uri *);

/* With nbds, whether there is what libnbd needs to check who the server is: a
 * PSK file, or ca-cert.pem where it looks for certificates.  Without the latter
 * libnbd 1.14 goes on with the system's certificates, but then it checks
 * neither host nor certificate (tried): whoever is asked could be anybody.
 */
extern bool uri_is_trustworthy (const char *uri);

extern void uri_free (struct uri *);

#endif /* NBDCLONE_URI_H */
