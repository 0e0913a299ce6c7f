/* nbdclone: the bitmap file.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * THE FORMAT (all numbers little-endian; see also nbdclone-bitmap(5))
 *
 *   0       header slot 0, 8192 bytes
 *   8192    header slot 1, 8192 bytes
 *   16384   block 0 slot 0, block 0 slot 1, block 1 slot 0, ... 4096 bytes each
 *
 * Header:                            Block:
 *      0  8  magic "nbdclone"           0  8  magic "nbdclblk"
 *      8  8  checksum                   8  8  checksum
 *     16  8  generation, from 1        16  8  generation, from 1
 *     24  8  sum                       24  8  index of the block
 *     32 16  UUID                      32 16  UUID, the header's
 *     48  4  version, 1                48 16  zero
 *     52  4  incompatible features     64     bits: bit k of the block is region
 *     56  4  flags (below)                     index * 32256 + k, 1 = hydrated,
 *     60  4  length of the name               least significant bit first; what
 *     64  8  region size                      is behind the last region is zero
 *     72  8  size of the disk
 *     80  8  size of the source
 *     88     zero
 *   4096     name of the source's export
 *
 * Flags: 1 = clean, 2 = the end of the clone has been announced.
 *
 * The checksum is XXH3-64 of all that follows it in its header slot or block.
 * The sum is the exclusive or of the checksums of the newest slot of each
 * block.  A block slot that is all zeroes has never been written.
 *
 * A COMMIT of generation g writes, for each block that changed, the slot that
 * is not its newest, and the header slot that is not the newest, all with
 * generation g, in any order, and syncs.  The next commit begins only after
 * that has succeeded.  If it failed because the file could not grow, the same
 * generation is tried again with at least the same blocks.
 *
 * WHAT IS VALID.  Let h be the header of the highest generation whose checksum
 * is right, and h' the other one if its checksum is right too.  Take the newest
 * slot of each block that is not younger than h; if the sum of them is the one
 * in h, the file is sound.  If not, and h is not marked clean, take those that
 * are not younger than h' and compare with its sum: then h was being written
 * when the power went.  If that fails too, the file is damaged in a way that no
 * cut explains, and it is refused.  In a sound file a region is hydrated if its
 * bit is set in its block's newest slot, also when that is younger than the
 * header that vouched: the destination was flushed before any bit was written,
 * so each bit is true by itself.  (Slots younger than the generation after h
 * cannot exist.)
 *
 * WHY A CUT AT ANY POINT IS HARMLESS.  While generation g is being written, the
 * header of g-1 and every slot that its sum counts are not touched, since g
 * writes only the other slots.  So if h is g-1, its sum is right.  If the
 * header of g has reached the disk, either all of g has, and its sum is right;
 * or not, and then the sum of h' = g-1 is, unless by then nothing of g is
 * missing.  A torn slot has a wrong checksum and counts as absent.
 *
 * WHY DAMAGE IS FOUND.  Each slot that a sum counts is needed to make the sum.
 * Only damage to the slots of the last commit of a file that was not closed
 * cleanly cannot be told from that commit having been cut off.
 *
 * AFTER AN UNCLEAN STOP the page cache may show slots that are not on the disk.
 * All generations before the youngest one seen are, as the youngest began after
 * they had been synced.  So recovery writes the youngest slots again, unchanged
 * and in place, and syncs; only then a header of a new generation, whose sum
 * counts them, into the header slot that did not vouch, and syncs.  Until then
 * no slot that the vouching header counts has been touched.
 *
 * THE ANNOUNCEMENT is a header of a new generation, with the same sum and the
 * flag, into the slot that does not vouch.  It is made when all bits are
 * committed, so it comes after the last commit, and all later headers repeat the
 * flag.  If a cut tears it, the other header vouches and the end is announced
 * again.  A header with the flag that vouches for bits that are not all set has
 * been made by no crash.
 *
 * Two things are done even if the file is marked clean, since that mark may be
 * in the cache only, too: both headers are written again; and slots that hold
 * neither a block nor zeroes, as a cut leaves them, are overwritten with zeroes,
 * lest another cut complete them to the block that they would have been, by then
 * out of date.
 *
 * Why not a journal: it would have to be replayed and trimmed, and blocks still
 * written in place.  Why not one sum over everything: it could not be kept up to
 * date at the cost of what changed.  Why exclusive or: order does not matter and
 * a block's old checksum can be taken out; it need not withstand an attacker,
 * who could write any file that he likes.
 */

