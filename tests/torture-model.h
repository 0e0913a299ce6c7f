/* What the disk may hold; see torture-model.c. */

#ifndef TORTURE_MODEL_H
#define TORTURE_MODEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "requests.h"

struct change;

struct model {
  uint64_t size, source_size, region_size, nr_regions;
  unsigned char *source;  /* beyond its end: what the destination had there */
  unsigned char *durable; /* before any of the changes */
  unsigned char *visible; /* with the last completed ones */
  struct change *changes; /* in the order in which they were sent */
  size_t count, allocated;
  uint64_t *changed; /* of each region: when the first change was answered */
  bool *committed;   /* of each region: its bit is durable */
  uint64_t flushed;  /* when the last flush that was answered had been sent */
};

/* SOURCE, of SIZE bytes, becomes the model's. */
extern void model_init (struct model *m, uint64_t size, uint64_t source_size,
                        uint64_t region_size, unsigned char *source);
extern void model_free (struct model *m);

/* A change was answered at NOW, with success or not; or never will be, since the
 * server is gone.
 */
extern void model_changed (struct model *m, const struct request *r,
                           uint64_t now);
extern void model_uncertain (struct model *m, const struct request *r);

/* A flush has been answered with success that was sent at SENT. */
extern void model_flushed (struct model *m, uint64_t sent);

/* Whether a byte may be read as VALUE: while the server lives; and after a
 * crash.
 */
extern bool model_may_read (const struct model *m, uint64_t offset,
                            unsigned char value);
extern bool model_may_survive (const struct model *m, uint64_t offset,
                               unsigned char value);

/* How it looks after a restart, with a bit in HYDRATED for each region, which
 * has been found to be allowed.  If the power had been cut, or the server had
 * stopped in order, that is what is durable; if not, what is here may still be
 * lost.
 */
extern void model_restarted (struct model *m, const unsigned char *now,
                             const bool *hydrated, bool is_durable,
                             uint64_t clock);

/* Whether all bits are durable. */
extern bool model_is_complete (const struct model *m);

#endif /* TORTURE_MODEL_H */
