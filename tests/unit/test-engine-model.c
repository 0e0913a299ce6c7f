/* nbdclone: random requests against a model.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "rig.h"
#include "testing.h"

/* Several clients, each with byte ranges of its own, whose regions they share.
 * After each request a client's bytes are what it wrote last, or else the
 * source's.
 */
#define CLIENTS 4
#define SHARE 3000 /* bytes; the clients take turns */

struct world {
  struct rig rig;
  uint8_t *model; /* each client writes to its own ranges only */
  unsigned requests;
  uint64_t seed;
  bool bad_line; /* requests may fail with EIO; they are tried again */
};

/* A range inside one share of this client. */
static void
choose (struct world *w, struct random *random, unsigned self, uint64_t *offset,
        uint64_t *length)
{
  const uint64_t size = w->rig.options.disk_size;
  const uint64_t shares = size / SHARE;
  uint64_t share = random_below (random, shares / CLIENTS) * CLIENTS + self;

  *offset = share * SHARE + random_below (random, SHARE);
  *length = 1 + random_below (random, (share + 1) * SHARE - *offset);
}

/* The end of a request: true if it has to be tried again. */
static bool
again (const struct world *w, int r, const int *err)
{
  if (r == 0)
    return false;
  must (w->bad_line && *err == EIO);
  return true;
}

static void
one_request (struct world *w, struct random *random, unsigned self)
{
  struct rig *rig = &w->rig;
  uint8_t buf[SHARE];
  uint64_t offset, length;
  int err = 0;

  choose (w, random, self, &offset, &length);
  switch (random_below (random, 10)) {
  case 0:
  case 1:
  case 2:
    memset (buf, (int) random_below (random, 256), length);
    while (again (w,
                  engine_write (rig->engine, buf, (uint32_t) length, offset,
                                random_one_in (random, 8), &err),
                  &err))
      continue;
    memcpy (w->model + offset, buf, length);
    break;
  case 3:
    while (again (w,
                  engine_zero (rig->engine, (uint32_t) length, offset,
                               random_one_in (random, 2), false, false, &err),
                  &err))
      continue;
    memset (w->model + offset, 0, length);
    break;
  case 4:
    must (rig_flush (rig) == 0);
    break;
  case 5:
    (void) again (
      w, engine_cache (rig->engine, (uint32_t) length, offset, &err), &err);
    break;
  default:
    while (again (
      w, engine_read (rig->engine, buf, (uint32_t) length, offset, &err), &err))
      continue;
    must (memcmp (buf, w->model + offset, length) == 0);
  }
}

static void
be_a_client (struct in_thread *t)
{
  struct world *w = t->opaque;
  struct random random = { w->seed * 100 + t->self };
  unsigned i;

  for (i = 0; i < w->requests; ++i)
    one_request (w, &random, t->self);
}

static void
check_destination (struct world *w)
{
  must (memcmp (w->rig.destination.disk.bytes, w->model,
                w->rig.options.disk_size) == 0);
}

static const struct rig_options worlds[] = {
  { .source_size = 500000, .hydration = true, .threshold = 3 },
  { .source_size = 500001, .disk_size = 600000, .threshold = 1 },
  { .source_size = 1 << 20,
    .region_size = 65536,
    .batch = 16384,
    .hydration = true },
  { .source_size = 300000,
    .region_size = 1 << 20,
    .disk_size = 400000,
    .batch = 8192,
    .hydration = true },
  { .source_size = 777777,
    .region_size = 16384,
    .forget_reads = true,
    .keep_discarded = true,
    .hydration = true,
    .commit_interval_us = 1000 },
};
#define N_WORLDS (sizeof worlds / sizeof worlds[0])

static void
world_init (struct world *w, const struct rig_options *options, uint64_t seed)
{
  struct random random = { seed };
  uint64_t source_size, disk_size;
  unsigned i;

  rig_init (&w->rig, options);
  source_size = w->rig.options.source_size;
  disk_size = w->rig.options.disk_size;
  for (i = 0; i < 6; ++i) {
    const uint64_t from = random_below (&random, source_size);

    sim_source_zero (&w->rig.source, random_below (&random, source_size - from),
                     from, i % 2);
  }
  w->rig.destination.disk.write_through = true;
  w->seed = seed;
  w->bad_line = false;
  w->requests = 2500 / SLOWER;
  w->model = malloc (disk_size);
  must (w->model != NULL);
  memset (w->model, RIG_GARBAGE, disk_size);
  memcpy (w->model, w->rig.source.bytes, source_size);
}

