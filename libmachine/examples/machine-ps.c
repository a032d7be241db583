/* machine-ps: the processes of the host, and the machine that each is in.
 *
 *   cc -o machine-ps machine-ps.c $(pkg-config --cflags --libs libmachine)
 *
 * One call asks for all processes at once. */
#include <machine.h>

#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The processes of /proc; how many there are goes to n. */
static pid_t *processes(size_t *n) {
  DIR *proc = opendir("/proc");
  struct dirent *entry;
  pid_t *pids = NULL;
  size_t room = 0;
  *n = 0;
  if (proc == NULL) return NULL;
  while ((entry = readdir(proc)) != NULL) {
    if (!isdigit((unsigned char)entry->d_name[0])) continue;
    if (*n == room) {
      pid_t *more = realloc(pids, (room = room * 2 + 64) * sizeof *pids);
      if (more == NULL) break;
      pids = more;
    }
    pids[(*n)++] = (pid_t)atol(entry->d_name);
  }
  closedir(proc);
  return pids;
}

static void command_of(pid_t pid, char *command, size_t size) {
  char path[64];
  FILE *file;
  snprintf(path, sizeof path, "/proc/%ld/comm", (long)pid);
  strcpy(command, "?");
  if ((file = fopen(path, "r")) == NULL) return;
  if (fgets(command, (int)size, file) != NULL) command[strcspn(command, "\n")] = '\0';
  fclose(file);
}

int main(void) {
  size_t n, i;
  pid_t *pids = processes(&n);
  struct machine_batch *machines;
  const char *path;
  char command[32];
  int r = machine_batch_new(pids, n, 0, &machines);
  if (r < 0) {
    fprintf(stderr, "machine-ps: %s\n", machine_strerror(r));
    return 1;
  }
  printf("%7s  %-24s %s\n", "PID", "MACHINE", "COMMAND");
  for (i = 0; i < n; i++) {
    command_of(pids[i], command, sizeof command);
    path = machine_batch_get_path(machines, i);
    printf("%7ld  %-24s %s\n", (long)pids[i], path != NULL ? path : "-", command);
  }
  machine_batch_free(machines);
  free(pids);
  return 0;
}
