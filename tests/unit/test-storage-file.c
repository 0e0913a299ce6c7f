/* nbdclone: the bitmap file on a real file system, with io_uring and without.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bitmap-file.h"
#include "files.h"
#include "storage-file.h"
#include "testing.h"

#define CALLS 0 /* plain system calls */
#define RING 1  /* io_uring */
#define WAYS 2

struct fixture {
  char directory[64];
  char path[96];
};

static void
fixture_init (struct fixture *f)
{
  strcpy (f->directory, "storage-file-XXXXXX");
  must (mkdtemp (f->directory) != NULL);
  snprintf (f->path, sizeof f->path, "%s/bitmap", f->directory);
}

static void
fixture_destroy (struct fixture *f)
{
  unlink (f->path);
  /* Fails if anything else was left behind. */
  ck_assert_int_eq (rmdir (f->directory), 0);
}

/* Where the kernel forbids io_uring there is one way only. */
static void
start (struct storage *s, int way)
{
  if (way == RING && storage_file_start (s) == -1)
    fprintf (stderr, "io_uring is not available: %s\n", strerror (errno));
}

static struct storage *
create (const struct fixture *f, uint64_t size)
{
  struct storage *s = storage_file_create (f->path, size);

  must (s != NULL);
  must (storage_file_publish (s) == 0);
  return s;
}

static int
write_one (struct storage *s, const void *data, size_t length, uint64_t offset,
           bool sync)
{
  const struct storage_write w = { data, length, offset };

  return s->ops->write (s, &w, 1, sync);
}

START_TEST (what_is_written_is_read)
{
  char data[] = "What is written", got[sizeof data];
  struct storage *s;
  struct fixture f;

  fixture_init (&f);
  s = create (&f, 65536);
  start (s, _i);
  ck_assert_int_eq (s->ops->size (s), 65536);
  ck_assert_int_eq (write_one (s, data, sizeof data, 4000, true), 0);
  ck_assert_int_eq (write_one (s, "w", 1, 4000, false), 0);
  storage_file_close (s);

  s = storage_file_open (f.path, 10000);
  ck_assert_ptr_nonnull (s);
  start (s, _i);
  ck_assert_int_eq (s->ops->read (s, got, sizeof got, 4000), 0);
  ck_assert_str_eq (got, "what is written");
  storage_file_close (s);
  fixture_destroy (&f);
}
END_TEST

START_TEST (read_behind_the_end_is_an_error)
{
  char got[4096];
  struct storage *s;
  struct fixture f;

  fixture_init (&f);
  s = create (&f, 8192);
  ck_assert_int_eq (s->ops->read (s, got, 4096, 4096), 0);
  ck_assert_int_eq (s->ops->read (s, got, 4096, 4097), -1);
  ck_assert_int_eq (errno, EIO);
  ck_assert_int_eq (s->ops->read (s, got, 1, 8192), -1);
  storage_file_close (s);
  fixture_destroy (&f);
}
END_TEST

/* More than the ring has places for, and exactly so many. */
static void
write_many (struct storage *s, size_t n)
{
  struct storage_write *writes = calloc (n, sizeof *writes);
  uint32_t *data = calloc (n, sizeof *data);
  uint32_t got;
  size_t i;

  must (writes != NULL && data != NULL);
  for (i = 0; i < n; ++i) {
    data[i] = (uint32_t) (i * 2654435761U + n);
    writes[i] = (struct storage_write){ &data[i], 4, i * 4096 };
  }
  ck_assert_int_eq (s->ops->write (s, writes, n, true), 0);
  for (i = 0; i < n; ++i) {
    must (s->ops->read (s, &got, 4, i * 4096) == 0);
    must (got == data[i]);
  }
  free (writes);
  free (data);
}

START_TEST (many_writes_in_one_submission)
{
  const size_t counts[] = { 1, 255, 256, 257, 511, 512, 513, 3000 };
  struct storage *s;
  struct fixture f;
  unsigned i;

  fixture_init (&f);
  s = create (&f, 3000 * 4096);
  start (s, _i);
  for (i = 0; i < sizeof counts / sizeof counts[0]; ++i)
    write_many (s, counts[i]);
  storage_file_close (s);
  fixture_destroy (&f);
}
END_TEST

