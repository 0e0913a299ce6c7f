/* nbdclone: scoped locks and frees.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef NBDCLONE_CLEANUP_H
#define NBDCLONE_CLEANUP_H

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>

static inline void
cleanup_free (void *ptr)
{
  free (*(void **) ptr);
}

static inline void
cleanup_unlock (pthread_mutex_t **lock)
{
  int r = pthread_mutex_unlock (*lock);
  assert (r == 0);
  (void) r;
}

static inline pthread_mutex_t *
cleanup_lock (pthread_mutex_t *lock)
{
  int r = pthread_mutex_lock (lock);
  assert (r == 0);
  (void) r;
  return lock;
}

/* The variable is freed at the end of its scope. */
#define CLEANUP_FREE __attribute__ ((cleanup (cleanup_free)))

/* The mutex is held from here to the end of the scope. */
#define ACQUIRE_LOCK_FOR_CURRENT_SCOPE(mutex)        \
  __attribute__ ((cleanup (cleanup_unlock), unused)) \
  pthread_mutex_t *_lock_of_this_scope = cleanup_lock (mutex)

#endif /* NBDCLONE_CLEANUP_H */
