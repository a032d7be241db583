// The batch call against single calls, for all processes of a booted system with real control groups: `batch` prints
// "ok" or "FAILED", and what differs. Processes that ended meanwhile do not count.
#define _GNU_SOURCE
#include <machine.h>

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int main(int argc, char **argv) {
    enum { MAX = 100000 };
    static pid_t pids[MAX];
    size_t n = 0;
    DIR *proc = opendir("/proc");
    for (struct dirent *entry; proc && (entry = readdir(proc)) && n < MAX;)
        if (isdigit((unsigned char)entry->d_name[0]))
            pids[n++] = atoi(entry->d_name);
    struct machine_batch *batch = NULL;
    int r = machine_batch_new(pids, n, 0, &batch), found = 0, failed = 0;
    if (r < 0) {
        printf("FAILED machine_batch_new says %s\n", strerror(-r));
        return 1;
    }
    int in_machines = machine_batch_get_found(batch);
    for (size_t i = 0; i < n; i++) {
        const char *seen = machine_batch_get_path(batch, i);
        char *path = NULL;
        r = machine_path_by_pid(pids[i], 0, &path);
        found += seen != NULL;
        if (r != -ESRCH && (r < 0 ? seen != NULL : !seen || strcmp(path, seen) != 0)) {
            printf("    %d is in %s, by the batch in %s\n", (int)pids[i], r < 0 ? strerror(-r) : path,
                   seen ? seen : "nothing");
            failed = 1;
        }
        free(path);
    }
    machine_batch_free(batch);
    int expected = argc > 1 ? atoi(argv[1]) : 0;
    if (found != in_machines || found < expected) {
        printf("    %d, it said %d, %d are expected\n", found, in_machines, expected);
        failed = 1;
    }
    printf("%s %d of %zu processes are in a machine, by the batch as one by one\n", failed ? "FAILED" : "ok", found, n);
    return failed;
}