#include <config.h>

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "bitmap-file.h"
#include "cleanup.h"
#include "region.h"

#define HEADER_MAGIC "nbdclone"
#define BLOCK_MAGIC "nbdclblk"
#define FORMAT_VERSION 1
#define FLAG_CLEAN 1U
#define FLAG_ANNOUNCED 2U
#define FLAGS (FLAG_CLEAN | FLAG_ANNOUNCED)
#define HEADER_SIZE 8192
#define BLOCKS_OFFSET (2 * HEADER_SIZE)
#define CHECKED_FROM 16 /* what the checksums leave out */
#define PAIR (2 * BITMAP_FILE_BLOCK)
#define READ_PAIRS 16 /* of slots, that one read fetches: they fit in a cache */
/* No clone lives to see it, but a hostile file may say so. */
#define GENERATION_MAX (UINT64_MAX / 2)

struct header {
  char magic[8];
  uint64_t checksum;
  uint64_t generation;
  uint64_t sum;
  uint8_t uuid[16];
  uint32_t version;
  uint32_t incompatible;
  uint32_t flags;
  uint32_t name_length;
  uint64_t region_size;
  uint64_t disk_size;
  uint64_t source_size;
  uint8_t zero[4096 - 88];
  char name[BITMAP_FILE_NAME_MAX];
};
_Static_assert(sizeof (struct header) == HEADER_SIZE, "format");

struct block {
  char magic[8];
  uint64_t checksum;
  uint64_t generation;
  uint64_t index;
  uint8_t uuid[16];
  uint8_t zero[16];
  uint8_t bits[CHUNK_BYTES];
};
_Static_assert(sizeof (struct block) == BITMAP_FILE_BLOCK, "format");

/* A list of places in the file. */
struct offsets {
  uint64_t *offsets;
  size_t count, allocated;
};

struct bitmap_file {
  struct storage *storage;
  struct bitmap_file_identity identity;
  uint64_t chunks;

  /* The header that vouches for what is on the disk, as it is there, and which
   * slot it is in.  Before bitmap_file_load: the newest one.
   */
  struct header header;
  unsigned header_slot;
  struct header other; /* h', if has_other */
  bool has_other;

  /* Per block: the checksum of its newest slot, 0 if there is none, and which
   * slot that is.
   */
  uint64_t *checksums;
  uint8_t *slots;
  uint64_t sum; /* of all checksums */

  uint64_t youngest;      /* highest generation seen or written */
  struct offsets rewrite; /* the newest slots that are of that generation */
  struct offsets torn;    /* slots that hold neither a block nor zeroes */
  bool clean;             /* the file is, as it is on the disk */
  bool attempted;         /* a commit or an announcement has failed */
};

static uint64_t
header_checksum (const struct header *h)
{
  return XXH3_64bits ((const char *) h + CHECKED_FROM,
                      sizeof *h - CHECKED_FROM);
}

static uint64_t
block_checksum (const struct block *b)
{
  return XXH3_64bits ((const char *) b + CHECKED_FROM,
                      sizeof *b - CHECKED_FROM);
}

static uint64_t
header_offset (unsigned slot)
{
  return (uint64_t) slot * HEADER_SIZE;
}

