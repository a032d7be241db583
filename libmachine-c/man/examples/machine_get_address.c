#include <arpa/inet.h>
#include <errno.h>
#include <machine.h>
#include <stdio.h>

/* What the name of a machine resolves to. */
int main(int argc, char **argv) {
  struct machine *m;
  char text[INET6_ADDRSTRLEN];
  const void *address;
  int family, r;
  size_t i;
  if (machine_open(argc > 1 ? argv[1] : "web", 0, &m) < 0) return 1;
  for (i = 0; (r = machine_get_address(m, i, &family, &address, NULL)) == 1; i++)
    if (inet_ntop(family, address, text, sizeof text) != NULL) puts(text);
  if (r == -ENONET) puts("it has the network of the host");
  if (r == -ENODATA) puts("the record does not tell");
  machine_free(m);
  return 0;
}
