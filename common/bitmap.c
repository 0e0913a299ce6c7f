/* nbdclone: the in-memory bitmap.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * A disk of 16 TiB in regions of 4 KiB has 2^32 of them.  What costs memory
 * should be only what is partly hydrated (P9), and a reader on the hydrated
 * path may take no lock (P8).  So the bits lie in one flat reservation of
 * address space, a page for each chunk, and beside it each chunk has a state:
 *
 *   EMPTY ──first bit──▶ MIXED ──last bit──▶ FULL
 *
 * EMPTY and FULL speak for the whole chunk; its page is not looked at.  When a
 * chunk becomes FULL its page is given back to the kernel and reads as zeroes
 * from then on.  States only move to the right.
 *
 * Why a reader needs no lock.  It loads the state, and if that is MIXED, a
 * word of the page, and then the state again.  If the state is still MIXED,
 * the page had not been given back when the word was loaded: FULL is stored
 * before madvise(2) begins, and whoever sees the zeroes that madvise leaves
 * also sees what was stored before it (unmapping a page interrupts every
 * processor that has it mapped).  If it has become FULL, the word is ignored.
 * The same trick one level up: `full` says that every chunk is FULL, and then
 * the states themselves can be given back.
 *
 * Setters of a chunk exclude each other by one of a few locks, chosen by the
 * chunk's number.  Nothing else is ever locked while one is held, but for what
 * the callbacks do.
 *
 * Why not a tree of allocated pages: a reader might hold a pointer to a page
 * that a setter frees.  Why not atomic or-ing without a lock: the one that
 * fills a chunk must know that nobody writes to its page any more.
 */

#include <config.h>

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "bitmap.h"
#include "cleanup.h"
#include "region.h"

#define LOCKS 64
#define CHUNK_STRIDE 4096 /* address space of a chunk: a page */

enum { EMPTY = 0, MIXED = 1, FULL = 2 };

/* Per chunk: the state in the low two bits, the number of bits set above. */
typedef _Atomic uint32_t chunk_state;

struct bitmap {
  uint64_t regions;
  uint64_t chunks;
  uint8_t *pages;      /* chunks * CHUNK_STRIDE */
  chunk_state *states; /* chunks; written under the chunk's lock */
  size_t pages_size;   /* bytes reserved for each */
  size_t states_size;
  size_t page_size; /* the machine's */
  _Atomic uint64_t count;
  _Atomic bool full; /* every chunk is FULL; never reset */
  pthread_mutex_t locks[LOCKS];
};