static uint64_t
block_offset (uint64_t index, unsigned slot)
{
  return BLOCKS_OFFSET + index * PAIR + slot * BITMAP_FILE_BLOCK;
}

static struct geometry
geometry_of (const struct bitmap_file_identity *id)
{
  return (struct geometry){
    .size = id->source_size,
    .shift = (unsigned) __builtin_ctzll (id->region_size),
  };
}

static uint64_t
chunks_of (const struct bitmap_file_identity *id)
{
  struct geometry g = geometry_of (id);

  return (geometry_regions (&g) + CHUNK_REGIONS - 1) / CHUNK_REGIONS;
}

uint64_t
bitmap_file_size (const struct bitmap_file_identity *id)
{
  return block_offset (chunks_of (id), 0);
}

const struct bitmap_file_identity *
bitmap_file_identity (const struct bitmap_file *f)
{
  return &f->identity;
}

void
bitmap_file_look (const struct bitmap_file *f, struct bitmap_file_facts *facts)
{
  *facts = (struct bitmap_file_facts){
    .version = le32toh (f->header.version),
    .generation = f->youngest,
    .torn = f->torn.count,
  };
  memcpy (facts->uuid, f->header.uuid, sizeof facts->uuid);
}

bool
bitmap_file_is_clean (const struct bitmap_file *f)
{
  return f->clean;
}

bool
bitmap_file_is_announced (const struct bitmap_file *f)
{
  return le32toh (f->header.flags) & FLAG_ANNOUNCED;
}

static int
write_one (struct storage *s, const void *data, size_t length, uint64_t offset)
{
  const struct storage_write w = { data, length, offset };

  return s->ops->write (s, &w, 1, true);
}

int
bitmap_file_format (struct storage *s, const struct bitmap_file_identity *id)
{
  CLEANUP_FREE struct header *h = calloc (1, sizeof *h);
  size_t name_length = strlen (id->source_name);

  if (h == NULL)
    return -1;
  memcpy (h->magic, HEADER_MAGIC, sizeof h->magic);
  h->generation = htole64 (1);
  if (getrandom (h->uuid, sizeof h->uuid, 0) != (ssize_t) sizeof h->uuid)
    return -1;
  h->version = htole32 (FORMAT_VERSION);
  h->flags = htole32 (FLAG_CLEAN);
  h->name_length = htole32 ((uint32_t) name_length);
  h->region_size = htole64 (id->region_size);
  h->disk_size = htole64 (id->disk_size);
  h->source_size = htole64 (id->source_size);
  memcpy (h->name, id->source_name, name_length);
  h->checksum = htole64 (header_checksum (h));
  return write_one (s, h, sizeof *h, header_offset (0));
}

/* Is the header what it should be?  0, or -1 and why not. */
static int
check_header (const struct header *h, uint64_t offset, char *why, size_t size)
{
  uint64_t checksum = header_checksum (h);

  if (memcmp (h->magic, HEADER_MAGIC, sizeof h->magic) != 0) {
    snprintf (why, size, "offset %" PRIu64 ": no header of a bitmap file",
              offset);
    return -1;
  }
  if (le64toh (h->checksum) != checksum) {
    snprintf (why, size,
              "offset %" PRIu64 ": the header's checksum is %016" PRIx64
              ", but its contents have %016" PRIx64,
              offset, le64toh (h->checksum), checksum);
    return -1;
  }
  return 0;
}

/* A header whose checksum is right may still come from another program, or
 * from somebody who means harm.
 */
