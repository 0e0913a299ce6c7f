/* nbdclone: what the parts of the NBD source share.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef NBDCLONE_SOURCE_NBD_PRIVATE_H
#define NBDCLONE_SOURCE_NBD_PRIVATE_H

#include <pthread.h>

#include <libnbd.h>

#include "clock.h"
#include "gaps.h"
#include "source-nbd.h"

#define TICK_US UINT64_C (250000) /* how often timeouts are looked at */

struct command {
  struct source_request *request;
  struct command *next, *prev;   /* in the list of its place */
  struct connection *connection; /* if it is in flight */
  uint64_t active_us;            /* when it was made, or came to its turn */
  uint64_t issued_us;            /* when it was sent */
  unsigned losses;               /* connections that ended with it in flight */
  bool uncut; /* a whole request, made before a server told its limits */
  uint64_t offset;
  uint64_t length;
  uint8_t *buf;    /* where libnbd reads to */
  uint8_t *bounce; /* the same if it is not the request's */
  uint8_t *to;     /* then: where `want` bytes from skip on go */
  uint32_t skip, want;
  struct gaps gaps;
};

struct list {
  struct command *first, *last;
};

/* Whom we are connected to, or want to be.  Never changes; a switch to another
 * server makes another one.  It goes when nobody uses it.
 */
struct server {
  char *uri;      /* for libnbd */
  char *shown;    /* for messages */
  unsigned users; /* under src->lock: the source, and connections */
};

/* CLOSING: it gets no more commands. */
enum connection_state { DOWN, UP, CLOSING };

struct connection {
  struct nbd_source *src;
  unsigned number;
  pthread_t thread;
  bool has_thread;
  int wake_fd;            /* an eventfd that interrupts its poll */
  int leave_fd;           /* the same for who helps */
  struct nbd_handle *nbd; /* the thread's; others while they issue */
  struct server *server;  /* the thread's; what it uses of it, or NULL */

  /* Under src->lock. */
  enum connection_state state;
  unsigned issuers; /* threads that call libnbd to issue */
  struct list in_flight;
  unsigned n_in_flight;
  uint64_t load;        /* bytes in flight, and some for each command */
  uint64_t heard_us;    /* when the last byte arrived */
  uint64_t replied_us;  /* when the last reply was complete */
  uint64_t answered_us; /* the latest issued_us that was answered */
  bool hang_up;         /* the server says that it is shutting down */
  bool was_up;          /* ever */
  bool watched;         /* its thread polls the socket, not only wake_fd */
  bool helped;          /* somebody else does */
  bool leave;           /* he has to go: it is going to be closed */
  bool broken;          /* he has found it to be, and */
  char broken_why[256];
};

struct nbd_source {
  struct source source;            /* first: the seam */
  struct source_nbd_config config; /* without the strings */

  pthread_mutex_t lock;
  pthread_cond_t changed;  /* a connection is up or down, or stopped */
  pthread_cond_t idle;     /* a closing connection has no issuers */
  pthread_cond_t overlook; /* for the monitor: waiting, or stopped */
  struct list waiting;
  struct server *server; /* the one to connect to */
  uint64_t switched_us;  /* since when it is that one */
  bool stopped;
  uint64_t stopped_us;
  bool multi_conn;               /* the server says that it is all right */
  bool told_lost, told_size;     /* in the log */
  uint64_t tell_us;              /* not before, that it is lost */
  uint32_t block_min, block_max; /* of the server that is up last */
  uint64_t end; /* its size: to where reads may be rounded up */
  bool can_extents;
  bool seen;                       /* the four above are known */
  struct source_nbd_status status; /* but for the connections that are up */

  pthread_t monitor;
  bool has_monitor;
  unsigned n_connections;
  struct connection *connections;
};

static inline uint64_t
now_us (void)
{
  return system_clock.now_us (&system_clock);
}

static inline struct nbd_source *
nbd_of (struct source *s)
{
  return (struct nbd_source *) s;
}

/* source-commands.c: requests, and the commands that they are made of. */

extern const struct source_ops nbd_source_ops;

extern void list_add (struct list *, struct command *);
extern void list_remove (struct list *, struct command *);

/* Interrupt the poll of the connection's thread, or of who helps. */
extern void wake (struct connection *);
extern void wake_helper (struct connection *);

/* End commands that are in no other list, with an error or 0. */
extern void finish_list (struct list *, int err);

/* Take a command off its connection.  Under lock. */
extern void take_off (struct command *);

/* Is a command overdue?  Replies come about in the order of commands: each one
 * means that those behind it have moved up.  A command whose time is over is
 * spared as long as bytes arrive, which may be its own, but not when one has
 * been answered that was sent after its time was over: then the server has
 * forgotten it.  Under lock.
 */
extern bool is_overdue (const struct nbd_source *, const struct command *,
                        uint64_t now);

/* Its connection ends: the time since bytes last arrived is what counts, unless
 * it is overdue.  Under lock.
 */
extern void note_alive (struct command *);

/* Its connection has ended.  Is it a question about extents to which several
 * connections have died?  Then the server cannot answer it, and nobody has to
 * know.  Under lock.
 */
extern bool is_too_much (struct command *);

/* Has another server been asked for since this connection was made?  Under lock.
 */
static inline bool
is_outdated (const struct connection *conn)
{
  return conn->server != conn->src->server;
}

/* Put a command that is in no list among those that wait.  Under lock. */
extern void let_wait (struct nbd_source *, struct command *);

/* The connection with the least in flight, or NULL if none is up.  What the
 * background wants stays off the first one if it can, so that clients do not
 * queue behind it.  Under lock.
 */
extern struct connection *choose (struct nbd_source *, bool urgent);

/* source-help.c: struct source_ops. */
extern void nbd_source_help (struct source *, struct source_request *);

/* A command has been sent there: has its thread to be woken to read the reply?
 * Under lock.
 */
extern bool needs_thread (const struct connection *, const struct command *);

/* Issue what is waiting.  What cannot be issued waits again. */
extern void issue_waiting (struct nbd_source *);

#endif /* NBDCLONE_SOURCE_NBD_PRIVATE_H */
