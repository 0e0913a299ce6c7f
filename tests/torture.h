/* What the parts of the torture share; see torture.c. */

#ifndef TORTURE_H
#define TORTURE_H

#include <stdbool.h>
#include <stdint.h>

#include "requests.h"
#include "torture-model.h"
#include "torture-servers.h"

/* What the destination holds at first. */
#define GARBAGE 0xdb

/* How a life ends. */
enum end { CUT, CUT_SIGNAL, KILL, PROCESS, TERM, ENDS };
extern const char *const end_names[ENDS];

/* How a life will go. */
struct plan {
  struct conditions conditions;
  enum end end;
  unsigned clients, depth, fua_percent, source_delay_ms;
  unsigned operations;
  bool linger;         /* go on for a while after the cut */
  bool source_is_down; /* from the beginning, unless the clone is new */
  bool faulty[FAULTS];
  unsigned from[FAULTS], to[FAULTS]; /* operations */
};

/* The disk. */
extern struct model model;
extern struct clients clients;

/* The life. */
extern bool had_fault[FAULTS];
extern bool ending; /* the server was told to stop, or killed */

struct figures {
  uint64_t disks, lives, recoveries, complete;
  uint64_t ends[ENDS], faults[FAULTS], operations[KINDS], errors;
  uint64_t failed_flushes, taken_back;
  uint64_t reads, extents, regions;
};
extern struct figures figures;

/* torture-plan.c */

extern void choose_plan (struct plan *plan);

/* The conditions under which to look at what a crash has left. */
extern struct conditions at_rest (void);

/* torture-checks.c */

/* A life begins. */
extern void checks_begin (void);

/* For struct clients. */
extern bool check_answer (struct request *r);

/* The clone is at rest, and has one client: compare everything with the model,
 * and let it follow; see model_restarted for IS_DURABLE.
 */
extern void check_disk (bool is_durable);

#endif /* TORTURE_H */
