/* nbdclone: what the command says to its user.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cleanup.h"
#include "message.h"
#include "printable.h"
#include "verbs.h"

static bool with_times;

void
message_with_times (void)
{
  with_times = true;
}

const char *
message_time (char buf[MESSAGE_TIME_MAX])
{
  const time_t now = time (NULL);
  struct tm tm;

  if (!with_times || localtime_r (&now, &tm) == NULL ||
      strftime (buf, MESSAGE_TIME_MAX, "%F %T ", &tm) == 0)
    *buf = 0;
  return buf;
}

static void __attribute__ ((format (printf, 2, 0)))
say (const char *who, const char *fs, va_list args)
{
  CLEANUP_FREE char *text = NULL;
  char when[MESSAGE_TIME_MAX];

  fflush (stdout);
  if (vasprintf (&text, fs, args) == -1)
    text = NULL;
  fprintf (stderr, "%s%s: %s\n", message_time (when), who,
           text ? make_printable (text) : "out of memory");
}

void
complain (const char *fs, ...)
{
  va_list args;

  va_start (args, fs);
  say ("nbdclone", fs, args);
  va_end (args);
}

void
note (const char *fs, ...)
{
  va_list args;

  va_start (args, fs);
  say ("nbdclone", fs, args);
  va_end (args);
}

int
see_help (const char *argv0)
{
  fprintf (stderr, "Try \"%s --help\".\n", argv0);
  return EXIT_USAGE;
}

int
wrong_usage (const char *argv0, const char *fs, ...)
{
  va_list args;

  va_start (args, fs);
  say (argv0, fs, args);
  va_end (args);
  return see_help (argv0);
}

int
end_output (void)
{
  if (fflush (stdout) == 0 && !ferror (stdout))
    return 0;
  complain ("stdout: %s", strerror (errno));
  return EXIT_FAILURE;
}

void *
need (void *memory)
{
  if (memory == NULL) {
    complain ("out of memory");
    exit (EXIT_FAILURE);
  }
  return memory;
}

char *
format (const char *fs, ...)
{
  va_list args;
  char *s;
  int r;

  va_start (args, fs);
  r = vasprintf (&s, fs, args);
  va_end (args);
  return need (r == -1 ? NULL : s);
}
