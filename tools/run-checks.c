/* nbdclone run: what there is, and whether it fits.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * Nothing here changes anything, but for the directory of the sockets: when
 * something does not fit, all is as it was.
 */

#include <config.h>

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netdb.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <nbdkit-filter.h>

#include "cleanup.h"
#include "identity.h"
#include "instance.h"
#include "message.h"
#include "printable.h"
#include "run.h"
#include "source-check.h"
#include "talk.h"
#include "verbs.h"

/* A path, with %XX where a query needs it. */
static char *
encode_path (const char *path)
{
  char *result = need (malloc (3 * strlen (path) + 1));
  char *out = result;

  for (; *path; ++path)
    if (isalnum ((unsigned char) *path) || strchr ("/-._~:@+", *path))
      *out++ = *path;
    else
      out += sprintf (out, "%%%02X", (unsigned char) *path);
  *out = 0;
  return result;
}

static char *
uri_of_socket (const char *path)
{
  CLEANUP_FREE char *encoded = encode_path (path);

  return format ("nbd+unix:///?socket=%s", encoded);
}

/* What systemd listens on for us. */
static char *
uri_of_descriptor (int fd)
{
  struct sockaddr_storage address = { 0 };
  socklen_t size = sizeof address;
  const struct sockaddr_un *un = (const struct sockaddr_un *) &address;
  char host[NI_MAXHOST], port[NI_MAXSERV];

  if (getsockname (fd, (struct sockaddr *) &address, &size) == -1)
    return format ("%s", "");
  if (address.ss_family == AF_UNIX)
    return uri_of_socket (un->sun_path);
  if (getnameinfo ((struct sockaddr *) &address, size, host, sizeof host, port,
                   sizeof port, NI_NUMERICHOST | NI_NUMERICSERV) != 0)
    return format ("%s", "");
  return format (strchr (host, ':') ? "nbd://[%s]:%s" : "nbd://%s:%s", host,
                 port);
}

/* The record, and what follows the clone, have it as a text. */
static int
check_text (const char *what, const char *text)
{
  json_t *json = json_string (text); /* NULL if it is not UTF-8 */
  const bool ok = json && is_printable (text);

  json_decref (json);
  if (ok)
    return 0;
  complain ("%s %s: a name has to be UTF-8, without control characters; give "
            "another one",
            what, text);
  return EXIT_USAGE;
}

static int
check_texts (const struct run *run)
{
  const struct {
    const char *what, *text;
  } texts[] = {
    { "SOURCE-URI", run->source.shown },
    { "DESTINATION", run->destination.path },
    { "--bitmap", run->bitmap },
    { "--socket", run->socket },
    { "XDG_RUNTIME_DIR", run->directory },
  };
  size_t i;
  int r = 0;

  for (i = 0; i < sizeof texts / sizeof texts[0] && r == 0; ++i)
    r = check_text (texts[i].what, texts[i].text);
  return r;
}

/* Names of all files that are ours. */
static int
name_files (struct run *run)
{
  const struct sockaddr_un address;

  run->name = run->given_name ? format ("%s", run->given_name)
                              : instance_suggest_name (run->destination.path);
  run->directory = instance_directory ();
  if (run->directory == NULL)
    return EXIT_FAILURE;
  run->control = format ("%s/%s.control", run->directory, run->name);
  run->record = format ("%s/%s.json", run->directory, run->name);
  run->log = run->given_log ? nbdkit_absolute_path (run->given_log)
                            : format ("%s/%s.log", run->directory, run->name);
  run->socket = run->given_socket
                  ? nbdkit_absolute_path (run->given_socket)
                  : format ("%s/%s.sock", run->directory, run->name);
  run->bitmap = run->given_bitmap
                  ? nbdkit_absolute_path (run->given_bitmap)
                  : format ("%s.nbdclone", run->destination.path);
  if (run->log == NULL || run->socket == NULL || run->bitmap == NULL)
    return EXIT_FAILURE;
  run->identity_path = format ("%s.id", run->bitmap);
  if (strlen (run->control) >= sizeof address.sun_path ||
      strlen (run->socket) >= sizeof address.sun_path) {
    complain ("%s: the path of a socket has at most %zu bytes; give a shorter "
              "--name or --socket",
              strlen (run->control) >= sizeof address.sun_path ? run->control
                                                               : run->socket,
              sizeof address.sun_path - 1);
    return EXIT_USAGE;
  }
  if (run->sockets > 0)
    run->uri = uri_of_descriptor (3);
  else if (run->port)
    run->uri = format (run->host && strchr (run->host, ':') ? "nbd://[%s]:%s"
                                                            : "nbd://%s:%s",
                       run->host ? run->host : "localhost", run->port);
  else
    run->uri = uri_of_socket (run->socket);
  return 0;
}

