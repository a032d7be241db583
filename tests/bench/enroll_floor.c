// What Register costs at the least: a daemon that makes the system calls of ours for it, and does nothing else. It knows no
// machines, and believes what it is told. In a system that is to be thrown away.
//
// usage: enroll_floor SOCKET DIRECTORY
//        enroll_floor --bus DIRECTORY
//
// Serves Register without a unit at SOCKET, one connection after the other, or RegisterMachine on the system bus, by the name of
// systemd's. Publishes below DIRECTORY.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/net_namespace.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

// Newer than the headers of Debian 13.
#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif
#ifndef SO_PASSRIGHTS
#define SO_PASSRIGHTS 83
#endif
#ifndef PIDFD_GET_NET_NAMESPACE
#define PIDFD_GET_NET_NAMESPACE _IO(0xFF, 4)
#define PIDFD_GET_USER_NAMESPACE _IO(0xFF, 9)
#endif

enum { FIRST_NSID = 1 << 20, PAGE_BITS = 16 };

static int epoll, leaders, requests, host, journal, records, names, groups, uids, gids;

static void fail(const char *what) {
    perror(what);
    exit(1);
}

static int checked(int result, const char *what) {
    if (result < 0) fail(what);
    return result;
}

static int directory(const char *top, const char *name) {
    char path[256];
    snprintf(path, sizeof path, "%s/%s", top, name);
    if (mkdir(path, 0755) < 0 && errno != EEXIST) fail(path);
    return checked(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC), path);
}

static void seen_alive(int pidfd) {
    struct pollfd one = {.fd = pidfd, .events = POLLIN};
    struct timespec now = {0};
    if (ppoll(&one, 1, &now, NULL) != 0) fail("a leader that has ended");
}

// A file of /proc, and that its process lived afterwards.
static void read_of(int pid, int pidfd, const char *name, char *text, size_t size) {
    char path[64];
    size_t length = 0;
    ssize_t some;
    snprintf(path, sizeof path, "/proc/%d/%s", pid, name);
    int fd = checked(open(path, O_RDONLY | O_CLOEXEC), path);
    while ((some = read(fd, text + length, size - 1 - length)) > 0) length += (size_t)some;
    text[length] = 0;
    close(fd);
    seen_alive(pidfd);
}

static int namespace_of(int pidfd, unsigned long which) {
    struct stat status;
    int fd = checked(ioctl(pidfd, which, 0), "a leader's namespace");
    checked(fstat(fd, &status), "fstat");
    return fd;
}

// Gives a network namespace an id, and asks for its addresses by that, in one request.
static void look_into(int netns) {
    static int next = FIRST_NSID;
    static unsigned sequence;
    struct {
        struct nlmsghdr new_id;
        uint32_t family;
        struct rtattr fd_head;
        int fd;
        struct rtattr id_head;
        int id;
        struct nlmsghdr dump;
        struct ifaddrmsg all;
        struct rtattr target_head;
        int target;
    } request = {
        .new_id = {36, RTM_NEWNSID, NLM_F_REQUEST, ++sequence, 0},
        .fd_head = {8, NETNSA_FD}, .fd = netns,
        .id_head = {8, NETNSA_NSID}, .id = next,
        .dump = {32, RTM_GETADDR, NLM_F_REQUEST | NLM_F_DUMP, ++sequence, 0},
        .target_head = {8, IFA_TARGET_NETNSID}, .target = next,
    };
    static char answer[32768];
    _Static_assert(sizeof request == 68, "two messages without holes");
    ++next;
    if (send(requests, &request, sizeof request, 0) != sizeof request) fail("the request");
    ssize_t length = recv(requests, answer, sizeof answer, MSG_TRUNC);
    const struct nlmsghdr *first = (const void *)answer;
    if (length < (ssize_t)sizeof *first || first->nlmsg_type != NLMSG_DONE) fail("an id, and no address");
    if (recv(host, answer, sizeof answer, MSG_DONTWAIT) >= 0 || errno != EAGAIN) fail("what the host's network tells");
}

static void point(int where, const char *name, const char *target) {
    // A second machine may have the ids of the first one.
    if (symlinkat(target, where, name) < 0 && errno != EEXIST) fail(name);
}

