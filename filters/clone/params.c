/* nbdclone: the filter's parameters.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A message about a wrong one names parameter, value, and what is allowed.
 */

#include <config.h>

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <nbdkit-filter.h>

#include "hydrate.h"
#include "params.h"
#include "region.h"

#define CONNECTIONS_MAX 64

const struct params default_params = {
  .bitmap_mode = BITMAP_AUTO,
  .hydration = true,
  .on_read = true,
  .batch = 1 << 20,
  .threshold = 64,
  .connections = 4,
  .commit_interval_us = 1000000,
  .source_timeout_us = 60000000,
  .discard_passdown = true,
};

const char params_help[] =
  "clone-source=URI            (required) NBD server to clone from.\n"
  "clone-bitmap=PATH           (required) Bitmap file; made if missing.\n"
  "clone-bitmap-mode=MODE      auto, create or resume. (default auto)\n"
  "clone-region-size=SIZE      Unit of cloning, 4K..1G. (default 4K)\n"
  "clone-hydration=BOOL        Copy in the background. (default true)\n"
  "clone-on-read=BOOL          Keep what reads fetch. (default true)\n"
  "clone-batch=SIZE            Most bytes in one copy, 4K..32M. (default 1M)\n"
  "clone-threshold=N           Most copies in flight, 1..256. (default 64)\n"
  "clone-rate=BYTES            Background limit a second. (default 0, none)\n"
  "clone-connections=N         To the source, 1..64. (default 4)\n"
  "clone-commit-interval=SECS  Longest wait for a commit. (default 1)\n"
  "clone-source-timeout=SECS   Longest wait for the source. (default 60)\n"
  "clone-source-force=BOOL     Resume from another export. (default false)\n"
  "clone-discard-passdown=BOOL Trim the destination, too. (default true)\n"
  "clone-map-export=NAME       Export that shows progress.\n"
  "                            (default hydration)\n"
  "clone-control=PATH          Control socket. (default none)\n"
  "clone-on-complete=COMMAND   Run when all is copied. (default none)";

static int
parse_bool (const char *key, const char *value, bool *result)
{
  const int r = nbdkit_parse_bool (value);

  if (r == -1) {
    nbdkit_error ("%s=%s: allowed are true and false", key, value);
    return -1;
  }
  *result = r;
  return 1;
}

/* A size in bytes, with nbdkit's suffixes. */
static int
parse_size (const char *key, const char *value, uint64_t min, uint64_t max,
            uint64_t *result)
{
  const int64_t r = nbdkit_parse_size (value);

  if (r == -1 || (uint64_t) r < min || (uint64_t) r > max) {
    nbdkit_error ("%s=%s: allowed are sizes from %" PRIu64 " to %" PRIu64
                  " bytes",
                  key, value, min, max);
    return -1;
  }
  *result = (uint64_t) r;
  return 1;
}

static int
parse_number (const char *key, const char *value, unsigned max,
              unsigned *result)
{
  if (nbdkit_parse_unsigned (key, value, result) == -1 || *result < 1 ||
      *result > max) {
    nbdkit_error ("%s=%s: allowed are numbers from 1 to %u", key, value, max);
    return -1;
  }
  return 1;
}

/* Seconds, with a fraction if need be. */
static int
parse_seconds (const char *key, const char *value, double min, double max,
               uint64_t *us)
{
  char *end;
  const double seconds = strtod (value, &end);

  if (end == value || *end != 0 || !isfinite (seconds) || seconds < min ||
      seconds > max) {
    nbdkit_error ("%s=%s: allowed are %g to %g seconds", key, value, min, max);
    return -1;
  }
  *us = (uint64_t) (seconds * 1e6);
  return 1;
}

static int
parse_region_size (const char *key, const char *value, uint64_t *result)
{
  const int64_t r = nbdkit_parse_size (value);

  if (r < (int64_t) REGION_SIZE_MIN || r > (int64_t) REGION_SIZE_MAX ||
      (r & (r - 1)) != 0) {
    nbdkit_error ("%s=%s: allowed are powers of two from 4096 to 1073741824 "
                  "bytes",
                  key, value);
    return -1;
  }
  *result = (uint64_t) r;
  return 1;
}

static int
parse_bitmap_mode (const char *key, const char *value, enum bitmap_mode *result)
{
  if (strcmp (value, "auto") == 0)
    *result = BITMAP_AUTO;
  else if (strcmp (value, "create") == 0)
    *result = BITMAP_CREATE;
  else if (strcmp (value, "resume") == 0)
    *result = BITMAP_RESUME;
  else {
    nbdkit_error ("%s=%s: allowed are auto, create and resume", key, value);
    return -1;
  }
  return 1;
}

