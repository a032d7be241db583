#include <errno.h>
#include <machine.h>
#include <stdio.h>
#include <stdlib.h>

/* The virtual machine with a context id of vsock(7), as accept(2) tells it. */
int main(int argc, char **argv) {
  struct machine *m;
  int r = machine_by_vsock_cid((uint32_t)strtoul(argc > 1 ? argv[1] : "3", NULL, 10), 0, &m);
  if (r == 0) {
    puts(machine_get_name(m));
    machine_free(m);
  } else {
    puts(r == -ENXIO ? "none has it" : "that cannot be told");
  }
  return 0;
}
