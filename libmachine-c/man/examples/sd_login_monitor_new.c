#include <machine.h>
#include <poll.h>
#include <stdio.h>

/* Waits until something happens to a machine, as with sd-login. */
int main(void) {
  sd_login_monitor *monitor;
  struct pollfd wait;
  if (sd_login_monitor_new("machine", &monitor) < 0) return 1;
  wait.fd = sd_login_monitor_get_fd(monitor);
  wait.events = (short)sd_login_monitor_get_events(monitor);
  if (poll(&wait, 1, -1) > 0) puts("look again");
  sd_login_monitor_flush(monitor);
  sd_login_monitor_unref(monitor);
  return 0;
}
