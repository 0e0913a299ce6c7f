/* nbdclone: what all unit tests share.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#ifndef NBDCLONE_TESTING_H
#define NBDCLONE_TESTING_H

#include <check.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

/* How much slower everything is: tests that repeat themselves do so less often
 * under a sanitizer or valgrind.
 */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__) || \
  defined(MEMCHECK)
#define SLOWER 10
#else
#define SLOWER 1
#endif

/* Like ck_assert, but may be used from any thread: ends the process. */
#define must(condition)                             \
  do {                                              \
    if (!(condition))                               \
      must_failed (__FILE__, __LINE__, #condition); \
  } while (0)

extern void must_failed (const char *file, int line, const char *condition)
  __attribute__ ((noreturn));

/* Wait until the condition holds, which another thread brings about; looks a
 * thousand times a second, gives up after WAIT_SECONDS.
 */
#define WAIT_SECONDS 20
#define wait_for(condition)                              \
  do {                                                   \
    unsigned naps_;                                      \
    for (naps_ = 0; !(condition); ++naps_) {             \
      if (naps_ > WAIT_SECONDS * 1000)                   \
        must_failed (__FILE__, __LINE__, "" #condition); \
      nap ();                                            \
    }                                                    \
  } while (0)

extern void nap (void); /* a millisecond */

/* The newest line that was given to log_error, "" if there was none, and how
 * many there have been since forget_messages.  The text is the caller's to
 * free.
 */
extern char *last_error (void);
extern bool last_error_has (const char *part);
extern unsigned error_count (void);
extern unsigned info_count (void);
extern void forget_messages (void);

/* Numbers that look random, always the same ones for a seed (splitmix64). */
struct random {
  uint64_t state;
};
extern uint64_t random_next (struct random *);
extern uint64_t random_below (struct random *, uint64_t n);
extern bool random_one_in (struct random *, uint64_t n);

/* Run the function in n threads and wait for all of them; each gets its number
 * as part of a struct.
 */
struct in_thread {
  void *opaque;
  unsigned self;
  pthread_t thread;
};
#define THREADS_MAX 32
extern void run_threads (unsigned n, void (*run) (struct in_thread *),
                         void *opaque);

/* One thread, and its end. */
extern void thread_start (pthread_t *, void *(*run) (void *), void *opaque);
extern void thread_join (pthread_t);

/* How large the process' memory is, in bytes: what is in RAM.  0 under a
 * sanitizer, which has its own use of it.
 */
extern uint64_t resident_bytes (void);

/* A suite with one case, and how to run it: main returns run_suite (...). */
struct suite {
  Suite *suite;
  TCase *tests;
};
extern struct suite suite_new (const char *name);
extern int suite_run (struct suite);

#endif /* NBDCLONE_TESTING_H */
