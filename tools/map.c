/* nbdclone map: the disk as a picture.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Of a server that runs it is drawn from the extents of its map export, of a
 * bitmap file from its bits.
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <langinfo.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <libnbd.h>

#include "cleanup.h"
#include "human.h"
#include "instance.h"
#include "message.h"
#include "nbd-handle.h"
#include "picture.h"
#include "reading.h"
#include "verbs.h"

static const char help[] =
  "Usage: nbdclone map [OPTION...] INSTANCE|URI|BITMAP\n"
  "Show which parts of the disk are hydrated, as a picture: of a server that\n"
  "runs, or of a bitmap file that no server uses.\n"
  "\n"
  "  --width N          columns of the picture (that of the terminal)\n"
  "  --rows N           at most so many rows (16)\n"
  "  --watch[=SECONDS]  again every second, until all is hydrated\n"
  "  --svg FILE         into a file (- is stdout), as SVG\n"
  "  --ascii            without UTF-8 and colours\n"
  "  --export NAME      of the map (hydration), see clone-map-export in\n"
  "                     nbdkit-clone-filter(1)\n";

#define WIDTH_MIN 48 /* what the longest line below needs */
#define WIDTH_MAX 1000
#define ROWS 16
#define SVG_COLUMNS 128
#define SVG_ROWS 64
#define ANSWER_MAX (UINT64_C (0xffff0000)) /* NBD's lengths have 32 bits */
#define PATIENCE_MS 30000                  /* for each answer of a server */

struct map {
  const char *what;
  const char *export_name;
  unsigned width, rows;
  bool watch;
  double interval;
  const char *svg;
  struct style style;

  char *uri;              /* of a server, or */
  bool is_file;           /* a bitmap file */
  struct nbd_handle *nbd; /* to the server */
};

static bool
parse_number (const char *s, unsigned min, unsigned max, unsigned *n)
{
  char *end;
  const unsigned long value = strtoul (s, &end, 10);

  if (*s < '0' || *s > '9' || *end || value < min || value > max)
    return false;
  *n = (unsigned) value;
  return true;
}