static void publish(const char *name, int pid, uint64_t pidfd_id, const char *group, const char *uid_map, const char *gid_map) {
    struct stat status;
    char path[512], text[1024], temporary[140], link[128], target[128];
    unsigned inside, uid, gid, count;
    snprintf(path, sizeof path, "/sys/fs/cgroup%s", group);
    checked(stat(path, &status), path);
    if (sscanf(uid_map, "%u %u %u", &inside, &uid, &count) != 3) fail("a uid map");
    if (sscanf(gid_map, "%u %u %u", &inside, &gid, &count) != 3) fail("a gid map");
    const char *unit = strrchr(group, '/') + 1;
    int length = snprintf(text, sizeof text,
        "# This is private data. Do not parse.\nNAME=%s\nUID=0\nSCOPE=%s\nUNIT=%s\nCLASS=container\nLEADER=%d\nLEADER_PIDFDID=%llu\n"
        "REALTIME=1764370000000000\nMONOTONIC=1000000000\nADDRESSES=\nUIDMAP=0:%u:%u\nGIDMAP=0:%u:%u\nPIDNS=4026531836\n"
        "CGROUP=%s\nCGROUPID=%llu\n",
        name, unit, unit, pid, (unsigned long long)pidfd_id, uid, count, gid, count, group, (unsigned long long)status.st_ino);
    point(names, name, name);
    snprintf(temporary, sizeof temporary, ".#%s", name);
    int fd = checked(openat(records, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644), temporary);
    if (write(fd, text, (size_t)length) != length) fail(temporary);
    close(fd);
    checked(renameat(records, temporary, records, name), name);
    snprintf(link, sizeof link, "unit:%.120s", unit);
    point(records, link, name);
    snprintf(link, sizeof link, "%032llx", (unsigned long long)status.st_ino);
    point(groups, link, name);
    snprintf(target, sizeof target, "%u:%u:0:%.40s:%d:%llu;", uid, count, name, pid, (unsigned long long)pidfd_id);
    snprintf(link, sizeof link, "%04x", uid >> PAGE_BITS);
    point(uids, link, target);
    snprintf(link, sizeof link, "%04x", gid >> PAGE_BITS);
    point(gids, link, target);
}

// All that is done with a leader.
static void enroll(const char *name, int pid, int peer_pidfd) {
    struct stat status;
    char cgroup[4096], uid_map[4096], gid_map[4096];
    int pidfd = checked((int)syscall(SYS_pidfd_open, pid, O_NONBLOCK), "pidfd_open");
    checked(fstat(pidfd, &status), "fstat");
    uint64_t pidfd_id = status.st_ino;
    seen_alive(pidfd);
    checked(fstat(peer_pidfd, &status), "fstat");
    read_of(pid, pidfd, "cgroup", cgroup, sizeof cgroup);
    close(namespace_of(pidfd, PIDFD_GET_USER_NAMESPACE));
    read_of(pid, pidfd, "uid_map", uid_map, sizeof uid_map);
    read_of(pid, pidfd, "gid_map", gid_map, sizeof gid_map);
    int netns = namespace_of(pidfd, PIDFD_GET_NET_NAMESPACE);
    look_into(netns);
    close(netns);
    char *group = strstr(cgroup, "0::");
    if (!group) fail("a control group");
    group += 3;
    group[strcspn(group, "\n")] = 0;
    publish(name, pid, pidfd_id, group, uid_map, gid_map);
    // Kept, as whoever leads a machine is.
    struct epoll_event event = {.events = EPOLLIN | EPOLLONESHOT, .data.fd = pidfd};
    checked(epoll_ctl(leaders, EPOLL_CTL_ADD, pidfd, &event), "watch the leader");
}

static void tell_journal(const char *name, int pid) {
    static const struct sockaddr_un to = {.sun_family = AF_UNIX, .sun_path = "/run/systemd/journal/socket"};
    char text[512];
    int length = snprintf(text, sizeof text,
        "SYSLOG_FACILITY=4\nSYSLOG_IDENTIFIER=floor\nPRIORITY=6\nMESSAGE=New machine %s.\n"
        "MESSAGE_ID=24d8d4452573402496068381a6312df2\nNAME=%s\nLEADER=%d\n", name, name, pid);
    // What the journal has no room for is lost, as with ours.
    (void)sendto(journal, text, (size_t)length, MSG_NOSIGNAL, (const void *)&to, sizeof to);
}

static void await(void) {
    struct epoll_event events[16];
    checked(epoll_wait(epoll, events, 16, -1), "epoll_wait");
}

static void serve(int listener) {
    struct epoll_event none;
    struct ucred peer;
    int peer_pidfd, passes, pid;
    socklen_t size = sizeof peer, int_size = sizeof passes;
    char call[8192], name[100];

    await();
    int fd = checked(accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), "accept");
    checked(getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size), "credentials");
    (void)syscall(SYS_geteuid);
    if (accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK) >= 0 || errno != EAGAIN) fail("a second client");
    (void)epoll_wait(epoll, &none, 1, 0);
    checked(getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &peer_pidfd, &int_size), "the peer's pidfd");
    (void)getsockopt(fd, SOL_SOCKET, SO_PASSRIGHTS, &passes, &int_size);
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP | EPOLLET, .data.fd = fd};
    checked(epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event), "epoll");
    await();
    ssize_t length = recv(fd, call, sizeof call - 1, 0);
    if (length <= 0 || call[length - 1] != 0) fail("a call in one piece");
    const char *named = strstr(call, "\"name\":\""), *led = strstr(call, "\"leader\":");
    if (!named || !led || sscanf(named, "\"name\":\"%99[^\"]", name) != 1 || sscanf(led, "\"leader\":%d", &pid) != 1) fail("a call");

    enroll(name, pid, peer_pidfd);
    if (send(fd, "{}", 3, MSG_DONTWAIT | MSG_NOSIGNAL) != 3) fail("the reply");
    tell_journal(name, pid);

    do await();
    while ((length = recv(fd, call, sizeof call, 0)) < 0 && errno == EAGAIN);
    if (length != 0) fail("the end of a connection");
    close(peer_pidfd);
    checked(epoll_ctl(epoll, EPOLL_CTL_DEL, fd, NULL), "epoll");
    close(fd);
}

