/* nbdclone: the arguments of a verb with few options.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdio.h>
#include <string.h>

#include "arguments.h"
#include "human.h"
#include "message.h"
#include "verbs.h"

#define TIMEOUT_MAX 1e9

static int
take_option (const struct arguments *a, const char *argv0, int c)
{
  switch (c) {
  case 'h':
    fputs (a->help, stdout);
    return 0;
  case 'j':
    *a->json = true;
    return -1;
  case 't':
    if (human_parse_seconds (optarg, a->timeout) && *a->timeout <= TIMEOUT_MAX)
      return -1;
    return wrong_usage (argv0,
                        "--timeout %s: allowed are 0 to %.0f seconds, or "
                        "numbers with a suffix, as in 30m, 2h, 1d",
                        optarg, TIMEOUT_MAX);
  default:
    return see_help (argv0);
  }
}

int
arguments_read (const struct arguments *a, int argc, char **argv)
{
  struct option options[4] = { { "help", no_argument, NULL, 'h' } };
  size_t n = 1;
  int c, r, given;

  if (a->json)
    options[n++] = (struct option){ "json", no_argument, NULL, 'j' };
  if (a->timeout)
    options[n++] = (struct option){ "timeout", required_argument, NULL, 't' };
  while ((c = getopt_long (argc, argv, "h", options, NULL)) != -1) {
    r = take_option (a, argv[0], c);
    if (r != -1)
      return r;
  }
  given = argc - optind;
  if (given < a->min)
    return wrong_usage (argv[0], "%s", a->wanted);
  if (a->max != ANY_NUMBER && given > a->max)
    return wrong_usage (argv[0], "%s: nothing more is wanted",
                        argv[optind + a->max]);
  return -1;
}
