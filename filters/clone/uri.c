/* nbdclone: NBD URIs, as far as libnbd leaves them to us.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 *
 * https://github.com/NetworkBlockDevice/nbd/blob/master/doc/uri.md
 */

#include <config.h>

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <nbdkit-filter.h>

#include "cleanup.h"
#include "uri.h"

static const char *const schemes[] = {
  "nbd", "nbds", "nbd+unix", "nbds+unix", "nbd+vsock", "nbds+vsock",
};

/* What libnbd knows (nbd_connect_uri(3)); all of them are paths. */
static const char *const parameters[] = {
  "socket",
  "tls-certificates",
  "tls-psk-file",
};

static bool
is_one_of (const char *s, size_t length, const char *const list[], size_t n)
{
  size_t i;

  for (i = 0; i < n; ++i)
    if (strlen (list[i]) == length && strncmp (s, list[i], length) == 0)
      return true;
  return false;
}

/* Undo the %XX of length bytes of a string. */
static char *
decode (const char *s, size_t length)
{
  char *out = malloc (length + 1);
  size_t i, n = 0;

  if (out == NULL)
    return NULL;
  for (i = 0; i < length; ++i) {
    unsigned c;

    if (s[i] == '%' && i + 2 < length && isxdigit ((unsigned char) s[i + 1]) &&
        isxdigit ((unsigned char) s[i + 2]) &&
        sscanf (s + i + 1, "%2x", &c) == 1 && c != 0) {
      out[n++] = (char) c;
      i += 2;
    }
    else
      out[n++] = s[i];
  }
  out[n] = 0;
  return out;
}

/* Append a path with %XX where a query needs it. */
static void
encode (FILE *out, const char *s)
{
  for (; *s; ++s)
    if (isalnum ((unsigned char) *s) || strchr ("/-._~:@", *s))
      fputc (*s, out);
    else
      fprintf (out, "%%%02X", (unsigned char) *s);
}

/* Why a URI is refused. */
struct why {
  char *text;
  size_t size;
};

static int
refuse (const struct why *why, const char *fs, ...)
{
  va_list args;

  va_start (args, fs);
  vsnprintf (why->text, why->size, fs, args);
  va_end (args);
  return -1;
}

/* One name=value of the query, with its path made absolute. */
static int
copy_parameter (FILE *out, const char *p, size_t length, bool relative,
                const struct why *why)
{
  const char *equals = memchr (p, '=', length);
  const size_t name_length = equals ? (size_t) (equals - p) : length;
  CLEANUP_FREE char *value = NULL, *path = NULL;

  if (equals == NULL || !is_one_of (p, name_length, parameters,
                                    sizeof parameters / sizeof parameters[0])) {
    return refuse (why,
                   "the query parameter \"%.*s\" is not known to libnbd, which "
                   "would ignore it; allowed are socket, tls-certificates and "
                   "tls-psk-file",
                   (int) name_length, p);
  }
  value = decode (equals + 1, length - name_length - 1);
  if (value && *value != '/' && !relative)
    return refuse (why, "%.*s: the path has to be absolute", (int) name_length,
                   p);
  path = value ? nbdkit_absolute_path (value) : NULL;
  if (path == NULL)
    return refuse (why, "%.*s: no path of a file", (int) name_length, p);
  fprintf (out, "%.*s=", (int) name_length, p);
  encode (out, path);
  return 0;
}

static int
copy_query (FILE *out, const char *query, bool relative, const struct why *why)
{
  char separator = '?';

  while (*query) {
    const size_t length = strcspn (query, "&;");

    if (length > 0) {
      fputc (separator, out);
      separator = '&';
      if (copy_parameter (out, query, length, relative, why) == -1)
        return -1;
    }
    query += length;
    query += *query != 0;
  }
  return 0;
}

/* A socket's path is no secret, and without it nobody knows which one is meant. */
static int
show_socket (struct uri *u)
{
  const char *socket = strstr (u->uri + strcspn (u->uri, "?"), "socket=");
  char *shown;

  if (socket == NULL)
    return 0;
  if (asprintf (&shown, "%s?%.*s", u->shown, (int) strcspn (socket, "&"),
                socket) == -1)
    return -1;
  free (u->shown);
  u->shown = shown;
  return 0;
}

