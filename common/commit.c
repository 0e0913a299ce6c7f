/* nbdclone: commit.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A bit may be in the bitmap file only if a destination flush that began after
 * the region was written has succeeded (P3).  A commit therefore
 *
 *   1. takes the chunks that have changed, with a copy of their bits;
 *   2. flushes the destination;
 *   3. writes the copies to the bitmap file and syncs it.
 *
 * Bits that are set during 2 or 3 are not in the copies: they list their chunk
 * again and belong to the next commit (lesson 2).  A chunk's mark is cleared
 * under the lock under which its bits are set, before they are copied, so a bit
 * is in the copy or its chunk is listed again.
 *
 * All flushes of the destination go through one group, and so never overlap.
 * That saves flushes, since they are shared; but above all, an error that the
 * kernel reports to one flush it does not report to another one of the same
 * file (P5, lesson 13).  Since the failure is recorded before the next flush
 * begins, no commit can follow one that has failed without knowing of it.
 *
 * The thread commits every so often, and earlier when much was hydrated: so the
 * destination writes back while the copies go on, and neither the last commit nor
 * a client's FLUSH finds a heap of dirty data (bench/RESULTS.md has the effect).
 *
 * A commit takes a limited number of chunks at a time, so that its memory is
 * bounded (P9); if there are more it goes round again.  If the bitmap file
 * cannot grow, what was taken stays taken, and the next commit has at least the
 * same chunks, as bitmap_file_commit wants it.
 */

#include <config.h>

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "commit.h"
#include "log.h"

/* The most chunks in one round: 16 MiB of copies. */
#define TAKE_MAX 4096

/* How `next` says that a chunk is the last one in the list. */
#define END UINT64_MAX

int
commit_init (struct commit *c, struct bitmap *bitmap, struct bitmap_file *file,
             struct destination *destination, struct clock *clock,
             uint64_t enough)
{
  const uint64_t chunks = bitmap_chunks (bitmap);
  const size_t take = chunks < TAKE_MAX ? (size_t) chunks : TAKE_MAX;

  *c = (struct commit){
    .bitmap = bitmap,
    .file = file,
    .destination = destination,
    .clock = clock,
    .enough = enough,
    .durable = bitmap_count (bitmap),
    .begun = bitmap_count (bitmap),
  };
  group_init (&c->flushes);
  group_init (&c->commits);
  pthread_mutex_init (&c->lock, NULL);
  clock_cond_init (&c->wake);
  c->next = calloc (chunks, sizeof *c->next);
  c->in_taken = calloc (chunks, sizeof *c->in_taken);
  c->taken = calloc (take, sizeof *c->taken);
  c->blocks = aligned_alloc (BITMAP_FILE_BLOCK, take * BITMAP_FILE_BLOCK);
  if (c->next == NULL || c->in_taken == NULL || c->taken == NULL ||
      c->blocks == NULL) {
    int err = errno;
    commit_destroy (c);
    errno = err;
    return -1;
  }
  return 0;
}

void
commit_destroy (struct commit *c)
{
  assert (!c->has_thread);
  free (c->next);
  free (c->in_taken);
  free (c->taken);
  free (c->blocks);
  group_destroy (&c->flushes);
  group_destroy (&c->commits);
  pthread_mutex_destroy (&c->lock);
  pthread_cond_destroy (&c->wake);
}

bool
commit_failed (struct commit *c)
{
  /* Acquire: pairs with the release in fail. */
  return atomic_load_explicit (&c->failed, memory_order_acquire);
}

bool
commit_pending (struct commit *c)
{
  /* Acquire: pairs with update_uncommitted.  A request that was answered
   * before this call has listed its chunks already.
   */
  return atomic_load_explicit (&c->uncommitted, memory_order_acquire) > 0;
}

static int
fail (struct commit *c, const char *what, int err)
{
  errno = err;
  if (!atomic_exchange_explicit (&c->failed, true, memory_order_release))
    log_error ("%s failed: %m: nothing can be made durable any more; "
               "restart the server to return to the last commit",
               what);
  return EIO;
}

/* Under lock. */
static void
update_uncommitted (struct commit *c)
{
  atomic_store_explicit (&c->uncommitted, c->listed + c->n_taken,
                         memory_order_release);
}

void
commit_changed (void *opaque, uint64_t chunk)
{
  struct commit *c = opaque;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&c->lock);
  if (c->next[chunk])
    return;
  c->next[chunk] = END;
  if (c->last)
    c->next[c->last - 1] = chunk + 1;
  else
    c->first = chunk + 1;
  c->last = chunk + 1;
  c->listed++;
  update_uncommitted (c);
}

static void
clear_mark (void *opaque, uint64_t chunk)
{
  struct commit *c = opaque;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&c->lock);
  /* A chunk that stayed taken may have been listed again; then it stays
   * listed, and one block too many is written next time.
   */
  if (!c->in_taken[chunk])
    c->next[chunk] = 0;
  c->in_taken[chunk] = true;
}

/* Move up to `most` chunks from the list to what is taken; returns how many
 * were moved.  The mark stays until the copy is made.
 */
static uint64_t
take_from_list (struct commit *c, uint64_t most)
{
  uint64_t moved = 0;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&c->lock);
  while (moved < most && c->listed > 0 && c->n_taken < TAKE_MAX) {
    const uint64_t chunk = c->first - 1;

    c->first = c->next[chunk] == END ? 0 : c->next[chunk];
    if (c->first == 0)
      c->last = 0;
    c->listed--;
    moved++;
    if (c->in_taken[chunk]) /* from a commit that found no space */
      c->next[chunk] = 0;
    else
      c->taken[c->n_taken++] = chunk;
  }
  update_uncommitted (c);
  return moved;
}

