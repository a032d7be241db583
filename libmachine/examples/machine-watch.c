/* machine-watch: says which machine came, went or changed, until it is ended.
 *
 *   cc -o machine-watch machine-watch.c $(pkg-config --cflags --libs libmachine)
 */
#include <machine.h>

#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

/* "web: container of systemd-nspawn, 10.0.0.2 fd00::2" */
static void show(const char *what, const char *name) {
  const struct machine_address *addresses;
  char text[INET6_ADDRSTRLEN];
  struct machine *m;
  int n, i;
  printf("%-8s %s", what, name);
  /* It may be gone by now: then there is nothing more to say. */
  if (machine_open(name, &m) == 0) {
    printf(": %s", machine_class(m));
    if (machine_service(m) != NULL) printf(" of %s", machine_service(m));
    n = machine_addresses(m, &addresses);
    for (i = 0; i < n; i++)
      printf("%s %s", i == 0 ? "," : "", inet_ntop(addresses[i].family, addresses[i].bytes, text, sizeof text));
    machine_free(m);
  }
  printf("\n");
}

int main(void) {
  struct machine_monitor *monitor;
  struct machine_event event;
  struct pollfd wait;
  int r = machine_monitor_new(&monitor);
  if (r == 0) {
    wait.fd = machine_monitor_fd(monitor);
    wait.events = POLLIN;
    do {
      while ((r = machine_monitor_next(monitor, &event)) == 1)
        show(event.change == MACHINE_NEW       ? "new"
             : event.change == MACHINE_REMOVED ? "gone"
                                               : "changed",
             event.name);
      fflush(stdout);
    } while (r == 0 && poll(&wait, 1, -1) >= 0);
    machine_monitor_free(monitor);
  }
  fprintf(stderr, "machine-watch: %s\n", strerror(r < 0 ? -r : 0));
  return 1;
}
