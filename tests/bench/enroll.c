// Machines as their users start and register them, in a system that is to be thrown away.
//
// usage: enroll
//
// Reads a command a line from standard input, and answers each with a line:
//   leaders COUNT               starts processes, each in a user and a network namespace of its own; their numbers
//   varlink SOCKET NAME PID     Register without a unit, on a new connection; the nanoseconds from connect(2) to the answer
//   bus NAME PID                RegisterMachine, on a new connection to the system bus; the nanoseconds
// or with `error` and what went wrong. The processes end with this one.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-bus.h>
#include <time.h>
#include <unistd.h>

// Ids of the host that nobody has, and how many each machine gets: as with `systemd-nspawn --private-users=pick`.
enum { FIRST_ID = 524288, IDS = 65536 };

static long long now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

static void fail(const char *what) {
    printf("error %s: %s\n", what, strerror(errno));
    fflush(stdout);
    exit(1);
}

static void write_map(pid_t pid, const char *kind, int number) {
    char path[64], text[64];
    snprintf(path, sizeof path, "/proc/%d/%s", pid, kind);
    // All ids of the host that can be given away, and then the same again.
    unsigned first = FIRST_ID + (unsigned)(number % 28000) * IDS;
    int length = snprintf(text, sizeof text, "0 %u %d\n", first, IDS);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || write(fd, text, (size_t)length) != length) fail(path);
    close(fd);
}

static void leader(int number) {
    int ready[2];
    char byte;
    if (pipe2(ready, O_CLOEXEC) < 0) fail("pipe");
    pid_t pid = fork();
    if (pid < 0) fail("fork");
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (unshare(CLONE_NEWUSER | CLONE_NEWNET) < 0) _exit(1);
        close(ready[0]);
        if (write(ready[1], "x", 1) != 1) _exit(1);
        close(ready[1]);
        execl("/usr/bin/sleep", "sleep", "infinity", NULL);
        _exit(1);
    }
    close(ready[1]);
    if (read(ready[0], &byte, 1) != 1) fail("a leader's namespaces");
    close(ready[0]);
    write_map(pid, "uid_map", number);
    write_map(pid, "gid_map", number);
    printf("%d%c", pid, ' ');
}

static long long varlink(const char *path, const char *name, unsigned pid) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    char call[512], answer[4096];
    size_t read_so_far = 0;
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    int length = snprintf(call, sizeof call,
                          "{\"method\":\"io.systemd.Machine.Register\",\"parameters\":{\"name\":\"%s\",\"class\":\"container\","
                          "\"leader\":%u,\"allocateUnit\":false}}", name, pid);
    long long began = now();
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address) < 0) fail("connect");
    if (write(fd, call, (size_t)length + 1) != length + 1) fail("write");
    do {
        ssize_t some = read(fd, answer + read_so_far, sizeof answer - read_so_far);
        if (some <= 0) fail("read");
        read_so_far += (size_t)some;
    } while (answer[read_so_far - 1] != 0);
    close(fd);
    long long took = now() - began;
    if (strstr(answer, "\"error\"")) {
        printf("error %s\n", answer);
        return -1;
    }
    return took;
}

static long long over_bus(const char *name, unsigned pid) {
    sd_bus *bus = NULL;
    sd_bus_message *reply = NULL;
    sd_bus_error error = SD_BUS_ERROR_NULL;
    long long began = now();
    if (sd_bus_open_system(&bus) < 0) fail("the bus");
    int status = sd_bus_call_method(bus, "org.freedesktop.machine1", "/org/freedesktop/machine1",
                                    "org.freedesktop.machine1.Manager", "RegisterMachine", &error, &reply, "sayssus", name, 0,
                                    "bench", "container", pid, "");
    sd_bus_message_unref(reply);
    sd_bus_flush_close_unref(bus);
    long long took = now() - began;
    if (status < 0) printf("error %s\n", error.name ? error.name : strerror(-status));
    sd_bus_error_free(&error);
    return status < 0 ? -1 : took;
}

int main(void) {
    char line[512], path[108], name[128];
    int count, number = 0;
    unsigned pid;
    signal(SIGCHLD, SIG_IGN);
    setvbuf(stdin, NULL, _IONBF, 0);
    while (fgets(line, sizeof line, stdin)) {
        long long took = -1;
        if (sscanf(line, "leaders %d", &count) == 1) {
            for (; count > 0; --count) leader(number++);
            puts("");
        } else if (sscanf(line, "varlink %107s %127s %u", path, name, &pid) == 3) {
            took = varlink(path, name, pid);
        } else if (sscanf(line, "bus %127s %u", name, &pid) == 2) {
            took = over_bus(name, pid);
        } else {
            return 2;
        }
        if (took >= 0) printf("%lld\n", took);
        fflush(stdout);
    }
    return 0;
}
