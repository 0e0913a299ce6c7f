/* nbdclone: powercut: numbers that look random, but depend on nothing else than
 * what they are asked for.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef NBDCLONE_POWERCUT_RANDOM_H
#define NBDCLONE_POWERCUT_RANDOM_H

#include <stdbool.h>
#include <stdint.h>

/* What a number is for: the same request gets independent numbers for each. */
enum random_purpose {
  RANDOM_CUT,     /* whether to cut now */
  RANDOM_KEEP,    /* nothing, all or a subset */
  RANDOM_SHARE,   /* how much of it */
  RANDOM_TORN,    /* whether a request is torn */
  RANDOM_REQUEST, /* whether a request that is not torn is kept */
  RANDOM_TEAR,    /* how it is torn */
  RANDOM_POINT,   /* where it is torn */
  RANDOM_SECTOR,  /* whether a sector is kept */
  RANDOM_RANK,    /* which of several kept versions is the last */
  RANDOM_RULE,    /* whether a rule applies; the last: one for each rule */
};

/* The output function of splitmix64, by Sebastiano Vigna (public domain,
 * https://prng.di.unimi.it/splitmix64.c): a bijection in which each bit of the
 * input changes about half of the output's.
 */
static inline uint64_t
random_mix (uint64_t x)
{
  x += UINT64_C (0x9e3779b97f4a7c15);
  x = (x ^ (x >> 30)) * UINT64_C (0xbf58476d1ce4e5b9);
  x = (x ^ (x >> 27)) * UINT64_C (0x94d049bb133111eb);
  return x ^ (x >> 31);
}

static inline uint64_t
random_number (uint64_t seed, unsigned purpose, uint64_t a, uint64_t b)
{
  return random_mix (random_mix (random_mix (random_mix (seed) ^ purpose) ^ a) ^
                     b);
}

/* True with this PROBABILITY (0 to 1), for a number as above. */
static inline bool
random_chance (uint64_t number, double probability)
{
  return (double) (number >> 11) * 0x1p-53 < probability;
}

#endif /* NBDCLONE_POWERCUT_RANDOM_H */