START_TEST (next_data_skips_holes)
{
  struct storage *s;
  struct fixture f;
  int64_t at;

  fixture_init (&f);
  s = create (&f, 64 << 20);
  ck_assert_int_eq (write_one (s, "x", 1, 32 << 20, true), 0);
  at = s->ops->next_data (s, 4096);
  /* It may stop early where the file system cannot say, but not go too far. */
  ck_assert_int_ge (at, 4096);
  ck_assert_int_le (at, 32 << 20);
  ck_assert_int_eq (s->ops->next_data (s, 32 << 20), 32 << 20);
  at = s->ops->next_data (s, (32 << 20) + (1 << 20));
  ck_assert_int_le (at, 64 << 20);
  ck_assert_int_eq (s->ops->next_data (s, 64 << 20), 64 << 20);
  storage_file_close (s);
  fixture_destroy (&f);
}
END_TEST

START_TEST (created_file_has_no_name_until_published)
{
  struct storage *s;
  struct stat st;
  struct fixture f;

  fixture_init (&f);
  s = storage_file_create (f.path, 8192);
  ck_assert_ptr_nonnull (s);
  ck_assert_int_eq (access (f.path, F_OK), -1);
  ck_assert_int_eq (storage_file_publish (s), 0);
  ck_assert_int_eq (stat (f.path, &st), 0);
  ck_assert_int_eq (st.st_size, 8192);
  ck_assert_uint_eq (st.st_mode & 07777, 0600);
  ck_assert_uint_eq (st.st_nlink, 1);
  storage_file_close (s);
  fixture_destroy (&f);
}
END_TEST

START_TEST (what_is_never_published_is_gone)
{
  struct fixture f;

  fixture_init (&f);
  storage_file_close (storage_file_create (f.path, 8192));
  fixture_destroy (&f); /* an empty directory */
}
END_TEST

START_TEST (publish_never_replaces)
{
  struct storage *first, *second;
  struct fixture f;
  char got;

  fixture_init (&f);
  second = storage_file_create (f.path, 4096);
  first = create (&f, 8192);
  ck_assert_int_eq (write_one (first, "1", 1, 0, true), 0);
  ck_assert_int_eq (storage_file_publish (second), -1);
  ck_assert_int_eq (errno, EEXIST);
  storage_file_close (second);
  ck_assert_int_eq (first->ops->read (first, &got, 1, 0), 0);
  ck_assert_int_eq (got, '1');
  storage_file_close (first);
  ck_assert_int_eq (access (f.path, F_OK), 0);
  fixture_destroy (&f);
}
END_TEST

START_TEST (create_fails_without_a_directory)
{
  ck_assert_ptr_null (storage_file_create ("no-such-directory/bitmap", 1));
  ck_assert_int_eq (errno, ENOENT);
}
END_TEST

START_TEST (only_regular_files_are_opened)
{
  struct fixture f;

  fixture_init (&f);
  ck_assert_ptr_null (storage_file_open (f.path, 0));
  ck_assert_int_eq (errno, ENOENT);
  ck_assert_int_eq (mkfifo (f.path, 0600), 0);
  ck_assert_ptr_null (storage_file_open (f.path, 0));
  ck_assert_int_eq (errno, EINVAL);
  unlink (f.path);
  ck_assert_ptr_null (storage_file_open (f.directory, 0));
  ck_assert_int_eq (errno, EISDIR);
  fixture_destroy (&f);
}
END_TEST

/* Open the file in another process; returns what errno was, or 0. */
static int
open_elsewhere (const char *path, int wait_ms)
{
  int status;
  pid_t pid = fork ();

  must (pid != -1);
  if (pid == 0) {
    struct storage *s = storage_file_open (path, wait_ms);
    const int err = s ? 0 : errno;

    storage_file_close (s);
    _exit (err);
  }
  must (waitpid (pid, &status, 0) == pid && WIFEXITED (status));
  return WEXITSTATUS (status);
}