static int said(int result, const char *what) {
    errno = result < 0 ? -result : 0;
    return checked(result, what);
}

// The pidfd of who calls, as the bus has it.
static int pidfd_of(sd_bus *bus, const char *sender) {
    sd_bus_message *reply = NULL;
    const char *key;
    int fd = -1;
    said(sd_bus_call_method(bus, "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus",
                            "GetConnectionCredentials", NULL, &reply, "s", sender), "credentials");
    said(sd_bus_message_enter_container(reply, 'a', "{sv}"), "credentials");
    while (said(sd_bus_message_enter_container(reply, 'e', "sv"), "credentials") > 0) {
        said(sd_bus_message_read(reply, "s", &key), "credentials");
        if (strcmp(key, "ProcessFD") == 0) {
            said(sd_bus_message_read(reply, "v", "h", &fd), "a pidfd");
            fd = checked(fcntl(fd, F_DUPFD_CLOEXEC, 3), "a pidfd");
        } else {
            said(sd_bus_message_skip(reply, "v"), "credentials");
        }
        said(sd_bus_message_exit_container(reply), "credentials");
    }
    sd_bus_message_unref(reply);
    return checked(fd, "no pidfd");
}

static int register_machine(sd_bus_message *call, void *data, sd_bus_error *error) {
    sd_bus *bus = sd_bus_message_get_bus(call);
    const char *name, *service, *class, *root;
    const void *id;
    size_t length;
    uint32_t pid;
    char path[200];
    (void)data, (void)error;
    said(sd_bus_message_read(call, "s", &name), "a call");
    said(sd_bus_message_read_array(call, 'y', &id, &length), "a call");
    said(sd_bus_message_read(call, "ssus", &service, &class, &pid, &root), "a call");
    int peer = pidfd_of(bus, sd_bus_message_get_sender(call));
    enroll(name, (int)pid, peer);
    snprintf(path, sizeof path, "/org/freedesktop/machine1/machine/%s", name);
    said(sd_bus_emit_signal(bus, "/org/freedesktop/machine1", "org.freedesktop.machine1.Manager", "MachineNew", "so", name, path),
         "the signal");
    int result = sd_bus_reply_method_return(call, "o", path);
    tell_journal(name, (int)pid);
    close(peer);
    return result;
}

static void serve_bus(void) {
    static const sd_bus_vtable manager[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("RegisterMachine", "sayssus", "o", register_machine, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_SIGNAL("MachineNew", "so", 0),
        SD_BUS_VTABLE_END,
    };
    sd_bus *bus = NULL;
    said(sd_bus_open_system(&bus), "the bus");
    said(sd_bus_add_object_vtable(bus, NULL, "/org/freedesktop/machine1", "org.freedesktop.machine1.Manager", manager, NULL),
         "the object");
    said(sd_bus_request_name(bus, "org.freedesktop.machine1", 0), "the name");
    for (;;) {
        if (said(sd_bus_process(bus, NULL), "the bus") == 0) said(sd_bus_wait(bus, UINT64_MAX), "the bus");
    }
}

int main(int argc, char **argv) {
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (argc != 3) return 2;
    records = directory(argv[2], "machines");
    names = directory(argv[2], "names");
    groups = directory(argv[2], "cgroups");
    uids = directory(argv[2], "uids");
    gids = directory(argv[2], "gids");
    epoll = checked(epoll_create1(EPOLL_CLOEXEC), "epoll");
    leaders = checked(epoll_create1(EPOLL_CLOEXEC), "epoll");
    requests = checked(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), "netlink");
    host = checked(socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), "netlink");
    journal = checked(socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "the journal");
    int one = 1;
    checked(setsockopt(requests, SOL_NETLINK, NETLINK_GET_STRICT_CHK, &one, sizeof one), "strict requests");
    if (strcmp(argv[1], "--bus") == 0) serve_bus();
    snprintf(address.sun_path, sizeof address.sun_path, "%s", argv[1]);
    int listener = checked(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), "socket");
    checked(bind(listener, (struct sockaddr *)&address, sizeof address), argv[1]);
    checked(listen(listener, 128), "listen");
    struct epoll_event event = {.events = EPOLLIN, .data.fd = listener};
    checked(epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &event), "epoll");
    for (;;) serve(listener);
}
