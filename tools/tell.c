/* nbdclone pause, resume, set, hydrate, source, flush: one command to a server,
 * and whether it was obeyed.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "arguments.h"
#include "human.h"
#include "instance.h"
#include "message.h"
#include "talk.h"
#include "uri.h"
#include "verbs.h"

#define FLUSH_TIMEOUT_MS 600000 /* a slow disk with much to write */
#define SOURCE_TIMEOUT_MS 30000 /* the other server is looked for first */

/* The arguments are taken. */
static int
tell (const char *what, const char *execute, json_t *arguments, int timeout_ms)
{
  struct instance i;
  int r = instance_find (what, &i);

  if (r) {
    json_decref (arguments);
    return r;
  }
  r = talk_once (i.control, execute, arguments, timeout_ms, NULL);
  instance_clear (&i);
  return r;
}

int
verb_pause (int argc, char **argv)
{
  static const struct arguments accepted = {
    .help =
      "Usage: nbdclone pause INSTANCE\n"
      "Stop copying in the background.  What clients read is fetched all the\n"
      "same.  \"nbdclone resume\" goes on.\n",
    .wanted = "one INSTANCE is wanted",
    .min = 1,
    .max = 1,
  };
  const int r = arguments_read (&accepted, argc, argv);

  return r != -1 ? r : tell (argv[optind], "pause", NULL, TALK_TIMEOUT_MS);
}

int
verb_resume (int argc, char **argv)
{
  static const struct arguments accepted = {
    .help = "Usage: nbdclone resume INSTANCE\n"
            "Go on with copying in the background.\n",
    .wanted = "one INSTANCE is wanted",
    .min = 1,
    .max = 1,
  };
  const int r = arguments_read (&accepted, argc, argv);

  return r != -1 ? r : tell (argv[optind], "resume", NULL, TALK_TIMEOUT_MS);
}

int
verb_flush (int argc, char **argv)
{
  static const struct arguments accepted = {
    .help = "Usage: nbdclone flush INSTANCE\n"
            "Make everything durable that was written or hydrated so far.\n",
    .wanted = "one INSTANCE is wanted",
    .min = 1,
    .max = 1,
  };
  const int r = arguments_read (&accepted, argc, argv);

  return r != -1 ? r : tell (argv[optind], "flush", NULL, FLUSH_TIMEOUT_MS);
}

int
verb_source (int argc, char **argv)
{
  static const struct arguments accepted = {
    .help =
      "Usage: nbdclone source INSTANCE SOURCE-URI\n"
      "Go on with another server of the same disk.  At the next start, give its\n"
      "URI to \"nbdclone run\".\n",
    .wanted = "INSTANCE and SOURCE-URI are wanted",
    .min = 2,
    .max = 2,
  };
  const int r = arguments_read (&accepted, argc, argv);
  struct uri uri;
  int result;

  if (r != -1)
    return r;
  if (uri_parse ("SOURCE-URI", argv[optind + 1], &uri) == -1)
    return EXIT_USAGE;
  /* With absolute paths: the server is in another directory. */
  result = tell (argv[optind], "source",
                 need (json_pack ("{s:s}", "uri", uri.uri)), SOURCE_TIMEOUT_MS);
  uri_free (&uri);
  return result;
}

int
verb_hydrate (int argc, char **argv)
{
  static const struct arguments accepted = {
    .help =
      "Usage: nbdclone hydrate INSTANCE OFFSET LENGTH\n"
      "Copy this range before all others.  Both are in bytes, or have a suffix as\n"
      "in 64K, 1M, 20G.  It does not wait until that has been done.\n",
    .wanted = "INSTANCE, OFFSET and LENGTH are wanted",
    .min = 3,
    .max = 3,
  };
  const int r = arguments_read (&accepted, argc, argv);
  uint64_t range[2];
  int i;

  if (r != -1)
    return r;
  for (i = 0; i < 2; ++i)
    if (!human_parse_size (argv[optind + 1 + i], &range[i]))
      return wrong_usage (
        argv[0],
        "%s %s: allowed are whole numbers of bytes, also with "
        "a suffix as in 64K, 1M, 20G",
        i == 0 ? "OFFSET" : "LENGTH", argv[optind + 1 + i]);
  return tell (argv[optind], "hydrate",
               need (json_pack ("{s:I, s:I}", "offset", (json_int_t) range[0],
                                "length", (json_int_t) range[1])),
               TALK_TIMEOUT_MS);
}

/* Add what "KEY=VALUE" says to the arguments. */
static int
add_setting (json_t *arguments, const char *argv0, const char *text)
{
  const char *equals = strchr (text, '=');
  const size_t length = equals ? (size_t) (equals - text) : 0;
  const char *value = equals ? equals + 1 : "";
  double seconds;
  uint64_t n;

  if (length == 15 && strncmp (text, "commit-interval", length) == 0) {
    if (!human_parse_seconds (value, &seconds))
      return wrong_usage (argv0, "%s: wanted are seconds, as in 1 or 0.5",
                          text);
    json_object_set_new (arguments, "commit-interval", json_real (seconds));
    return 0;
  }
  if (!(length == 4 && strncmp (text, "rate", length) == 0) &&
      !(length == 5 && strncmp (text, "batch", length) == 0) &&
      !(length == 9 && strncmp (text, "threshold", length) == 0))
    return wrong_usage (argv0,
                        "%s: wanted is KEY=VALUE, with a KEY of rate, batch, "
                        "threshold or commit-interval",
                        text);
  if (!human_parse_size (value, &n))
    return wrong_usage (
      argv0,
      "%s: wanted is a whole number, also with a suffix as in "
      "64K, 1M, 20G",
      text);
  json_object_setn_new (arguments, text, length, json_integer ((json_int_t) n));
  return 0;
}

int
verb_set (int argc, char **argv)
{
  static const struct arguments accepted = {
    .help =
      "Usage: nbdclone set INSTANCE KEY=VALUE...\n"
      "Change limits of a clone that runs, all of those given or none:\n"
      "\n"
      "  rate=BYTES               a second, for the background; 0 for no limit\n"
      "  batch=SIZE               most bytes in one background copy\n"
      "  threshold=N              most background copies in flight\n"
      "  commit-interval=SECONDS  between commits\n"
      "\n"
      "At the next start they are again as \"nbdclone run\" is told.\n",
    .wanted = "INSTANCE and KEY=VALUE are wanted",
    .min = 2,
    .max = ANY_NUMBER,
  };
  const int r = arguments_read (&accepted, argc, argv);
  json_t *arguments;
  int i, wrong = 0;

  if (r != -1)
    return r;
  arguments = need (json_object ());
  for (i = optind + 1; i < argc && wrong == 0; ++i)
    wrong = add_setting (arguments, argv[0], argv[i]);
  if (wrong) {
    json_decref (arguments);
    return wrong;
  }
  return tell (argv[optind], "set", arguments, TALK_TIMEOUT_MS);
}
