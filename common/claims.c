/* nbdclone: who may write to regions that are not hydrated yet.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * The rule is in claims.h.  The claims held are a plain list: there is at most
 * one for each thread that is just writing to the destination, and no claim is
 * taken on hydrated regions.
 */

#include <config.h>

#include <assert.h>
#include <stdbool.h>

#include "claims.h"
#include "cleanup.h"

void
claims_init (struct claims *c)
{
  pthread_mutex_init (&c->lock, NULL);
  pthread_cond_init (&c->released, NULL);
  c->held = NULL;
  c->waiting = 0;
}

void
claims_destroy (struct claims *c)
{
  assert (c->held == NULL && c->waiting == 0);
  pthread_mutex_destroy (&c->lock);
  pthread_cond_destroy (&c->released);
}

static bool
is_claimed (const struct claims *c, struct regions r)
{
  const struct claim *p;

  for (p = c->held; p; p = p->next)
    if (p->regions.first < r.end && r.first < p->regions.end)
      return true;
  return false;
}

void
claim_regions (struct claims *c, struct claim *claim, struct regions r)
{
  assert (!regions_empty (r));

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&c->lock);
  while (is_claimed (c, r)) {
    c->waiting++;
    pthread_cond_wait (&c->released, &c->lock);
    c->waiting--;
  }
  claim->regions = r;
  claim->next = c->held;
  claim->self = &c->held;
  if (claim->next)
    claim->next->self = &claim->next;
  c->held = claim;
}

void
claim_release (struct claims *c, struct claim *claim)
{
  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (&c->lock);
  *claim->self = claim->next;
  if (claim->next)
    claim->next->self = claim->self;
  if (c->waiting)
    pthread_cond_broadcast (&c->released);
}
