/* nbdclone: what the filter's reading of URIs wants of nbdkit.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The command understands the same URIs as the filter, with the same code, and
 * says the same about those that are wrong.
 */

#include <config.h>

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <nbdkit-filter.h>

#include "cleanup.h"
#include "message.h"

void
nbdkit_error (const char *fs, ...)
{
  const int err = errno;
  CLEANUP_FREE char *text = NULL;
  va_list args;
  int r;

  va_start (args, fs);
  errno = err; /* for %m */
  r = vasprintf (&text, fs, args);
  va_end (args);
  need (r == -1 ? NULL : text);
  complain ("%s", text);
}

char *
nbdkit_absolute_path (const char *path)
{
  CLEANUP_FREE char *directory = NULL;

  if (*path == '/')
    return strdup (path);
  directory = getcwd (NULL, 0);
  if (directory == NULL || *path == 0) {
    nbdkit_error ("%s: cannot make an absolute path of it", path);
    return NULL;
  }
  return format ("%s/%s", directory, path);
}
