/* nbdclone: servers by name, socket or destination.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <dirent.h>
#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cleanup.h"
#include "instance.h"
#include "message.h"
#include "printable.h"
#include "verbs.h"

#define SYSTEM_DIRECTORY "/run/nbdclone"
#define CONTROL_SUFFIX ".control"

/* The directory of this user's own session, or NULL. */
static char *
session_directory (void)
{
  const char *runtime = getenv ("XDG_RUNTIME_DIR");

  if (runtime == NULL || *runtime != '/')
    return NULL;
  return format ("%s/nbdclone", runtime);
}

const char *
instance_text (const struct instance *i, const char *key)
{
  const char *s = json_string_value (json_object_get (i->record, key));

  return s ? s : "";
}

char *
instance_file (const struct instance *i, const char *suffix)
{
  const size_t length = strlen (i->control), n = strlen (CONTROL_SUFFIX);
  const size_t stem =
    length > n && strcmp (i->control + length - n, CONTROL_SUFFIX) == 0
      ? length - n
      : length;

  return format ("%.*s%s", (int) stem, i->control, suffix);
}

void
instance_clear (struct instance *i)
{
  free (i->name);
  free (i->control);
  json_decref (i->record);
  *i = (struct instance){ .name = NULL };
}

void
instances_free (struct instance *list, size_t n)
{
  size_t i;

  for (i = 0; i < n; ++i)
    instance_clear (&list[i]);
  free (list);
}

/* What is known of a control socket DIRECTORY/NAME.control. */
static struct instance
load (const char *directory, const char *name, size_t name_length)
{
  struct instance i = {
    .name = format ("%.*s", (int) name_length, name),
    .control =
      format ("%s/%.*s" CONTROL_SUFFIX, directory, (int) name_length, name),
  };
  CLEANUP_FREE char *path = format ("%s/%s.json", directory, i.name);

  i.record = json_load_file (path, JSON_REJECT_DUPLICATES, NULL);
  if (!json_is_object (i.record)) {
    json_decref (i.record);
    i.record = need (json_object ());
  }
  make_json_printable (i.record);
  return i;
}

static void
add_directory (const char *directory, struct instance **list, size_t *n)
{
  const size_t suffix = strlen (CONTROL_SUFFIX);
  const struct dirent *entry;
  DIR *dir = opendir (directory);

  if (dir == NULL)
    return;
  while ((entry = readdir (dir)) != NULL) {
    const size_t length = strlen (entry->d_name);

    if (length <= suffix ||
        strcmp (entry->d_name + length - suffix, CONTROL_SUFFIX) != 0 ||
        !is_printable (entry->d_name)) /* none of ours */
      continue;
    *list = need (reallocarray (*list, *n + 1, sizeof **list));
    (*list)[(*n)++] = load (directory, entry->d_name, length - suffix);
  }
  closedir (dir);
}

static int
by_name (const void *a, const void *b)
{
  const struct instance *x = a, *y = b;

  return strcmp (x->name, y->name);
}

struct instance *
instance_list (size_t *n)
{
  CLEANUP_FREE char *session = session_directory ();
  struct instance *list = NULL;

  *n = 0;
  if (session)
    add_directory (session, &list, n);
  if (session == NULL || strcmp (session, SYSTEM_DIRECTORY) != 0)
    add_directory (SYSTEM_DIRECTORY, &list, n);
  if (*n > 0)
    qsort (list, *n, sizeof *list, by_name);
  return list;
}

static bool
is_same_file (const char *path, const struct stat *st)
{
  struct stat other;

  return *path && stat (path, &other) == 0 && other.st_dev == st->st_dev &&
         other.st_ino == st->st_ino;
}

/* Is it meant by a name, or else by a file? */
static bool
is_meant (const struct instance *i, const char *what, const struct stat *st)
{
  if (st == NULL)
    return strcmp (i->name, what) == 0;
  return is_same_file (i->control, st) ||
         is_same_file (instance_text (i, "socket"), st) ||
         is_same_file (instance_text (i, "destination"), st);
}

/* Take the one that is meant out of a list.  false if there is none. */
static bool
take (struct instance *list, size_t n, const char *what, const struct stat *st,
      struct instance *result)
{
  size_t i;

