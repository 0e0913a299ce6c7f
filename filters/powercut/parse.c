/* nbdclone: powercut: what parameters are made of.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * nbdkit's own nbdkit_parse_* print a message that names neither the parameter
 * nor what is allowed.
 */

#include <config.h>

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "parse.h"
#include "request.h"

/* A number at the beginning of the text; *END is what follows it. */
static bool
number_at (const char *text, uint64_t *result, char **end)
{
  if (!isdigit ((unsigned char) *text))
    return false;
  errno = 0;
  *result =
    strtoull (text, end, text[0] == '0' && tolower (text[1]) == 'x' ? 16 : 10);
  return errno == 0;
}

bool
parse_number (const char *text, uint64_t *result)
{
  char *end;

  return number_at (text, result, &end) && *end == 0;
}

bool
parse_bytes (const char *text, uint64_t *result)
{
  static const char suffixes[] = "KMGT";
  const char *suffix;
  unsigned shift = 0;
  char *end;

  if (!number_at (text, result, &end))
    return false;
  if (*end) {
    suffix = strchr (suffixes, toupper ((unsigned char) *end));
    if (suffix == NULL || end[1])
      return false;
    shift = 10 * (unsigned) (suffix - suffixes + 1);
  }
  if (*result > (uint64_t) INT64_MAX >> shift)
    return false;
  *result <<= shift;
  return true;
}

static bool
parse_double (const char *text, double max, double *result)
{
  char *end;

  *result = strtod (text, &end);
  return end != text && *end == 0 && isfinite (*result) && *result >= 0 &&
         *result <= max;
}

bool
parse_seconds (const char *text, uint64_t *us)
{
  double seconds;

  if (!parse_double (text, 86400, &seconds))
    return false;
  *us = (uint64_t) (seconds * 1e6);
  return true;
}

bool
parse_probability (const char *text, double *result)
{
  return parse_double (text, 1, result);
}

bool
parse_errno (const char *text, int *result)
{
  static const struct {
    const char *name;
    int value;
  } errors[] = {
    { "EIO", EIO },       { "ENOSPC", ENOSPC }, { "EPERM", EPERM },
    { "ENOMEM", ENOMEM }, { "EINVAL", EINVAL }, { "ESHUTDOWN", ESHUTDOWN },
  };
  size_t i;

  for (i = 0; i < sizeof errors / sizeof errors[0]; ++i)
    if (strcmp (text, errors[i].name) == 0) {
      *result = errors[i].value;
      return true;
    }
  return false;
}

bool
parse_kinds (const char *text, unsigned *result)
{
  static const struct {
    const char *name;
    unsigned kinds;
  } kinds[] = {
    { "read", REQUEST_READ },   { "write", REQUEST_WRITE },
    { "zero", REQUEST_ZERO },   { "trim", REQUEST_TRIM },
    { "flush", REQUEST_FLUSH }, { "extents", REQUEST_EXTENTS },
    { "cache", REQUEST_CACHE }, { "fua", REQUEST_FUA },
    { "all", REQUEST_ALL },
  };
  const size_t count = sizeof kinds / sizeof kinds[0];
  unsigned set = 0;
  size_t i;

  for (;;) {
    const size_t length = strcspn (text, ",");

    for (i = 0; i < count; ++i)
      if (strlen (kinds[i].name) == length &&
          memcmp (kinds[i].name, text, length) == 0)
        break;
    if (i == count)
      return false;
    set |= kinds[i].kinds;
    if (text[length] == 0)
      break;
    text += length + 1;
  }
  *result = set;
  return true;
}
