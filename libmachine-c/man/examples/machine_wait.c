#include <errno.h>
#include <machine.h>
#include <stdio.h>
#include <time.h>

/* Waits ten seconds for a machine. */
int main(int argc, char **argv) {
  struct machine *m;
  struct timespec now;
  uint64_t deadline;
  int r;
  clock_gettime(CLOCK_MONOTONIC, &now);
  deadline = ((uint64_t)now.tv_sec + 10) * 1000000;
  do r = machine_wait(argc > 1 ? argv[1] : "web", MACHINE_WAIT_PRESENT, 0, deadline, &m);
  while (r == -EINTR);
  if (r == 0) machine_free(m);
  puts(r == 0 ? "it is there" : r == -ETIMEDOUT ? "it has not come" : "it cannot be waited for");
  return r == 0 ? 0 : 1;
}