  for (i = 0; i < n; ++i)
    if (is_meant (&list[i], what, st)) {
      *result = list[i];
      list[i] = (struct instance){ .name = NULL };
      return true;
    }
  return false;
}

/* A user's own server and the system's may have one name.  The list is sorted. */
static bool
is_ambiguous (const struct instance *list, size_t n, const char *what)
{
  size_t i;

  for (i = 0; i + 1 < n; ++i)
    if (strcmp (list[i].name, what) == 0 &&
        strcmp (list[i + 1].name, what) == 0) {
      complain (
        "%s: two servers have this name; give the control socket of the "
        "one that is meant, %s or %s",
        what, list[i].control, list[i + 1].control);
      return true;
    }
  return false;
}

/* Names come first: a file in this directory that has the name of a server is
 * meant by "./NAME".
 */
int
instance_find (const char *what, struct instance *result)
{
  struct stat st;
  const bool exists = stat (what, &st) == 0;
  size_t n;
  struct instance *list = instance_list (&n);
  int r = 0;

  if (is_ambiguous (list, n, what))
    r = EXIT_USAGE;
  else if (!take (list, n, what, NULL, result) &&
           !(exists && take (list, n, what, &st, result))) {
    if (exists && S_ISSOCK (st.st_mode))
      *result = (struct instance){ .name = format ("%s", what),
                                   .control = format ("%s", what),
                                   .record = need (json_object ()) };
    else {
      complain ("%s: no server has this name, socket or destination; see "
                "\"nbdclone list\" for those that run, \"nbdclone run\" "
                "starts one",
                what);
      r = EXIT_NO_SERVER;
    }
  }
  instances_free (list, n);
  return r;
}

int
instance_connect (const char *what, struct instance *i, struct talk *t)
{
  int r = instance_find (what, i);

  if (r)
    return r;
  r = talk_connect (t, i->control);
  if (r) {
    complain ("%s: %s", i->name, t->error);
    talk_end (t);
    instance_clear (i);
  }
  return r;
}

/* Why the directory is not one for our files: nobody else may be able to put
 * something there, or in its place.  NULL if it is.
 */
static const char *
distrust (const char *directory)
{
  struct stat st;

  if (lstat (directory, &st) == -1)
    return strerror (errno);
  if (S_ISLNK (st.st_mode))
    return "it is a symbolic link";
  if (!S_ISDIR (st.st_mode))
    return "it is not a directory";
  if (st.st_uid != geteuid () && st.st_uid != 0)
    return "it belongs to another user";
  if (st.st_mode & (S_IWGRP | S_IWOTH))
    return "others can write to it";
  if (access (directory, W_OK | X_OK) == -1)
    return strerror (errno);
  return NULL;
}

char *
instance_directory (void)
{
  char *directory = session_directory ();
  const char *why;

  if (directory == NULL)
    directory = format ("%s", SYSTEM_DIRECTORY);
  if (mkdir (directory, 0700) == -1 && errno != EEXIST) {
    complain ("%s: cannot be made: %s; set XDG_RUNTIME_DIR to a directory of "
              "your own",
              directory, strerror (errno));
    free (directory);
    return NULL;
  }
  why = distrust (directory);
  if (why) {
    complain ("%s: this cannot be the directory of our sockets: %s; see to "
              "that, or set XDG_RUNTIME_DIR to a directory of your own",
              directory, why);
    free (directory);
    return NULL;
  }
  return directory;
}

static bool
is_name_char (char c)
{
  return c && strchr ("abcdefghijklmnopqrstuvwxyz"
                      "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-@:+",
                      c);
}

bool
instance_name_is_valid (const char *name)
{
  const size_t length = strlen (name);
  size_t i;

  if (length == 0 || length > INSTANCE_NAME_MAX || *name == '.')
    return false;
  for (i = 0; i < length; ++i)
    if (!is_name_char (name[i]))
      return false;
  return true;
}

char *
instance_suggest_name (const char *destination)
{
  const char *slash = strrchr (destination, '/');
  char *name = format ("%.*s", INSTANCE_NAME_MAX,
                       slash && slash[1] ? slash + 1 : destination);
  char *p;

  for (p = name; *p; ++p)
    if (!is_name_char (*p) || (p == name && *p == '.'))
      *p = '_';
  return name;
}
