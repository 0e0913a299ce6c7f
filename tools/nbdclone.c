/* nbdclone: the command nbdclone: its verbs.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * "run" starts nbdkit with the filter and looks after it; the other verbs talk
 * to servers that run, or look at files.  Each has a file of its own, and the
 * help that it gives with it.
 */

#include <config.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "message.h"
#include "verbs.h"

static const struct verb {
  const char *name;
  int (*run) (int argc, char **argv);
  const char *summary;
} verbs[] = {
  /* For a server that runs. */
  { "run", verb_run, "start a clone, or go on with one, and serve it" },
  { "list", verb_list, "the servers that run, and how far they are" },
  { "status", verb_status, "how clones are, also for programs" },
  { "wait", verb_wait, "wait until a clone is complete" },
  { "events", verb_events, "print what happens to a clone" },
  { "pause", verb_pause, "stop copying in the background" },
  { "resume", verb_resume, "go on with that" },
  { "set", verb_set, "change limits of a clone that runs" },
  { "hydrate", verb_hydrate, "copy a range before all others" },
  { "source", verb_source, "go on with another server of the same disk" },
  { "flush", verb_flush, "make durable what is here" },
  { "stop", verb_stop, "stop a server in order" },

  /* For files. */
  { "map", verb_map, "the disk as a picture" },
  { "check", verb_check, "whether a bitmap file is sound" },
  { "dump", verb_dump, "what a bitmap file says" },
};

#define N_VERBS (sizeof verbs / sizeof verbs[0])

static void
print_help (FILE *out)
{
  size_t i;

  fprintf (out, "Usage: nbdclone VERB [OPTION...] [ARGUMENT...]\n"
                "Clone a remote disk while it is already in use.\n\n");
  for (i = 0; i < N_VERBS; ++i)
    fprintf (out, "  %-9s %s\n", verbs[i].name, verbs[i].summary);
  fprintf (out, "\n\"nbdclone VERB --help\" says more about one; "
                "nbdclone(1) is the manual.\n");
}

static int
run_verb (const char *name, int argc, char **argv)
{
  size_t i;

  for (i = 0; i < N_VERBS; ++i)
    if (strcmp (verbs[i].name, name) == 0) {
      CLEANUP_FREE char *argv0 = format ("nbdclone %s", name);
      int r;

      argv[0] = argv0;
      r = verbs[i].run (argc, argv);
      return r ? r : end_output ();
    }
  return wrong_usage ("nbdclone", "there is no such verb: %s", name);
}

int
main (int argc, char **argv)
{
  if (argc < 2) {
    print_help (stderr);
    return EXIT_USAGE;
  }
  if (strcmp (argv[1], "--help") == 0 || strcmp (argv[1], "-h") == 0 ||
      strcmp (argv[1], "help") == 0) {
    print_help (stdout);
    return end_output ();
  }
  if (strcmp (argv[1], "--version") == 0 || strcmp (argv[1], "-V") == 0) {
    printf ("%s\n", PACKAGE_STRING);
    return end_output ();
  }
  if (argv[1][0] == '-')
    return wrong_usage ("nbdclone", "the verb comes first, not %s", argv[1]);
  return run_verb (argv[1], argc - 1, argv + 1);
}