/* Columns of the terminal, or 80. */
static unsigned
terminal_width (void)
{
  const char *columns = getenv ("COLUMNS");
  struct winsize size;
  unsigned n;

  if (ioctl (STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0)
    n = size.ws_col;
  else if (columns == NULL || !parse_number (columns, 1, WIDTH_MAX, &n))
    n = 80;
  return n < WIDTH_MIN ? WIDTH_MIN : n > WIDTH_MAX ? WIDTH_MAX : n;
}

static struct style
terminal_style (void)
{
  const char *term = getenv ("TERM");
  const bool dumb = term == NULL || *term == 0 || strcmp (term, "dumb") == 0;
  const char *no_colour = getenv ("NO_COLOR");

  return (struct style){
    .utf8 = !dumb && strcmp (nl_langinfo (CODESET), "UTF-8") == 0,
    .colour = !dumb && isatty (STDOUT_FILENO) && !(no_colour && *no_colour),
  };
}

/* Does a file begin as a bitmap file does? */
static bool
is_bitmap_file (const char *path)
{
  const int fd = open (path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
  char magic[2][8];
  bool r;

  if (fd == -1)
    return false;
  r = (pread (fd, magic[0], 8, 0) == 8 &&
       memcmp (magic[0], "nbdclone", 8) == 0) ||
      (pread (fd, magic[1], 8, 8192) == 8 &&
       memcmp (magic[1], "nbdclone", 8) == 0);
  close (fd);
  return r;
}

/* What is to be shown?  0, or an exit status. */
static int
find (struct map *m)
{
  struct instance instance;
  int r;

  if (strstr (m->what, "://")) {
    m->uri = format ("%s", m->what);
    return 0;
  }
  m->is_file = is_bitmap_file (m->what);
  if (m->is_file)
    return 0;
  r = instance_find (m->what, &instance);
  if (r)
    return r;
  m->uri = format ("%s", instance_text (&instance, "uri"));
  instance_clear (&instance);
  if (*m->uri)
    return 0;
  complain ("%s: it is not known where its disk is served; give the NBD URI "
            "instead",
            m->what);
  return EXIT_NO_SERVER;
}

static int
lost (const struct map *m, const char *why)
{
  complain ("%s: %s", m->what, why);
  return EXIT_NO_SERVER;
}

/* Wait for an answer, but not for ever.  0, or an exit status. */
static int
wait_for (struct map *m, bool (*has_come) (struct nbd_handle *, int64_t),
          int64_t cookie)
{
  while (!has_come (m->nbd, cookie)) {
    const int r = nbd_poll (m->nbd, PATIENCE_MS);

    if (r == -1 || nbd_aio_is_dead (m->nbd) || nbd_aio_is_closed (m->nbd))
      return lost (m, r == -1 ? nbd_handle_error () : "connection closed");
    if (r == 0) {
      complain ("%s: the server does not answer", m->what);
      return EXIT_TIMED_OUT;
    }
  }
  return 0;
}

static bool
is_negotiating (struct nbd_handle *nbd, int64_t cookie)
{
  (void) cookie;
  return nbd_aio_is_negotiating (nbd);
}

/* Has it gone to the export, or refused to? */
static bool
has_gone (struct nbd_handle *nbd, int64_t cookie)
{
  (void) cookie;
  return nbd_aio_is_ready (nbd) || nbd_aio_is_negotiating (nbd);
}

static bool
has_completed (struct nbd_handle *nbd, int64_t cookie)
{
  return nbd_aio_command_completed (nbd, (uint64_t) cookie) != 0;
}

/* The URI is that of the disk, but the map is wanted. */
static int
connect_to_map (struct map *m)
{
  int r;

  m->nbd = need (nbd_create ());
  if (nbd_set_uri_allow_local_file (m->nbd, true) == -1 ||
      nbd_add_meta_context (m->nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) == -1 ||
      nbd_set_opt_mode (m->nbd, true) == -1 ||
      nbd_aio_connect_uri (m->nbd, m->uri) == -1)
    return lost (m, nbd_handle_error ());
  r = wait_for (m, is_negotiating, 0);
  if (r)
    return r;
  if (nbd_set_export_name (m->nbd, m->export_name) == -1 ||
      nbd_aio_opt_go (m->nbd, NBD_NULL_COMPLETION) == -1)
    return lost (m, nbd_handle_error ());
  r = wait_for (m, has_gone, 0);
  if (r)
    return r;
  if (!nbd_aio_is_ready (m->nbd)) {
    complain ("%s: there is no export \"%s\"; the name of the map can be given "
              "with --export",
              m->what, m->export_name);
    return EXIT_FAILURE;
  }
  if (nbd_can_meta_context (m->nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) != 1)
    return lost (m, "it does not tell extents: is it nbdkit-clone-filter?");
  return 0;
}

/* libnbd: some extents. */
struct answer {
  struct picture *picture;
  uint64_t offset; /* what has been told so far */
};

static int
extents_arrived (void *opaque, const char *context, uint64_t offset,
                 uint32_t *entries, size_t n, int *error)
{
  struct answer *a = opaque;
  size_t i;

  (void) error;
  if (strcmp (context, LIBNBD_CONTEXT_BASE_ALLOCATION) != 0 ||
      offset != a->offset)
    return 0;
  for (i = 0; i + 1 < n && a->offset < a->picture->size; i += 2) {
    const uint64_t left = a->picture->size - a->offset;
    const uint64_t length = entries[i] < left ? entries[i] : left;

    if (!(entries[i + 1] & LIBNBD_STATE_HOLE))
      picture_add (a->picture, a->offset, length);
    a->offset += length;
  }
  return 0;
}

static int
read_server (struct map *m, struct picture *p, unsigned columns, unsigned rows)
{
  struct answer a = { .picture = p };
  int64_t size;

  if (m->nbd == NULL) {
    const int r = connect_to_map (m);
    if (r)
      return r;
  }
  size = nbd_get_size (m->nbd);
  if (size <= 0)
    return lost (m, size == 0 ? "the disk is empty" : nbd_handle_error ());
  picture_init (p, (uint64_t) size, 4096, columns, rows);
  while (a.offset < p->size) {
    const uint64_t from = a.offset, left = p->size - from;
    const int64_t cookie = nbd_aio_block_status (
      m->nbd, left < ANSWER_MAX ? left : ANSWER_MAX, from,
      (nbd_extent_callback){ .callback = extents_arrived, .user_data = &a },
      NBD_NULL_COMPLETION, 0);
    int r;

    if (cookie == -1)
      return lost (m, nbd_handle_error ());
    r = wait_for (m, has_completed, cookie);
    if (r)
      return r;
    if (nbd_aio_command_completed (m->nbd, (uint64_t) cookie) == -1)
      return lost (m, nbd_handle_error ());
    if (a.offset == from)
      return lost (m, "its extents make no sense");
  }
  return 0;
}

static void
add_run (void *opaque, uint64_t offset, uint64_t length, bool hydrated)
{
  if (hydrated)
    picture_add (opaque, offset, length);
}

static int
read_file (const char *path, struct picture *p, unsigned columns, unsigned rows)
{
  struct reading r;

  if (reading_open (&r, path) != READING_SOUND)
    return EXIT_FAILURE;
  picture_init (p, r.identity->disk_size, r.identity->region_size, columns,
                rows);
  reading_runs (&r, add_run, p);
  reading_close (&r);
  return 0;
}

static int
write_svg (const struct map *m, const struct picture *p)
{
  FILE *out;
  bool ok;

  if (strcmp (m->svg, "-") == 0) {
    picture_draw_svg (p, m->what, stdout);
    return 0;
  }
  out = fopen (m->svg, "we");
  ok = out != NULL;
  if (out) {
    picture_draw_svg (p, m->what, out);
    ok = !ferror (out);
    ok = fclose (out) == 0 && ok;
  }
  if (!ok)
    complain ("%s: %s", m->svg, strerror (errno));
  return ok ? 0 : EXIT_FAILURE;
}

/* Look once, and show it.  *all is whether all is hydrated. */
static int
show (struct map *m, bool *all)
{
  const unsigned columns = m->svg ? SVG_COLUMNS : m->width - PICTURE_MARGIN;
  const unsigned rows = m->svg ? SVG_ROWS : m->rows;
  struct picture p = { .hydrated = NULL };
  int r = m->is_file ? read_file (m->what, &p, columns, rows)
                     : read_server (m, &p, columns, rows);

  if (r == 0) {
    *all = picture_hydrated (&p) == p.size;
    if (m->svg)
      r = write_svg (m, &p);
    else
      picture_draw (&p, m->what, &m->style, stdout);
  }
  picture_clear (&p);
  return r;
}

static int
show_until_complete (struct map *m)
{
  const bool redraw = m->style.colour;
  bool all;
  int r;

  while ((r = show (m, &all)) == 0 && m->watch && !all) {
    fflush (stdout);
    usleep ((useconds_t) (m->interval * 1e6));
    m->style.again = redraw;
  }
  return r;
}

/* 0, or an exit status; -1 after help. */
static int
parse (struct map *m, int argc, char **argv)
{
  static const struct option options[] = {
    { "help", no_argument, NULL, 'h' },
    { "width", required_argument, NULL, 'w' },
    { "rows", required_argument, NULL, 'r' },
    { "watch", optional_argument, NULL, 'W' },
    { "svg", required_argument, NULL, 's' },
    { "ascii", no_argument, NULL, 'a' },
    { "export", required_argument, NULL, 'e' },
    { NULL, 0, NULL, 0 },
  };
  int c;

  while ((c = getopt_long (argc, argv, "h", options, NULL)) != -1)
    switch (c) {
    case 'h':
      fputs (help, stdout);
      return -1;
    case 'w':
      if (!parse_number (optarg, WIDTH_MIN, WIDTH_MAX, &m->width))
        return wrong_usage (argv[0], "--width %s: allowed are %d to %d", optarg,
                            WIDTH_MIN, WIDTH_MAX);
      break;
    case 'r':
      if (!parse_number (optarg, 1, WIDTH_MAX, &m->rows))
        return wrong_usage (argv[0], "--rows %s: allowed are 1 to %d", optarg,
                            WIDTH_MAX);
      break;
    case 'W':
      m->watch = true;
      if (optarg && (!human_parse_seconds (optarg, &m->interval) ||
                     m->interval < 0.1 || m->interval > 3600))
        return wrong_usage (
          argv[0], "--watch=%s: allowed are 0.1 to 3600 seconds", optarg);
      break;
    case 's':
      m->svg = optarg;
      break;
    case 'a':
      m->style = (struct style){ .utf8 = false };
      break;
    case 'e':
      m->export_name = optarg;
      break;
    default:
      return see_help (argv[0]);
    }
  if (optind + 1 != argc)
    return wrong_usage (argv[0],
                        "one instance, NBD URI or bitmap file is wanted");
  m->what = argv[optind];
  return 0;
}

int
verb_map (int argc, char **argv)
{
  struct map m = {
    .export_name = "hydration",
    .width = terminal_width (),
    .rows = ROWS,
    .interval = 1,
  };
  int r;

  setlocale (LC_CTYPE, "");
  m.style = terminal_style ();
  r = parse (&m, argc, argv);
  if (r)
    return r == -1 ? 0 : r;
  r = find (&m);
  if (r == 0)
    r = show_until_complete (&m);
  if (m.nbd)
    nbd_close (m.nbd);
  free (m.uri);
  return r;
}
