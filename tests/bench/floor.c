// What the system calls of a lookup cost by themselves: the same as libmachine makes for it, in the same order, by a program
// that knows all paths before and makes nothing of what it reads. No lookup that asks the kernel as much can cost less.
#define _GNU_SOURCE
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static char buffer[4096];
static struct stat status;

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static void require(int good, const char *what) {
    if (!good) {
        perror(what);
        exit(1);
    }
}

static void read_file(int directory, const char *path) {
    int fd = openat(directory, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    require(fd >= 0 && read(fd, buffer, sizeof buffer) > 0, path);
    close(fd);
}

// A record might be a FIFO, which is seen before it is read.
static void read_record(const char *path) {
    int fd = openat(AT_FDCWD, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOFOLLOW);
    require(fd >= 0 && fstat(fd, &status) == 0 && read(fd, buffer, sizeof buffer) > 0, path);
    close(fd);
}

static void ask_whether_it_runs(pid_t pid) {
    const struct timespec none = {0};
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    require(fd >= 0 && fstat(fd, &status) == 0, "pidfd");
    struct pollfd one = {.fd = fd, .events = POLLIN};
    require(ppoll(&one, 1, &none, NULL) == 0, "a leader that runs");
    close(fd);
}

// pid PID LINK: sd_pid_get_machine_name() of a process in a unit's own group, by the link of its unit.
static double pid(const char *pid, const char *link, int is_there) {
    enum { CALLS = 3000 };
    char path[64];
    snprintf(path, sizeof path, "/proc/%s/cgroup", pid);
    double start = now();
    for (int i = 0; i < CALLS; i++) {
        read_file(AT_FDCWD, path);
        require((readlink(link, buffer, 256) > 0) == is_there, link);
    }
    return (now() - start) / CALLS;
}

// many: machine_batch_new() for the processes that `crowd processes MACHINES EACH` prints.
static double many(int machines, int each) {
    char(*paths)[4][64] = calloc((size_t)machines, sizeof *paths);
    pid_t *leaders = calloc((size_t)machines, sizeof *leaders);
    require(paths && leaders, "memory");
    int pid, read = 0;
    for (; read < machines * each && scanf("%d", &pid) == 1; read++)
        if (read % each == 0)
            leaders[read / each] = pid;
    require(read == machines * each, "processes");
    for (int i = 0; i < machines; i++) {
        snprintf(paths[i][0], sizeof paths[i][0], "/run/systemd/machines/m%d", i);
        snprintf(paths[i][1], sizeof paths[i][1], "./machine.slice/m%d.scope", i);
        snprintf(paths[i][2], sizeof paths[i][2], "./machine.slice/m%d.scope/cgroup.procs", i);
        snprintf(paths[i][3], sizeof paths[i][3], "/run/systemd/machines/unit:m%d.scope", i);
    }
    int mount = open("/sys/fs/cgroup", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    require(mount >= 0, "/sys/fs/cgroup");
    double start = now();
    for (int i = 0; i < machines; i++) {
        read_record(paths[i][0]);
        ask_whether_it_runs(leaders[i]);
        require(readlink(paths[i][3], buffer, 256) > 0, paths[i][3]);
        require(fstatat(mount, paths[i][1], &status, 0) == 0, paths[i][1]);
    }
    for (int i = 0; i < machines; i++) {
        read_file(mount, paths[i][2]);
        require(fstatat(mount, paths[i][1], &status, 0) == 0, paths[i][1]);
    }
    return (now() - start) / read;
}

// uids FIRST MACHINES: machine_name_by_uid() for the machines of `crowd uids FIRST MACHINES`.
static double uids(unsigned first, unsigned machines) {
    enum { CALLS = 10000 };
    char(*paths)[40] = calloc(machines, sizeof *paths);
    require(paths != NULL, "memory");
    for (unsigned i = 0; i < machines; i++)
        snprintf(paths[i], sizeof paths[i], "/run/machined/uids/%04x", (first >> 16) + i);
    // The leader of all of them. The daemon has one open, too.
    require(syscall(SYS_pidfd_open, 1, 0) >= 0, "pidfd");
    double start = now();
    for (unsigned i = 0; i < CALLS; i++) {
        const char *path = paths[i * 7919U % machines];
        require(readlink(path, buffer, sizeof buffer) > 0, path);
        ask_whether_it_runs(1);
    }
    return (now() - start) / CALLS;
}

int main(int argc, char **argv) {
    char what = argc == 4 ? *argv[1] : 0;
    double time = what == 'p' && *argv[3] == '-' ? pid(argv[2], "/run/systemd/machines/unit:none.service", 0)
                  : what == 'p'                  ? pid(argv[2], argv[3], 1)
                  : what == 'm'                  ? many(atoi(argv[2]), atoi(argv[3]))
                  : what == 'u'                  ? uids((unsigned)strtoul(argv[2], NULL, 10), (unsigned)atoi(argv[3]))
                                                 : 0;
    if (time == 0)
        return 2;
    printf("%.3f\n", time);
    return 0;
}
