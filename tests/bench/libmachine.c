// What a lookup costs, with whichever library this is linked: one round of one figure, in microseconds per call. The time is
// that of the processor: a lookup never waits, and what else runs on the machine is to count as little as it can.
#define _GNU_SOURCE
#ifdef SYSTEMD
#include <systemd/sd-login.h>
#else
#include <machine.h>
#endif

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static void fail(const char *what, int r) {
    fprintf(stderr, "%s says %d\n", what, r);
    exit(1);
}

// pid PID NAME|-: what sd_pid_get_machine_name() takes; - where there is none.
static double pid(pid_t pid, const char *expected) {
    enum { CALLS = 3000 };
    double start = now();
    for (int i = 0; i < CALLS; i++) {
        char *name = NULL;
        int r = sd_pid_get_machine_name(pid, &name);
        if (r < 0 ? *expected != '-' : strcmp(name, expected) != 0)
            fail("sd_pid_get_machine_name", r);
        free(name);
    }
    return (now() - start) / CALLS;
}

static double names(int count) {
    enum { CALLS = 30 };
    double start = now();
    for (int i = 0; i < CALLS; i++) {
        char **list = NULL;
        int n = sd_get_machine_names(&list);
        if (n != count)
            fail("sd_get_machine_names", n);
        for (int j = 0; j < n; j++)
            free(list[j]);
        free(list);
    }
    return (now() - start) / CALLS;
}

#define MAX 100000
static pid_t pids[MAX];
static size_t read_pids(void) {
    size_t n = 0;
    int number;
    while (n < MAX && scanf("%d", &number) == 1)
        pids[n++] = number;
    return n;
}

// many COUNT: all processes of standard input, so many of which are in machines; per process.
static double many(int count) {
    size_t n = read_pids();
    int found = 0;
    double start = now();
#ifdef SYSTEMD
    for (size_t i = 0; i < n; i++) {
        char *name = NULL;
        found += sd_pid_get_machine_name(pids[i], &name) >= 0;
        free(name);
    }
#else
    struct machine_batch *batch = NULL;
    int r = machine_batch_new(pids, n, 0, &batch);
    if (r < 0)
        fail("machine_batch_new", r);
    found = machine_batch_get_found(batch);
    machine_batch_free(batch);
#endif
    double time = (now() - start) / (double)n;
    if (found != count)
        fail("the batch", found);
    return time;
}

#ifndef SYSTEMD
// uids FIRST MACHINES: machines with 65536 ids each from there on.
static double uids(unsigned first, unsigned machines) {
    enum { CALLS = 10000 };
    // The leader of all of them. The daemon has one open, too.
    syscall(SYS_pidfd_open, 1, 0);
    double start = now();
    for (unsigned i = 0; i < CALLS; i++) {
        char *name = NULL;
        unsigned inside, number = i * 7919U % machines;
        int r = machine_name_by_uid(first + number * 65536U + i % 1000, 0, &name, &inside);
        if (r < 0 || (unsigned)atoi(name + 1) != number || inside != i % 1000)
            fail("machine_name_by_uid", r);
        free(name);
    }
    return (now() - start) / CALLS;
}
#endif

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    double time;
    if (argc == 4 && strcmp(what, "pid") == 0)
        time = pid(atoi(argv[2]), argv[3]);
    else if (argc == 3 && strcmp(what, "names") == 0)
        time = names(atoi(argv[2]));
    else if (argc == 3 && strcmp(what, "many") == 0)
        time = many(atoi(argv[2]));
#ifndef SYSTEMD
    else if (argc == 4 && strcmp(what, "uids") == 0)
        time = uids((unsigned)strtoul(argv[2], NULL, 10), (unsigned)atoi(argv[3]));
#endif
    else
        return 2;
    printf("%.3f\n", time);
    return 0;
}