static void
world_destroy (struct world *w)
{
  rig_destroy (&w->rig);
  free (w->model);
}

static void *
let_time_pass (void *opaque)
{
  struct world *w = opaque;

  while (atomic_load (&w->rig.completed) < 1000) {
    sim_clock_skip (&w->rig.clock, UINT64_C (1000000));
    nap ();
  }
  return NULL;
}

START_TEST (many_clients)
{
  struct world w;
  pthread_t time;

  world_init (&w, &worlds[_i], (uint64_t) _i);
  rig_start (&w.rig);
  thread_start (&time, let_time_pass, &w);
  run_threads (CLIENTS, be_a_client, &w);
  if (w.rig.options.hydration)
    wait_for (engine_is_complete (w.rig.engine));
  /* The second life begins with what the first one has left. */
  atomic_fetch_add (&w.rig.completed, 1000);
  thread_join (time);
  rig_stop (&w.rig);
  if (w.rig.options.hydration)
    check_destination (&w);
  rig_start (&w.rig);
  w.seed += 1000;
  run_threads (CLIENTS, be_a_client, &w);
  rig_stop (&w.rig);
  world_destroy (&w);
}
END_TEST

/* A line on which answers come late and all at once, and some not at all: so
 * requests meet while their bytes are in flight.
 */
static void *
be_a_bad_line (void *opaque)
{
  struct world *w = opaque;
  struct random random = { w->seed };

  while (atomic_load (&w->rig.completed) < 1000) {
    struct sim_fault block = {
      .ops = SIM_READ | SIM_EXTENTS,
      .skip = (unsigned) random_below (&random, 4),
      .block = true,
    };

    sim_add_fault (&w->rig.source.device, &block);
    nap ();
    sim_release (&w->rig.source.device, &block,
                 random_one_in (&random, 4) ? EIO : 0);
  }
  return NULL;
}

/* The clients read what others write, too, so that all want the same few
 * regions; the bytes of others are not looked at.
 */
static void
be_a_client_and_a_reader (struct in_thread *t)
{
  struct world *w = t->opaque;
  const uint64_t size = w->rig.options.disk_size;
  struct random random = { w->seed * 100 + t->self };
  unsigned i;

  for (i = 0; i < w->requests; ++i) {
    const uint64_t from = random_below (&random, size);
    const uint64_t length = 1 + random_below (&random, size - from);

    one_request (w, &random, t->self);
    (void) rig_read (&w->rig, from, length < 100000 ? length : 100000);
  }
}

static const struct rig_options small_worlds[] = {
  { .source_size = 100000, .hydration = true },
  { .source_size = 100001, .disk_size = 120000 },
  { .source_size = 100000, .region_size = 16384 },
  { .source_size = 300000, .region_size = 65536, .hydration = true },
  { .source_size = 300000, .region_size = 65536, .forget_reads = true },
  { .source_size = 300000, .region_size = 1 << 18, .batch = 8192 },
};
#define N_SMALL_WORLDS (sizeof small_worlds / sizeof small_worlds[0])

START_TEST (bad_line)
{
  uint64_t seed;

  for (seed = 0; seed < 10; ++seed) {
    struct world w;
    pthread_t line, time;

    world_init (&w, &small_worlds[_i], seed);
    w.requests = 60 / SLOWER;
    w.bad_line = true;
    rig_start (&w.rig);
    thread_start (&time, let_time_pass, &w);
    thread_start (&line, be_a_bad_line, &w);
    run_threads (CLIENTS, be_a_client_and_a_reader, &w);
    atomic_fetch_add (&w.rig.completed, 1000);
    thread_join (line);
    thread_join (time);
    rig_stop (&w.rig);
    world_destroy (&w);
  }
}
END_TEST

