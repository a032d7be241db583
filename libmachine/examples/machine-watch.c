/* machine-watch: lists the machines that are there, then says which came, went or changed, until it is ended.
 *
 *   cc -o machine-watch machine-watch.c $(pkg-config --cflags --libs libmachine)
 *
 * It may be started before there is a registry, and goes on where the daemon that writes it does not. */
#include <machine.h>

#include <arpa/inet.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

/* "web: container of systemd-nspawn, 10.0.0.2 fd00::2" */
static void show(const char *what, const struct machine_event *event) {
  const struct machine *m = machine_event_get_machine(event);
  const char *name = machine_event_get_name(event);
  char text[INET6_ADDRSTRLEN];
  const void *address;
  size_t i;
  int family;
  printf("%-8s", what);
  if (name != NULL) printf(" %s", name);
  /* NULL of one that has gone: then there is nothing more to say. */
  if (m != NULL) {
    printf(": %s", machine_get_class(m));
    if (machine_get_service(m) != NULL) printf(" of %s", machine_get_service(m));
    for (i = 0; machine_get_address(m, i, &family, &address, NULL) == 1; i++)
      printf("%s %s", i == 0 ? "," : "", inet_ntop(family, address, text, sizeof text));
  }
  printf("\n");
}

static const char *word(int change) {
  switch (change) {
    case MACHINE_EVENT_PRESENT: return "there";
    case MACHINE_EVENT_LISTED: return "-- that is all; now watching";
    case MACHINE_EVENT_NEW: return "new";
    case MACHINE_EVENT_REMOVED: return "gone";
    case MACHINE_EVENT_CHANGED: return "changed";
    case MACHINE_EVENT_OVERFLOW: return "-- something was missed; all that are there now:";
    default: return NULL;
  }
}

int main(void) {
  const struct machine_event *event;
  struct machine_monitor *monitor;
  struct pollfd wait;
  int r = machine_monitor_new(MACHINE_MONITOR_LIST | MACHINE_MONITOR_WAIT | MACHINE_MONITOR_LEADERS, &monitor);
  if (r == 0) {
    wait.fd = machine_monitor_get_fd(monitor);
    wait.events = POLLIN;
    do {
      while ((r = machine_monitor_next(monitor, &event)) == 1)
        if (word(machine_event_get_change(event)) != NULL) show(word(machine_event_get_change(event)), event);
      fflush(stdout);
    } while (r == 0 && poll(&wait, 1, -1) >= 0);
    machine_monitor_free(monitor);
  }
  fprintf(stderr, "machine-watch: %s\n", r < 0 ? machine_strerror(r) : "poll(2) failed");
  return 1;
}
