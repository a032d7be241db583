#include <errno.h>
#include <machine.h>
#include <stdio.h>
#include <stdlib.h>

/* Which machine a process is in, as sd-login has it. */
int main(int argc, char **argv) {
  char *name;
  int r = sd_pid_get_machine_name(argc > 1 ? atoi(argv[1]) : 0, &name);
  if (r == 0) {
    puts(name);
    free(name);
  } else {
    puts(r == -ENOENT || r == -ENODATA ? "it is the host's" : "that cannot be told");
  }
  return 0;
}
