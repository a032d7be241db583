#include <errno.h>
#include <machine.h>
#include <poll.h>
#include <stdio.h>

/* Lists the machines, then says which came and went. */
int main(void) {
  struct machine_monitor *monitor;
  const struct machine_event *event;
  struct pollfd wait;
  int r = machine_monitor_new(MACHINE_MONITOR_LIST | MACHINE_MONITOR_WAIT | MACHINE_MONITOR_LEADERS, &monitor);
  if (r < 0) return 1;
  wait.fd = machine_monitor_get_fd(monitor);
  wait.events = POLLIN;
  do {
    while ((r = machine_monitor_next(monitor, &event)) == 1) {
      switch (machine_event_get_change(event)) {
        case MACHINE_EVENT_PRESENT:
        case MACHINE_EVENT_NEW: printf("%s is there\n", machine_event_get_name(event)); break;
        case MACHINE_EVENT_REMOVED: printf("%s has gone\n", machine_event_get_name(event)); break;
        case MACHINE_EVENT_OVERFLOW: puts("forget all: they are told again"); break;
        default: break;
      }
    }
    fflush(stdout);
  } while (r == 0 && (poll(&wait, 1, -1) >= 0 || errno == EINTR));
  machine_monitor_free(monitor);
  return 1;
}
