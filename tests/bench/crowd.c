// Processes in machines, for measurements: makes control groups, records, links and indexes in the system it runs in, which
// is to be thrown away.
//
// usage: crowd processes MACHINES EACH [nested]   EACH processes in each of MACHINES (m0, m1, ...), half of them in a group
//                                                 below the machine's if `nested`; prints their ids, and stays until it is
//                                                 killed
//        crowd records MACHINES                   MACHINES more records (r0, r1, ...)
//        crowd uids FIRST MACHINES                machines (u0, u1, ...) with 65536 uids each, and the index of uids
#define _GNU_SOURCE
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define RECORDS "/run/systemd/machines"
#define GROUPS "/sys/fs/cgroup"

static void require(int good, const char *what) {
    if (!good) {
        perror(what);
        exit(1);
    }
}

static void write_file(const char *path, const char *format, ...) {
    FILE *file = fopen(path, "we");
    require(file != NULL, path);
    va_list list;
    va_start(list, format);
    vfprintf(file, format, list);
    va_end(list);
    require(fclose(file) == 0, path);
}

// The descriptors of leaders stay open, as the daemon's do, but for that of process 1, which many share.
static unsigned long pidfd_id(pid_t pid) {
    struct stat status;
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    require(fd >= 0 && fstat(fd, &status) == 0, "pidfd");
    if (pid == 1)
        close(fd);
    return status.st_ino;
}

static void record(const char *name, pid_t leader, const char *group, const char *more) {
    char path[256];
    struct stat status = {0};
    snprintf(path, sizeof path, GROUPS "%s", group);
    stat(path, &status);
    snprintf(path, sizeof path, RECORDS "/%s", name);
    write_file(path,
               "# This is private data. Do not parse.\nNAME=%s\nSCOPE=%s.scope\nSERVICE=systemd-nspawn\nROOT=/var/lib/machines/%s\n"
               "ID=0123456789abcdef0123456789abcdef\nLEADER=%d\nLEADER_PIDFDID=%lu\nCLASS=container\nREALTIME=1700000000000000\n"
               "MONOTONIC=123456789\nNETIF=\" 5\"\nCGROUP=%s\nCGROUPID=%lu\nADDRESSES=\"10.0.0.2 fd00::2\"\n%s",
               name, name, name, (int)leader, pidfd_id(leader), group, (unsigned long)status.st_ino, more);
}

static pid_t start_in(const char *group) {
    char path[256];
    pid_t pid = fork();
    require(pid >= 0, "fork");
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (;;)
            pause();
    }
    snprintf(path, sizeof path, GROUPS "%s/cgroup.procs", group);
    write_file(path, "%d\n", (int)pid);
    printf("%d\n", (int)pid);
    return pid;
}

static void processes(int machines, int each, int nested) {
    mkdir(GROUPS "/machine.slice", 0755);
    for (int i = 0; i < machines; i++) {
        char name[32], group[64], below[80], path[128];
        snprintf(name, sizeof name, "m%d", i);
        snprintf(group, sizeof group, "/machine.slice/%s.scope", name);
        snprintf(below, sizeof below, "%s/payload", group);
        snprintf(path, sizeof path, GROUPS "%s", group);
        require(mkdir(path, 0755) == 0, path);
        if (nested) {
            snprintf(path, sizeof path, GROUPS "%s", below);
            require(mkdir(path, 0755) == 0, path);
        }
        pid_t leader = 0;
        for (int j = 0; j < each; j++) {
            pid_t pid = start_in(nested && j % 2 ? below : group);
            leader = leader ? leader : pid;
        }
        record(name, leader, group, "");
        snprintf(path, sizeof path, RECORDS "/unit:%s.scope", name);
        require(symlink(name, path) == 0, path);
    }
    fflush(stdout);
    freopen("/dev/null", "w", stdout);
    for (;;)
        pause();
}

int main(int argc, char **argv) {
    mkdir("/run/systemd", 0755);
    mkdir(RECORDS, 0755);
    mkdir("/run/machined", 0755);
    mkdir("/run/machined/uids", 0755);
    const char *what = argc > 1 ? argv[1] : "";
    if (argc >= 4 && strcmp(what, "processes") == 0)
        processes(atoi(argv[2]), atoi(argv[3]), argc > 4);
    else if (argc == 3 && strcmp(what, "records") == 0)
        for (int i = 0; i < atoi(argv[2]); i++) {
            char name[32];
            snprintf(name, sizeof name, "r%d", i);
            record(name, 1, "/init.scope", "");
        }
    else if (argc == 4 && strcmp(what, "uids") == 0)
        for (int i = 0; i < atoi(argv[3]); i++) {
            char name[32], more[64], path[64], list[128];
            unsigned first = (unsigned)strtoul(argv[2], NULL, 10) + (unsigned)i * 65536;
            snprintf(name, sizeof name, "u%d", i);
            snprintf(more, sizeof more, "UIDMAP=0:%u:65536\n", first);
            record(name, 1, "/init.scope", more);
            snprintf(path, sizeof path, "/run/machined/uids/%04x", first >> 16);
            snprintf(list, sizeof list, "%u:65536:0:%s:1:%lu;", first, name, pidfd_id(1));
            require(symlink(list, path) == 0, path);
        }
    else
        return 2;
    return 0;
}