static int
check_header_values (const struct header *h, char *why, size_t size)
{
  const uint64_t region_size = le64toh (h->region_size);
  const uint64_t disk_size = le64toh (h->disk_size);
  const uint64_t source_size = le64toh (h->source_size);
  const uint32_t name_length = le32toh (h->name_length);

  if (le32toh (h->version) != FORMAT_VERSION)
    snprintf (why, size,
              "its format is version %" PRIu32
              ", but this program knows version %d only",
              le32toh (h->version), FORMAT_VERSION);
  else if (h->incompatible != 0)
    snprintf (why, size,
              "it uses features (%#" PRIx32 ") that this program does not know",
              le32toh (h->incompatible));
  else if ((le32toh (h->flags) & ~FLAGS) != 0)
    snprintf (why, size,
              "its flags are %#" PRIx32
              ", of which this program knows %#x only",
              le32toh (h->flags), FLAGS);
  else if (region_size < REGION_SIZE_MIN || region_size > REGION_SIZE_MAX ||
           (region_size & (region_size - 1)) != 0)
    snprintf (why, size,
              "its region size is %" PRIu64
              ", which is no power of two from 4096 to 1073741824",
              region_size);
  else if (disk_size > INT64_MAX || source_size == 0 ||
           source_size > disk_size ||
           (source_size - 1) / region_size >= REGIONS_MAX)
    snprintf (why, size,
              "a source of %" PRIu64 " bytes in a disk of %" PRIu64
              " is not possible",
              source_size, disk_size);
  else if (name_length > BITMAP_FILE_NAME_MAX ||
           memchr (h->name, 0, name_length) != NULL)
    snprintf (why, size, "its export name is not valid");
  else if (h->generation == 0 || le64toh (h->generation) > GENERATION_MAX)
    snprintf (why, size, "its generation is %" PRIu64 ", which is not possible",
              le64toh (h->generation));
  else
    return 0;
  return -1;
}

/* Do two headers belong to the same clone? */
static bool
same_clone (const struct header *a, const struct header *b)
{
  return memcmp (a->uuid, b->uuid, sizeof a->uuid) == 0 &&
         a->region_size == b->region_size && a->disk_size == b->disk_size &&
         a->source_size == b->source_size && a->name_length == b->name_length &&
         memcmp (a->name, b->name, sizeof a->name) == 0;
}

/* Choose h and h' among the two header slots. */
static int
read_headers (struct bitmap_file *f, char *why, size_t size)
{
  struct header *h[2] = { &f->header, &f->other };
  char why_not[2][200];
  bool valid[2];
  unsigned slot;

  for (slot = 0; slot < 2; ++slot) {
    if (f->storage->ops->read (f->storage, h[slot], sizeof *h[slot],
                               header_offset (slot)) == -1) {
      snprintf (why, size, "reading at offset %" PRIu64 ": %m",
                header_offset (slot));
      return -1;
    }
    valid[slot] = check_header (h[slot], header_offset (slot), why_not[slot],
                                sizeof why_not[slot]) == 0;
  }
  if (!valid[0] && !valid[1]) {
    snprintf (why, size, "%s; %s", why_not[0], why_not[1]);
    return -1;
  }
  f->header_slot = 0;
  if (!valid[0] ||
      (valid[1] && le64toh (h[1]->generation) > le64toh (h[0]->generation))) {
    struct header swap = f->header;
    f->header = f->other;
    f->other = swap;
    f->header_slot = 1;
  }
  f->has_other = valid[0] && valid[1];
  if (check_header_values (&f->header, why, size) == -1 ||
      (f->has_other && check_header_values (&f->other, why, size) == -1))
    return -1;
  if (f->has_other && (!same_clone (&f->header, &f->other) ||
                       f->header.generation == f->other.generation)) {
    snprintf (why, size,
              "the headers at offsets 0 and %d contradict each "
              "other",
              HEADER_SIZE);
    return -1;
  }
  return 0;
}