int
uri_read (const char *value, bool relative, struct uri *u, char *text,
          size_t text_size)
{
  const struct why why = { text, text_size };
  const char *colon = strchr (value, ':');
  const size_t end = strcspn (value, "?#");
  const char *authority, *path, *at, *p;
  size_t size;
  FILE *out;

  memset (u, 0, sizeof *u);
  snprintf (text, text_size, "%s", strerror (ENOMEM));
  if (colon == NULL || strncmp (colon, "://", 3) != 0 ||
      !is_one_of (value, (size_t) (colon - value), schemes,
                  sizeof schemes / sizeof schemes[0])) {
    /* Not the value: if it is a URI at all it may hold a secret. */
    return refuse (&why,
                   "not an NBD URI; allowed are nbd://HOST[:PORT]/EXPORT, "
                   "nbds://..., nbd+unix:///EXPORT?socket=PATH, "
                   "nbds+unix:///..., nbd+vsock://CID[:PORT]/EXPORT, "
                   "nbds+vsock://...");
  }
  authority = colon + 3;
  path = authority + strcspn (authority, "/?#");
  at = memrchr (authority, '@', (size_t) (path - authority));
  if (at) {
    CLEANUP_FREE char *user = decode (authority, (size_t) (at - authority));

    /* libnbd takes all of it as the name, and names it in its errors. */
    if (user && strchr (user, ':'))
      return refuse (&why,
                     "the user name must not contain a colon: NBD knows no "
                     "passwords, keys are in the tls-psk-file");
  }

  p = *path == '/' ? path + 1 : path;
  u->export_name = decode (p, (size_t) (value + end - p));
  if (u->export_name == NULL ||
      asprintf (&u->shown, "%.*s%.*s", (int) (authority - value), value,
                (int) (value + end - (at ? at + 1 : authority)),
                at ? at + 1 : authority) == -1)
    goto err;
  if (strlen (u->export_name) > 4096) {
    refuse (&why, "the export name is longer than 4096 bytes");
    goto err;
  }

  out = open_memstream (&u->uri, &size);
  if (out == NULL)
    goto err;
  fprintf (out, "%.*s", (int) end, value);
  if (value[end] == '?' &&
      copy_query (out, value + end + 1, relative, &why) == -1) {
    fclose (out);
    goto err;
  }
  if (fclose (out) != 0 || show_socket (u) == -1)
    goto err;
  return 0;

err:
  uri_free (u);
  return -1;
}

int
uri_parse (const char *key, const char *value, struct uri *u)
{
  char why[512];

  if (uri_read (value, true, u, why, sizeof why) == 0)
    return 0;
  nbdkit_error ("%s: %s", key, why);
  return -1;
}

/* The value of a parameter of the query, or NULL; free it. */
static char *
query_value (const char *uri, const char *name)
{
  const size_t length = strlen (name);
  const char *p = uri + strcspn (uri, "?");

  while (*p) {
    p++;
    if (strncmp (p, name, length) == 0 && p[length] == '=') {
      p += length + 1;
      return decode (p, strcspn (p, "&"));
    }
    p += strcspn (p, "&");
  }
  return NULL;
}

static bool
has_ca_cert (const char *prefix, const char *dir)
{
  CLEANUP_FREE char *path = NULL;

  return asprintf (&path, "%s%s/ca-cert.pem", prefix, dir) >= 0 &&
         access (path, R_OK) == 0;
}

bool
uri_is_trustworthy (const char *uri)
{
  const char *home = getenv ("HOME");
  CLEANUP_FREE char *psk_file = query_value (uri, "tls-psk-file");
  CLEANUP_FREE char *dir = query_value (uri, "tls-certificates");

  if (strncmp (uri, "nbds", 4) != 0 || psk_file)
    return true;
  if (dir)
    return has_ca_cert ("", dir);
  if (geteuid () == 0 || home == NULL)
    return has_ca_cert ("", "/etc/pki/libnbd");
  return has_ca_cert (home, "/.pki/libnbd") ||
         has_ca_cert (home, "/.config/pki/libnbd");
}

void
uri_free (struct uri *u)
{
  free (u->uri);
  free (u->export_name);
  free (u->shown);
  memset (u, 0, sizeof *u);
}
