/* nbdclone: the control socket: flushes.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A flush waits for disks, and the control thread waits for nothing.  All who
 * ask before a flush begins share it.
 */

#include <config.h>

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "cleanup.h"
#include "control-private.h"

static void *
flusher_thread (void *opaque)
{
  struct flusher *f = opaque;
  const uint64_t one = 1;

  pthread_mutex_lock (&f->lock);
  while (!f->stop) {
    const uint64_t ticket = f->asked;
    int err = 0;

    if (ticket == f->done) {
      pthread_cond_wait (&f->work, &f->lock);
      continue;
    }
    pthread_mutex_unlock (&f->lock);
    if (engine_flush (f->engine, &err) == 0)
      err = 0;
    pthread_mutex_lock (&f->lock);
    f->done = ticket;
    f->error = err;
    if (write (f->wake_fd, &one, sizeof one) == -1)
      continue; /* the counter is full: it will be looked at */
  }
  pthread_mutex_unlock (&f->lock);
  return NULL;
}

int
flusher_start (struct flusher *f, struct engine *engine)
{
  int r;

  *f = (struct flusher){ .engine = engine };
  f->wake_fd = eventfd (0, EFD_CLOEXEC | EFD_NONBLOCK);
  if (f->wake_fd == -1)
    return errno;
  pthread_mutex_init (&f->lock, NULL);
  pthread_cond_init (&f->work, NULL);
  r = pthread_create (&f->thread, NULL, flusher_thread, f);
  f->has_thread = r == 0;
  if (r)
    close (f->wake_fd);
  return r;
}

void
flusher_stop (struct flusher *f)
{
  if (!f->has_thread)
    return;
  pthread_mutex_lock (&f->lock);
  f->stop = true;
  pthread_cond_signal (&f->work);
  pthread_mutex_unlock (&f->lock);
  pthread_join (f->thread, NULL);
  f->has_thread = false;
  close (f->wake_fd);
  pthread_mutex_destroy (&f->lock);
  pthread_cond_destroy (&f->work);
}

uint64_t
flusher_ask (struct flusher *f)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&f->lock);
  pthread_cond_signal (&f->work);
  return ++f->asked;
}

bool
flusher_done (struct flusher *f, uint64_t ticket, int *err)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&f->lock);
  *err = f->error;
  return f->done >= ticket;
}