static void *
reserve (size_t bytes)
{
  void *p = mmap (NULL, bytes, PROT_READ | PROT_WRITE,
                  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

  if (p == MAP_FAILED)
    return NULL;
  /* A huge page for a few bits would be far too much (P9). */
  (void) madvise (p, bytes, MADV_NOHUGEPAGE);
  return p;
}

static size_t
round_to_page (const struct bitmap *b, size_t bytes)
{
  return (bytes + b->page_size - 1) & ~(b->page_size - 1);
}

struct bitmap *
bitmap_new (uint64_t regions)
{
  struct bitmap *b;
  size_t i;

  assert (regions > 0 && regions <= REGIONS_MAX);

  b = calloc (1, sizeof *b);
  if (b == NULL)
    return NULL;
  b->regions = regions;
  b->chunks = (regions + CHUNK_REGIONS - 1) / CHUNK_REGIONS;
  b->page_size = (size_t) sysconf (_SC_PAGESIZE);
  b->pages_size = round_to_page (b, b->chunks * CHUNK_STRIDE);
  b->states_size = round_to_page (b, b->chunks * sizeof *b->states);
  b->pages = reserve (b->pages_size);
  b->states = reserve (b->states_size);
  if (b->pages == NULL || b->states == NULL) {
    int err = errno;
    bitmap_free (b);
    errno = err;
    return NULL;
  }
  for (i = 0; i < LOCKS; ++i)
    pthread_mutex_init (&b->locks[i], NULL);
  return b;
}

void
bitmap_free (struct bitmap *b)
{
  if (b == NULL)
    return;
  if (b->pages)
    munmap (b->pages, b->pages_size);
  if (b->states)
    munmap (b->states, b->states_size);
  free (b);
}

uint64_t
bitmap_regions (const struct bitmap *b)
{
  return b->regions;
}

uint64_t
bitmap_chunks (const struct bitmap *b)
{
  return b->chunks;
}

uint64_t
bitmap_count (const struct bitmap *b)
{
  return atomic_load_explicit (&b->count, memory_order_acquire);
}

/* How many regions the chunk has: only the last one may have fewer. */
static unsigned
chunk_regions (const struct bitmap *b, uint64_t chunk)
{
  uint64_t left = b->regions - chunk * CHUNK_REGIONS;

  return left < CHUNK_REGIONS ? (unsigned) left : (unsigned) CHUNK_REGIONS;
}

static _Atomic uint64_t *
chunk_words (const struct bitmap *b, uint64_t chunk)
{
  return (_Atomic uint64_t *) (b->pages + chunk * CHUNK_STRIDE);
}

static unsigned
load_state (const struct bitmap *b, uint64_t chunk)
{
  /* Acquire: pairs with the releases in set_in_chunk. */
  return atomic_load_explicit (&b->states[chunk], memory_order_acquire) & 3;
}

static pthread_mutex_t *
chunk_lock (struct bitmap *b, uint64_t chunk)
{
  return &b->locks[chunk % LOCKS];
}

/* The bits [lo, hi) of a word, 0 <= lo < hi <= 64. */
static uint64_t
word_mask (unsigned lo, unsigned hi)
{
  return (~UINT64_C (0) << lo) & (~UINT64_C (0) >> (64 - hi));
}

/* The length of the run at bit `at` of a chunk, no further than bit `end` of
 * it, as far as this chunk is concerned.  If the chunk is filled while we
 * look, the answer is that it is full.
 */
static unsigned
run_in_chunk (const struct bitmap *b, uint64_t chunk, unsigned at, unsigned end,
              bool *set)
{
  unsigned state = load_state (b, chunk);
  const _Atomic uint64_t *words = chunk_words (b, chunk);
  unsigned pos = at;
  bool value = false;

  if (state == MIXED) {
    uint64_t word, differ;

    /* Acquire: what was done before a bit was set is seen with the bit, and
     * the second load of the state is not moved before the words'.
     */
    word = atomic_load_explicit (&words[pos / 64], memory_order_acquire);
    value = (word >> (pos % 64)) & 1;
    for (;;) {
      differ = (value ? ~word : word) & word_mask (pos % 64, 64);
      if (differ) {
        pos = (pos & ~63U) + (unsigned) __builtin_ctzll (differ);
        break;
      }
      pos = (pos & ~63U) + 64;
      if (pos >= end)
        break;
      word = atomic_load_explicit (&words[pos / 64], memory_order_acquire);
    }
    if (pos > end)
      pos = end;
    state = load_state (b, chunk);
    if (state == MIXED) {
      *set = value;
      return pos - at;
    }
  }

  *set = state == FULL || atomic_load_explicit (&b->full, memory_order_acquire);
  return end - at;
}

uint64_t
bitmap_run (const struct bitmap *b, uint64_t first, uint64_t end, bool *set)
{
  uint64_t at = first;

  assert (first < end && end <= b->regions);

  while (at < end) {
    uint64_t chunk = at / CHUNK_REGIONS;
    unsigned in_chunk = (unsigned) (at % CHUNK_REGIONS);
    uint64_t left = end - chunk * CHUNK_REGIONS;
    unsigned limit = chunk_regions (b, chunk);
    unsigned n;
    bool value;

    if (left < limit)
      limit = (unsigned) left;
    n = run_in_chunk (b, chunk, in_chunk, limit, &value);
    if (at == first)
      *set = value;
    else if (value != *set)
      break;
    at += n;
    if (in_chunk + n < limit)
      break;
  }
  return at - first;
}

bool
bitmap_all_set (const struct bitmap *b, uint64_t first, uint64_t end)
{
  bool set;

  return bitmap_run (b, first, end, &set) == end - first && set;
}

/* Or the bits [lo, hi) into a page; returns how many were clear. */
static unsigned
or_bits (_Atomic uint64_t *words, unsigned lo, unsigned hi)
{
  unsigned added = 0;

  while (lo < hi) {
    unsigned last = (lo & ~63U) + 64;
    unsigned stop = hi < last ? hi : last;
    uint64_t mask = word_mask (lo % 64, stop - (lo & ~63U));
    uint64_t old = atomic_load_explicit (&words[lo / 64], memory_order_relaxed);

    if (~old & mask) {
      added += (unsigned) __builtin_popcountll (~old & mask);
      /* Release: pairs with the acquire in run_in_chunk. */
      atomic_store_explicit (&words[lo / 64], old | mask, memory_order_release);
    }
    lo = stop;
  }
  return added;
}

static void
give_back (void *address, size_t bytes)
{
  /* Without success the memory just stays; MIXED is not read again. */
  (void) madvise (address, bytes, MADV_DONTNEED);
}

/* Set the bits [lo, hi) of a chunk; the chunk's lock is held.  Returns how
 * many were clear.
 */
static unsigned
set_in_chunk (struct bitmap *b, uint64_t chunk, unsigned lo, unsigned hi)
{
  uint32_t value =
    atomic_load_explicit (&b->states[chunk], memory_order_relaxed);
  unsigned count = value >> 2;
  const unsigned all = chunk_regions (b, chunk);
  const unsigned state = value & 3;
  unsigned added;

  /* Under the lock: bitmap_release_full waits for it. */
  if (state == FULL || atomic_load_explicit (&b->full, memory_order_acquire))
    return 0;
  if (state == EMPTY && hi - lo == all)
    added = all; /* the page is never touched */
  else
    added = or_bits (chunk_words (b, chunk), lo, hi);

  count += added;
  value = (count << 2) | (count == all ? FULL : MIXED);
  /* Release: pairs with load_state. */
  atomic_store_explicit (&b->states[chunk], value, memory_order_release);

  if (count == all && state == MIXED && b->page_size <= CHUNK_STRIDE)
    give_back (chunk_words (b, chunk), CHUNK_STRIDE);
  return added;
}

/* Is there a bit in [lo, hi) of a chunk that is not set?  Under the lock. */
static bool
has_clear_bit (const struct bitmap *b, uint64_t chunk, unsigned lo, unsigned hi)
{
  bool set;

  return run_in_chunk (b, chunk, lo, hi, &set) < hi - lo || !set;
}

void
bitmap_set (struct bitmap *b, uint64_t first, uint64_t end,
            void (*changed) (void *opaque, uint64_t chunk), void *opaque)
{
  assert (first <= end && end <= b->regions);

  while (first < end) {
    const uint64_t chunk = first / CHUNK_REGIONS;
    const uint64_t base = chunk * CHUNK_REGIONS;
    const uint64_t chunk_end = base + chunk_regions (b, chunk);
    const uint64_t stop = end < chunk_end ? end : chunk_end;
    const unsigned lo = (unsigned) (first - base);
    const unsigned hi = (unsigned) (stop - base);
    unsigned added = 0;

    {
      ACQUIRE_LOCK_FOR_CURRENT_SCOPE (chunk_lock (b, chunk));
      if (has_clear_bit (b, chunk, lo, hi)) {
        /* Before: who sees a bit, without any lock, writes to the region and
         * flushes, has to find that it is not committed yet (P4).
         */
        if (changed)
          changed (opaque, chunk);
        added = set_in_chunk (b, chunk, lo, hi);
      }
    }
    /* Release: who reads the full count sees all bits. */
    if (added)
      atomic_fetch_add_explicit (&b->count, added, memory_order_release);
    first = stop;
  }
}

static void
fill_bytes (uint8_t bytes[CHUNK_BYTES], unsigned bits)
{
  memset (bytes, 0, CHUNK_BYTES);
  memset (bytes, 0xff, bits / 8);
  if (bits % 8)
    bytes[bits / 8] = (uint8_t) ((1U << (bits % 8)) - 1);
}

void
bitmap_copy_chunk (struct bitmap *b, uint64_t chunk, uint8_t bytes[CHUNK_BYTES],
                   void (*before) (void *opaque, uint64_t chunk), void *opaque)
{
  const _Atomic uint64_t *words = chunk_words (b, chunk);
  unsigned state;
  size_t i;

  assert (chunk < b->chunks);

  ACQUIRE_LOCK_FOR_CURRENT_SCOPE (chunk_lock (b, chunk));
  if (before)
    before (opaque, chunk);
  state = load_state (b, chunk);
  if (state == FULL || atomic_load_explicit (&b->full, memory_order_acquire))
    fill_bytes (bytes, chunk_regions (b, chunk));
  else if (state == EMPTY)
    memset (bytes, 0, CHUNK_BYTES);
  else
    for (i = 0; i < CHUNK_WORDS; ++i) {
      uint64_t word =
        htole64 (atomic_load_explicit (&words[i], memory_order_relaxed));
      memcpy (bytes + 8 * i, &word, 8);
    }
}

int
bitmap_load_chunk (struct bitmap *b, uint64_t chunk,
                   const uint8_t bytes[CHUNK_BYTES])
{
  const unsigned all = chunk_regions (b, chunk);
  _Atomic uint64_t *words = chunk_words (b, chunk);
  uint8_t full[CHUNK_BYTES];
  unsigned count = 0;
  size_t i;

  assert (chunk < b->chunks);
  assert (load_state (b, chunk) == EMPTY);

  fill_bytes (full, all);
  if (memcmp (bytes, full, CHUNK_BYTES) == 0)
    count = all; /* nearly always, and counting bits is slow */
  else
    for (i = 0; i < CHUNK_WORDS; ++i) {
      uint64_t word, may;

      memcpy (&word, bytes + 8 * i, 8);
      memcpy (&may, full + 8 * i, 8);
      if (word & ~may)
        return -1;
      count += (unsigned) __builtin_popcountll (word);
    }
  if (count == 0)
    return 0;
  if (count < all)
    for (i = 0; i < CHUNK_WORDS; ++i) {
      uint64_t word;

      memcpy (&word, bytes + 8 * i, 8);
      if (word)
        atomic_store_explicit (&words[i], le64toh (word), memory_order_relaxed);
    }
  atomic_store_explicit (&b->states[chunk],
                         (count << 2) | (count == all ? FULL : MIXED),
                         memory_order_release);
  atomic_fetch_add_explicit (&b->count, count, memory_order_release);
  return 0;
}

void
bitmap_release_full (struct bitmap *b)
{
  size_t i;

  assert (bitmap_count (b) == b->regions);
  /* Release: pairs with the acquires of `full`. */
  atomic_store_explicit (&b->full, true, memory_order_release);
  /* Who has not seen it holds his chunk's lock, and sets nothing that was not
   * set; let him finish.
   */
  for (i = 0; i < LOCKS; ++i) {
    pthread_mutex_lock (&b->locks[i]);
    pthread_mutex_unlock (&b->locks[i]);
  }
  give_back (b->pages, b->pages_size);
  give_back (b->states, b->states_size);
}
