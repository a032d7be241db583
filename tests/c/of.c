// What is asked of one machine in a booted system: of NAME group|processes|leader|alive. Prints the answer, or the name of
// the error.
#define _GNU_SOURCE
#include <machine.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int by_number(const void *a, const void *b) {
    const pid_t *one = a, *other = b;
    return (*one > *other) - (*one < *other);
}

static int error(int r) {
    puts(strerrorname_np(-r));
    return 1;
}

// The group is the one that the record means, and its files are read by the descriptor.
static int group(const struct machine *m) {
    uint64_t id = 0;
    struct stat stat;
    char text[4096] = "";
    int directory = machine_control_group_fd(m);
    if (directory < 0) return error(directory);
    int file = openat(directory, "cgroup.procs", O_RDONLY | O_CLOEXEC);
    ssize_t n = file < 0 ? -1 : read(file, text, sizeof text - 1);
    if (n < 0 || fstat(directory, &stat) != 0 || !S_ISDIR(stat.st_mode)) return puts("no directory of a group"), 1;
    if (machine_get_control_group_id(m, &id) != 0 || id != stat.st_ino) return puts("another group"), 1;
    if (!(fcntl(directory, F_GETFD) & FD_CLOEXEC)) return puts("open after exec"), 1;
    for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) printf("%s ", line);
    puts("");
    close(file);
    close(directory);
    return 0;
}

static int processes(const struct machine *m) {
    pid_t *pids = NULL;
    int n = machine_find_processes(m, 0, &pids);
    if (n < 0) return error(n);
    if (machine_find_processes(m, 0, NULL) != n) return puts("another number without an array"), 1;
    qsort(pids, (size_t)n, sizeof *pids, by_number);
    for (int i = 0; i < n; i++) printf("%d ", (int)pids[i]);
    puts("");
    free(pids);
    return 0;
}

int main(int argc, char **argv) {
    struct machine *m = NULL;
    int r = argc == 3 ? machine_open(argv[1], 0, &m) : -1;
    if (r < 0) return error(r);
    const char *what = argv[2];
    if (strcmp(what, "group") == 0) return group(m);
    if (strcmp(what, "processes") == 0) return processes(m);
    r = strcmp(what, "leader") == 0 ? machine_leader_pidfd(m) : machine_is_alive(m);
    if (r < 0) return error(r);
    puts(strcmp(what, "leader") == 0 ? "opened" : r ? "alive" : "dead");
    machine_free(m);
    return 0;
}
