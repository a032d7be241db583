#include <machine.h>
#include <stdio.h>
#include <unistd.h>

/* Which machines many processes are in. */
int main(void) {
  struct machine_batch *batch;
  pid_t pids[2];
  size_t i;
  pids[0] = 1;
  pids[1] = getpid();
  if (machine_batch_new(pids, 2, 0, &batch) < 0) return 1;
  for (i = 0; i < 2; i++) {
    const char *path = machine_batch_get_path(batch, i);
    printf("%ld %s\n", (long)pids[i], path != NULL ? path : "-");
  }
  machine_batch_free(batch);
  return 0;
}