START_TEST (locked_while_it_is_open)
{
  struct storage *s;
  struct fixture f;

  fixture_init (&f);
  s = create (&f, 4096);
  start (s, _i);
  ck_assert_int_eq (open_elsewhere (f.path, 0), EWOULDBLOCK);
  ck_assert_int_eq (open_elsewhere (f.path, 30), EWOULDBLOCK);
  ck_assert_ptr_null (storage_file_open (f.path, 0));
  ck_assert_int_eq (errno, EWOULDBLOCK);
  storage_file_close (s);

  s = storage_file_open (f.path, 10000);
  ck_assert_ptr_nonnull (s);
  ck_assert_int_eq (open_elsewhere (f.path, 0), EWOULDBLOCK);
  storage_file_close (s);
  ck_assert_int_eq (open_elsewhere (f.path, 10000), 0);
  fixture_destroy (&f);
}
END_TEST

/* Beside each other, and not beside who writes. */
START_TEST (readers_share)
{
  struct storage *s, *first, *second;
  const struct storage_write w = { "x", 1, 0 };
  struct fixture f;
  char byte = 1;

  fixture_init (&f);
  s = create (&f, 4096);
  ck_assert_ptr_null (storage_file_open_to_read (f.path, 0));
  ck_assert_int_eq (errno, EWOULDBLOCK);
  storage_file_close (s);

  ck_assert_int_eq (chmod (f.path, 0400), 0);
  first = storage_file_open_to_read (f.path, 10000);
  second = storage_file_open_to_read (f.path, 0);
  ck_assert_ptr_nonnull (first);
  ck_assert_ptr_nonnull (second);
  ck_assert_int_eq (open_elsewhere (f.path, 0),
                    geteuid () == 0 ? EWOULDBLOCK : EACCES);
  ck_assert_int_eq (second->ops->read (second, &byte, 1, 0), 0);
  ck_assert_int_eq (byte, 0);
  ck_assert_int_eq (second->ops->write (second, &w, 1, false), -1);
  storage_file_close (first);
  storage_file_close (second);
  fixture_destroy (&f);
}
END_TEST

/* Before it has its name: nobody can come between publish and lock. */
START_TEST (locked_when_published)
{
  struct storage *s;
  struct fixture f;

  fixture_init (&f);
  s = storage_file_create (f.path, 4096);
  ck_assert_int_eq (storage_file_publish (s), 0);
  ck_assert_int_eq (open_elsewhere (f.path, 0), EWOULDBLOCK);
  storage_file_close (s);
  fixture_destroy (&f);
}
END_TEST

/* The owner writes and is killed; whoever waits gets the lock. */
START_TEST (lock_of_a_killed_writer_is_waited_for)
{
  struct storage *s;
  struct fixture f;
  int ready[2], status;
  char byte;
  pid_t pid;

  fixture_init (&f);
  storage_file_close (create (&f, 1 << 20));
  must (pipe (ready) == 0);
  pid = fork ();
  must (pid != -1);
  if (pid == 0) {
    s = storage_file_open (f.path, 10000);
    must (s != NULL);
    start (s, _i);
    must (write_one (s, "a", 1, 0, true) == 0);
    must (write (ready[1], "", 1) == 1);
    for (;;)
      (void) write_one (s, "b", 1, 4096, true);
  }
  must (read (ready[0], &byte, 1) == 1);
  must (kill (pid, SIGKILL) == 0);
  must (waitpid (pid, &status, 0) == pid && WIFSIGNALED (status));
  s = storage_file_open (f.path, 10000);
  ck_assert_ptr_nonnull (s);
  ck_assert_int_eq (s->ops->read (s, &byte, 1, 0), 0);
  ck_assert_int_eq (byte, 'a');
  storage_file_close (s);
  close (ready[0]);
  close (ready[1]);
  fixture_destroy (&f);
}
END_TEST

static void
limit_file_size (uint64_t bytes)
{
  struct rlimit limit;

  must (signal (SIGXFSZ, SIG_IGN) != SIG_ERR);
  must (getrlimit (RLIMIT_FSIZE, &limit) == 0);
  limit.rlim_cur = bytes;
  must (setrlimit (RLIMIT_FSIZE, &limit) == 0);
}

/* EFBIG, and a write that is short for the same reason, are "no space"; what
 * fits is written all the same.
 */