static void
copy_taken (struct commit *c)
{
  size_t i;

  for (i = 0; i < c->n_taken; ++i)
    bitmap_copy_chunk (c->bitmap, c->taken[i],
                       c->blocks[i] + BITMAP_FILE_BLOCK_HEADER, clear_mark, c);
}

static void
forget_taken (struct commit *c)
{
  size_t i;

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&c->lock);
  for (i = 0; i < c->n_taken; ++i)
    c->in_taken[c->taken[i]] = false;
  c->n_taken = 0;
  update_uncommitted (c);
}

static int
flush_run (void *opaque)
{
  struct commit *c = opaque;
  int err = 0;

  if (commit_failed (c))
    return EIO;
  if (c->destination->ops->flush (c->destination, &err) == -1)
    return fail (c, "the destination's flush", err);
  return 0;
}

int
commit_flush (struct commit *c)
{
  return group_run (&c->flushes, flush_run, c);
}

/* One round; *left is how many listed chunks are still to be committed. */
static int
commit_round (struct commit *c, uint64_t *left)
{
  int r;

  *left -= take_from_list (c, *left);
  copy_taken (c);

  r = commit_flush (c);
  if (r)
    return r;
  if (commit_failed (c))
    return EIO;
  if (c->n_taken == 0)
    return 0;

  if (bitmap_file_commit (c->file, c->taken, c->blocks, c->n_taken) == -1) {
    if (errno == ENOSPC)
      return ENOSPC;
    return fail (c, "writing the bitmap file", errno);
  }
  forget_taken (c);
  atomic_fetch_add_explicit (&c->count, 1, memory_order_relaxed);
  return 0;
}

void
commit_poke (struct commit *c)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&c->lock);
  c->poked = true;
  pthread_cond_signal (&c->wake);
}

static int
commit_run (void *opaque)
{
  struct commit *c = opaque;
  const uint64_t began_us = c->clock->now_us (c->clock);
  /* What is counted has been listed before. */
  const uint64_t hydrated = bitmap_count (c->bitmap);
  uint64_t left;
  int r;

  atomic_store_explicit (&c->begun, hydrated, memory_order_relaxed);
  pthread_mutex_lock (&c->lock);
  left = c->listed;
  pthread_mutex_unlock (&c->lock);

  do
    r = commit_round (c, &left);
  while (r == 0 && left > 0);
  if (r == 0) {
    /* Release: pairs with the acquire in engine_look. */
    atomic_store_explicit (&c->durable, hydrated, memory_order_release);
    atomic_store_explicit (&c->last_us, c->clock->now_us (c->clock) - began_us,
                           memory_order_relaxed);
    /* It may have been a client's, when the thread's own had found no space:
     * then the thread shall not sleep over the end of the clone.
     */
    if (hydrated == bitmap_regions (c->bitmap))
      commit_poke (c);
  }
  return r;
}

int
commit_sync (struct commit *c)
{
  if (commit_failed (c))
    return EIO;
  if (!commit_pending (c))
    return commit_flush (c);
  return group_run (&c->commits, commit_run, c);
}

int
commit_sync_regions (struct commit *c, uint64_t first, uint64_t end)
{
  bool durable = true;
  uint64_t chunk;

  if (commit_failed (c))
    return EIO;
  if (commit_pending (c) && first < end) {
    ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&c->lock);
    for (chunk = first / CHUNK_REGIONS;
         durable && chunk <= (end - 1) / CHUNK_REGIONS; ++chunk)
      durable = !c->next[chunk] && !c->in_taken[chunk];
  }
  return durable ? commit_flush (c) : commit_sync (c);
}

static void *
commit_thread (void *opaque)
{
  struct commit *c = opaque;
  bool told = false;

  pthread_mutex_lock (&c->lock);
  while (!c->stop) {
    int r = 0;

    if (!c->poked)
      c->clock->wait_until (c->clock, &c->wake, &c->lock,
                            c->clock->now_us (c->clock) + c->interval_us);
    if (c->stop)
      break;
    c->poked = false;
    pthread_mutex_unlock (&c->lock);
    if (commit_pending (c) && !commit_failed (c))
      r = commit_sync (c);
    if (r == ENOSPC && !told)
      log_error ("no space to write the bitmap file: what is hydrated stays "
                 "pending; free some space");
    told = r == ENOSPC;
    if (c->committed (c->opaque))
      return NULL;
    pthread_mutex_lock (&c->lock);
  }
  pthread_mutex_unlock (&c->lock);
  return NULL;
}

int
commit_start (struct commit *c, uint64_t interval_us,
              bool (*committed) (void *opaque), void *opaque)
{
  int r;

  c->interval_us = interval_us;
  c->committed = committed;
  c->opaque = opaque;
  r = pthread_create (&c->thread, NULL, commit_thread, c);
  c->has_thread = r == 0;
  return r;
}

void
commit_hydrated (struct commit *c)
{
  /* `begun` is a count of before. */
  const uint64_t begun = atomic_load_explicit (&c->begun, memory_order_relaxed);
  const uint64_t count = bitmap_count (c->bitmap);

  if (count == bitmap_regions (c->bitmap) || count - begun >= c->enough)
    commit_poke (c);
}

void
commit_set_interval (struct commit *c, uint64_t interval_us)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&c->lock);
  c->interval_us = interval_us;
  c->poked = true;
  pthread_cond_signal (&c->wake);
}

uint64_t
commit_interval (struct commit *c)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&c->lock);
  return c->interval_us;
}

void
commit_stop (struct commit *c)
{
  if (!c->has_thread)
    return;
  pthread_mutex_lock (&c->lock);
  c->stop = true;
  pthread_cond_signal (&c->wake);
  pthread_mutex_unlock (&c->lock);
  pthread_join (c->thread, NULL);
  c->has_thread = false;
}