struct bitmap_file *
bitmap_file_open (struct storage *s, char *why, size_t why_size)
{
  struct bitmap_file *f;
  struct bitmap_file_identity *id;
  int64_t size = s->ops->size (s);

  if (size == -1) {
    snprintf (why, why_size, "%m");
    return NULL;
  }
  if (size < BLOCKS_OFFSET) {
    snprintf (why, why_size,
              "it is %" PRIi64 " bytes long, too short for a "
              "bitmap file",
              size);
    return NULL;
  }
  f = calloc (1, sizeof *f);
  if (f == NULL) {
    snprintf (why, why_size, "%m");
    return NULL;
  }
  f->storage = s;
  if (read_headers (f, why, why_size) == -1)
    goto err;

  id = &f->identity;
  id->region_size = le64toh (f->header.region_size);
  id->disk_size = le64toh (f->header.disk_size);
  id->source_size = le64toh (f->header.source_size);
  memcpy (id->source_name, f->header.name, le32toh (f->header.name_length));
  f->chunks = chunks_of (id);
  if ((uint64_t) size != bitmap_file_size (id)) {
    snprintf (why, why_size,
              "it is %" PRIi64 " bytes long, but should be %" PRIu64, size,
              bitmap_file_size (id));
    goto err;
  }
  f->checksums = calloc (f->chunks, sizeof *f->checksums);
  f->slots = calloc (f->chunks, 1);
  if (f->checksums == NULL || f->slots == NULL) {
    snprintf (why, why_size, "%m");
    goto err;
  }
  return f;

err:
  bitmap_file_close (f);
  return NULL;
}

void
bitmap_file_close (struct bitmap_file *f)
{
  if (f == NULL)
    return;
  free (f->checksums);
  free (f->slots);
  free (f->rewrite.offsets);
  free (f->torn.offsets);
  free (f);
}

/* What was found while the blocks were read. */
struct scan {
  uint64_t sum;       /* as the header sees it */
  uint64_t other_sum; /* as the other header sees it */
  uint64_t highest;   /* the highest generation of a slot */
  char damage[200];   /* the first slot that makes no sense, or "" */
};

static bool
all_zero (const void *data, size_t length)
{
  const char *p = data;

  return p[0] == 0 && memcmp (p, p + 1, length - 1) == 0;
}

/* Is this a sound slot of block `index`?  If not, and it is not just unwritten,
 * the first one of its kind is described in the scan.
 */
static bool
check_slot (const struct bitmap_file *f, const struct block *b, uint64_t index,
            unsigned slot, struct scan *scan)
{
  const uint64_t checksum = block_checksum (b);
  char what[120];

  if (memcmp (b->magic, BLOCK_MAGIC, sizeof b->magic) == 0 &&
      le64toh (b->checksum) == checksum && checksum != 0 &&
      le64toh (b->index) == index && b->generation != 0 &&
      memcmp (b->uuid, f->header.uuid, sizeof b->uuid) == 0)
    return true;

  if (scan->damage[0] != 0 || all_zero (b, sizeof *b))
    return false;
  if (memcmp (b->magic, BLOCK_MAGIC, sizeof b->magic) != 0)
    snprintf (what, sizeof what, "no block of a bitmap file");
  else if (le64toh (b->checksum) != checksum)
    snprintf (what, sizeof what,
              "the block's checksum is %016" PRIx64
              ", but its contents have %016" PRIx64,
              le64toh (b->checksum), checksum);
  else if (le64toh (b->index) != index)
    snprintf (what, sizeof what,
              "block %" PRIu64 " where block %" PRIu64 " should be",
              le64toh (b->index), index);
  else
    snprintf (what, sizeof what, "a block of another bitmap file");
  snprintf (scan->damage, sizeof scan->damage, "offset %" PRIu64 ": %s",
            block_offset (index, slot), what);
  return false;
}

static int
offsets_add (struct offsets *o, uint64_t offset)
{
  if (o->count == o->allocated) {
    const size_t n = o->allocated ? 2 * o->allocated : 64;
    uint64_t *p = realloc (o->offsets, n * sizeof *p);

    if (p == NULL)
      return -1;
    o->offsets = p;
    o->allocated = n;
  }
  o->offsets[o->count++] = offset;
  return 0;
}

