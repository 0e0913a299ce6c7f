/* The servers of the torture: the source, and the clone with its disks below;
 * see torture-servers.c.
 */

#ifndef TORTURE_SERVERS_H
#define TORTURE_SERVERS_H

#include <stdbool.h>
#include <stdint.h>

/* Given on the command line. */
extern const char *directory, *clone_filter, *powercut_filter;
extern char **nbdkit; /* the words that run it, for the clone */

/* Files in the directory. */
extern char *source_file, *destination_file, *bitmap_file, *clone_socket;
extern char *source_log;

extern void servers_init (void);

/* Kill whatever runs; leaves what the clone has said. */
extern void servers_end (void);

/* How a life begins. */
struct conditions {
  bool frozen; /* nothing is hydrated but by writes */
  bool hydration, on_read, discard_passdown;
  const char *batch, *commit_interval, *source_timeout;
  unsigned threshold, connections;
  uint64_t region_size;
  const char *keep;        /* what a power cut leaves */
  const char *cut_kinds;   /* the cut comes at one of these requests, */
  unsigned cut_at;         /* at this one; 0: with a signal only */
  unsigned sync_ms;        /* how long all syncs take */
  unsigned write_delay_ms; /* of the destination */
  uint64_t seed;
  unsigned failing_flush; /* which flush of the destination's fails; 0: none */
  uint64_t bad_start, bad_length; /* where the destination fails, if it does */
};

/* What can be switched on and off. */
enum fault {
  SOURCE_ERRORS,
  SOURCE_KILLED,
  SOURCE_STOPPED,
  DESTINATION_ERRORS,
  DESTINATION_FULL,
  FLUSH_FAILS,
  BITMAP_FULL,
  BITMAP_WRITE_FAILS,
  BITMAP_SYNC_FAILS,
  FAULTS
};
extern const char *const fault_names[FAULTS];
extern void fault_begin (enum fault fault);
extern void fault_end (enum fault fault);

/* A source with delays of so many milliseconds; no faults. */
extern void source_start (unsigned delay_ms);
extern bool source_runs (void);
extern void source_kill (void);

/* Fail if the source was sent anything but what P6 allows, and forget the log.
 */
extern void source_check_log (void);

/* Start the clone; wait until it listens. */
extern void clone_launch (const struct conditions *c);
extern void clone_ready (void);

/* Cut the destination's power with the signal, and wait until what survives of
 * its cache has been written; whether it is cut, by whatever means, and all of
 * that is over.
 */
extern void clone_cut (void);
extern bool clone_is_cut (void);

extern void clone_kill (void);
extern void clone_terminate (void); /* sends the signal only */
extern int clone_end (void);        /* waits, and returns the exit status */

/* The power of the bitmap file's disk is cut, too: take back some of what was
 * not synced.  Returns how many sectors were.  The clone must have ended.
 */
extern uint64_t bitmap_cut (void);

/* ... or it is not, and what was not synced may still be lost later. */
extern void bitmap_keep (void);

#endif /* TORTURE_SERVERS_H */
