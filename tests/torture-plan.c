/* How a life of the torture will go: decided by nothing but the seed. */

#include <string.h>

#include "chance.h"
#include "torture.h"

const char *const end_names[ENDS] = { "power cuts at a request",
                                      "power cuts at a signal",
                                      "power cuts that leave nothing unflushed",
                                      "kills of the process alone",
                                      "orderly stops" };

static void
choose_faults (struct plan *plan)
{
  unsigned n = percent (45) ? 0 : percent (70) ? 1 : 2;

  while (n-- > 0) {
    const enum fault fault = up_to (FAULTS - 1);

    plan->faulty[fault] = true;
    plan->from[fault] = up_to (plan->operations);
    plan->to[fault] = plan->from[fault] + up_to (100) + 1;
  }
}

static void
choose_conditions (struct plan *plan, struct conditions *c)
{
  static const char *const batches[] = { "4K", "64K", "1M", "4M" };
  static const char *const intervals[] = { "0.01", "0.03", "0.2", "3600" };
  static const char *const timeouts[] = { "0.3", "1", "3" };
  static const char *const keeps[] = { "any", "nothing", "subset", "subset" };
  static const char *const kinds[] = { "all", "write,zero,trim", "flush",
                                       "fua,flush" };
  const unsigned kind = up_to (3);

  c->frozen = percent (20);
  c->hydration = percent (60);
  c->on_read = percent (70);
  c->discard_passdown = percent (60);
  c->batch = batches[up_to (3)];
  c->commit_interval = intervals[up_to (3)];
  c->source_timeout = timeouts[up_to (2)];
  c->threshold = 1 << up_to (4);
  c->connections = up_to (3) + 1;
  c->region_size = model.region_size;
  c->keep = plan->end == PROCESS ? "all" : keeps[up_to (3)];
  c->sync_ms = percent (60) ? up_to (20) : 0;
  /* nbdkit's delays become errors when it is told to stop. */
  if (plan->end != TERM)
    c->write_delay_ms = percent (30) ? up_to (5) : 0;
  c->seed = any () >> 1;
  c->bad_length = up_to (model.size - 1) + 1;
  c->bad_start = up_to (model.size - c->bad_length);
  /* One flush fails, or all of them for a while. */
  if (plan->faulty[FLUSH_FAILS] && percent (60)) {
    plan->faulty[FLUSH_FAILS] = false;
    c->failing_flush = up_to (9) + 1;
  }
  if (plan->end == CUT) {
    c->cut_kinds = kinds[kind];
    c->cut_at = up_to (kind >= 2 ? 12 : plan->operations) + 1;
  }
}

void
choose_plan (struct plan *plan)
{
  static const unsigned fua[] = { 3, 10, 50 };
  const unsigned dice = up_to (99);

  *plan = (struct plan){
    .end = dice < 35   ? CUT
           : dice < 50 ? CUT_SIGNAL
           : dice < 65 ? KILL
           : dice < 82 ? PROCESS
                       : TERM,
    .clients = up_to (CLIENTS_MAX - 1) + 1,
    .depth = up_to (IN_FLIGHT_MAX - 1) + 1,
    .fua_percent = fua[up_to (2)],
    .source_delay_ms = percent (50) ? 0 : up_to (5) + 1,
    .operations = up_to (percent (30) ? 400 : 100) + 1,
    .linger = percent (20),
    .source_is_down = percent (5),
  };
  plan->to[SOURCE_KILLED] = up_to (50);
  choose_faults (plan);
  choose_conditions (plan, &plan->conditions);
}

struct conditions
at_rest (void)
{
  return (struct conditions){
    .frozen = true,
    .batch = "1M",
    .commit_interval = "3600",
    .source_timeout = "60",
    .threshold = 1,
    .connections = 1,
    .region_size = model.region_size,
    .keep = "nothing",
    .seed = any () >> 1,
    .bad_length = 1,
  };
}
