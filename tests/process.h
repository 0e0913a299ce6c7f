/* Servers as processes of a test program, and how such a program fails. */

#ifndef PROCESS_H
#define PROCESS_H

#include <stdint.h>
#include <sys/types.h>

/* The most seconds that anything may take; it is there to end a hang. */
extern unsigned bound_s;

/* Called by fail, after its message: to end the servers. */
extern void (*failing) (void);

/* Print "PROGRAM: FAIL: ..." and exit. */
extern void fail (const char *fmt, ...)
  __attribute__ ((noreturn, format (printf, 1, 2)));

/* Of the monotonic clock. */
extern uint64_t seconds (void);
extern void sleep_ms (unsigned ms);

/* Start a program; what it says on stderr is added to LOG_FILE. */
extern pid_t process_start (char *const argv[], const char *log_file);

/* Wait until the process has written something to its PIDFILE. */
extern void process_ready (pid_t pid, const char *name, const char *pidfile);

/* Wait for its end and return its wait status. */
extern int process_end (pid_t pid, const char *name);

#endif /* PROCESS_H */
