#include <errno.h>
#include <machine.h>
#include <stdio.h>
#include <stdlib.h>

/* Which machines a process is in. */
int main(int argc, char **argv) {
  char *path;
  int r = machine_path_by_pid(argc > 1 ? atoi(argv[1]) : 0, 0, &path);
  if (r == 0) {
    puts(path);
    free(path);
  } else if (r == -ENXIO) {
    puts("it is the host's");
  } else {
    /* -ESRCH: it has gone. -EUNATCH: ask from the cgroup namespace of the host. */
    fprintf(stderr, "%s\n", machine_strerror(r));
  }
  return r == 0 || r == -ENXIO ? 0 : 1;
}
