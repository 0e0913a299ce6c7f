/* Random requests of several clients, several at a time; see requests.h. */

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>

#include "chance.h"
#include "process.h"
#include "requests.h"

const char *const kind_names[KINDS] = { "read",  "write", "zero",   "trim",
                                        "flush", "cache", "extents" };

struct nbd_handle *
clients_connect_to (const struct clients *c, const char *export)
{
  struct nbd_handle *nbd = nbd_create ();

  if (nbd == NULL || nbd_set_export_name (nbd, export) == -1 ||
      nbd_add_meta_context (nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) == -1 ||
      nbd_connect_unix (nbd, c->socket_path) == -1)
    fail ("connect: %s", nbd_get_error ());
  if ((uint64_t) nbd_get_size (nbd) != c->size)
    fail ("the size is %" PRIi64, nbd_get_size (nbd));
  return nbd;
}

void
clients_connect (struct clients *c, unsigned count, unsigned depth)
{
  c->count = count;
  c->depth = depth;
  for (unsigned i = 0; i < count; ++i)
    c->handles[i] = clients_connect_to (c, "");
  if (nbd_can_multi_conn (c->handles[0]) != 1)
    fail ("multi-conn is not advertised, with a plugin that has it");
}

void
clients_close (struct clients *c)
{
  for (unsigned i = 0; i < c->count; ++i)
    nbd_close (c->handles[i]);
  c->count = 0;
}

bool
changes (const struct request *r)
{
  return r->kind == WRITE || r->kind == ZERO || r->kind == TRIM;
}

bool
overlap (const struct request *r, uint64_t start, uint64_t end)
{
  return r->kind != FLUSH && r->offset < end && start < r->offset + r->count;
}

unsigned char
byte_of (const struct request *r, uint64_t offset)
{
  return r->kind == WRITE ? r->buf[offset - r->offset] : 0;
}

void
check_extents (const struct request *r, bool (*is_zero) (uint64_t offset))
{
  uint64_t at = r->offset;

  for (size_t i = 0; i < r->nr_extents; i += 2) {
    const uint64_t end = at + r->extents[i];
    const uint32_t flags = r->extents[i + 1];

    if (end > r->offset + r->count)
      fail ("extents of %" PRIu64 " bytes at %" PRIu64
            " go beyond, to %" PRIu64,
            r->count, r->offset, end);
    if (flags == LIBNBD_STATE_HOLE)
      fail ("a hole at %" PRIu64 " that is not zero", at);
    if (flags & LIBNBD_STATE_ZERO)
      for (; at < end; ++at)
        if (!is_zero (at))
          fail ("extents say zero, but byte %" PRIu64 " is not", at);
    at = end;
  }
  if (at == r->offset)
    fail ("no extents for %" PRIu64 " bytes at %" PRIu64, r->count, r->offset);
}

void
clients_collect (struct clients *c)
{
  for (int i = 0; i < IN_FLIGHT_MAX; ++i) {
    struct request *r = &c->requests[i];

    if (!r->busy || !r->answered)
      continue;
    c->clock++;
    if (!c->answer (r))
      continue;
    free (r->buf);
    r->buf = NULL;
    r->busy = false;
  }
}

static unsigned
in_flight (const struct clients *c)
{
  unsigned n = 0;

  for (int i = 0; i < IN_FLIGHT_MAX; ++i)
    n += c->requests[i].busy;
  return n;
}

bool
clients_pump (struct clients *c, int timeout_ms)
{
  struct pollfd fds[CLIENTS_MAX];
  bool alive = false;

  for (unsigned i = 0; i < c->count; ++i) {
    struct nbd_handle *nbd = c->handles[i];
    const unsigned direction = nbd_aio_get_direction (nbd);

    fds[i].fd = -1;
    fds[i].events = fds[i].revents = 0;
    if (nbd_aio_is_dead (nbd) || nbd_aio_is_closed (nbd))
      continue;
    alive = true;
    fds[i].fd = nbd_aio_get_fd (nbd);
    if (direction & LIBNBD_AIO_DIRECTION_READ)
      fds[i].events |= POLLIN;
    if (direction & LIBNBD_AIO_DIRECTION_WRITE)
      fds[i].events |= POLLOUT;
  }
  if (!alive)
    return false;
  if (poll (fds, c->count, timeout_ms) == -1 && errno != EINTR)
    fail ("poll: %m");
  for (unsigned i = 0; i < c->count; ++i) {
    struct nbd_handle *nbd = c->handles[i];
    const unsigned direction = nbd_aio_get_direction (nbd);

    if (fds[i].revents & (POLLIN | POLLHUP | POLLERR) &&
        direction & LIBNBD_AIO_DIRECTION_READ)
      nbd_aio_notify_read (nbd);
    else if (fds[i].revents & (POLLOUT | POLLHUP | POLLERR) &&
             direction & LIBNBD_AIO_DIRECTION_WRITE)
      nbd_aio_notify_write (nbd);
  }
  return true;
}

