/* nbdclone: for sanitizer builds, loaded before nbdkit (tests/env.sh): keeps it
 * from unloading its plugin and filters at exit.
 *
 * SPDX-License-Identifier: BSD-3-Clause
 */

#include <config.h>

#include <dlfcn.h>

__attribute__ ((visibility ("default"))) int
dlclose (void *handle)
{
  (void) handle;
  return 0;
}
