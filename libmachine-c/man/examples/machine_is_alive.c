#include <errno.h>
#include <machine.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

/* Waits until the machine that has this name now has ended. */
int main(int argc, char **argv) {
  struct machine *m;
  struct pollfd leader;
  if (machine_open(argc > 1 ? argv[1] : "web", 0, &m) < 0) return 1;
  leader.fd = machine_leader_pidfd(m);
  leader.events = POLLIN;
  if (leader.fd >= 0) {
    poll(&leader, 1, -1);
    close(leader.fd);
  }
  puts(leader.fd >= 0 || leader.fd == -ESRCH ? "it has ended" : "that cannot be seen from here");
  machine_free(m);
  return 0;
}
