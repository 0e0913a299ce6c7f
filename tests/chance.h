/* Random numbers for the tests: the same ones for the same seed. */

#ifndef CHANCE_H
#define CHANCE_H

#include <stdbool.h>
#include <stdint.h>

extern void chance_seed (uint64_t seed);

/* Any number; from 0 to MAX; true in N cases of a hundred. */
extern uint64_t any (void);
extern uint64_t up_to (uint64_t max);
extern bool percent (unsigned n);

static inline uint64_t
least (uint64_t a, uint64_t b)
{
  return a < b ? a : b;
}

#endif /* CHANCE_H */
