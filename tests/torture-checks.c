/* What is checked while the clone runs, and when it has been started again. */

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "chance.h"
#include "process.h"
#include "torture.h"

static bool flush_failed;  /* a flush has been answered with EIO */
static uint64_t failed_at; /* the clock then */

void
checks_begin (void)
{
  flush_failed = false;
}

/* Whether R would have to fetch something if no region of its were hydrated.
 */
static bool
may_need_source (const struct request *r)
{
  const uint64_t end = r->offset + r->count;

  if (r->kind == FLUSH || r->kind == EXTENTS || r->offset >= model.source_size)
    return false;
  return !changes (r) || r->offset % model.region_size != 0 ||
         (end % model.region_size != 0 && end < model.source_size);
}

/* Whether there is a reason for R to fail in this way. */
static bool
may_fail (const struct request *r)
{
  const bool durable = r->kind == FLUSH || r->flags & LIBNBD_CMD_FLAG_FUA;

  if (r->error == ENOTSUP)
    return r->flags & LIBNBD_CMD_FLAG_FAST_ZERO;
  /* powercut answers nothing with its error before it has made the report. */
  if ((ending || clone_is_cut ()) && (r->error == EIO || r->error == ESHUTDOWN))
    return true;
  /* A commit that nobody waits for may have been the first to fail (P5). */
  if (r->error == EIO && (changes (r) || r->kind == FLUSH) &&
      (had_fault[FLUSH_FAILS] || had_fault[BITMAP_WRITE_FAILS] ||
       had_fault[BITMAP_SYNC_FAILS]))
    return true;
  if (r->error == ENOSPC && durable && had_fault[BITMAP_FULL])
    return true;
  if (r->kind == FLUSH)
    return false;
  if (had_fault[DESTINATION_ERRORS] && r->error == EIO)
    return true;
  if (had_fault[DESTINATION_FULL] && r->error == ENOSPC &&
      (changes (r) || r->kind == CACHE))
    return true;
  return r->error == EIO && may_need_source (r) &&
         (had_fault[SOURCE_ERRORS] || had_fault[SOURCE_KILLED] ||
          had_fault[SOURCE_STOPPED]);
}

static bool
may_be_zero (uint64_t offset)
{
  return model_may_read (&model, offset, 0);
}

static void
check_read (const struct request *r)
{
  if (memcmp (r->buf, model.visible + r->offset, r->count) == 0)
    return;
  for (uint64_t i = 0; i < r->count; ++i)
    if (!model_may_read (&model, r->offset + i, r->buf[i]))
      fail ("P1: read of %" PRIu64 " bytes at %" PRIu64 ": byte %" PRIu64
            " is %02x, but the newest is %02x and the source's %02x",
            r->count, r->offset, r->offset + i, r->buf[i],
            model.visible[r->offset + i], model.source[r->offset + i]);
}

static void
check_failure (const struct request *r)
{
  figures.errors++;
  if (!may_fail (r))
    fail ("%s of %" PRIu64 " bytes at %" PRIu64 ", flags %x: %s, but nothing "
          "explains that",
          kind_names[r->kind], r->count, r->offset, r->flags,
          strerror (r->error));
  if (r->kind == FLUSH && r->error == EIO && !flush_failed) {
    flush_failed = true;
    failed_at = clients.clock;
    figures.failed_flushes++;
  }
  if (changes (r) && r->error != ENOTSUP)
    model_uncertain (&model, r);
}

bool
check_answer (struct request *r)
{
  figures.operations[r->kind]++;
  if (r->error != 0) {
    /* libnbd's, not the server's: the connection is gone. */
    if (ending && r->error == ENOTCONN)
      return false;
    check_failure (r);
    return true;
  }
  if (flush_failed && r->sent > failed_at && (changes (r) || r->kind == FLUSH))
    fail ("P5: %s of %" PRIu64 " bytes at %" PRIu64 " succeeds after a flush "
          "has failed",
          kind_names[r->kind], r->count, r->offset);
  if (r->kind == READ) {
    figures.reads++;
    check_read (r);
  }
  else if (r->kind == EXTENTS) {
    figures.extents++;
    check_extents (r, may_be_zero);
  }
  else if (r->kind == FLUSH)
    model_flushed (&model, r->sent);
  else if (changes (r))
    model_changed (&model, r, clients.clock);
  return true;
}

static void
read_file (const char *name, unsigned char *data, uint64_t length)
{
  const int fd = open (name, O_RDONLY | O_CLOEXEC);

  if (fd == -1 || read (fd, data, length) != (ssize_t) length)
    fail ("%s: %m", name);
  close (fd);
}

/* Which regions the map export has. */
static void
read_map (bool *hydrated)
{
  struct nbd_handle *nbd = clients_connect_to (&clients, "hydration");
  struct request *r = calloc (1, sizeof *r);

  while (r->offset < model.source_size) {
    r->count = least (model.region_size, model.source_size - r->offset);
    ask_extents (nbd, r);
    if (r->nr_extents != 2)
      fail ("the map is cut inside region %" PRIu64,
            r->offset / model.region_size);
    hydrated[r->offset / model.region_size] = r->extents[1] == 0;
    r->offset += r->count;
  }
  free (r);
  nbd_close (nbd);
}

/* What the disk has to look like: the destination's contents where there is a
 * bit, and the source's elsewhere.
 */
static void
check_regions (const bool *hydrated, unsigned char *disk)
{
  for (uint64_t i = 0; i < model.nr_regions; ++i) {
    const uint64_t start = i * model.region_size;
    const uint64_t end = least (start + model.region_size, model.source_size);

    figures.regions++;
    if (!hydrated[i]) {
      if (model.committed[i])
        fail ("P2, P4: after a restart, region %" PRIu64
              " is not hydrated, but its bit was durable",
              i);
      memcpy (disk + start, model.source + start, end - start);
    }
  }
  for (uint64_t at = 0; at < model.size; ++at)
    if (!model_may_survive (&model, at, disk[at])) {
      const uint64_t i = at / model.region_size;
      const bool bit = at < model.source_size && hydrated[i];

      fail ("%s: after a restart, byte %" PRIu64 " of region %" PRIu64
            " is %02x, but %02x was durable, %02x is the newest, and %02x the "
            "source's; its region is %shydrated",
            disk[at] == GARBAGE ? "P3" : "P4", at, i, disk[at],
            model.durable[at], model.visible[at], model.source[at],
            bit ? "" : "not ");
    }
}

void
check_disk (bool is_durable)
{
  bool *hydrated = calloc (model.nr_regions, sizeof *hydrated);
  unsigned char *disk = malloc (model.size), *seen = malloc (model.size);

  read_file (destination_file, disk, model.size);
  read_map (hydrated);
  check_regions (hydrated, disk);
  for (uint64_t at = 0; at < model.size; at += MIB)
    if (nbd_pread (clients.handles[0], seen + at, least (MIB, model.size - at),
                   at, 0) == -1)
      fail ("read at %" PRIu64 " after the start: %s", at, nbd_get_error ());
  for (uint64_t at = 0; at < model.size; ++at)
    if (seen[at] != disk[at])
      fail ("P1: after a restart, byte %" PRIu64 " is read as %02x, but the "
            "%s has %02x",
            at, seen[at],
            at < model.source_size && !hydrated[at / model.region_size]
              ? "source"
              : "destination",
            disk[at]);
  model_restarted (&model, disk, hydrated, is_durable, ++clients.clock);
  free (hydrated);
  free (disk);
  free (seen);
}