/* Does a server run that has this name, or this destination? */
static int
check_not_running (const struct run *run)
{
  size_t n, i;
  struct instance *list = instance_list (&n);
  int r = 0;

  for (i = 0; i < n && r == 0; ++i) {
    const char *destination = instance_text (&list[i], "destination");
    const bool same = strcmp (destination, run->destination.path) == 0;
    struct talk t;

    if (!same && strcmp (list[i].control, run->control) != 0)
      continue;
    if (talk_connect (&t, list[i].control) == 0) {
      if (same)
        complain ("%s: a server for this runs already, see \"nbdclone status "
                  "%s\"; \"nbdclone stop %s\" stops it",
                  destination, list[i].name, list[i].name);
      else
        complain ("--name %s: a server of this name runs already, for %s; give "
                  "another --name",
                  list[i].name, *destination ? destination : "another disk");
      r = EXIT_FAILURE;
    }
    talk_end (&t);
  }
  instances_free (list, n);
  return r;
}

/* One "nbdclone run" of a name at a time, from here to its end, so that what is
 * checked from now on stays true.  A daemon inherits the descriptor; nbdkit does
 * not.  Who ends removes the file, so it has to be seen that what was locked is
 * still the one that others find.  What it says is how the server has ended, see
 * run.c.
 */
