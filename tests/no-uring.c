/* no-uring WHAT COMMAND...: run a command in which the kernel refuses to do
 * WHAT of io_uring, as containers often do:
 *
 *   setup      make a ring (io_uring_setup fails with EPERM)
 *   register   tell what a ring can do (io_uring_register fails with EINVAL)
 */

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Its numbers are the same on all architectures. */
static const struct {
  const char *name;
  unsigned call;
  int error;
} refused[] = {
  { "setup", SYS_io_uring_setup, EPERM },
  { "register", SYS_io_uring_register, EINVAL },
};

static int
refuse (unsigned call, int error)
{
  struct sock_filter filter[] = {
    BPF_STMT (BPF_LD | BPF_W | BPF_ABS, offsetof (struct seccomp_data, nr)),
    BPF_JUMP (BPF_JMP | BPF_JEQ | BPF_K, call, 0, 1),
    BPF_STMT (BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned) error),
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
  size_t i;

  for (i = 0; argc > 2 && i < sizeof refused / sizeof refused[0]; ++i)
    if (strcmp (argv[1], refused[i].name) == 0 &&
        refuse (refused[i].call, refused[i].error) == 0) {
      execvp (argv[2], argv + 2);
      break;
    }
  perror ("no-uring");
  return 1;
}