/* Remember a block's newest slot if it is of the youngest generation. */
static int
note_youngest (struct bitmap_file *f, uint64_t offset, uint64_t generation)
{
  if (generation < f->youngest)
    return 0;
  if (generation > f->youngest) {
    f->youngest = generation;
    f->rewrite.count = 0;
  }
  return offsets_add (&f->rewrite, offset);
}

/* Add to a sum what a header of that generation counts of a block. */
static void
count_slots (uint64_t *sum, uint64_t generation, const struct block *pair,
             const bool sound[2])
{
  const struct block *newest = NULL;
  unsigned slot;

  for (slot = 0; slot < 2; ++slot)
    if (sound[slot] && le64toh (pair[slot].generation) <= generation &&
        (newest == NULL ||
         le64toh (pair[slot].generation) > le64toh (newest->generation)))
      newest = &pair[slot];
  if (newest)
    *sum ^= le64toh (newest->checksum);
}

/* Take one block from its two slots. */
static int
load_pair (struct bitmap_file *f, struct bitmap *bitmap, uint64_t index,
           const struct block *pair, struct scan *scan)
{
  bool sound[2];
  unsigned slot, newest;
  uint64_t generation;

  for (slot = 0; slot < 2; ++slot) {
    sound[slot] = check_slot (f, &pair[slot], index, slot, scan);
    if (!sound[slot] && !all_zero (&pair[slot], sizeof pair[slot]) &&
        offsets_add (&f->torn, block_offset (index, slot)) == -1)
      return -1;
  }
  if (!sound[0] && !sound[1])
    return 0;

  count_slots (&scan->sum, le64toh (f->header.generation), pair, sound);
  if (f->has_other)
    count_slots (&scan->other_sum, le64toh (f->other.generation), pair, sound);

  newest = !sound[0] || (sound[1] && le64toh (pair[1].generation) >
                                       le64toh (pair[0].generation));
  generation = le64toh (pair[newest].generation);
  if (generation > scan->highest)
    scan->highest = generation;
  f->checksums[index] = le64toh (pair[newest].checksum);
  f->slots[index] = (uint8_t) newest;
  f->sum ^= f->checksums[index];

  if (bitmap_load_chunk (bitmap, index, pair[newest].bits) == -1) {
    if (scan->damage[0] == 0)
      snprintf (scan->damage, sizeof scan->damage,
                "offset %" PRIu64 ": bits behind the last region are set",
                block_offset (index, newest));
    f->sum = ~f->sum; /* cannot be sound */
    errno = EINVAL;
    return -1;
  }
  return note_youngest (f, block_offset (index, newest), generation);
}

/* Read all blocks that may have been written. */
static int
scan_blocks (struct bitmap_file *f, struct bitmap *bitmap, struct scan *scan)
{
  CLEANUP_FREE struct block *buf = malloc (READ_PAIRS * (size_t) PAIR);
  uint64_t index = 0;

  if (buf == NULL)
    return -1;
  while (index < f->chunks) {
    uint64_t n, i;
    int64_t data =
      f->storage->ops->next_data (f->storage, block_offset (index, 0));

    if (data == -1)
      return -1;
    index = ((uint64_t) data - BLOCKS_OFFSET) / PAIR;
    if (index >= f->chunks)
      break;
    n = f->chunks - index < READ_PAIRS ? f->chunks - index : READ_PAIRS;
    if (f->storage->ops->read (f->storage, buf, n * PAIR,
                               block_offset (index, 0)) == -1)
      return -1;
    for (i = 0; i < n; ++i)
      if (load_pair (f, bitmap, index + i, &buf[2 * i], scan) == -1)
        return -1;
    index += n;
  }
  return 0;
}

