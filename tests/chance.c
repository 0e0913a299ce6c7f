/* Random numbers for the tests: splitmix64. */

#include "chance.h"

static uint64_t state;

void
chance_seed (uint64_t seed)
{
  state = seed;
}

uint64_t
any (void)
{
  uint64_t z = (state += UINT64_C (0x9e3779b97f4a7c15));

  z = (z ^ (z >> 30)) * UINT64_C (0xbf58476d1ce4e5b9);
  z = (z ^ (z >> 27)) * UINT64_C (0x94d049bb133111eb);
  return z ^ (z >> 31);
}

uint64_t
up_to (uint64_t max)
{
  return any () % (max + 1);
}

bool
percent (unsigned n)
{
  return up_to (99) < n;
}
