/* nbdclone check, nbdclone dump: what is in a bitmap file.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <jansson.h>

#include "arguments.h"
#include "cleanup.h"
#include "human.h"
#include "message.h"
#include "printable.h"
#include "reading.h"
#include "verbs.h"

/* fsck(8)'s statuses. */
enum { CHECK_DAMAGED = 4, CHECK_FAILED = 8, CHECK_USAGE = 16 };

static const char check_help[] =
  "Usage: nbdclone check BITMAP\n"
  "Is a bitmap file sound?  Reads it as the filter does, and writes nothing.\n"
  "\n"
  "The exit status is fsck's: 0 if it is sound, 4 if it is damaged, 8 if that\n"
  "cannot be said, 16 after a mistake in the arguments.\n";

static const char *
state_of (const struct bitmap_file *file)
{
  return bitmap_file_is_clean (file)
           ? "closed in order"
           : "not closed in order; the next start recovers it";
}

static int
check (const char *path)
{
  char percent[HUMAN_MAX];
  struct reading r;

  switch (reading_open (&r, path)) {
  case READING_DAMAGED:
    return CHECK_DAMAGED;
  case READING_FAILED:
    return CHECK_FAILED;
  case READING_SOUND:
    break;
  }
  printf ("%s: sound, %s; %" PRIu64 " of %" PRIu64 " regions hydrated (%s)\n",
          path, state_of (r.file), bitmap_count (r.bitmap),
          bitmap_regions (r.bitmap),
          human_percent (percent, bitmap_count (r.bitmap),
                         bitmap_regions (r.bitmap)));
  reading_close (&r);
  return end_output () ? CHECK_FAILED : 0;
}

int
verb_check (int argc, char **argv)
{
  static const struct arguments accepted = {
    .help = check_help,
    .wanted = "one bitmap file is wanted",
    .min = 1,
    .max = 1,
  };
  const int r = arguments_read (&accepted, argc, argv);

  if (r != -1)
    return r ? CHECK_USAGE : 0;
  return check (argv[optind]);
}

static const char dump_help[] =
  "Usage: nbdclone dump [--json] BITMAP\n"
  "Show what a bitmap file says: which clone it belongs to, how far it is, and\n"
  "which ranges of the disk (offset and length in bytes) are hydrated.\n"
  "\n"
  "  --json  an object, for programs\n";

/* As uuidgen(1) writes it. */
static void
format_uuid (char text[37], const uint8_t uuid[16])
{
  unsigned i;
  char *p = text;

  for (i = 0; i < 16; ++i)
    p += sprintf (p, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "",
                  uuid[i]);
}

static void
print_range (void *opaque, uint64_t offset, uint64_t length, bool hydrated)
{
  (void) opaque;
  printf ("%20" PRIu64 " %20" PRIu64 "  %s\n", offset, length,
          hydrated ? "hydrated" : "-");
}

static void
print_bytes (const char *what, uint64_t bytes)
{
  char size[HUMAN_MAX];

  printf ("%-14s %" PRIu64 " (%s)\n", what, bytes, human_size (size, bytes));
}

static void
dump_text (const struct reading *r)
{
  const struct bitmap_file_identity *id = r->identity;
  struct bitmap_file_facts facts;
  CLEANUP_FREE char *name = make_printable (format ("%s", id->source_name));
  char uuid[37];

  bitmap_file_look (r->file, &facts);
  format_uuid (uuid, facts.uuid);
  printf ("%-14s %u\n", "version", facts.version);
  printf ("%-14s %s\n", "uuid", uuid);
  printf ("%-14s %s\n", "state", state_of (r->file));
  printf ("%-14s %" PRIu64 "\n", "generation", facts.generation);
  printf ("%-14s %zu\n", "torn blocks", facts.torn);
  printf ("%-14s %s\n", "announced",
          bitmap_file_is_announced (r->file) ? "yes" : "no");
  printf ("%-14s \"%s\"\n", "source export", name);
  print_bytes ("source size", id->source_size);
  print_bytes ("disk size", id->disk_size);
  print_bytes ("region size", id->region_size);
  printf ("%-14s %" PRIu64 "\n", "regions", bitmap_regions (r->bitmap));
  printf ("%-14s %" PRIu64 "\n", "hydrated", bitmap_count (r->bitmap));
  print_bytes ("of the disk", reading_hydrated (r));
  printf ("\n%20s %20s\n", "offset", "length");
  reading_runs (r, print_range, NULL);
}

static void
print_json_range (void *opaque, uint64_t offset, uint64_t length, bool hydrated)
{
  bool *first = opaque;

  printf ("%s\n  {\"offset\": %" PRIu64 ", \"length\": %" PRIu64
          ", \"hydrated\": %s}",
          *first ? "" : ",", offset, length, hydrated ? "true" : "false");
  *first = false;
}

/* There may be very many ranges, which are not collected. */
static void
dump_json (const struct reading *r)
{
  const struct bitmap_file_identity *id = r->identity;
  json_t *name = json_string (id->source_name);
  struct bitmap_file_facts facts;
  CLEANUP_FREE char *text = NULL;
  json_t *header;
  bool first = true;
  char uuid[37];

  bitmap_file_look (r->file, &facts);
  format_uuid (uuid, facts.uuid);
  header = need (json_pack (
    "{s:i, s:s, s:b, s:I, s:I, s:b, s:o, s:I, s:I, s:I, s:I, s:I, s:I}",
    "version", (int) facts.version, "uuid", uuid, "clean",
    bitmap_file_is_clean (r->file), "generation", (json_int_t) facts.generation,
    "torn-blocks", (json_int_t) facts.torn, "announced",
    bitmap_file_is_announced (r->file), "source-export",
    name ? name : json_null (), /* it need not be UTF-8 */
    "source-size", (json_int_t) id->source_size, "size",
    (json_int_t) id->disk_size, "region-size", (json_int_t) id->region_size,
    "regions", (json_int_t) bitmap_regions (r->bitmap), "hydrated",
    (json_int_t) bitmap_count (r->bitmap), "hydrated-bytes",
    (json_int_t) reading_hydrated (r)));
  text = need (json_dumps (header, JSON_EMBED));
  json_decref (header);
  printf ("{%s, \"ranges\": [", text);
  reading_runs (r, print_json_range, &first);
  printf ("\n]}\n");
}

int
verb_dump (int argc, char **argv)
{
  bool json = false;
  const struct arguments accepted = {
    .help = dump_help,
    .wanted = "one bitmap file is wanted",
    .min = 1,
    .max = 1,
    .json = &json,
  };
  const int status = arguments_read (&accepted, argc, argv);
  struct reading r;

  if (status != -1)
    return status;
  if (reading_open (&r, argv[optind]) != READING_SOUND)
    return EXIT_FAILURE;
  if (json)
    dump_json (&r);
  else
    dump_text (&r);
  reading_close (&r);
  return 0;
}