/* Which header vouches?  false if none. */
static bool
find_vouching_header (struct bitmap_file *f, const struct scan *scan)
{
  const uint64_t generation = le64toh (f->header.generation);
  const bool marked_clean = le32toh (f->header.flags) & FLAG_CLEAN;

  if (scan->sum == le64toh (f->header.sum) && scan->highest <= generation + 1) {
    f->clean = marked_clean && scan->highest <= generation;
    return true;
  }
  if (!marked_clean && f->has_other && scan->highest <= generation &&
      scan->other_sum == le64toh (f->other.sum)) {
    /* The newest header came before its blocks: the other one vouches. */
    f->header = f->other;
    f->header_slot ^= 1;
    return true;
  }
  return false;
}

int
bitmap_file_load (struct bitmap_file *f, struct bitmap *bitmap, char *why,
                  size_t why_size)
{
  struct scan scan = { 0 };

  assert (bitmap_chunks (bitmap) == f->chunks);
  f->youngest = le64toh (f->header.generation);
  if (scan_blocks (f, bitmap, &scan) == -1) {
    snprintf (why, why_size, "%s", scan.damage);
    if (scan.damage[0] == 0)
      snprintf (why, why_size, "reading: %m");
    return -1;
  }
  if (find_vouching_header (f, &scan)) {
    if (!bitmap_file_is_announced (f) ||
        bitmap_count (bitmap) == bitmap_regions (bitmap))
      return 0;
    snprintf (why, why_size,
              "the header at offset %" PRIu64 " says that the end was "
              "announced, but only %" PRIu64 " of %" PRIu64
              " regions are hydrated",
              header_offset (f->header_slot), bitmap_count (bitmap),
              bitmap_regions (bitmap));
    return -1;
  }

  if (scan.damage[0])
    snprintf (why, why_size, "%s", scan.damage);
  else
    snprintf (
      why, why_size,
      "the blocks' sum is %016" PRIx64 ", but the header at offset %" PRIu64
      " says %016" PRIx64 ": a block of a commit is missing",
      scan.sum, header_offset (f->header_slot), le64toh (f->header.sum));
  return -1;
}

/* Write a header of a new generation into the slot that does not vouch, and
 * sync; from then on it vouches.
 */
static int
advance_header (struct bitmap_file *f, struct header *h)
{
  h->checksum = htole64 (header_checksum (h));
  if (write_one (f->storage, h, sizeof *h,
                 header_offset (f->header_slot ^ 1)) == -1)
    return -1;
  f->header = *h;
  f->header_slot ^= 1;
  f->youngest = le64toh (h->generation);
  return 0;
}

/* Is there a next generation?  If not, nothing more can be written. */
static bool
has_next_generation (const struct bitmap_file *f)
{
  if (f->youngest < GENERATION_MAX)
    return true;
  errno = EOVERFLOW;
  return false;
}

/* The header for the next generation. */
static struct header
next_header (const struct bitmap_file *f, uint64_t sum, bool clean)
{
  struct header h = f->header;

  h.generation = htole64 (f->youngest + 1);
  h.sum = htole64 (sum);
  h.flags = htole32 ((clean ? FLAG_CLEAN : 0) |
                     (bitmap_file_is_announced (f) ? FLAG_ANNOUNCED : 0));
  return h;
}

/* Write a part of the file again, unchanged, or as zeroes. */
static int
write_again (struct bitmap_file *f, uint64_t offset, size_t length, bool zero)
{
  CLEANUP_FREE uint8_t *data = calloc (1, length);
  const struct storage_write w = { data, length, offset };

  if (data == NULL ||
      (!zero && f->storage->ops->read (f->storage, data, length, offset) == -1))
    return -1;
  return f->storage->ops->write (f->storage, &w, 1, false);
}

