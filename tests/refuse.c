/* refuse CALL COMMAND...: run a command for which the kernel refuses a system
 * call, as it may in containers, or when it is old:
 *
 *   io_uring_setup      with EPERM
 *   io_uring_register   with EINVAL: it cannot tell what a ring can do
 *   fallocate           with EOPNOTSUPP
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

static const struct {
  const char *name;
  unsigned call;
  int error;
} refused[] = {
  { "io_uring_setup", SYS_io_uring_setup, EPERM },
  { "io_uring_register", SYS_io_uring_register, EINVAL },
  { "fallocate", SYS_fallocate, EOPNOTSUPP },
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
  perror ("refuse");
  return 1;
}
