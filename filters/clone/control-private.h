/* nbdclone: what the parts of the control socket share.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef NBDCLONE_CONTROL_PRIVATE_H
#define NBDCLONE_CONTROL_PRIVATE_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include <jansson.h>

#include "control.h"
#include "source-nbd.h"
#include "steer.h"

#define CONTROL_CLIENTS_MAX 256
#define CONTROL_LINE_MAX 65536   /* bytes of a request */
#define CONTROL_OUTPUT_MAX 65536 /* bytes that a client has not read */

/* control-client.c: one connection, bytes only. */

/* What its last request waits for; the next one is not looked at before. */
enum client_waits { WAITS_NOT, WAITS_COMPLETION, WAITS_FLUSH, WAITS_SOURCE };

struct client {
  int fd;
  char *input; /* not yet requests */
  size_t input_length, input_size;
  char *output; /* not yet sent */
  size_t output_length, output_size;
  uint64_t stuck_us; /* since when nothing could be sent, or 0 */
  uint64_t asked_us; /* when its last request came, or itself */
  bool ended;        /* it will not say anything more */
  bool drop;         /* it is to be hung up on */
  bool events;       /* has asked for them */
  enum client_waits waits;
  uint64_t ticket; /* of its flush, or switch to another source */
  json_t *id;      /* of the request that waits, or NULL */
};

extern struct client *client_new (int fd);
extern void client_free (struct client *);

/* Read what there is, as far as there is room. */
extern void client_read (struct client *);

/* Is there room for more input, and a use for it? */
extern bool client_may_read (const struct client *);

/* The next line, to be freed, without its end; NULL if there is none now. */
extern char *client_line (struct client *, size_t *length);

/* Send a line.  Who does not read what he is sent is dropped. */
extern void client_say (struct client *, json_t *line);

/* Send what has not been sent yet, as far as the socket takes it. */
extern void client_send (struct client *, uint64_t now_us);

/* control-flush.c: flushes, which take their time, have a thread. */
struct flusher {
  struct engine *engine;
  int wake_fd; /* an eventfd: one has ended */
  pthread_t thread;
  bool has_thread;
  pthread_mutex_t lock; /* protects all below; a leaf */
  pthread_cond_t work;
  bool stop;
  uint64_t asked, done; /* tickets */
  int error;            /* of the last one */
};

extern int flusher_start (struct flusher *, struct engine *);
extern void flusher_stop (struct flusher *);

/* Returns a ticket. */
extern uint64_t flusher_ask (struct flusher *);

/* Has a flush ended that began after the ticket was given out? */
extern bool flusher_done (struct flusher *, uint64_t ticket, int *err);

/* control-status.c: figures, and what has happened since the last look. */

#define SAMPLES 11 /* rates are of the last ten seconds */

struct sample {
  uint64_t at_us, bytes_fetched, hydrated;
};

struct view {
  struct engine *engine;
  struct source *source;
  const char *shown;
  uint64_t began_us;
  struct sample samples[SAMPLES]; /* the oldest is overwritten */
  unsigned n_samples;
  struct engine_status status;
  struct source_nbd_status source_status;
  /* As of the last events, which others' looks must not change. */
  struct engine_status told;
  struct source_nbd_status told_source;
  uint64_t progress_us; /* when a progress event was sent last */
  uint64_t told_hydrated, told_fetched; /* in it */
};

extern void view_init (struct view *, struct engine *, struct source *,
                       const char *shown);

/* Once a second, for the rates. */
extern void view_sample (struct view *);

/* A new object, NULL if there is no memory. */
extern json_t *view_status (struct view *);

/* Look again; calls say () with an event, which it borrows, for each thing that
 * has changed.
 */
extern void view_events (struct view *,
                         void (*say) (void *opaque, json_t *event),
                         void *opaque);

/* The events that tell a new listener how things are. */
extern void view_greet (struct view *,
                        void (*say) (void *opaque, json_t *event),
                        void *opaque);

/* A string, though what libnbd says may have bytes of a server's in it that are
 * not UTF-8.
 */
extern json_t *any_string (const char *);

extern bool view_has_ended (const struct view *);
extern const char *view_state (const struct view *);

/* control.c */
struct control {
  char *path;
  int fd;
  dev_t device; /* of the socket, to remove none but our own */
  ino_t inode;
  int stop_fd; /* an eventfd */
  pthread_t thread;
  bool has_thread;
  struct engine *engine;
  const struct setup *setup;
  const struct params *params;

  /* The thread's. */
  struct client *clients[CONTROL_CLIENTS_MAX];
  unsigned n_clients;
  struct flusher flusher;
  struct view view;
  char *shown;           /* the source's, if it is another one by now */
  struct search *search; /* for another one, or NULL */
  uint64_t switches;     /* how many have ended, */
  char switch_why[512];  /* and why the last one has failed, or "" */
};

/* control-socket.c */

/* The next one who may talk to us, or -1; errno is EAGAIN if there is none. */
extern int control_accept (struct control *);
extern void control_unlink (struct control *);

/* control-source.c: another server. */

/* Begin to look for it; if that is answered, `switches` is one more than before,
 * and that is within a bound.  false and why not.
 */
extern bool switch_begin (struct control *, const char *uri, char *why,
                          size_t why_size);

/* Look how far it is; may put it in force. */
extern void switch_look (struct control *);

/* When the thread has ended. */
extern void switch_stop (struct control *);

/* control-commands.c: do what a line says, and answer. */
extern void control_obey (struct control *, struct client *, const char *line,
                          size_t length);

/* Answer the request of a client that has waited for it. */
extern void control_answer (struct client *, json_t *result);
extern void control_refuse (struct client *, const char *class, const char *fs,
                            ...) __attribute__ ((format (printf, 3, 4)));

/* control.c: tell all who listen what has happened. */
extern void control_notice (struct control *);

#endif /* NBDCLONE_CONTROL_PRIVATE_H */