int
bitmap_file_recover (struct bitmap_file *f)
{
  struct header h;
  size_t i;

  if (!f->clean && !has_next_generation (f))
    return -1;
  for (i = 0; i < f->torn.count; ++i)
    if (write_again (f, f->torn.offsets[i], BITMAP_FILE_BLOCK, true) == -1)
      return -1;
  for (i = 0; !f->clean && i < f->rewrite.count; ++i)
    if (write_again (f, f->rewrite.offsets[i], BITMAP_FILE_BLOCK, false) == -1)
      return -1;
  /* Whichever header is the youngest may be in the cache only, and that may be
   * the one that says that the file is clean.
   */
  if (write_again (f, header_offset (0), HEADER_SIZE, false) == -1 ||
      write_again (f, header_offset (1), HEADER_SIZE, false) == -1 ||
      f->storage->ops->write (f->storage, NULL, 0, true) == -1)
    return -1;

  if (!f->clean) {
    h = next_header (f, f->sum, false);
    if (advance_header (f, &h) == -1)
      return -1;
  }
  f->torn.count = f->rewrite.count = 0;
  return 0;
}

/* Fill in the header of a block. */
static void
seal_block (const struct bitmap_file *f, struct block *b, uint64_t index,
            uint64_t generation)
{
  memcpy (b->magic, BLOCK_MAGIC, sizeof b->magic);
  b->generation = htole64 (generation);
  b->index = htole64 (index);
  memcpy (b->uuid, f->header.uuid, sizeof b->uuid);
  memset (b->zero, 0, sizeof b->zero);
  b->checksum = htole64 (block_checksum (b));
}

int
bitmap_file_commit (struct bitmap_file *f, const uint64_t *chunks,
                    uint8_t (*blocks)[BITMAP_FILE_BLOCK], size_t n)
{
  CLEANUP_FREE struct storage_write *writes = NULL;
  struct header h;
  uint64_t sum = f->sum;
  size_t i;

  if (!has_next_generation (f))
    return -1;
  writes = malloc ((n + 1) * sizeof *writes);
  if (writes == NULL) {
    errno = ENOSPC; /* nothing has been written: try again later */
    return -1;
  }
  for (i = 0; i < n; ++i) {
    struct block *b = (struct block *) blocks[i];
    const uint64_t index = chunks[i];
    const unsigned slot = f->checksums[index] ? f->slots[index] ^ 1U : 0;

    seal_block (f, b, index, f->youngest + 1);
    sum ^= f->checksums[index] ^ le64toh (b->checksum);
    writes[i] =
      (struct storage_write){ b, sizeof *b, block_offset (index, slot) };
  }
  h = next_header (f, sum, false);
  h.checksum = htole64 (header_checksum (&h));
  writes[n] =
    (struct storage_write){ &h, sizeof h, header_offset (f->header_slot ^ 1) };

  f->clean = false;
  if (f->storage->ops->write (f->storage, writes, n + 1, true) == -1) {
    f->attempted = true;
    return -1;
  }

  f->attempted = false;
  for (i = 0; i < n; ++i) {
    const uint64_t index = chunks[i];

    if (f->checksums[index])
      f->slots[index] ^= 1;
    f->checksums[index] = le64toh (((struct block *) blocks[i])->checksum);
  }
  f->sum = sum;
  f->header = h;
  f->header_slot ^= 1;
  f->youngest++;
  return 0;
}

int
bitmap_file_announce (struct bitmap_file *f)
{
  struct header h;

  if (bitmap_file_is_announced (f))
    return 0;
  if (!has_next_generation (f))
    return -1;
  h = next_header (f, f->sum, f->clean);
  h.flags |= htole32 (FLAG_ANNOUNCED);
  f->attempted = advance_header (f, &h) == -1;
  return f->attempted ? -1 : 0;
}

int
bitmap_file_mark_clean (struct bitmap_file *f)
{
  struct header h;

  if (f->clean || f->attempted)
    return 0;
  if (!has_next_generation (f))
    return -1;
  h = next_header (f, f->sum, true);
  if (advance_header (f, &h) == -1)
    return -1;
  f->clean = true;
  return 0;
}
