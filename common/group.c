/* nbdclone: many callers share one run of something slow.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include "cleanup.h"
#include "group.h"

void
group_init (struct group *g)
{
  *g = (struct group){ .running = false };
  pthread_mutex_init (&g->lock, NULL);
  pthread_cond_init (&g->ended, NULL);
}

void
group_destroy (struct group *g)
{
  pthread_mutex_destroy (&g->lock);
  pthread_cond_destroy (&g->ended);
}

int
group_run (struct group *g, int (*run) (void *opaque), void *opaque)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&g->lock);

  /* The run that is going on has begun before we came. */
  const uint64_t wanted = g->runs + (g->running ? 2 : 1);

  while (g->runs < wanted) {
    int r;

    if (g->running) {
      pthread_cond_wait (&g->ended, &g->lock);
      continue;
    }
    g->running = true;
    pthread_mutex_unlock (&g->lock);
    r = run (opaque);
    pthread_mutex_lock (&g->lock);
    g->running = false;
    g->runs++;
    g->last_error = r;
    if (r == 0)
      g->last_good = g->runs;
    pthread_cond_broadcast (&g->ended);
  }
  return g->last_good >= wanted ? 0 : g->last_error;
}
