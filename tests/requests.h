/* Random requests of several clients, several at a time.
 *
 * The ranges of requests in flight do not overlap if one of them changes
 * something (their regions may), so it is always clear which of two changes is
 * the newer one.  All is done by one thread: it is the server that has to work
 * in parallel.
 */

#ifndef REQUESTS_H
#define REQUESTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <libnbd.h>

#define CLIENTS_MAX 4
#define IN_FLIGHT_MAX 24
#define EXTENTS_MAX 4096
#define KIB 1024
#define MIB (1024 * 1024)

enum kind { READ, WRITE, ZERO, TRIM, FLUSH, CACHE, EXTENTS };
#define KINDS 7
extern const char *const kind_names[KINDS];

/* A request; buf is what is written or read. */
struct request {
  enum kind kind;
  uint64_t offset, count;
  uint32_t flags;
  uint64_t sent; /* value of the clock */
  unsigned char *buf;
  uint32_t extents[2 * EXTENTS_MAX];
  size_t nr_extents;
  bool busy, answered;
  int error;
};

struct clients {
  uint64_t size, source_size, region_size;
  const char *socket_path;
  unsigned count;
  struct nbd_handle *handles[CLIENTS_MAX];
  struct request requests[IN_FLIGHT_MAX];
  unsigned depth;       /* most requests in flight */
  unsigned fua_percent; /* of the changes */
  uint64_t clock;       /* counts requests sent and answers */

  /* What the program makes of an answer.  If it returns false the request
   * stays busy, and its range untouched, until clients_forget.
   */
  bool (*answer) (struct request *r);
};

/* One more connection, with base:allocation. */
extern struct nbd_handle *clients_connect_to (const struct clients *c,
                                              const char *export);

/* Connect COUNT clients that have up to DEPTH requests in flight together. */
extern void clients_connect (struct clients *c, unsigned count, unsigned depth);
extern void clients_close (struct clients *c);

/* Send one random request, when there is room for it. */
extern void clients_operate (struct clients *c);

/* Move bytes to and from the server, once; false: all connections are dead. */
extern bool clients_pump (struct clients *c, int timeout_ms);

/* Pass the answers that have come to c->answer. */
extern void clients_collect (struct clients *c);

/* Wait until at most N requests are in flight. */
extern void clients_drain (struct clients *c, unsigned n);

/* The server is gone or going: read what it still answers, and hang up. */
extern void clients_hang_up (struct clients *c);

/* Free the requests that have stayed busy. */
extern void clients_forget (struct clients *c);

/* Whether it is a write, a zero or a trim. */
extern bool changes (const struct request *r);
extern bool overlap (const struct request *r, uint64_t start, uint64_t end);

/* What a change leaves at offset. */
extern unsigned char byte_of (const struct request *r, uint64_t offset);

/* The extents of a range, synchronously: in r->extents. */
extern void ask_extents (struct nbd_handle *nbd, struct request *r);

/* Check the form of an answer, and that IS_ZERO is true of each byte that it
 * says is zero.
 */
extern void check_extents (const struct request *r,
                           bool (*is_zero) (uint64_t offset));

#endif /* REQUESTS_H */