static int
parse_path (const char *key, const char *value, char **result)
{
  if (*value == 0) {
    nbdkit_error ("%s: the name of a file is wanted", key);
    return -1;
  }
  free (*result);
  *result = nbdkit_absolute_path (value);
  return *result ? 1 : -1;
}

static int
set_text (const char *value, char **result)
{
  free (*result);
  *result = strdup (value);
  if (*result == NULL) {
    nbdkit_error ("strdup: %m");
    return -1;
  }
  return 1;
}

static int
parse_command (const char *key, const char *value, char **result)
{
  if (*value == 0) {
    nbdkit_error ("%s: a command for the shell is wanted", key);
    return -1;
  }
  return set_text (value, result);
}

static int
parse_map_export (const char *key, const char *value, char **result)
{
  if (*value == 0 || strlen (value) > 4096) {
    nbdkit_error ("%s=%s: allowed are names of 1 to 4096 bytes", key, value);
    return -1;
  }
  return set_text (value, result);
}

int
params_set (struct params *p, const char *key, const char *value)
{
  uint64_t size;
  int r;

  if (strcmp (key, "clone-source") == 0) {
    uri_free (&p->source);
    return uri_parse (key, value, &p->source) == -1 ? -1 : 1;
  }
  if (strcmp (key, "clone-bitmap") == 0)
    return parse_path (key, value, &p->bitmap);
  if (strcmp (key, "clone-bitmap-mode") == 0)
    return parse_bitmap_mode (key, value, &p->bitmap_mode);
  if (strcmp (key, "clone-region-size") == 0)
    return parse_region_size (key, value, &p->region_size);
  if (strcmp (key, "clone-hydration") == 0)
    return parse_bool (key, value, &p->hydration);
  if (strcmp (key, "clone-on-read") == 0)
    return parse_bool (key, value, &p->on_read);
  if (strcmp (key, "clone-batch") == 0) {
    r = parse_size (key, value, BATCH_MIN, BATCH_MAX, &size);
    p->batch = r == 1 ? (uint32_t) (size & ~(BATCH_MIN - 1)) : p->batch;
    return r;
  }
  if (strcmp (key, "clone-threshold") == 0)
    return parse_number (key, value, HYDRATE_THRESHOLD_MAX, &p->threshold);
  if (strcmp (key, "clone-rate") == 0)
    return parse_size (key, value, 0, INT64_MAX, &p->rate);
  if (strcmp (key, "clone-connections") == 0)
    return parse_number (key, value, CONNECTIONS_MAX, &p->connections);
  if (strcmp (key, "clone-commit-interval") == 0)
    return parse_seconds (key, value, COMMIT_INTERVAL_MIN, COMMIT_INTERVAL_MAX,
                          &p->commit_interval_us);
  if (strcmp (key, "clone-source-timeout") == 0)
    return parse_seconds (key, value, 0.1, 86400, &p->source_timeout_us);
  if (strcmp (key, "clone-source-force") == 0)
    return parse_bool (key, value, &p->source_force);
  if (strcmp (key, "clone-discard-passdown") == 0)
    return parse_bool (key, value, &p->discard_passdown);
  if (strcmp (key, "clone-control") == 0)
    return parse_path (key, value, &p->control);
  if (strcmp (key, "clone-on-complete") == 0)
    return parse_command (key, value, &p->on_complete);
  if (strcmp (key, "clone-map-export") == 0)
    return parse_map_export (key, value, &p->map_export);
  if (strncmp (key, "clone-", 6) == 0) {
    nbdkit_error ("%s: there is no such parameter; see "
                  "nbdkit-clone-filter(1)",
                  key);
    return -1;
  }
  return 0;
}

int
params_check (struct params *p)
{
  if (p->source.uri == NULL) {
    nbdkit_error ("clone-source=URI is required: the NBD server to clone "
                  "from");
    return -1;
  }
  if (p->bitmap == NULL) {
    nbdkit_error ("clone-bitmap=PATH is required: the file that records what "
                  "has been cloned");
    return -1;
  }
  if (p->map_export == NULL)
    return parse_map_export ("clone-map-export", "hydration", &p->map_export) ==
               1
             ? 0
             : -1;
  return 0;
}

void
params_free (struct params *p)
{
  uri_free (&p->source);
  free (p->bitmap);
  free (p->map_export);
  free (p->control);
  free (p->on_complete);
}
