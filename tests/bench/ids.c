// How long it takes to find whose an id is, through glibc, among so many machines.
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "../nss/world.h"

enum { ROUNDS = 20000, FIRST = 0x20000 };

static unsigned machine_total;
static double times[ROUNDS];

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static void make_machines(void) {
    char name[65], map[64], list[128], entry[16];
    for (unsigned i = 0; i < machine_total; i++) {
        snprintf(name, sizeof name, "machine-%u", i);
        snprintf(map, sizeof map, "0:%u:65536", FIRST + i * 65536U);
        write_mapped(name, getpid(), map, map);
        snprintf(entry, sizeof entry, "%04x", i + 2);
        snprintf(list, sizeof list, "%u:65536:0:%s;", FIRST + i * 65536U, name);
        link_entry(UIDS, entry, list);
        link_entry(GIDS, entry, list);
    }
}

static unsigned known_id(void) {
    return FIRST + (unsigned)random() % machine_total * 65536U + (unsigned)random() % 65535;
}

// Each asks once, and says whether somebody was found.
static bool known_uid(void) {
    return getpwuid(known_id()) != NULL;
}
static bool known_gid(void) {
    return getgrgid(known_id()) != NULL;
}
static bool unknown_uid(void) {
    return getpwuid(4000000000U + (unsigned)random() % 100000000) != NULL;
}
static bool uid_of_the_host(void) {
    return getpwuid(40000 + (unsigned)random() % 1000) != NULL;
}
static bool known_name(void) {
    char name[32];
    snprintf(name, sizeof name, "vu-machine-%u-%u", (unsigned)random() % machine_total, (unsigned)random() % 65535);
    return getpwnam(name) != NULL;
}
static bool unknown_name(void) {
    char name[32];
    snprintf(name, sizeof name, "vu-nobody-%u", (unsigned)random() % 65535);
    return getpwnam(name) != NULL;
}

static double measure(const char *what, bool ask(void), bool is_found) {
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct timespec start, end;
        clock_gettime(CLOCK_MONOTONIC, &start);
        bool found = ask();
        clock_gettime(CLOCK_MONOTONIC, &end);
        if (found != is_found) {
            fprintf(stderr, "%s: %s\n", what, found ? "found" : "not found");
            exit(1);
        }
        times[i] = (double)(end.tv_sec - start.tv_sec) * 1e6 + (double)(end.tv_nsec - start.tv_nsec) / 1e3;
    }
    qsort(times, ROUNDS, sizeof *times, compare);
    printf("%8u  %-30s %8.1f %8.1f\n", machine_total, what, times[ROUNDS / 2], times[ROUNDS / 100 * 99]);
    return times[ROUNDS / 2];
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: ids MACHINES LIMIT-IN-MICROSECONDS\n");
        return 2;
    }
    machine_total = (unsigned)atoi(argv[1]);
    double limit = atof(argv[2]), worst = 0, now;
    make_world();
    make_machines();
    // As the daemon does for each leader.
    if (syscall(SYS_pidfd_open, getpid(), 0) < 0)
        return 1;
    const struct {
        const char *what;
        bool (*ask)(void);
        bool is_found;
    } questions[] = {{"getpwuid, a machine's", known_uid, true},      {"getpwuid, nobody's", unknown_uid, false},
                     {"getpwuid, the host's", uid_of_the_host, false}, {"getgrgid, a machine's", known_gid, true},
                     {"getpwnam, a machine's", known_name, true},      {"getpwnam, nobody's", unknown_name, false}};
    for (size_t i = 0; i < sizeof questions / sizeof *questions; i++) {
        now = measure(questions[i].what, questions[i].ask, questions[i].is_found);
        worst = now > worst ? now : worst;
    }
    return worst > limit ? 3 : 0;
}