START_TEST (file_that_cannot_grow_is_no_space)
{
  const struct storage_write writes[] = { { "aaaa", 4, 8192 },
                                          { "bbbb", 4, 0 },
                                          { "cccc", 4, 4096 - 2 } };
  struct storage *s;
  struct fixture f;
  char got[4];

  fixture_init (&f);
  s = create (&f, 0);
  start (s, _i);
  limit_file_size (4096);
  ck_assert_int_eq (s->ops->write (s, writes, 1, true), -1);
  ck_assert_int_eq (errno, ENOSPC);
  ck_assert_int_eq (s->ops->write (s, writes + 1, 1, true), 0);
  ck_assert_int_eq (s->ops->write (s, writes + 2, 1, true), -1);
  ck_assert_int_eq (errno, ENOSPC);
  ck_assert_int_eq (s->ops->write (s, writes, 2, true), -1);
  ck_assert_int_eq (errno, ENOSPC);
  ck_assert_int_eq (s->ops->read (s, got, 4, 0), 0);
  ck_assert_mem_eq (got, "bbbb", 4);
  limit_file_size (1 << 20);
  ck_assert_int_eq (s->ops->write (s, writes, 3, true), 0);
  storage_file_close (s);
  fixture_destroy (&f);
}
END_TEST

/* Any other error is not "no space": the file was opened for reading only,
 * behind the storage's back.
 */
START_TEST (other_errors_are_not_no_space)
{
  struct storage *s;
  struct fixture f;
  int fd, i;

  fixture_init (&f);
  s = create (&f, 8192);
  start (s, _i);
  fd = open (f.path, O_RDONLY | O_CLOEXEC);
  must (fd != -1);
  /* The storage's own descriptor is the one of the same file. */
  for (i = 3; i < fd; ++i) {
    struct stat a, b;

    if (fstat (i, &a) == 0 && fstat (fd, &b) == 0 && a.st_ino == b.st_ino &&
        a.st_dev == b.st_dev)
      must (dup2 (fd, i) == i);
  }
  ck_assert_int_eq (write_one (s, "x", 1, 0, true), -1);
  ck_assert_int_eq (errno, EBADF);
  storage_file_close (s);
  close (fd);
  fixture_destroy (&f);
}
END_TEST

/* A sync that fails is never taken for "no space", nor for success. */
START_TEST (failed_sync_is_an_error)
{
  struct storage *s;
  struct fixture f;
  int fd, i;

  fixture_init (&f);
  s = create (&f, 8192);
  start (s, _i);
  /* What cannot be synced, behind the storage's back. */
  fd = open ("/dev/null", O_RDWR | O_CLOEXEC);
  must (fd != -1);
  for (i = 3; i < fd; ++i) {
    struct stat a, b;

    if (fstat (i, &a) == 0 && stat (f.path, &b) == 0 && a.st_ino == b.st_ino &&
        a.st_dev == b.st_dev)
      must (dup2 (fd, i) == i);
  }
  ck_assert_int_eq (s->ops->write (s, NULL, 0, true), -1);
  ck_assert_int_eq (errno, EINVAL);
  ck_assert_int_eq (write_one (s, "x", 1, 0, true), -1);
  ck_assert_int_eq (errno, EINVAL);
  ck_assert_int_eq (write_one (s, "x", 1, 0, false), 0);
  storage_file_close (s);
  close (fd);
  fixture_destroy (&f);
}
END_TEST

/* Without io_uring it works all the same. */
START_TEST (no_ring_is_no_harm)
{
  struct rlimit limit = { 0, 0 }, before;
  struct storage *s;
  struct fixture f;
  char got;

  fixture_init (&f);
  s = create (&f, 8192);
  must (getrlimit (RLIMIT_NOFILE, &before) == 0);
  limit.rlim_max = before.rlim_max;
  limit.rlim_cur = 3;
  must (setrlimit (RLIMIT_NOFILE, &limit) == 0);
  ck_assert_int_eq (storage_file_start (s), -1);
  ck_assert_int_eq (errno, EMFILE);
  /* The leak sanitizer needs some, too. */
  must (setrlimit (RLIMIT_NOFILE, &before) == 0);
  ck_assert_int_eq (write_one (s, "x", 1, 0, true), 0);
  ck_assert_int_eq (s->ops->read (s, &got, 1, 0), 0);
  ck_assert_int_eq (got, 'x');
  storage_file_close (s);
  fixture_destroy (&f);
}
END_TEST

/* A file that cannot be made leaves nothing behind. */
START_TEST (create_fails_beyond_the_limit)
{
  struct fixture f;

  fixture_init (&f);
  limit_file_size (4096);
  ck_assert_ptr_null (storage_file_create (f.path, 8192));
  ck_assert_int_eq (errno, EFBIG);
  fixture_destroy (&f);
}
END_TEST

