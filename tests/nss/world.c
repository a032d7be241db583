#define _GNU_SOURCE
#include "world.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

// PID_FS_MAGIC of linux/magic.h, which older headers do not have.
enum { PIDFS = 0x50494446 };

struct machine *machines;
size_t machine_count;

static _Noreturn void die(const char *what) {
    fprintf(stderr, "%s: %s\n", what, strerror(errno));
    exit(2);
}

const struct machine *machine_named(const char *name) {
    for (size_t i = 0; i < machine_count; i++)
        if (strcmp(machines[i].name, name) == 0)
            return &machines[i];
    fprintf(stderr, "there is no machine %s\n", name);
    exit(2);
}

const struct address *address_of_family(const struct machine *machine, int family, size_t position) {
    for (size_t i = 0; i < machine->count; i++)
        if ((family == AF_UNSPEC || machine->addresses[i].family == family) && position-- == 0)
            return &machine->addresses[i];
    return NULL;
}

size_t count_of_family(const struct machine *machine, int family) {
    size_t count = 0;
    for (size_t i = 0; i < machine->count; i++)
        count += family == AF_UNSPEC || machine->addresses[i].family == family;
    return count;
}

struct address parse_address(const char *text) {
    struct address address = {0};
    char copy[128];
    snprintf(copy, sizeof copy, "%s", text);
    char *zone = strchr(copy, '%');
    if (zone) {
        *zone++ = 0;
        address.scope = (uint32_t)strtoul(zone, NULL, 10);
    }
    address.family = strchr(copy, ':') ? AF_INET6 : AF_INET;
    if (inet_pton(address.family, copy, address.bytes) != 1) {
        fprintf(stderr, "not an address: %s\n", text);
        exit(2);
    }
    return address;
}

static void add_machine(const char *name, enum kind kind, const char *addresses) {
    machines = realloc(machines, (machine_count + 1) * sizeof *machines);
    struct machine *machine = &machines[machine_count++];
    *machine = (struct machine){.kind = kind};
    snprintf(machine->name, sizeof machine->name, "%s", name);
    char *copy = strdup(addresses), *rest = copy;
    for (char *word; (word = strsep(&rest, " \n"));)
        if (*word) {
            machine->addresses = realloc(machine->addresses, (machine->count + 1) * sizeof *machine->addresses);
            machine->addresses[machine->count++] = parse_address(word);
        }
    free(copy);
}

void read_world(const char *path) {
    FILE *file = fopen(path, "re");
    if (!file)
        die(path);
    char *line = NULL;
    size_t size = 0;
    while (getline(&line, &size, file) > 0) {
        char *rest = line, *name = strsep(&rest, " \n"), *kind = strsep(&rest, " \n");
        if (!kind)
            continue;
        add_machine(name,
                    strcmp(kind, "vm") == 0       ? VIRTUAL_MACHINE
                    : strcmp(kind, "shared") == 0 ? SHARED_NETWORK
                                                  : WITH_ADDRESSES,
                    rest ? rest : "");
    }
    free(line);
    fclose(file);
}

bool has_pidfds(void) {
    int fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
    if (fd >= 0)
        close(fd);
    return fd >= 0 || errno != ENOSYS;
}

uint64_t pidfd_id(pid_t pid) {
    if (!has_pidfds())
        return 0;
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct stat stat;
    struct statfs system;
    if (fd < 0 || fstat(fd, &stat) < 0 || fstatfs(fd, &system) < 0)
        die("pidfd_open");
    close(fd);
    // Before Linux 6.9 all pidfds have one number, and no record has it.
    return system.f_type == PIDFS ? stat.st_ino : 0;
}

uint64_t start_time(pid_t pid) {
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (length < 0)
        die(path);
    close(fd);
    text[length] = 0;
    char *word = strrchr(text, ')') + 1;
    for (int field = 3; field < 22; field++)
        word = strchr(word + 1, ' ');
    return strtoull(word, NULL, 10);
}

uint64_t pid_namespace(void) {
    struct stat namespace;
    if (stat("/proc/self/ns/pid", &namespace) < 0)
        die("/proc/self/ns/pid");
    return namespace.st_ino;
}

const char *lines_of_leader(pid_t leader) {
    static char text[256];
    snprintf(text, sizeof text, "LEADER=%d\nLEADER_PIDFDID=%" PRIu64 "\nLEADER_STARTTIME=%" PRIu64 "\nPIDNS=%" PRIu64 "\n",
             (int)leader, pidfd_id(leader), start_time(leader), pid_namespace());
    return text;
}

const char *leader_in_lists(pid_t leader) {
    static char text[48];
    snprintf(text, sizeof text, ":%d:%" PRIu64, (int)leader, pidfd_id(leader));
    return text;
}

void path_of_record(char path[128], const char *name) {
    snprintf(path, 128, RECORDS "/%s", name);
}

