/* nbdclone: nbdkit-uring-plugin: its parameters.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A message about a wrong one names parameter, value, and what is allowed.
 */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include "params.h"

const char params_help[] =
  "[file=]PATH     (required) File or block device to serve.\n"
  "create=SIZE     Make the file, of that size, if it is missing.\n"
  "prealloc=MODE   none, or falloc: reserve its space. (default none)\n"
  "direct=BOOL     Go past the page cache. (default false)\n"
  "identity=D:I    Refuse another file than the one with these numbers.";

static int
set_file (struct params *p, const char *value)
{
  char *file = nbdkit_absolute_path (value);

  if (file == NULL)
    return -1;
  free (p->file);
  p->file = file;
  return 0;
}

static int
set_create (struct params *p, const char *value)
{
  const int64_t size = nbdkit_parse_size (value);

  if (size <= 0) {
    nbdkit_error ("create=%s: allowed are sizes of at least 1 byte", value);
    return -1;
  }
  p->create = (uint64_t) size;
  return 0;
}

static int
set_prealloc (struct params *p, const char *value)
{
  p->prealloc = strcmp (value, "falloc") == 0;
  if (!p->prealloc && strcmp (value, "none") != 0) {
    nbdkit_error ("prealloc=%s: allowed are none and falloc", value);
    return -1;
  }
  return 0;
}

static int
set_direct (struct params *p, const char *value)
{
  const int r = nbdkit_parse_bool (value);

  if (r == -1) {
    nbdkit_error ("direct=%s: allowed are true and false", value);
    return -1;
  }
  p->direct = r;
  return 0;
}

static int
set_identity (struct params *p, const char *value)
{
  char end;

  if (*value < '0' || *value > '9' ||
      sscanf (value, "%" SCNu64 ":%" SCNu64 "%c", &p->device, &p->inode,
              &end) != 2) {
    nbdkit_error ("identity=%s: wanted is DEVICE:INODE, two numbers", value);
    return -1;
  }
  p->has_identity = true;
  return 0;
}

int
params_set (struct params *p, const char *key, const char *value)
{
  if (strcmp (key, "file") == 0)
    return set_file (p, value);
  if (strcmp (key, "create") == 0)
    return set_create (p, value);
  if (strcmp (key, "prealloc") == 0)
    return set_prealloc (p, value);
  if (strcmp (key, "direct") == 0)
    return set_direct (p, value);
  if (strcmp (key, "identity") == 0)
    return set_identity (p, value);
  nbdkit_error ("%s=%s: there is no such parameter; allowed are file, create, "
                "prealloc, direct and identity",
                key, value);
  return -1;
}

int
params_check (const struct params *p)
{
  if (p->file == NULL) {
    nbdkit_error ("file=PATH is missing: which file or device?");
    return -1;
  }
  return 0;
}

void
params_free (struct params *p)
{
  free (p->file);
  p->file = NULL;
}
