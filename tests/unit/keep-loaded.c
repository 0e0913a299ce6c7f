/* nbdclone: for sanitizer builds, loaded before nbdkit (tests/env.sh): keeps it
 * from unloading its plugin and filters at exit, and from hanging there.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <dlfcn.h>
#include <locale.h>

__attribute__ ((visibility ("default"))) int
dlclose (void *handle)
{
  (void) handle;
  return 0;
}

/* Under ThreadSanitizer, strerror in a thread (nbdkit and libnbd use it for
 * messages) leaves glibc's lock on locales held, and libp11-kit, which wants to
 * free one at exit, waits for it for ever.
 */
__attribute__ ((visibility ("default"))) void
freelocale (locale_t locale)
{
  (void) locale;
}