static int
lock_name (struct run *run)
{
  struct stat found, locked;

  run->lock = format ("%s/%s.lock", run->directory, run->name);
  for (;;) {
    run->lock_fd =
      open (run->lock, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (run->lock_fd == -1 || fstat (run->lock_fd, &locked) == -1) {
      complain ("%s: %s", run->lock, strerror (errno));
      return EXIT_FAILURE;
    }
    if (flock (run->lock_fd, LOCK_EX | LOCK_NB) == -1)
      break;
    if (lstat (run->lock, &found) == 0 && found.st_ino == locked.st_ino &&
        ftruncate (run->lock_fd, 0) == 0)
      return 0;
    close (run->lock_fd);
  }
  close (run->lock_fd);
  run->lock_fd = -1;
  complain (
    "--name %s: another \"nbdclone run\" of this name is about to start "
    "or to end; try again, or give another --name",
    run->name);
  return EXIT_FAILURE;
}

/* Is somebody listening on the socket that is to be the disk's?  One to which
 * nobody does was left by a dead server.
 */
static int
check_socket (const struct run *run)
{
  struct stat st;
  struct talk t;
  int r;

  if (run->port || run->sockets > 0 || lstat (run->socket, &st) == -1)
    return 0;
  if (!S_ISSOCK (st.st_mode)) {
    complain ("--socket %s: there is something that is not a socket; give "
              "another path",
              run->socket);
    return EXIT_FAILURE;
  }
  r = talk_connect (&t, run->socket);
  talk_end (&t);
  if (r != 0 && !t.dead) {
    complain ("--socket %s: something else uses it (%s); give another path",
              run->socket, t.error);
    return EXIT_FAILURE;
  }
  if (r == 0) {
    complain ("--socket %s: another server listens there; give another path",
              run->socket);
    return EXIT_FAILURE;
  }
  return 0;
}

/* Do destination and bitmap file belong together? */
static int
check_identity (struct run *run)
{
  CLEANUP_FREE char *now = NULL, *then = NULL;
  json_t *recorded;
  bool same;
  int r;

  if (!run->destination.exists) {
    complain ("%s: this is not there, but its bitmap file %s is: put it back; "
              "or, to begin again, remove the bitmap file",
              run->destination.path, run->bitmap);
    return EXIT_FAILURE;
  }
  run->identity = identity_of (&run->destination);
  r = identity_load (run->identity_path, &recorded);
  if (r || (recorded == NULL && run->moved))
    return r;
  if (recorded == NULL) {
    complain ("%s: this is not there, so nothing says whether the bitmap file "
              "%s belongs to %s; put it back, or, if you are sure, say --moved",
              run->identity_path, run->bitmap, run->destination.path);
    return EXIT_FAILURE;
  }
  same = identity_is_same (recorded, run->identity);
  now = identity_text (run->identity);
  then = identity_text (recorded);
  json_decref (recorded);
  if (same || run->moved)
    return 0;
  complain (
    "%s: this bitmap file belongs to %s, and not to %s: what it says is "
    "local is not there; give the right destination, or another "
    "--bitmap; if both have been copied or moved together, say --moved",
    run->bitmap, then, now);
  return EXIT_FAILURE;
}

/* A file system that is not mounted must not become a new clone. */
static int
check_must_resume (const struct run *run)
{
  if (!run->must_resume || (run->destination.exists && run->resuming))
    return 0;
  complain (
    "--resume: %s is not there: is its file system mounted?  To begin a "
    "new clone, leave --resume out",
    run->destination.exists ? run->bitmap : run->destination.path);
  return EXIT_FAILURE;
}

static int
check_contents (const struct run *run)
{
  int r;

  if (!run->destination.exists || run->overwrite)
    return 0;
  r = destination_has_contents (&run->destination);
  if (r == 0)
    return 0;
  if (r == 1)
    complain ("%s: it has contents, and there is no bitmap file %s: a clone "
              "would destroy them; give another destination or the right "
              "--bitmap, or, if they are not needed, say --overwrite",
              run->destination.path, run->bitmap);
  return EXIT_FAILURE;
}

/* Sizes that are known without the source. */
static int
check_sizes (const struct run *run)
{
  const struct destination_file *d = &run->destination;

  if (d->is_device && run->prealloc) {
    complain ("--prealloc: a device has its space; leave it out");
    return EXIT_USAGE;
  }
  if (d->exists && run->size && run->size != d->size) {
    complain ("--size %" PRIu64 ": %s exists, and has %" PRIu64 " bytes; give "
              "that or no --size, or remove the file",
              run->size, d->path, d->size);
    return EXIT_FAILURE;
  }
  return 0;
}

/* What a new clone needs of its source; sets size. */
static int
check_new_size (struct run *run, uint64_t source_size)
{
  const struct destination_file *d = &run->destination;

  if (source_size == 0) {
    complain ("%s: the source is empty, there is nothing to clone",
              run->source.shown);
    return EXIT_FAILURE;
  }
  if (run->size && run->size < source_size) {
    complain ("--size %" PRIu64 ": the source %s has %" PRIu64 " bytes; give "
              "that or more",
              run->size, run->source.shown, source_size);
    return EXIT_FAILURE;
  }
  if (d->exists && d->size < source_size) {
    complain ("%s: it has %" PRIu64 " bytes, but the source %s has %" PRIu64
              "; %s",
              d->path, d->size, run->source.shown, source_size,
              d->is_device ? "give a larger device"
                           : "remove it, and it will be made, or make it "
                             "larger (\"truncate -s\")");
    return EXIT_FAILURE;
  }
  if (run->size == 0)
    run->size = d->exists ? d->size : source_size;
  return 0;
}

/* A new clone cannot do without its source.  One that is resumed can, and is
 * only asked whether it has the destination open, if it is on this machine.
 */
static int
check_source (struct run *run)
{
  uint64_t size = 0;
  char why[512];
  int r;

  if (run->resuming && !source_is_local (&run->source))
    return 0;
  r = source_check (&run->source, &run->destination, &size, why, sizeof why);
  if (r == EXIT_NO_SERVER && run->resuming)
    return 0;
  if (r == EXIT_NO_SERVER)
    complain ("%s: cannot connect (%s), but a new clone needs its source; is "
              "the server up, and is this its address?",
              run->source.shown, why);
  if (r)
    return r;
  return run->resuming ? 0 : check_new_size (run, size);
}

int
run_checks (struct run *run)
{
  int r;

  if (uri_parse ("SOURCE-URI", run->source_text, &run->source) == -1)
    return EXIT_USAGE;
  if (!uri_is_trustworthy (run->source.uri)) {
    complain ("%s: nbds needs ca-cert.pem in the directory tls-certificates, "
              "or tls-psk-file, to know who answers",
              run->source.shown);
    return EXIT_USAGE;
  }
  r = destination_look (run->destination_text, &run->destination);
  if (r == 0 && run->destination.is_device && !run->given_bitmap) {
    complain ("%s: for a device give --bitmap PATH, a file that is still there "
              "after a reboot; beside the device, in /dev, it would not be",
              run->destination.path);
    r = EXIT_USAGE;
  }
  if (r == 0)
    r = name_files (run);
  if (r == 0)
    r = check_texts (run);
  if (r == 0)
    r = check_not_running (run);
  if (r == 0)
    r = lock_name (run);
  if (r == 0)
    r = check_socket (run);
  if (r == 0)
    r = check_sizes (run);
  if (r == 0) {
    run->resuming = access (run->bitmap, F_OK) == 0;
    if (!run->resuming && errno != ENOENT) {
      complain ("%s: %s", run->bitmap, strerror (errno));
      return EXIT_FAILURE;
    }
    r = check_must_resume (run);
    if (r == 0)
      r = run->resuming ? check_identity (run) : check_contents (run);
  }
  if (r == 0)
    r = run_find_server (run);
  if (r == 0)
    r = check_source (run);
  return r;
}
