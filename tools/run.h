/* nbdclone run: what its parts share.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 *   run-options.c    what is given
 *   run-checks.c     what there is, and whether it fits; touches nothing
 *   run-server.c     nbdkit, with the filter and a plugin
 *   run-supervise.c  from its start to its end
 *   run.c            the order of it all
 *
 * Functions return 0, or an exit status after a message.
 */

#ifndef NBDCLONE_RUN_H
#define NBDCLONE_RUN_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include <jansson.h>

#include "destination-file.h"
#include "uri.h"

struct run {
  /* What is given; strings of the command line. */
  const char *source_text, *destination_text;
  const char *given_name, *given_bitmap, *given_socket, *given_log;
  char *host, *port; /* --listen; host NULL for all addresses; owned */
  uint64_t size;     /* 0 if not given */
  bool prealloc, must_resume, overwrite, moved, daemon, exit_when_complete;
  char **more; /* what follows "--" */
  int n_more;
  unsigned sockets; /* handed over by systemd */

  /* What follows from it; owned. */
  struct uri source;
  struct destination_file destination;
  char *name;
  char *directory; /* of all that follow but for the bitmap's */
  char *bitmap, *identity_path;
  char *control, *socket, *record, *log, *lock;
  char *uri; /* of the disk */
  char *nbdkit, *filter, *plugin;
  bool plugin_is_uring;
  json_t *identity;
  bool resuming; /* there is a bitmap file */
  bool created;  /* we have made the destination */
  bool recorded; /* we have written which destination it is */
  int lock_fd;   /* see lock_name; or -1 */
  int log_fd;    /* of a daemon, or -1 */
};

/* -1 if there is nothing left to be done: the help was asked for. */
extern int run_options (struct run *, int argc, char **argv);

extern int run_checks (struct run *);

/* Where nbdkit, the filter and the plugin are. */
extern int run_find_server (struct run *);

/* Start nbdkit.  What it prints comes out of *output_fd.  Its signal mask is
 * `mask`.  Returns its number, or -1 after a message.
 */
extern pid_t run_start_server (const struct run *, int *output_fd,
                               const sigset_t *mask);

/* Start the server, and stay until it has ended.  ready_fd, if not -1, gets a
 * byte when the disk can be used, and from then on all output goes to the log.
 * *served is whether it came so far.
 */
extern int run_supervise (const struct run *, int ready_fd, bool *served);

#endif /* NBDCLONE_RUN_H */
