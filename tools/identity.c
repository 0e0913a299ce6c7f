/* nbdclone: which destination a bitmap file belongs to.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "cleanup.h"
#include "identity.h"
#include "message.h"
#include "verbs.h"

/* A line of a file, without its end; NULL if there is none. */
static char *
read_line (const char *path)
{
  FILE *f = fopen (path, "re");
  char *line = NULL;

  if (f == NULL)
    return NULL;
  if (fscanf (f, " %m[^\n]", &line) != 1)
    line = NULL;
  fclose (f);
  return line;
}

static char *
device_text (dev_t device)
{
  return format ("%u:%u", major (device), minor (device));
}

/* When the inode was made; NULL if the file system does not know. */
static char *
born_text (int fd)
{
  struct statx stx;

  if (statx (fd, "", AT_EMPTY_PATH, STATX_BTIME, &stx) == -1 ||
      !(stx.stx_mask & STATX_BTIME))
    return NULL;
  return format ("%lld.%09u", (long long) stx.stx_btime.tv_sec,
                 stx.stx_btime.tv_nsec);
}

/* Whatever tells a device from others for ever, with the number of the partition
 * if it is one; NULL if the kernel does not know.
 */
static char *
hardware_text (dev_t device)
{
  static const char *const files[] = {
    "dm/uuid", "wwid",           "device/wwid", "serial",
    "../wwid", "../device/wwid", "../serial",
  };
  CLEANUP_FREE char *directory =
    format ("/sys/dev/block/%u:%u", major (device), minor (device));
  CLEANUP_FREE char *partition_file = format ("%s/partition", directory);
  CLEANUP_FREE char *partition = read_line (partition_file);
  size_t i;

  for (i = 0; i < sizeof files / sizeof files[0]; ++i) {
    CLEANUP_FREE char *file = format ("%s/%s", directory, files[i]);
    CLEANUP_FREE char *line = read_line (file);

    if (line)
      return format ("%s%s%s", line, partition ? " partition " : "",
                     partition ? partition : "");
  }
  return NULL;
}

static void
set_text (json_t *object, const char *key, const char *text)
{
  if (text)
    json_object_set_new (object, key, need (json_string (text)));
}

json_t *
identity_of (const struct destination_file *d)
{
  CLEANUP_FREE char *device =
    device_text (d->is_device ? d->st.st_rdev : d->st.st_dev);
  CLEANUP_FREE char *boot = read_line ("/proc/sys/kernel/random/boot_id");
  CLEANUP_FREE char *hardware =
    d->is_device ? hardware_text (d->st.st_rdev) : NULL;
  CLEANUP_FREE char *born = d->is_device ? NULL : born_text (d->fd);
  json_t *identity = need (json_object ());

  set_text (identity, "destination", d->path);
  set_text (identity, "device", device);
  if (!d->is_device)
    json_object_set_new (identity, "inode",
                         json_integer ((json_int_t) d->st.st_ino));
  set_text (identity, "born", born);
  set_text (identity, "hardware", hardware);
  set_text (identity, "boot", boot);
  return identity;
}

int
identity_load (const char *path, json_t **identity)
{
  json_error_t error;

  *identity = NULL;
  if (access (path, F_OK) == -1 && errno == ENOENT)
    return 0;
  *identity = json_load_file (path, JSON_REJECT_DUPLICATES, &error);
  if (json_is_object (*identity) && json_object_get (*identity, "device"))
    return 0;
  complain ("%s: this is no record of a destination (%s); if you are sure "
            "that destination and bitmap file belong together, remove it",
            path, *identity ? "it has no \"device\"" : error.text);
  json_decref (*identity);
  *identity = NULL;
  return EXIT_FAILURE;
}

/* Do both have this, and the same? */
static bool
agree (const json_t *a, const json_t *b, const char *key)
{
  json_t *x = json_object_get (a, key), *y = json_object_get (b, key);

  return x && y && json_equal (x, y);
}

static bool
both_have (const json_t *a, const json_t *b, const char *key)
{
  return json_object_get (a, key) && json_object_get (b, key);
}

bool
identity_is_same (const json_t *recorded, const json_t *now)
{
  const bool is_file = json_object_get (now, "inode") != NULL;
  const char *lasting = is_file ? "born" : "hardware";

  if (is_file != (json_object_get (recorded, "inode") != NULL) ||
      (is_file && !agree (recorded, now, "inode")))
    return false;
  if (both_have (recorded, now, lasting)) {
    if (!agree (recorded, now, lasting))
      return false;
    if (!agree (recorded, now, "boot"))
      return true;
  }
  /* Numbers of devices change hands when the machine starts. */
  if (!is_file && both_have (recorded, now, "boot") &&
      !agree (recorded, now, "boot"))
    return false;
  return agree (recorded, now, "device");
}

char *
identity_text (const json_t *identity)
{
  const char *path =
    json_string_value (json_object_get (identity, "destination"));
  const char *device = json_string_value (json_object_get (identity, "device"));
  json_t *inode = json_object_get (identity, "inode");

  if (inode)
    return format ("%s (device %s, inode %lld)", path ? path : "?",
                   device ? device : "?",
                   (long long) json_integer_value (inode));
  return format ("%s (device %s)", path ? path : "?", device ? device : "?");
}

static int
sync_directory_of (const char *path)
{
  CLEANUP_FREE char *copy = format ("%s", path);
  const int fd = open (dirname (copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  int r;

  if (fd == -1)
    return -1;
  r = fsync (fd);
  close (fd);
  return r;
}

int
identity_save (const char *path, const json_t *identity)
{
  CLEANUP_FREE char *created = format ("%s.XXXXXX", path);
  const int fd = mkostemp (created, O_CLOEXEC);

  if (fd != -1 && json_dumpfd (identity, fd, JSON_INDENT (2)) == 0 &&
      write (fd, "\n", 1) == 1 && fsync (fd) == 0 &&
      rename (created, path) == 0 && sync_directory_of (path) == 0) {
    close (fd);
    return 0;
  }
  complain ("%s: cannot write it: %s", path, strerror (errno));
  if (fd != -1) {
    close (fd);
    unlink (created);
  }
  return EXIT_FAILURE;
}
