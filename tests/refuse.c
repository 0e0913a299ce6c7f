/* refuse CALL COMMAND...: run a command for which the kernel refuses a system
 * call, as it may in containers, or when it is old:
 *
 *   io_uring_setup      with EPERM
 *   io_uring_register   with EINVAL: it cannot tell what a ring can do
 *   fallocate           with EOPNOTSUPP
 *   links               with EPERM, and files without a name with EOPNOTSUPP: as
 *                       vfat does
 *   renameat2           with EINVAL
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static const struct refusal {
  const char *name;
  unsigned call;
  int error;
  unsigned flags; /* only if its third argument has one of these */
} refused[] = {
  { "io_uring_setup", SYS_io_uring_setup, EPERM, 0 },
  { "io_uring_register", SYS_io_uring_register, EINVAL, 0 },
  { "fallocate", SYS_fallocate, EOPNOTSUPP, 0 },
  { "links", SYS_openat, EOPNOTSUPP, O_TMPFILE & ~O_DIRECTORY },
#ifdef SYS_link
  { "links", SYS_link, EPERM, 0 },
#endif
  { "links", SYS_linkat, EPERM, 0 },
  { "renameat2", SYS_renameat2, EINVAL, 0 },
};

static int
refuse (const struct refusal *r)
{
  /* The lower half of an argument is what comes first on a machine that is
   * little-endian, and flags are in it.
   */
  struct sock_filter filter[] = {
    BPF_STMT (BPF_LD | BPF_W | BPF_ABS, offsetof (struct seccomp_data, nr)),
    BPF_JUMP (BPF_JMP | BPF_JEQ | BPF_K, r->call, 0, 3),
    BPF_STMT (BPF_LD | BPF_W | BPF_ABS,
              offsetof (struct seccomp_data, args[2])),
    BPF_JUMP (BPF_JMP | BPF_JSET | BPF_K, r->flags, 0, r->flags ? 1 : 0),
    BPF_STMT (BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned) r->error),
    BPF_STMT (BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  struct sock_fprog program = {
    .len = sizeof filter / sizeof filter[0],
    .filter = filter,
  };

  if (prctl (PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1)
    return -1;
  return prctl (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
}

int
main (int argc, char **argv)
{
  size_t i, n = 0;

  for (i = 0; argc > 2 && i < sizeof refused / sizeof refused[0]; ++i)
    if (strcmp (argv[1], refused[i].name) == 0) {
      if (refuse (&refused[i]) == -1)
        break;
      n++;
    }
  if (n > 0 && i == sizeof refused / sizeof refused[0])
    execvp (argv[2], argv + 2);
  perror ("refuse");
  return 1;
}
