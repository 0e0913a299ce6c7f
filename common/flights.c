/* nbdclone: fetches in flight, which others may ride on.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <assert.h>
#include <search.h>
#include <string.h>

#include "cleanup.h"
#include "flights.h"

void
flights_init (struct flights *fs)
{
  *fs = (struct flights){ .tree = NULL };
  pthread_mutex_init (&fs->lock, NULL);
  pthread_cond_init (&fs->unread, NULL);
}

void
flights_destroy (struct flights *fs)
{
  assert (fs->tree == NULL);
  pthread_mutex_destroy (&fs->lock);
  pthread_cond_destroy (&fs->unread);
}

/* Ranges that overlap are equal; since flights never do, that is an order. */
static int
compare (const void *a, const void *b)
{
  const struct flight *x = a, *y = b;

  return x->end <= y->offset ? -1 : x->offset >= y->end;
}

/* A flight that overlaps, or NULL.  Under lock, as all that follows. */
static struct flight *
find_any (const struct flights *fs, uint64_t from, uint64_t to)
{
  const struct flight range = { .offset = from, .end = to };
  void *node = tfind (&range, &fs->tree, compare);

  return node ? *(struct flight **) node : NULL;
}

/* The first one that overlaps, or NULL. */
static struct flight *
find_first (const struct flights *fs, uint64_t from, uint64_t to)
{
  struct flight *first = NULL, *f;

  while (from < to && (f = find_any (fs, from, to)) != NULL) {
    first = f;
    to = f->offset;
  }
  return first;
}

/* If there is one that overlaps, or no memory, it is not listed. */
static void
begin (struct flights *fs, struct flight *f, const uint8_t *data,
       uint64_t offset, uint64_t end)
{
  struct flight **node;

  *f = (struct flight){ .offset = offset, .end = end, .data = data };
  node = tsearch (f, &fs->tree, compare);
  f->listed = node && *node == f;
}

static void
unlist (struct flights *fs, struct flight *f)
{
  if (f->listed)
    tdelete (f, &fs->tree, compare);
  f->listed = false;
}

static void
wait_until_unread (struct flights *fs, struct flight *f)
{
  while (f->readers > 0)
    pthread_cond_wait (&fs->unread, &fs->lock);
}

/* Take bytes of a landed flight; gives up the lock meanwhile. */
static void
copy_landed (struct flights *fs, struct flight *f, uint8_t *buf,
             uint64_t offset, uint32_t length)
{
  const uint8_t *from = f->data + (offset - f->offset);

  f->readers++;
  pthread_mutex_unlock (&fs->lock);
  memcpy (buf, from, length);
  pthread_mutex_lock (&fs->lock);
  f->readers--;
  if (f->readers == 0)
    pthread_cond_broadcast (&fs->unread);
}

enum flight_role
flights_join (struct flights *fs, struct flight *own, struct rider *rider,
              uint8_t *buf, uint64_t offset, uint32_t *length)
{
  const uint64_t end = offset + *length;
  struct flight *f;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&fs->lock);
  f = find_first (fs, offset, end);
  if (f == NULL || f->offset > offset) {
    if (f) {
      *length = (uint32_t) (f->offset - offset);
      own->end = f->offset;
    }
    begin (fs, own, own->data, own->offset, own->end);
    return FLIGHT_OWN;
  }
  if (f->end < end)
    *length = (uint32_t) (f->end - offset);
  if (f->landed) {
    copy_landed (fs, f, buf, offset, *length);
    return FLIGHT_LANDED;
  }
  *rider = (struct rider){
    .next = f->riders,
    .buf = buf,
    .offset = offset,
    .length = *length,
  };
  sem_init (&rider->ended, 0, 0);
  f->riders = rider;
  return FLIGHT_RIDE;
}

void
flights_begin (struct flights *fs, struct flight *f, const uint8_t *buf,
               uint64_t offset, uint64_t length)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&fs->lock);
  begin (fs, f, buf, offset, offset + length);
}

void
flights_land (struct flights *fs, struct flight *f, int err)
{
  struct rider *riders;

  pthread_mutex_lock (&fs->lock);
  riders = f->riders;
  f->riders = NULL;
  f->landed = true;
  if (err)
    unlist (fs, f);
  pthread_mutex_unlock (&fs->lock);
  while (riders) {
    struct rider *rider = riders;

    riders = rider->next;
    rider->err = err;
    if (err == 0)
      memcpy (rider->buf, f->data + (rider->offset - f->offset), rider->length);
    sem_post (&rider->ended);
  }
}

void
flights_move (struct flights *fs, struct flight *from, struct flight *to,
              const uint8_t *data, uint64_t offset, uint64_t end)
{
  assert (from->landed && from->riders == NULL);

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&fs->lock);
  unlist (fs, from);
  begin (fs, to, data, offset, end);
  to->landed = true;
  /* Not before: as long as it is listed there may always be another reader. */
  wait_until_unread (fs, from);
}

void
flights_end (struct flights *fs, struct flight *f)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&fs->lock);
  unlist (fs, f);
  wait_until_unread (fs, f);
}

bool
flights_find (struct flights *fs, uint64_t from, uint64_t to, uint64_t *start,
              uint64_t *end)
{
  const struct flight *f;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&fs->lock);
  f = find_first (fs, from, to);
  if (f == NULL)
    return false;
  *start = f->offset > from ? f->offset : from;
  *end = f->end < to ? f->end : to;
  return true;
}

int
rider_wait (struct rider *rider)
{
  while (sem_wait (&rider->ended) == -1)
    continue;
  sem_destroy (&rider->ended);
  return rider->err;
}
