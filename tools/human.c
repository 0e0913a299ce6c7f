/* nbdclone: sizes and durations, as people write and read them.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "human.h"

char *
human_size (char buf[HUMAN_MAX], uint64_t bytes)
{
  static const char units[] = "KMGTPE";
  int unit = -1;
  uint64_t tenths;

  if (bytes < 1024) {
    snprintf (buf, HUMAN_MAX, "%" PRIu64 " B", bytes);
    return buf;
  }
  while (bytes >= UINT64_C (1024) * 1024) {
    bytes >>= 10;
    unit++;
  }
  unit++;
  tenths = bytes * 10 / 1024;
  snprintf (buf, HUMAN_MAX, "%" PRIu64 ".%u %ciB", tenths / 10,
            (unsigned) (tenths % 10), units[unit]);
  return buf;
}

char *
human_duration (char buf[HUMAN_MAX], uint64_t s)
{
  if (s < 60)
    snprintf (buf, HUMAN_MAX, "%" PRIu64 " s", s);
  else if (s < 3600)
    snprintf (buf, HUMAN_MAX, "%" PRIu64 " min %02u s", s / 60,
              (unsigned) (s % 60));
  else if (s < 86400)
    snprintf (buf, HUMAN_MAX, "%" PRIu64 " h %02u min", s / 3600,
              (unsigned) (s / 60 % 60));
  else
    snprintf (buf, HUMAN_MAX, "%" PRIu64 " d %02u h", s / 86400,
              (unsigned) (s / 3600 % 24));
  return buf;
}

char *
human_percent (char buf[HUMAN_MAX], uint64_t part, uint64_t all)
{
  unsigned tenths = 1000;

  if (part < all)
    tenths = (unsigned) ((long double) part * 1000 / (long double) all);
  if (part < all && tenths > 999)
    tenths = 999;
  snprintf (buf, HUMAN_MAX, "%u.%u %%", tenths / 10, tenths % 10);
  return buf;
}

bool
human_parse_size (const char *s, uint64_t *bytes)
{
  static const char suffixes[] = "bkmgtpe";
  unsigned long long n;
  uint64_t unit = 1;
  const char *found;
  char *end;

  if (!isdigit ((unsigned char) *s))
    return false;
  errno = 0;
  n = strtoull (s, &end, 10);
  if (errno)
    return false;
  if (*end) {
    const int c = tolower ((unsigned char) *end);

    found = strchr (suffixes, c);
    if (end[1] != 0 || (found == NULL && c != 's'))
      return false;
    unit = found ? UINT64_C (1) << (10 * (found - suffixes)) : 512;
  }
  return !__builtin_mul_overflow (n, unit, bytes) && *bytes <= INT64_MAX;
}

bool
human_parse_seconds (const char *s, double *seconds)
{
  double unit = 1;
  char *end;

  if (!isdigit ((unsigned char) *s) && *s != '.')
    return false;
  *seconds = strtod (s, &end);
  if (end == s)
    return false;
  if (*end) {
    switch (*end) {
    case 's':
      break;
    case 'm':
      unit = 60;
      break;
    case 'h':
      unit = 3600;
      break;
    case 'd':
      unit = 86400;
      break;
    default:
      return false;
    }
    if (end[1] != 0)
      return false;
  }
  *seconds *= unit;
  return isfinite (*seconds);
}
