/* nbdclone: the command's verbs.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Each gets what getopt_long(3) wants: argv[0] is "nbdclone VERB", for its
 * messages, and the rest is what follows the verb.  It returns the exit status,
 * after a message on stderr if that is not zero.
 */

#ifndef NBDCLONE_VERBS_H
#define NBDCLONE_VERBS_H

/* Exit statuses, beside 0 and 1 (EXIT_FAILURE: it was refused or has failed).
 * "check" has fsck's instead.
 */
enum {
  EXIT_USAGE = 2,        /* wrong arguments; nothing was done */
  EXIT_NO_SERVER = 3,    /* nobody answers (the server, or a new clone's
                            source), or it went away meanwhile */
  EXIT_TIMED_OUT = 4,    /* it has not happened in time */
  EXIT_CLONE_FAILED = 5, /* the clone is in the state "failed" */
};

/* Each verb's getopt_long knows "-h" and "--help", and answers with its help on
 * stdout and 0.
 */

/* For a server that runs. */
extern int verb_run (int argc, char **argv);
extern int verb_list (int argc, char **argv);
extern int verb_status (int argc, char **argv);
extern int verb_wait (int argc, char **argv);
extern int verb_events (int argc, char **argv);
extern int verb_pause (int argc, char **argv);
extern int verb_resume (int argc, char **argv);
extern int verb_set (int argc, char **argv);
extern int verb_hydrate (int argc, char **argv);
extern int verb_source (int argc, char **argv);
extern int verb_flush (int argc, char **argv);
extern int verb_stop (int argc, char **argv);

/* For files. */
extern int verb_map (int argc, char **argv);
extern int verb_check (int argc, char **argv);
extern int verb_dump (int argc, char **argv);

#endif /* NBDCLONE_VERBS_H */
