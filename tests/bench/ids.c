// How long it takes to find whose an id is among so many machines: through glibc, or from the userdb provider itself.
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../nss/world.h"

enum { MOST_ROUNDS = 20000, FIRST = 0x20000 };

static const char *through;
static unsigned machine_total, rounds;
static double times[MOST_ROUNDS];

static int compare(const void *a, const void *b) {
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static void make_machines(void) {
    char name[65], map[64], list[128], entry[16];
    for (unsigned i = 0; i < machine_total; i++) {
        snprintf(name, sizeof name, "machine-%u", i);
        snprintf(map, sizeof map, "0:%u:65536", FIRST + i * 65536U);
        // As long as the daemon's.
        write_record(name,
                     "# This is private data. Do not parse.\nNAME=%s\nSCOPE=machine-%s.scope\nSERVICE=systemd-nspawn\n"
                     "ROOT=/var/lib/machines/%s\nID=0123456789abcdef0123456789abcdef\n%sCLASS=container\n"
                     "REALTIME=1700000000000000\nMONOTONIC=100000000000\nNETIF=%u\nADDRESSES=\"10.0.0.2 fe80::1%%%u\"\n"
                     "UIDMAP=%s\nGIDMAP=%s\nCGROUP=/machine.slice/machine-%s.scope\nCGROUPID=%u\n",
                     name, name, name, lines_of_leader(getpid()), i + 1, i + 1, map, map, name, i + 1);
        snprintf(entry, sizeof entry, "%04x", i + 2);
        snprintf(list, sizeof list, "%u:65536:0:%s%s;", FIRST + i * 65536U, name, leader_in_lists(getpid()));
        link_entry(UIDS, entry, list);
        link_entry(GIDS, entry, list);
    }
}

static unsigned known_id(void) {
    return FIRST + (unsigned)random() % machine_total * 65536U + (unsigned)random() % 65535;
}
static unsigned unknown_id(void) {
    return 4000000000U + (unsigned)random() % 100000000;
}

// Each asks once, and says whether somebody was found.
static bool known_uid(void) {
    return getpwuid(known_id()) != NULL;
}
static bool known_gid(void) {
    return getgrgid(known_id()) != NULL;
}
static bool unknown_uid(void) {
    return getpwuid(unknown_id()) != NULL;
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
static bool nobodys_name(void) {
    return getpwnam("nosuchuser") != NULL;
}

static void die(const char *what) {
    perror(what);
    exit(1);
}

static const struct sockaddr_un PROVIDER = {AF_UNIX, "/run/systemd/userdb/io.systemd.Machine"};

static int connected(void) {
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (const struct sockaddr *)&PROVIDER, sizeof PROVIDER) == 0)
        return fd;
    if (fd >= 0)
        close(fd);
    return -1;
}

// GetUserRecord on a new connection.
static bool record_of(unsigned uid) {
    char buffer[4096];
    size_t length = 0;
    int fd = connected();
    int call = snprintf(buffer, sizeof buffer,
                        "{\"method\":\"io.systemd.UserDatabase.GetUserRecord\",\"parameters\":"
                        "{\"uid\":%u,\"service\":\"io.systemd.Machine\"}}",
                        uid);
    if (fd < 0 || write(fd, buffer, (size_t)call + 1) != call + 1)
        die("call");
    do {
        ssize_t got = read(fd, buffer + length, sizeof buffer - length);
        if (got <= 0)
            die("reply");
        length += (size_t)got;
    } while (buffer[length - 1] != '\0');
    close(fd);
    return strncmp(buffer, "{\"parameters\":{\"record\":{\"userName\":\"vu-", 39) == 0;
}
static bool known_record(void) {
    return record_of(known_id());
}
static bool unknown_record(void) {
    return record_of(unknown_id());
}

// Starts the userdb provider, which ends with this process.
static pid_t provide(const char *program) {
    pid_t parent = getpid(), pid = fork();
    if (pid == 0) {
        // Asked for before it gives up its privileges, which takes it back; the end of the namespace does it too.
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() == parent)
            execl(program, program, "--log-level=err", (char *)NULL);
        _exit(127);
    }
    for (double end = now() + 10e6; now() < end;) {
        int fd = connected();
        if (fd >= 0) {
            close(fd);
            return pid;
        }
        if (waitpid(pid, NULL, WNOHANG) != 0)
            break;
        usleep(1000);
    }
    die(program);
    return 0;
}

static void measure(const char *what, bool ask(void), bool is_found) {
    for (unsigned i = 0; i < rounds; i++) {
        double start = now();
        bool found = ask();
        times[i] = now() - start;
        if (found != is_found) {
            fprintf(stderr, "%s: %s\n", what, found ? "found" : "not found");
            exit(1);
        }
    }
    qsort(times, rounds, sizeof *times, compare);
    printf("%u\t%s\t%s\t%.1f\t%.1f\n", machine_total, through, what, times[rounds / 2], times[rounds / 100 * 99]);
    fflush(stdout);
}

int main(int argc, char **argv) {
    if (argc < 4) {
        fprintf(stderr, "usage: ids MACHINES THROUGH ROUNDS [PROVIDER]\n"
                        "Prints machines, way, question, median and 99th of ROUNDS calls in microseconds. THROUGH: mymachines or systemd,\n"
                        "for what nsswitch.conf has; socket, for calls to the provider itself; frozen, for a provider that is stopped.\n");
        return 2;
    }
    machine_total = (unsigned)atoi(argv[1]);
    through = argv[2];
    rounds = (unsigned)atoi(argv[3]);
    if (rounds > MOST_ROUNDS || rounds < 100)
        return 2;
    make_world();
    make_machines();
    // As the daemon does for each leader.
    if (syscall(SYS_pidfd_open, getpid(), 0) < 0)
        return 1;
    pid_t provider = argc > 4 ? provide(argv[4]) : 0;
    const struct {
        const char *what;
        bool (*ask)(void);
        bool is_found;
    } questions[] = {{"getpwuid, a machine's", known_uid, true},      {"getpwuid, nobody's", unknown_uid, false},
                     {"getpwuid, the host's", uid_of_the_host, false}, {"getgrgid, a machine's", known_gid, true},
                     {"getpwnam, a machine's", known_name, true},      {"getpwnam, nobody's", unknown_name, false}};
    if (strcmp(through, "socket") == 0) {
        measure("GetUserRecord, a machine's", known_record, true);
        measure("GetUserRecord, nobody's", unknown_record, false);
    } else if (strcmp(through, "frozen") == 0) {
        kill(provider, SIGSTOP);
        measure("getpwnam, nosuchuser", nobodys_name, false);
        measure("getpwuid, a machine's", known_uid, true);
    } else {
        for (size_t i = 0; i < sizeof questions / sizeof *questions; i++)
            measure(questions[i].what, questions[i].ask, questions[i].is_found);
    }
    if (provider) {
        kill(provider, SIGKILL);
        waitpid(provider, NULL, 0);
    }
    return 0;
}
