/* nbdclone: what clients' reads have fetched is kept.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "keep.h"
#include "store.h"

/* Bytes of copies that may wait. */
#define BUDGET (UINT64_C (16) << 20)

/* So much is worth waking a thread. */
#define ENOUGH (UINT64_C (1) << 20)

struct keep_item {
  struct keep_item *next;
  struct regions regions;
  struct flight flight;
  size_t length;
  uint8_t data[];
};

void
keep_init (struct keep *k, struct clone *clone, uint64_t gather_us)
{
  *k = (struct keep){ .clone = clone, .gather_us = gather_us };
  k->last = &k->first;
  pthread_mutex_init (&k->lock, NULL);
  clock_cond_init (&k->work);
}

void
keep_destroy (struct keep *k)
{
  assert (k->first == NULL);
  pthread_mutex_destroy (&k->lock);
  pthread_cond_destroy (&k->work);
}

/* Under lock: wait for a moment if there is little to do. */
static void
gather (struct keep *k)
{
  struct clock *clock = &system_clock; /* it decides nothing but speed */
  uint64_t until;

  if (k->gather_us == 0 || k->gathering || k->first == NULL)
    return;
  until = clock->now_us (clock) + k->gather_us;
  k->gathering = true;
  while (!k->stop && k->bytes < ENOUGH && clock->now_us (clock) < until)
    clock->wait_until (clock, &k->work, &k->lock, until);
  k->gathering = false;
}

/* Under lock: the next item, or NULL when it is time to end.  For what has been
 * reserved there will be an item, also while it is being stopped.
 */
static struct keep_item *
next_item (struct keep *k)
{
  struct keep_item *item;

  while (k->first == NULL && (!k->stop || k->bytes > 0)) {
    k->idle++;
    pthread_cond_wait (&k->work, &k->lock);
    k->idle--;
    gather (k);
  }
  item = k->first;
  if (item) {
    k->first = item->next;
    if (k->first == NULL)
      k->last = &k->first;
  }
  return item;
}

/* Under lock: so much room is free again. */
static void
give_back (struct keep *k, size_t length)
{
  k->bytes -= length;
  if (k->stop && k->bytes == 0)
    pthread_cond_broadcast (&k->work);
}

static void *
keep_thread (void *opaque)
{
  struct keep *k = opaque;
  struct keep_item *item;

  pthread_mutex_lock (&k->lock);
  while ((item = next_item (k)) != NULL) {
    int err;

    pthread_mutex_unlock (&k->lock);
    /* If the destination is full or failing, the client has its answer all the
     * same, and the background will find the regions missing.
     */
    if (!commit_failed (&k->clone->commit))
      (void) store_fetched (k->clone, item->regions, item->data, &err);
    flights_end (&k->clone->flights, &item->flight);
    pthread_mutex_lock (&k->lock);
    give_back (k, item->length);
    free (item);
  }
  pthread_mutex_unlock (&k->lock);
  return NULL;
}

int
keep_start (struct keep *k)
{
  int r = 0;

  while (k->n_threads < KEEP_THREADS && r == 0) {
    r = pthread_create (&k->threads[k->n_threads], NULL, keep_thread, k);
    if (r == 0)
      k->n_threads++;
  }
  return r;
}

/* Reserve room for one more item. */
static bool
reserve (struct keep *k, size_t length)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&k->lock);
  if (k->stop || k->n_threads == 0 || k->bytes + length > BUDGET)
    return false;
  k->bytes += length;
  return true;
}

bool
keep_offer (struct keep *k, struct regions regions, const void *data,
            struct flight *flight)
{
  const struct geometry *g = &k->clone->geometry;
  const uint64_t start = region_start (g, regions.first);
  const size_t length = region_start (g, regions.end) - start;
  struct keep_item *item;

  if (!reserve (k, length))
    return false;
  item = malloc (sizeof *item + length);
  if (item == NULL) {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&k->lock);
    give_back (k, length);
    return false;
  }
  item->next = NULL;
  item->regions = regions;
  item->length = length;
  memcpy (item->data, data, length);
  flights_move (&k->clone->flights, flight, &item->flight, item->data, start,
                start + length);

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&k->lock);
  *k->last = item;
  k->last = &item->next;
  if (k->bytes >= ENOUGH)
    pthread_cond_broadcast (&k->work);
  else if (k->idle && !k->gathering)
    pthread_cond_signal (&k->work);
  return true;
}

void
keep_stop (struct keep *k)
{
  unsigned i;

  pthread_mutex_lock (&k->lock);
  k->stop = true;
  pthread_cond_broadcast (&k->work);
  pthread_mutex_unlock (&k->lock);
  for (i = 0; i < k->n_threads; ++i)
    pthread_join (k->threads[i], NULL);
  k->n_threads = 0;
}
