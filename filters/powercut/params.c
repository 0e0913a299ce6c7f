/* nbdclone: powercut: the filter's parameters.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A message about a wrong one names parameter, value, and what is allowed.
 */

#include <config.h>

#include <errno.h>
#include <inttypes.h>
#include <libgen.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <nbdkit-filter.h>

#include "cleanup.h"
#include "params.h"
#include "parse.h"

#define CACHE_SIZE_MIN (UINT64_C (64) << 10)
#define CACHE_SIZE_MAX (UINT64_C (1) << 40)

const struct params default_params = {
  .keep = KEEP_ANY,
  .cache_size = UINT64_C (64) << 20,
  .kinds = REQUEST_ALL,
  .error = EIO,
  .failed_flush_drops = true,
};

const char params_help[] =
  "powercut-seed=N             Choose by this number. (default random)\n"
  "powercut-keep=WHAT          What survives of what was not flushed:\n"
  "                            nothing, all, subset or any. (default any)\n"
  "powercut-at=N               Cut at the Nth request.\n"
  "powercut-probability=P      Cut at each request with this probability.\n"
  "powercut-kinds=KINDS        Requests that count for these two: read,\n"
  "                            write, zero, trim, flush, extents, cache, fua\n"
  "                            or all, separated by commas. (default all)\n"
  "powercut-signal=SIGNAL      Cut on this signal: USR1 or USR2.\n"
  "powercut-file=PATH          Cut when this file appears.\n"
  "powercut-report=PATH        File to make when the power has been cut.\n"
  "powercut-errno=ERROR        What requests fail with then. (default EIO)\n"
  "powercut-fail-flush=N[+]    Fail the Nth flush [and all later ones].\n"
  "powercut-fail-flush-file=PATH\n"
  "                            Fail flushes while this file exists.\n"
  "powercut-failed-flush=WHAT  drop or keep the data then. (default drop)\n"
  "powercut-error=ERROR[:CONDITION...]\n"
  "powercut-delay=SECONDS[:CONDITION...]\n"
  "                            Fail or delay requests; can be given several\n"
  "                            times.  Conditions: kinds=KINDS,\n"
  "                            range=OFFSET+LENGTH, rate=P, file=PATH.\n"
  "powercut-cache-size=SIZE    Most memory for the cache. (default 64M)";

/* The message about a value that is not allowed. */
static int
refuse (const char *key, const char *value, const char *allowed)
{
  nbdkit_error ("%s=%s: allowed are %s", key, value, allowed);
  return -1;
}

static int
set_keep (const char *key, const char *value, enum keep *result)
{
  if (strcmp (value, "any") == 0)
    *result = KEEP_ANY;
  else if (strcmp (value, "nothing") == 0)
    *result = KEEP_NOTHING;
  else if (strcmp (value, "all") == 0)
    *result = KEEP_ALL;
  else if (strcmp (value, "subset") == 0)
    *result = KEEP_SUBSET;
  else
    return refuse (key, value, "any, nothing, all and subset");
  return 1;
}

static int
set_signal (const char *key, const char *value, int *result)
{
  if (strncmp (value, "SIG", 3) == 0)
    value += 3;
  if (strcmp (value, "USR1") == 0)
    *result = SIGUSR1;
  else if (strcmp (value, "USR2") == 0)
    *result = SIGUSR2;
  else
    return refuse (key, value, "USR1 and USR2");
  return 1;
}

static int
set_path (const char *key, const char *value, char **result)
{
  if (*value == 0)
    return refuse (key, value, "the names of files");
  free (*result);
  *result = nbdkit_absolute_path (value);
  return *result ? 1 : -1;
}

static int
set_fail_flush (const char *key, const char *value, struct params *p)
{
  CLEANUP_FREE char *number = strdup (value);
  const size_t length = strlen (value);

  if (number == NULL) {
    nbdkit_error ("strdup: %m");
    return -1;
  }
  p->fail_flush_for_ever = length > 0 && value[length - 1] == '+';
  if (p->fail_flush_for_ever)
    number[length - 1] = 0;
  if (!parse_number (number, &p->fail_flush) || p->fail_flush == 0)
    return refuse (key, value, "numbers from 1, maybe with a + after them");
  return 1;
}

static int
set_failed_flush (const char *key, const char *value, bool *drops)
{
  if (strcmp (value, "drop") != 0 && strcmp (value, "keep") != 0)
    return refuse (key, value, "drop and keep");
  *drops = strcmp (value, "drop") == 0;
  return 1;
}

