#include <errno.h>
#include <machine.h>
#include <stdio.h>

/* Why there is no such machine. */
int main(int argc, char **argv) {
  struct machine *m;
  int r = machine_open(argc > 1 ? argv[1] : "web", 0, &m);
  if (r < 0) {
    fprintf(stderr, "%s\n", machine_strerror(r));
    return r == -ENXIO ? 2 : 1;
  }
  puts(machine_get_name(m));
  machine_free(m);
  return 0;
}