/* P1, P3 and P4 over power cuts.  One client writes whole sectors, each time a
 * value of its own.  After the cut a sector may hold what it held when the last
 * flush was answered, or anything written to it since; and the source's, if its
 * region was not committed by then.
 */
#define SECTORS 256
#define SECTOR UINT64_C (512)
#define VALUES 64

struct history {
  uint8_t values[VALUES]; /* what the sector may hold */
  unsigned n;
  bool source; /* ... or the source's bytes */
};

struct crashing {
  struct rig rig;
  struct history sectors[SECTORS];
  struct random random;
};

static void
history_add (struct history *h, uint8_t value)
{
  must (h->n < VALUES);
  h->values[h->n++] = value;
}

static void
write_some (struct crashing *c)
{
  const uint64_t first = random_below (&c->random, SECTORS);
  uint64_t n = 1 + random_below (&c->random, 20), i;
  const uint8_t value = (uint8_t) (0x80 + random_below (&c->random, 0x80));

  if (n > SECTORS - first)
    n = SECTORS - first;
  /* Before it is answered it may be there already. */
  for (i = first; i < first + n; ++i)
    if (c->sectors[i].n >= VALUES - 1)
      return;
  for (i = first; i < first + n; ++i)
    history_add (&c->sectors[i], value);
  (void) rig_write (&c->rig, value, first * SECTOR, n * SECTOR);
}

static void
flush (struct crashing *c)
{
  unsigned i;

  if (rig_flush (&c->rig) != 0)
    return;
  for (i = 0; i < SECTORS; ++i) {
    struct history *h = &c->sectors[i];

    if (h->n == 0)
      continue; /* never written: still the source's */
    h->values[0] = h->values[h->n - 1];
    h->n = 1;
    h->source = false;
  }
}

/* One sector after the crash; from now on it is what it is. */
static void
check_sector (struct crashing *c, unsigned i)
{
  struct history *h = &c->sectors[i];
  const uint64_t offset = i * SECTOR;
  unsigned k;

  if (h->source && rig_reads_source (&c->rig, offset, SECTOR)) {
    h->n = 0;
    return;
  }
  for (k = 0; k < h->n; ++k)
    if (rig_reads (&c->rig, h->values[k], offset, SECTOR)) {
      h->values[0] = h->values[k];
      h->n = 1;
      /* Its bit may be uncommitted yet, and the bytes in the cache only. */
      h->source = false;
      return;
    }
  must (!"one of the values that the sector may hold");
}

START_TEST (power_cuts)
{
  const struct rig_options options[] = {
    { .source_size = SECTORS * SECTOR },
    { .source_size = SECTORS * SECTOR, .hydration = true },
    { .source_size = SECTORS * SECTOR,
      .region_size = 16384,
      .batch = 8192,
      .hydration = true },
  };
  uint64_t seed;

  for (seed = 0; seed < 120 / SLOWER; ++seed) {
    struct crashing c = { .random = { seed } };
    unsigned i, life;

    rig_init (&c.rig, &options[seed % 3]);
    for (i = 0; i < SECTORS; ++i)
      c.sectors[i].source = true;
    for (life = 0; life < 6; ++life) {
      rig_start (&c.rig);
      for (i = 0; i < SECTORS; ++i)
        check_sector (&c, i);
      sim_stop_after (&c.rig.sim, random_below (&c.random, 200));
      for (i = 0; i < 60 && !sim_has_stopped (&c.rig.sim); ++i)
        if (random_one_in (&c.random, 6))
          flush (&c);
        else
          write_some (&c);
      rig_crash (&c.rig, sim_survives_random, &c.random);
      sim_forget (&c.rig.sim);
    }
    rig_destroy (&c.rig);
  }
}
END_TEST

int
main (void)
{
  struct suite s = suite_new ("engine-model");

  tcase_add_loop_test (s.tests, many_clients, 0, N_WORLDS);
  tcase_add_loop_test (s.tests, bad_line, 0, N_SMALL_WORLDS);
  tcase_add_test (s.tests, power_cuts);
  return suite_run (s);
}
