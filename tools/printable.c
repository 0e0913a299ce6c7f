/* nbdclone: texts of others, for a terminal.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <stdlib.h>
#include <string.h>

#include "cleanup.h"
#include "message.h"
#include "printable.h"

/* How many bytes at the start of a text are a control character, or 0.  Those of
 * Unicode, U+0080 to U+009F, are two bytes in UTF-8.
 */
static size_t
control_length (const char *text)
{
  const unsigned char first = (unsigned char) text[0];
  const unsigned char second = first ? (unsigned char) text[1] : 0;

  if (first == 0xc2 && second >= 0x80 && second <= 0x9f)
    return 2;
  return first && ((first < ' ' && first != '\t') || first == 0x7f);
}

bool
is_printable (const char *text)
{
  while (*text && control_length (text) == 0)
    ++text;
  return *text == 0;
}

char *
make_printable (char *text)
{
  char *p = text;

  while (*p) {
    const size_t n = control_length (p);

    memset (p, '?', n);
    p += n ? n : 1;
  }
  return text;
}

void
make_json_printable (json_t *value)
{
  const char *text = json_string_value (value), *key;
  json_t *member;
  size_t i;

  if (text && !is_printable (text)) {
    CLEANUP_FREE char *copy = format ("%s", text);

    json_string_set (value, make_printable (copy));
  }
  json_array_foreach (value, i, member) make_json_printable (member);
  json_object_foreach (value, key, member) make_json_printable (member);
}