static const struct request *
oldest (const struct clients *c)
{
  const struct request *oldest = NULL;

  for (int i = 0; i < IN_FLIGHT_MAX; ++i)
    if (c->requests[i].busy &&
        (oldest == NULL || c->requests[i].sent < oldest->sent))
      oldest = &c->requests[i];
  return oldest;
}

void
clients_drain (struct clients *c, unsigned n)
{
  const uint64_t end = seconds () + bound_s;

  clients_collect (c);
  while (in_flight (c) > n) {
    if (seconds () > end) {
      const struct request *r = oldest (c);

      fail ("%u requests not answered after %u s, among them %s of %" PRIu64
            " bytes at %" PRIu64,
            in_flight (c), bound_s, kind_names[r->kind], r->count, r->offset);
    }
    if (!clients_pump (c, 1000))
      fail ("the server has hung up");
    clients_collect (c);
  }
}

/* Those that stay busy have been answered, too. */
static unsigned
unanswered (const struct clients *c)
{
  unsigned n = 0;

  for (int i = 0; i < IN_FLIGHT_MAX; ++i)
    n += c->requests[i].busy && !c->requests[i].answered;
  return n;
}

void
clients_hang_up (struct clients *c)
{
  const uint64_t end = seconds () + bound_s;

  while (unanswered (c) > 0 && clients_pump (c, 1000)) {
    clients_collect (c);
    if (seconds () > end)
      fail ("%u requests not answered after %u s, nor the connections closed",
            unanswered (c), bound_s);
  }
  clients_collect (c);
  clients_close (c);
}

void
clients_forget (struct clients *c)
{
  for (int i = 0; i < IN_FLIGHT_MAX; ++i) {
    free (c->requests[i].buf);
    c->requests[i] = (struct request){ .busy = false };
  }
}

static int
on_answer (void *opaque, int *error)
{
  struct request *r = opaque;

  r->answered = true;
  r->error = *error;
  return 1;
}

static int
on_extents (void *opaque, const char *context, uint64_t offset,
            uint32_t *entries, size_t n, int *error)
{
  struct request *r = opaque;

  if (strcmp (context, LIBNBD_CONTEXT_BASE_ALLOCATION) == 0 &&
      offset == r->offset && n <= 2 * EXTENTS_MAX) {
    memcpy (r->extents, entries, n * sizeof entries[0]);
    r->nr_extents = n;
  }
  (void) error;
  return 0;
}

void
ask_extents (struct nbd_handle *nbd, struct request *r)
{
  if (nbd_block_status (
        nbd, r->count, r->offset,
        (nbd_extent_callback){ .callback = on_extents, .user_data = r },
        0) == -1)
    fail ("extents of %" PRIu64 " bytes at %" PRIu64 ": %s", r->count,
          r->offset, nbd_get_error ());
}

static uint64_t
choose_count (uint64_t region_size)
{
  const unsigned dice = up_to (999);

  if (dice < 400)
    return up_to (599) + 1;
  if (dice < 600)
    return up_to (least (3 * region_size, 256 * KIB)) + 1;
  if (dice < 750)
    return least (region_size * (up_to (7) + 1), 2 * MIB);
  if (dice < 970)
    return up_to (128 * KIB) + 1;
  if (dice < 997)
    return up_to (2 * MIB) + 1;
  return up_to (32 * MIB - 1) + 1;
}

