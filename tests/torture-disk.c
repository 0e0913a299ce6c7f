/* The disk that the bitmap file is on, as the torture sees it: a library that is
 * loaded before all others (LD_PRELOAD) into the server.
 *
 * What has been written but not synced may be lost when the power goes.  A file
 * on a real file system cannot be made to lose it; so before each write of a
 * submission the bytes that it replaces are added to a journal, and the journal
 * is emptied when a sync has succeeded.  When the power is "cut", the test puts
 * some of the old bytes back, 512 at a time.
 *
 * Why that is sound: what the journal has was not synced by anything that the
 * filter can have seen, because the submission does not return before the sync
 * has ended and the journal is empty.  If the process dies between the two, no
 * request can have been answered, and no commit begun, on the strength of that
 * sync.
 *
 * It also lets writes and syncs fail, while a file exists:
 *
 *   JOURNAL.space   the second half of a submission's writes: ENOSPC
 *   JOURNAL.write   the same: EIO
 *   JOURNAL.sync    the sync: EIO; the writes happen
 *
 * And it makes all syncs slow, also those of the destination's file: for
 * TORTURE_SYNC_MS milliseconds they have been done and nobody knows of it yet,
 * which is when they matter most.
 *
 * The journal is in the file that the variable TORTURE_JOURNAL names: records
 * of the offset and the length, 8 bytes each, and the old bytes.
 */

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#define SUBMISSION_MAX 512

static int journal = -1;
static const char *journal_name;

static void *
next_function (const char *name)
{
  void *function = dlsym (RTLD_NEXT, name);

  if (function == NULL)
    abort ();
  return function;
}

static void
slow_sync (void)
{
  const char *ms = getenv ("TORTURE_SYNC_MS");

  if (ms)
    usleep (strtoul (ms, NULL, 10) * 1000);
}

/* Instead of the real one: what the file plugin flushes with. */
int
fdatasync (int fd)
{
  static int (*next) (int);
  int r;

  if (next == NULL)
    next = (int (*) (int)) next_function ("fdatasync");
  r = next (fd);
  slow_sync ();
  return r;
}

static void
check (bool ok, const char *what)
{
  if (ok)
    return;
  perror (what);
  abort ();
}

static bool
asked_for (const char *fault)
{
  char name[4096];

  snprintf (name, sizeof name, "%s.%s", journal_name, fault);
  return access (name, F_OK) == 0;
}

/* Keep what a write is about to replace. */
static void
keep (const struct io_uring_sqe *sqe)
{
  uint64_t head[2] = { sqe->off, sqe->len };
  char *old = malloc (sqe->len);
  const struct iovec record[2] = { { head, sizeof head }, { old, sqe->len } };

  check (old && pread (sqe->fd, old, sqe->len, sqe->off) == (ssize_t) sqe->len,
         "torture-disk: reading what will be overwritten");
  check (writev (journal, record, 2) == (ssize_t) (sizeof head + sqe->len),
         "torture-disk: writing the journal");
  free (old);
}

/* Instead of the real ones; see io_uring_submit(3). */
int
io_uring_submit (struct io_uring *ring)
{
  static int (*submit) (struct io_uring *);
  struct io_uring_sq *sq = &ring->sq;
  uint64_t failing[SUBMISSION_MAX];
  unsigned n_failing = 0, n = 0, head, writes = 0;
  struct io_uring_cqe *cqe;
  bool synced = false;
  int fault = 0, r;

  if (submit == NULL) {
    submit = (int (*) (struct io_uring *)) next_function ("io_uring_submit");
    journal_name = getenv ("TORTURE_JOURNAL");
    check (journal_name != NULL, "torture-disk: TORTURE_JOURNAL");
    journal =
      open (journal_name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    check (journal != -1, journal_name);
  }
  if (asked_for ("space"))
    fault = ENOSPC;
  else if (asked_for ("write") || asked_for ("sync"))
    fault = EIO;

  for (unsigned i = sq->sqe_head; i != sq->sqe_tail; ++i)
    writes += sq->sqes[i & *sq->kring_mask].opcode == IORING_OP_WRITE;
  for (unsigned i = sq->sqe_head; i != sq->sqe_tail; ++i) {
    struct io_uring_sqe *sqe = &sq->sqes[i & *sq->kring_mask];
    bool fails;

    if (sqe->opcode == IORING_OP_FSYNC)
      fails = asked_for ("sync");
    else
      fails = fault && !asked_for ("sync") && n++ >= writes / 2;
    if (fails) {
      sqe->opcode = IORING_OP_NOP;
      sqe->rw_flags = 0;
      failing[n_failing++] = sqe->user_data;
    }
    else if (sqe->opcode == IORING_OP_WRITE)
      keep (sqe);
  }

  r = submit (ring);
  if (r <= 0)
    return r;
  while (io_uring_wait_cqe_nr (ring, &cqe, (unsigned) r) == -EINTR)
    continue;
  io_uring_for_each_cqe (ring, head, cqe)
  {
    bool fails = false;

    for (unsigned i = 0; i < n_failing; ++i)
      fails |= failing[i] == cqe->user_data;
    if (fails)
      cqe->res = -fault;
    /* A write has moved bytes; only a sync ends with 0. */
    else if (cqe->res == 0)
      synced = true;
  }
  if (synced) {
    slow_sync ();
    check (ftruncate (journal, 0) == 0, "torture-disk: emptying the journal");
  }
  return r;
}
