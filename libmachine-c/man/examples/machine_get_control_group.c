#include <fcntl.h>
#include <machine.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* The memory and the processes of a machine. */
int main(int argc, char **argv) {
  struct machine *m;
  pid_t *pids;
  char text[32];
  int group, file, n, i;
  if (machine_open(argc > 1 ? argv[1] : "web", 0, &m) < 0) return 1;
  group = machine_control_group_fd(m);
  file = group < 0 ? -1 : openat(group, "memory.current", O_RDONLY);
  if (file >= 0) {
    n = (int)read(file, text, sizeof text);
    if (n > 0) printf("%.*s", n, text);
    close(file);
  }
  if (group >= 0) close(group);
  n = machine_find_processes(m, 0, &pids);
  for (i = 0; i < n; i++) printf("%ld\n", (long)pids[i]);
  if (n >= 0) free(pids);
  machine_free(m);
  return 0;
}
