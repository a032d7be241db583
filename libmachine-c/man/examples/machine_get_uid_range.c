#include <machine.h>
#include <stdio.h>

/* Whom the root of a machine is on the host. */
int main(int argc, char **argv) {
  struct machine *m;
  uid_t host;
  if (machine_open(argc > 1 ? argv[1] : "web", 0, &m) < 0) return 1;
  if (machine_uid_to_host(m, 0, &host) == 0) printf("%lu\n", (unsigned long)host);
  machine_free(m);
  return 0;
}
