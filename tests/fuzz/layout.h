/* nbdclone: the bitmap file as bytes, for the fuzzer.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * What nbdclone-bitmap(5) says, written down a second time: the fuzzer has to
 * know better than the code that it looks at.
 */

#ifndef NBDCLONE_FUZZ_LAYOUT_H
#define NBDCLONE_FUZZ_LAYOUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HEADER_BYTES 8192
#define BLOCKS_AT 16384
#define SLOT_BYTES 4096 /* of a block */
#define PAIR_BYTES 8192 /* both slots of a block */
#define BITS_AT 64      /* in a block's slot */
#define BITS_BYTES 4032

/* Fields: where they are in a header or a slot. */
#define CHECKSUM_AT 8
#define GENERATION_AT 16
#define SUM_AT 24   /* header */
#define INDEX_AT 24 /* block */
#define UUID_AT 32
#define UUID_BYTES 16
#define VERSION_AT 48
#define FEATURES_AT 52
#define FLAGS_AT 56
#define NAME_LENGTH_AT 60
#define REGION_SIZE_AT 64
#define DISK_SIZE_AT 72
#define SOURCE_SIZE_AT 80
#define NAME_AT 4096

/* Numbers of 4 or 8 bytes, little-endian. */
extern uint64_t layout_get (const uint8_t *p, unsigned bytes);
extern void layout_put (uint8_t *p, unsigned bytes, uint64_t value);

/* How many blocks a file of that size has in full; 0 if it is too short. */
extern size_t layout_blocks (size_t size);

/* Slot 0 or 1 of a block. */
extern size_t layout_slot (size_t block, unsigned slot);

/* The checksum of what is in a header or in a slot. */
extern uint64_t layout_checksum (const uint8_t *p, size_t bytes);

/* bytes > 0 */
extern bool layout_all_zero (const uint8_t *p, size_t bytes);

/* Is it a slot of that block, with the right checksum?  Whose file it is of is
 * not looked at.
 */
extern bool layout_slot_is_sound (const uint8_t *p, size_t block);

/* The sum that a header of that generation should have: of the checksums of the
 * newest slots that are not younger.
 */
extern uint64_t layout_sum (const uint8_t *file, size_t size,
                            uint64_t generation);

/* The same numbers for a seed (splitmix64). */
struct random {
  uint64_t state;
};
extern uint64_t random_next (struct random *);
extern uint64_t random_below (struct random *, uint64_t n);
extern bool random_one_in (struct random *, uint64_t n);

/* End the process if it does not hold; also where asserts are off. */
#define must(condition)                             \
  do {                                              \
    if (!(condition))                               \
      must_failed (__FILE__, __LINE__, #condition); \
  } while (0)

extern void must_failed (const char *file, int line, const char *condition)
  __attribute__ ((noreturn));

#endif /* NBDCLONE_FUZZ_LAYOUT_H */