void write_record_bytes(const char *name, const void *bytes, size_t length) {
    char temporary[128], path[128];
    snprintf(temporary, sizeof temporary, RECORDS "/.#%s", name);
    path_of_record(path, name);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, bytes, length) != (ssize_t)length || close(fd) < 0 || rename(temporary, path) < 0)
        die(path);
}

void write_record(const char *name, const char *format, ...) {
    char *text;
    va_list list;
    va_start(list, format);
    int length = vasprintf(&text, format, list);
    va_end(list);
    if (length < 0)
        die("vasprintf");
    write_record_bytes(name, text, (size_t)length);
    free(text);
}

void write_container(const char *name, pid_t leader, const char *addresses) {
    write_record(name, "# This is private data. Do not parse.\nNAME=%s\nCLASS=container\n%sNETIF=\"2\"\nADDRESSES=\"%s\"\n", name,
                 lines_of_leader(leader), addresses);
}

void link_address(const char *address, const char *name) {
    struct address parsed = parse_address(address);
    char path[128] = ADDRESSES "/";
    for (size_t i = 0; i < length_of_family(parsed.family); i++)
        sprintf(path + strlen(path), "%02x", parsed.bytes[i]);
    unlink(path);
    if (symlink(name, path) < 0)
        die(path);
}

void write_mapped(const char *name, pid_t leader, const char *uids, const char *gids) {
    write_record(name, "NAME=%s\nCLASS=container\n%sUIDMAP=\"%s\"\nGIDMAP=\"%s\"\nADDRESSES=\n", name, lines_of_leader(leader),
                 uids, gids);
}

void link_entry(const char *directory, const char *entry, const char *target) {
    char path[128], temporary[128];
    snprintf(path, sizeof path, "%s/%s", directory, entry);
    snprintf(temporary, sizeof temporary, "%s/.#%s", directory, entry);
    unlink(temporary);
    if (symlink(target, temporary) < 0 || rename(temporary, path) < 0)
        die(path);
}

void write_list(const char *directory, const char *entry, const char *text) {
    char path[128], temporary[128];
    snprintf(path, sizeof path, "%s/%s", directory, entry);
    snprintf(temporary, sizeof temporary, "%s/.#%s", directory, entry);
    unlink(temporary);
    FILE *file = fopen(temporary, "we");
    if (!file || fputs(text, file) < 0 || fclose(file) != 0 || rename(temporary, path) < 0)
        die(path);
}

static void make_container(const char *name, const char *addresses) {
    add_machine(name, WITH_ADDRESSES, addresses);
    write_container(name, getpid(), addresses);
    char *copy = strdup(addresses), *rest = copy;
    for (char *word; (word = strsep(&rest, " "));)
        if (*word)
            link_address(word, name);
    free(copy);
}

static void make_directories(const char *path) {
    char copy[128];
    snprintf(copy, sizeof copy, "%s", path);
    for (char *slash = copy; (slash = strchr(slash + 1, '/'));) {
        *slash = 0;
        mkdir(copy, 0755);
        *slash = '/';
    }
    mkdir(copy, 0755);
}

// 300 addresses, each from its number.
static char *three_hundred(const char *format) {
    char *text = NULL;
    size_t length;
    FILE *stream = open_memstream(&text, &length);
    for (unsigned i = 1; i <= 300; i++)
        fprintf(stream, format, i / 256, i % 256);
    fclose(stream);
    text[length - 1] = 0;
    return text;
}

void make_world(void) {
    make_directories(RECORDS);
    make_directories(ADDRESSES);
    make_directories(UIDS);
    make_directories(GIDS);
    make_directories(ALIASES);
    make_directories(NAMES);
    make_container("none", "");
    make_container("one", "10.0.0.2");
    make_container("three", "10.0.1.2 fd00::2 fe80::1%5");
    make_container("six", "fd00::6");
    // Names whose text ends just before and just behind a multiple of eight.
    make_container("seven-7", "10.0.7.1 10.0.7.2");
    make_container("eight--8", "10.0.8.1 fd00::8");
    make_container("a-name-of-sixty-four-bytes.abcdefghijklmnopqrstuvwxyz-0123456789", "10.0.64.1");
    char *text = three_hundred("10.1.%u.%u ");
    make_container("many", text);
    free(text);
    text = three_hundred("fd00:1::%x:%x ");
    make_container("many6", text);
    free(text);
    add_machine("shared", SHARED_NETWORK, "");
    write_record("shared", "NAME=shared\nCLASS=container\n%sADDRESSES=host\n", lines_of_leader(getpid()));
    add_machine("vm", VIRTUAL_MACHINE, "");
    write_record("vm", "NAME=vm\nCLASS=vm\n%sNETIF=\"2\"\n", lines_of_leader(getpid()));
}