static int
set_cache_size (const char *key, const char *value, uint64_t *result)
{
  if (!parse_bytes (value, result) || *result < CACHE_SIZE_MIN ||
      *result > CACHE_SIZE_MAX)
    return refuse (key, value, "sizes from 64K to 1024G");
  return 1;
}

int
params_set (struct params *p, const char *key, const char *value)
{
  if (strncmp (key, "powercut-", 9) != 0)
    return 0;
  if (strcmp (key, "powercut-seed") == 0) {
    p->has_seed = parse_number (value, &p->seed);
    return p->has_seed
             ? 1
             : refuse (key, value, "numbers from 0 to 18446744073709551615");
  }
  if (strcmp (key, "powercut-keep") == 0)
    return set_keep (key, value, &p->keep);
  if (strcmp (key, "powercut-cache-size") == 0)
    return set_cache_size (key, value, &p->cache_size);
  if (strcmp (key, "powercut-at") == 0)
    return parse_number (value, &p->at) && p->at > 0
             ? 1
             : refuse (key, value, "numbers from 1");
  if (strcmp (key, "powercut-probability") == 0)
    return parse_probability (value, &p->probability)
             ? 1
             : refuse (key, value, "numbers from 0 to 1");
  if (strcmp (key, "powercut-kinds") == 0)
    return parse_kinds (value, &p->kinds)
             ? 1
             : refuse (key, value, PARSE_KINDS_ALLOWED);
  if (strcmp (key, "powercut-signal") == 0)
    return set_signal (key, value, &p->signal);
  if (strcmp (key, "powercut-file") == 0)
    return set_path (key, value, &p->file);
  if (strcmp (key, "powercut-report") == 0)
    return set_path (key, value, &p->report);
  if (strcmp (key, "powercut-errno") == 0)
    return parse_errno (value, &p->error)
             ? 1
             : refuse (key, value, PARSE_ERRNO_ALLOWED);
  if (strcmp (key, "powercut-fail-flush") == 0)
    return set_fail_flush (key, value, p);
  if (strcmp (key, "powercut-fail-flush-file") == 0)
    return set_path (key, value, &p->fail_flush_file);
  if (strcmp (key, "powercut-failed-flush") == 0)
    return set_failed_flush (key, value, &p->failed_flush_drops);
  if (strcmp (key, "powercut-error") == 0)
    return rules_add (&p->rules, key, value, false) == -1 ? -1 : 1;
  if (strcmp (key, "powercut-delay") == 0)
    return rules_add (&p->rules, key, value, true) == -1 ? -1 : 1;
  nbdkit_error ("%s: there is no such parameter; see "
                "nbdkit-powercut-filter(1)",
                key);
  return -1;
}

/* A file that nbdkit or its user will make later: it must not exist, since that
 * would mean that the power has been cut, but its directory must.
 */
static int
check_file (const char *key, const char *path)
{
  CLEANUP_FREE char *copy = NULL;
  struct stat st;

  if (path == NULL)
    return 0;
  copy = strdup (path);
  if (copy == NULL) {
    nbdkit_error ("strdup: %m");
    return -1;
  }
  if (stat (dirname (copy), &st) == -1 || !S_ISDIR (st.st_mode)) {
    nbdkit_error ("%s=%s: allowed are files in a directory that exists", key,
                  path);
    return -1;
  }
  if (access (path, F_OK) == 0) {
    nbdkit_error ("%s=%s: the file is there already, maybe from an earlier "
                  "run; allowed are files that do not exist",
                  key, path);
    return -1;
  }
  return 0;
}

int
params_check (struct params *p)
{
  uint32_t seed;

  if (check_file ("powercut-file", p->file) == -1 ||
      check_file ("powercut-report", p->report) == -1)
    return -1;
  if (p->file && p->report && strcmp (p->file, p->report) == 0) {
    nbdkit_error ("powercut-report=%s: allowed is another file than "
                  "powercut-file",
                  p->report);
    return -1;
  }
  if (!p->has_seed) {
    if (getrandom (&seed, sizeof seed, 0) != sizeof seed) {
      nbdkit_error ("getrandom: %m");
      return -1;
    }
    p->seed = seed;
  }
  return 0;
}

void
params_free (struct params *p)
{
  free (p->file);
  free (p->report);
  free (p->fail_flush_file);
  rules_free (&p->rules);
}