/* A range: often at or around the edge of a region or the source's end. */
static void
choose_range (const struct clients *c, struct request *r)
{
  const unsigned dice = up_to (99);

  r->count = least (choose_count (c->region_size), c->size);
  r->offset = up_to (c->size - r->count);
  if (dice < 30)
    r->offset -= r->offset % c->region_size;
  else if (dice < 45)
    r->offset = r->offset - r->offset % c->region_size + up_to (6);
  else if (dice < 55)
    r->offset = c->source_size - least (c->source_size, up_to (2 * r->count));
  else if (dice < 60)
    r->offset = c->size - r->count;
  r->offset = least (r->offset, c->size - 1);
  r->count = least (r->count, c->size - r->offset);
}

static void
choose (const struct clients *c, struct request *r)
{
  const unsigned dice = up_to (99);

  *r = (struct request){ .busy = true };
  r->kind = dice < 30   ? READ
            : dice < 62 ? WRITE
            : dice < 72 ? ZERO
            : dice < 82 ? TRIM
            : dice < 88 ? FLUSH
            : dice < 91 ? CACHE
                        : EXTENTS;
  if (r->kind == FLUSH)
    return;
  choose_range (c, r);
  if (changes (r) && percent (c->fua_percent))
    r->flags |= LIBNBD_CMD_FLAG_FUA;
  if (r->kind == ZERO && percent (50))
    r->flags |= LIBNBD_CMD_FLAG_NO_HOLE;
  if (r->kind == ZERO && percent (20) && nbd_can_fast_zero (c->handles[0]) == 1)
    r->flags |= LIBNBD_CMD_FLAG_FAST_ZERO;
  if (r->kind == EXTENTS && percent (20))
    r->flags |= LIBNBD_CMD_FLAG_REQ_ONE;
}

/* Whether R could see or hide the effect of another request in flight. */
static bool
conflicts (const struct clients *c, const struct request *r)
{
  if (r->kind == FLUSH)
    return false;
  for (int i = 0; i < IN_FLIGHT_MAX; ++i) {
    const struct request *other = &c->requests[i];

    if (other != r && other->busy &&
        overlap (other, r->offset, r->offset + r->count) &&
        (changes (other) || changes (r)))
      return true;
  }
  return false;
}

/* Never 0 nor 0xdb, and most often different from byte to byte. */
static void
fill (unsigned char *buf, uint64_t count)
{
  const uint64_t noise = any ();

  for (uint64_t i = 0; i < count; ++i)
    buf[i] = (noise >> (i % 8 * 8)) % 101 + i % 97 + 1;
}

static void
send_request (struct clients *c, struct request *r, struct nbd_handle *nbd)
{
  const nbd_completion_callback done = { .callback = on_answer,
                                         .user_data = r };
  int64_t cookie = -1;

  r->sent = ++c->clock;
  if (r->kind == READ || r->kind == WRITE) {
    r->buf = malloc (r->count);
    memset (r->buf, 0xee, r->count);
  }
  if (r->kind == WRITE)
    fill (r->buf, r->count);

  switch (r->kind) {
  case READ:
    cookie = nbd_aio_pread (nbd, r->buf, r->count, r->offset, done, r->flags);
    break;
  case WRITE:
    cookie = nbd_aio_pwrite (nbd, r->buf, r->count, r->offset, done, r->flags);
    break;
  case ZERO:
    cookie = nbd_aio_zero (nbd, r->count, r->offset, done, r->flags);
    break;
  case TRIM:
    cookie = nbd_aio_trim (nbd, r->count, r->offset, done, r->flags);
    break;
  case FLUSH:
    cookie = nbd_aio_flush (nbd, done, r->flags);
    break;
  case CACHE:
    cookie = nbd_aio_cache (nbd, r->count, r->offset, done, r->flags);
    break;
  case EXTENTS:
    cookie = nbd_aio_block_status (
      nbd, r->count, r->offset,
      (nbd_extent_callback){ .callback = on_extents, .user_data = r }, done,
      r->flags);
    break;
  }
  if (cookie == -1)
    fail ("%s of %" PRIu64 " bytes at %" PRIu64 ": %s", kind_names[r->kind],
          r->count, r->offset, nbd_get_error ());
}

void
clients_operate (struct clients *c)
{
  struct request *r = c->requests;

  clients_drain (c, c->depth - 1);
  while (r->busy)
    r++;
  do
    choose (c, r);
  while (conflicts (c, r));
  send_request (c, r, c->handles[up_to (c->count - 1)]);
  clients_pump (c, 0);
  clients_collect (c);
}