/* The bitmap file itself on top of it. */
START_TEST (a_bitmap_file_is_kept)
{
  const struct bitmap_file_identity id = file_identity (300 * CHUNK_REGIONS);
  uint8_t (*blocks)[BITMAP_FILE_BLOCK];
  uint64_t chunks[300];
  struct bitmap_file *file;
  struct bitmap *bitmap;
  struct storage *s;
  struct fixture f;
  char why[512];
  size_t i;

  fixture_init (&f);
  s = storage_file_create (f.path, bitmap_file_size (&id));
  ck_assert_int_eq (bitmap_file_format (s, &id), 0);
  ck_assert_int_eq (storage_file_publish (s), 0);
  start (s, _i);
  file = bitmap_file_open (s, why, sizeof why);
  bitmap = bitmap_new (300 * CHUNK_REGIONS);
  blocks = calloc (300, sizeof *blocks);
  ck_assert_int_eq (bitmap_file_load (file, bitmap, why, sizeof why), 0);
  for (i = 0; i < 300; ++i) {
    chunks[i] = i;
    bitmap_set (bitmap, i * CHUNK_REGIONS + i, i * CHUNK_REGIONS + 2 * i + 1,
                NULL, NULL);
    bitmap_copy_chunk (bitmap, i, blocks[i] + BITMAP_FILE_BLOCK_HEADER, NULL,
                       NULL);
  }
  ck_assert_int_eq (bitmap_file_commit (file, chunks, blocks, 300), 0);
  ck_assert_int_eq (bitmap_file_mark_clean (file), 0);
  bitmap_file_close (file);
  bitmap_free (bitmap);
  free (blocks);
  storage_file_close (s);

  s = storage_file_open (f.path, 10000);
  ck_assert_ptr_nonnull (s);
  file = bitmap_file_open (s, why, sizeof why);
  ck_assert_ptr_nonnull (file);
  bitmap = bitmap_new (300 * CHUNK_REGIONS);
  ck_assert_int_eq (bitmap_file_load (file, bitmap, why, sizeof why), 0);
  ck_assert_uint_eq (bitmap_count (bitmap), 300 * 301 / 2);
  for (i = 0; i < 300; ++i)
    must (bitmap_all_set (bitmap, i * CHUNK_REGIONS + i,
                          i * CHUNK_REGIONS + 2 * i + 1));
  bitmap_file_close (file);
  bitmap_free (bitmap);
  storage_file_close (s);
  fixture_destroy (&f);
}
END_TEST

int
main (void)
{
  struct suite s = suite_new ("storage-file");

  tcase_add_loop_test (s.tests, what_is_written_is_read, 0, WAYS);
  tcase_add_test (s.tests, read_behind_the_end_is_an_error);
  tcase_add_loop_test (s.tests, many_writes_in_one_submission, 0, WAYS);
  tcase_add_test (s.tests, next_data_skips_holes);
  tcase_add_test (s.tests, created_file_has_no_name_until_published);
  tcase_add_test (s.tests, what_is_never_published_is_gone);
  tcase_add_test (s.tests, publish_never_replaces);
  tcase_add_test (s.tests, create_fails_without_a_directory);
  tcase_add_test (s.tests, only_regular_files_are_opened);
  tcase_add_loop_test (s.tests, locked_while_it_is_open, 0, WAYS);
  tcase_add_test (s.tests, readers_share);
  tcase_add_test (s.tests, locked_when_published);
  tcase_add_loop_test (s.tests, lock_of_a_killed_writer_is_waited_for, 0, WAYS);
  tcase_add_loop_test (s.tests, file_that_cannot_grow_is_no_space, 0, WAYS);
  tcase_add_loop_test (s.tests, other_errors_are_not_no_space, 0, WAYS);
  tcase_add_loop_test (s.tests, failed_sync_is_an_error, 0, WAYS);
  tcase_add_test (s.tests, no_ring_is_no_harm);
  tcase_add_test (s.tests, create_fails_beyond_the_limit);
  tcase_add_loop_test (s.tests, a_bitmap_file_is_kept, 0, WAYS);
  return suite_run (s);
}
