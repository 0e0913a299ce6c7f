/* nbdclone: the arguments of a verb with few options.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef NBDCLONE_ARGUMENTS_H
#define NBDCLONE_ARGUMENTS_H

#include <getopt.h> /* optind */
#include <stdbool.h>

#define ANY_NUMBER (-1)

struct arguments {
  const char *help;
  const char *wanted; /* what is said when there are too few: "... is wanted" */
  int min, max;       /* how many, beside options; max may be ANY_NUMBER */

  /* Where options go; NULL for one that the verb does not have. */
  bool *json;      /* --json */
  double *timeout; /* --timeout SECONDS */
};

/* Read them: then they are argv[optind] and so on.  -1 to go on, else the exit
 * status: 0 after help, EXIT_USAGE after a message.
 */
extern int arguments_read (const struct arguments *, int argc, char **argv);

#endif /* NBDCLONE_ARGUMENTS_H */
