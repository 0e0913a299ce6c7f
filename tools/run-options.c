/* nbdclone run: what is given.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "human.h"
#include "instance.h"
#include "message.h"
#include "notify.h"
#include "run.h"
#include "verbs.h"

#define NBD_PORT "10809"

static const char help[] =
  "Usage: nbdclone run [OPTION...] SOURCE-URI DESTINATION [-- NBDKIT-OPTION...]\n"
  "Clone SOURCE-URI onto the file or device DESTINATION, and serve the disk\n"
  "from the first second.  Run again, it goes on where it was.\n"
  "\n"
  "  --size SIZE           make the file larger than the source is\n"
  "  --prealloc            reserve space for all of the file\n"
  "  --resume              only go on with a clone: fail if its destination or\n"
  "                        its bitmap file is not there\n"
  "  --overwrite           clone onto something that has contents\n"
  "  --bitmap PATH         the bitmap file; else DESTINATION.nbdclone\n"
  "  --moved               destination and bitmap file are copies, or have\n"
  "                        been moved, together\n"
  "  --name NAME           what other verbs know it by; else the name of the\n"
  "                        file\n"
  "  --socket PATH         serve the disk on this Unix socket; else on one in\n"
  "                        $XDG_RUNTIME_DIR/nbdclone or /run/nbdclone\n"
  "  --listen HOST:PORT    serve it on TCP instead; :PORT for all addresses\n"
  "  --daemon              go to the background when the disk can be used\n"
  "  --log PATH            of a daemon; else NAME.log beside the sockets\n"
  "  --exit-when-complete  end when the clone is complete\n"
  "\n"
  "What follows \"--\" is for nbdkit, the filter (nbdkit-clone-filter(1)) and\n"
  "the plugin (nbdkit-uring-plugin(1)), for example: -- clone-rate=10M\n";

enum {
  OPTION_SIZE = 256,
  OPTION_PREALLOC,
  OPTION_RESUME,
  OPTION_OVERWRITE,
  OPTION_BITMAP,
  OPTION_MOVED,
  OPTION_NAME,
  OPTION_SOCKET,
  OPTION_LISTEN,
  OPTION_DAEMON,
  OPTION_LOG,
  OPTION_EXIT,
};

static const struct option options[] = {
  { "help", no_argument, NULL, 'h' },
  { "size", required_argument, NULL, OPTION_SIZE },
  { "prealloc", no_argument, NULL, OPTION_PREALLOC },
  { "resume", no_argument, NULL, OPTION_RESUME },
  { "overwrite", no_argument, NULL, OPTION_OVERWRITE },
  { "bitmap", required_argument, NULL, OPTION_BITMAP },
  { "moved", no_argument, NULL, OPTION_MOVED },
  { "name", required_argument, NULL, OPTION_NAME },
  { "socket", required_argument, NULL, OPTION_SOCKET },
  { "listen", required_argument, NULL, OPTION_LISTEN },
  { "daemon", no_argument, NULL, OPTION_DAEMON },
  { "log", required_argument, NULL, OPTION_LOG },
  { "exit-when-complete", no_argument, NULL, OPTION_EXIT },
  { NULL, 0, NULL, 0 },
};

static int
parse_size (struct run *run, const char *argv0, const char *value)
{
  if (human_parse_size (value, &run->size) && run->size > 0)
    return 0;
  return wrong_usage (argv0,
                      "--size %s: allowed are whole numbers of bytes from 1 to "
                      "2^63-1, also with a suffix as in 20G",
                      value);
}

static int
parse_listen (struct run *run, const char *argv0, const char *value)
{
  const char *bracket = *value == '[' ? strchr (value, ']') : NULL;
  const char *colon = strrchr (bracket ? bracket : value, ':');
  const char *port = colon ? colon + 1 : NBD_PORT;
  size_t host = colon ? (size_t) (colon - value) : strlen (value);
  char *end;
  const unsigned long n = strtoul (port, &end, 10);

  if (*port < '0' || *port > '9' || *end || n < 1 || n > 65535 ||
      (bracket && bracket + 1 != (colon ? colon : strchr (value, 0))) ||
      (!bracket && memchr (value, ':', host)) || *value == 0)
    return wrong_usage (argv0,
                        "--listen %s: wanted is HOST:PORT, [ADDRESS]:PORT for "
                        "IPv6, or :PORT for all addresses, with a PORT from 1 "
                        "to 65535",
                        value);
  free (run->host);
  free (run->port);
  run->port = format ("%s", port);
  if (bracket)
    run->host = format ("%.*s", (int) (bracket - value - 1), value + 1);
  else
    run->host = host > 0 ? format ("%.*s", (int) host, value) : NULL;
  return 0;
}

static int
parse_name (struct run *run, const char *argv0, const char *value)
{
  if (!instance_name_is_valid (value))
    return wrong_usage (argv0,
                        "--name %s: allowed are 1 to %d letters, digits and "
                        "any of . _ - @ : +, but not a dot first",
                        value, INSTANCE_NAME_MAX);
  run->given_name = value;
  return 0;
}

static int
parse_path (const char **result, const char *argv0, const char *option,
            const char *value)
{
  if (*value == 0)
    return wrong_usage (argv0, "%s: the name of a file is wanted", option);
  *result = value;
  return 0;
}

static int
take_option (struct run *run, const char *argv0, int c)
{
  switch (c) {
  case OPTION_SIZE:
    return parse_size (run, argv0, optarg);
  case OPTION_PREALLOC:
    run->prealloc = true;
    return 0;
  case OPTION_RESUME:
    run->must_resume = true;
    return 0;
  case OPTION_OVERWRITE:
    run->overwrite = true;
    return 0;
  case OPTION_BITMAP:
    return parse_path (&run->given_bitmap, argv0, "--bitmap", optarg);
  case OPTION_MOVED:
    run->moved = true;
    return 0;
  case OPTION_NAME:
    return parse_name (run, argv0, optarg);
  case OPTION_SOCKET:
    return parse_path (&run->given_socket, argv0, "--socket", optarg);
  case OPTION_LISTEN:
    return parse_listen (run, argv0, optarg);
  case OPTION_DAEMON:
    run->daemon = true;
    return 0;
  case OPTION_LOG:
    return parse_path (&run->given_log, argv0, "--log", optarg);
  case OPTION_EXIT:
    run->exit_when_complete = true;
    return 0;
  default:
    return see_help (argv0);
  }
}

/* Do they make sense together? */
static int
check_together (const struct run *run, const char *argv0)
{
  if (run->must_resume && run->overwrite)
    return wrong_usage (argv0, "--resume and --overwrite: give one of them; a "
                               "clone that goes on overwrites nothing");
  if (run->given_socket && run->port)
    return wrong_usage (argv0,
                        "--socket and --listen: give one of them; nbdkit "
                        "listens in one place");
  if (run->sockets > 0 && (run->given_socket || run->port))
    return wrong_usage (argv0,
                        "--socket and --listen: systemd has given us its "
                        "socket (LISTEN_FDS); leave them out");
  if (run->given_log && !run->daemon)
    return wrong_usage (argv0,
                        "--log is for --daemon; redirect stderr instead");
  return 0;
}

int
run_options (struct run *run, int argc, char **argv)
{
  int c, r, given, dashes;

  /* Ours end at "--", wherever the two arguments are. */
  for (dashes = 1; dashes < argc && strcmp (argv[dashes], "--") != 0; ++dashes)
    continue;
  run->more = argv + dashes + (dashes < argc);
  run->n_more = argc - dashes - (dashes < argc);
  while ((c = getopt_long (dashes, argv, "h", options, NULL)) != -1) {
    if (c == 'h') {
      fputs (help, stdout);
      return -1;
    }
    r = take_option (run, argv[0], c);
    if (r)
      return r;
  }
  given = dashes - optind;
  if (given != 2)
    return wrong_usage (argv[0],
                        given < 2 ? "SOURCE-URI and DESTINATION are wanted"
                                  : "%s: nothing more is wanted; options of "
                                    "nbdkit come behind \"--\"",
                        given < 2 ? "" : argv[optind + 2]);
  run->source_text = argv[optind];
  run->destination_text = argv[optind + 1];
  run->sockets = notify_sockets ();
  return check_together (run, argv[0]);
}
