/* nbdclone: powercut: errors and delays on request.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A rule is an error or a delay, followed by conditions, all of which have to
 * be met:
 *
 *     ENOSPC:kinds=write,zero:range=1M+64K:rate=0.1:file=/run/full
 *
 * The file comes last, and may have colons in its name.
 */

#include <config.h>

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <nbdkit-filter.h>

#include "cleanup.h"
#include "parse.h"
#include "random.h"
#include "rules.h"

static bool
parse_range (char *text, struct rule *r)
{
  char *plus = strchr (text, '+');

  if (plus == NULL)
    return false;
  *plus = 0;
  r->has_range = true;
  return parse_bytes (text, &r->offset) && parse_bytes (plus + 1, &r->count) &&
         r->count > 0 && r->offset + r->count <= INT64_MAX;
}

/* The allowed forms of a condition that is wrong, or NULL if it is right; "" if
 * a message has been printed.
 */
static const char *
parse_condition (char *text, struct rule *r)
{
  if (strncmp (text, "kinds=", 6) == 0)
    return parse_kinds (text + 6, &r->kinds) ? NULL
                                             : "kinds=" PARSE_KINDS_ALLOWED;
  if (strncmp (text, "range=", 6) == 0)
    return parse_range (text + 6, r)
             ? NULL
             : "range=OFFSET+LENGTH in bytes, maybe with K, M, G or T";
  if (strncmp (text, "rate=", 5) == 0)
    return parse_probability (text + 5, &r->rate) ? NULL : "rate=0 to rate=1";
  if (strncmp (text, "file=", 5) == 0 && text[5]) {
    free (r->file);
    r->file = nbdkit_absolute_path (text + 5);
    return r->file ? NULL : "";
  }
  return "kinds=KINDS, range=OFFSET+LENGTH, rate=PROBABILITY and file=PATH";
}

static int
parse_rule (const char *key, const char *value, bool is_delay, struct rule *r)
{
  CLEANUP_FREE char *copy = strdup (value);
  char *next, *text = copy;
  const char *allowed;

  if (copy == NULL) {
    nbdkit_error ("strdup: %m");
    return -1;
  }
  next = strchr (text, ':');
  if (next)
    *next++ = 0;
  if (is_delay ? !parse_seconds (text, &r->delay_us)
               : !parse_errno (text, &r->error)) {
    nbdkit_error ("%s=%s: '%s': allowed are %s, and conditions after a colon",
                  key, value, text,
                  is_delay ? "0 to 86400 seconds" : PARSE_ERRNO_ALLOWED);
    return -1;
  }
  while (next) {
    text = next;
    next = strncmp (text, "file=", 5) == 0 ? NULL : strchr (text, ':');
    if (next)
      *next++ = 0;
    allowed = parse_condition (text, r);
    if (allowed && *allowed)
      nbdkit_error ("%s=%s: allowed as a condition are %s", key, value,
                    allowed);
    if (allowed)
      return -1;
  }
  return 0;
}

int
rules_add (struct rules *rs, const char *key, const char *value, bool is_delay)
{
  struct rule r = { .kinds = REQUEST_ALL, .rate = 1 };
  struct rule *rules;

  if (parse_rule (key, value, is_delay, &r) == -1) {
    free (r.file);
    return -1;
  }
  rules = realloc (rs->rules, (rs->count + 1) * sizeof *rules);
  if (rules == NULL) {
    nbdkit_error ("realloc: %m");
    free (r.file);
    return -1;
  }
  rules[rs->count++] = r;
  rs->rules = rules;
  return 0;
}

void
rules_free (struct rules *rs)
{
  size_t i;

  for (i = 0; i < rs->count; ++i)
    free (rs->rules[i].file);
  free (rs->rules);
  *rs = (struct rules){ 0 };
}

static bool
in_range (const struct rule *r, const struct request *request)
{
  return !r->has_range ||
         (request->count > 0 && request->offset < r->offset + r->count &&
          r->offset < request->offset + request->count);
}

void
rules_apply (const struct rules *rs, uint64_t seed,
             const struct request *request, uint64_t *delay_us, int *error)
{
  size_t i;

  *delay_us = 0;
  *error = 0;
  for (i = 0; i < rs->count; ++i) {
    const struct rule *r = &rs->rules[i];

    if ((r->kinds & request->kinds) == 0 || !in_range (r, request) ||
        !random_chance (
          random_number (seed, RANDOM_RULE + (unsigned) i, request->number, 0),
          r->rate) ||
        (r->file && access (r->file, F_OK) == -1))
      continue;
    *delay_us += r->delay_us;
    if (*error == 0)
      *error = r->error;
  }
}
