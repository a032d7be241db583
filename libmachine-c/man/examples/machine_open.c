#include <errno.h>
#include <machine.h>
#include <stdio.h>

/* What is known of a machine. */
int main(int argc, char **argv) {
  struct machine *m;
  int r = machine_open(argc > 1 ? argv[1] : "web", 0, &m);
  if (r == -ENXIO) {
    puts("no such machine");
    return 1;
  }
  if (r < 0) {
    fprintf(stderr, "%s\n", machine_strerror(r));
    return 1;
  }
  printf("%s: %s\n", machine_get_name(m), machine_get_class(m));
  machine_free(m);
  return 0;
}
