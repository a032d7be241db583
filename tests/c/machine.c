// The functions that libmachine alone has, machine_*: each, and each error. Needs a mount namespace and a /run of its own.
#define _GNU_SOURCE
#include <machine.h>

#include <arpa/inet.h>
#include <errno.h>
#include <limits.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

// Both have a `struct machine`.
#define machine world_machine
#include "../nss/check.h"
#include "../nss/filter.h"
#include "../nss/process.h"
#include "../nss/world.h"
#undef machine
#include "answers.h"
#include "group.h"

#define CGROUPS "/run/machined/cgroups"
#define LOWER "/run/machined/names"

static void empty(void) {
    REQUIRE(system("rm -rf /run/systemd /run/machined && mkdir -p " RECORDS " " ADDRESSES " " UIDS " " GIDS " " ALIASES
                   " " CGROUPS " " LOWER) == 0);
}

static int is_open(int fd) {
    return fcntl(fd, F_GETFD) >= 0;
}

// Whose pidfd it is, by proc_pid_fdinfo(5): valgrind 3.24 knows pidfds, and cannot send signals by them.
static int pid_behind(int fd) {
    char path[64], line[128];
    int pid = 0;
    snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
    FILE *file = fopen(path, "re");
    REQUIRE(file);
    while (pid == 0 && fgets(line, sizeof line, file))
        sscanf(line, "Pid:%d", &pid);
    fclose(file);
    return pid;
}

static void a_snapshot_has_all_of_a_record(void) {
    empty();
    pid_t pid = start_process();
    write_record("web",
                 "# This is private data. Do not parse.\nNAME=web\nUID=1000\nSCOPE=machine-web.scope\nSUBGROUP=payload\n"
                 "SERVICE=\"a b\"\nROOT=/var/lib/machines/web\nID=0123456789abcdef0123456789abcdef\nSUPERVISOR=%d\n"
                 "CLASS=container\nREALTIME=1700000000000000\nMONOTONIC=12345\nNETIF=\" 2 3\"\nVSOCK_CID=5\n"
                 "SSH_ADDRESS=vsock/5\nSSH_PRIVATE_KEY_PATH=/key\nCONTROL_ADDRESS=/run/x\n"
                 "CGROUP=/machine.slice/machine-web.scope/payload\nCGROUPID=99\nUIDMAP=\"0:100000:1000 1000:5000:1\"\n"
                 "GIDMAP=0:200000:65536\nADDRESSES=\"10.0.0.2 fe80::1%%5\"\n%s",
                 (int)getpid(), lines_of_leader(pid));
    struct machine *m = NULL;
    REQUIRE(machine_open("web", 0, &m) == 0 && m);
    // It stays as it is.
    REQUIRE(unlink(RECORDS "/web") == 0);
    CHECK_TEXT(machine_get_name(m), "web");
    CHECK_TEXT(machine_get_class(m), "container");
    CHECK_TEXT(machine_get_service(m), "a b");
    CHECK_TEXT(machine_get_unit(m), "machine-web.scope");
    CHECK_TEXT(machine_get_subgroup(m), "payload");
    CHECK_TEXT(machine_get_root(m), "/var/lib/machines/web");
    CHECK_TEXT(machine_get_ssh_address(m), "vsock/5");
    CHECK_TEXT(machine_get_ssh_private_key_path(m), "/key");
    CHECK_TEXT(machine_get_control_address(m), "/run/x");
    CHECK_TEXT(machine_get_control_group(m), "/machine.slice/machine-web.scope/payload");
    uint8_t id[16];
    CHECK_EQUAL(machine_get_id(m, id), 0);
    CHECK(memcmp(id, "\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef", 16) == 0);
    pid_t leader = 0, supervisor = 0;
    CHECK_EQUAL(machine_get_leader(m, &leader), 0);
    CHECK_EQUAL(leader, pid);
    CHECK_EQUAL(machine_get_supervisor(m, &supervisor), 0);
    CHECK_EQUAL(supervisor, getpid());
    uid_t owner = 0, uid = 0;
    uint32_t cid = 0;
    uint64_t number = 0;
    CHECK_EQUAL(machine_get_owner(m, &owner), 0);
    CHECK_EQUAL(owner, 1000);
    CHECK_EQUAL(machine_get_vsock_cid(m, &cid), 0);
    CHECK_EQUAL(cid, 5);
    CHECK_EQUAL(machine_get_control_group_id(m, &number), 0);
    CHECK_EQUAL(number, 99);
    CHECK_EQUAL(machine_get_realtime(m, &number), 0);
    CHECK_EQUAL(number, 1700000000000000);
    CHECK_EQUAL(machine_get_monotonic(m, &number), 0);
    CHECK_EQUAL(number, 12345);
    int index = 0, family = 0;
    CHECK_EQUAL(machine_get_ifindex(m, 0, &index), 1);
    CHECK_EQUAL(index, 2);
    CHECK_EQUAL(machine_get_ifindex(m, 1, &index), 1);
    CHECK_EQUAL(index, 3);
    CHECK_EQUAL(machine_get_ifindex(m, 2, &index), 0);
    CHECK_EQUAL(machine_get_ifindex(m, SIZE_MAX, &index), 0);
    CHECK_EQUAL(index, 3);
    const void *bytes = NULL;
    uint32_t scope_id = 7;
    CHECK_EQUAL(machine_get_address(m, 0, &family, &bytes, &scope_id), 1);
    CHECK_EQUAL(family, AF_INET);
    CHECK_EQUAL(scope_id, 0);
    CHECK(memcmp(bytes, "\x0a\0\0\x02", 4) == 0);
    CHECK_EQUAL(machine_get_address(m, 1, &family, &bytes, &scope_id), 1);
    CHECK_EQUAL(family, AF_INET6);
    CHECK_EQUAL(scope_id, 5);
    char text[INET6_ADDRSTRLEN];
    CHECK_TEXT(inet_ntop(AF_INET6, bytes, text, sizeof text), "fe80::1");
    CHECK_EQUAL(machine_get_address(m, 1, NULL, NULL, NULL), 1);
    CHECK_EQUAL(machine_get_address(m, 2, &family, &bytes, &scope_id), 0);
    uid_t inside = 7, outside = 7;
    uint32_t count = 7;
    CHECK_EQUAL(machine_get_uid_range(m, 1, &inside, &outside, &count), 1);
    CHECK(inside == 1000 && outside == 5000 && count == 1);
    CHECK_EQUAL(machine_get_uid_range(m, 2, &inside, &outside, &count), 0);
    CHECK_EQUAL(machine_get_gid_range(m, 0, &inside, &outside, &count), 1);
    CHECK(inside == 0 && outside == 200000 && count == 65536);
    CHECK_EQUAL(machine_get_gid_range(m, 0, NULL, NULL, NULL), 1);
    CHECK_EQUAL(machine_get_gid_range(m, 1, NULL, NULL, NULL), 0);
    CHECK_EQUAL(machine_uid_to_host(m, 999, &uid), 0);
    CHECK_EQUAL(uid, 100999);
    CHECK_EQUAL(machine_uid_to_host(m, 1001, &uid), -ENXIO);
    CHECK_EQUAL(machine_uid_from_host(m, 5000, &uid), 0);
    CHECK_EQUAL(uid, 1000);
    CHECK_EQUAL(machine_uid_from_host(m, 99999, &uid), -ENXIO);
    CHECK_EQUAL(machine_gid_to_host(m, 1, &uid), 0);
    CHECK_EQUAL(uid, 200001);
    CHECK_EQUAL(machine_gid_to_host(m, 65536, &uid), -ENXIO);
    CHECK_EQUAL(machine_gid_from_host(m, 200001, &uid), 0);
    CHECK_EQUAL(uid, 1);
    CHECK_EQUAL(machine_gid_from_host(m, 1, &uid), -ENXIO);
    if (has_pidfds()) {
        CHECK_EQUAL(machine_is_alive(m), 1);
        int fd = machine_leader_pidfd(m), other = machine_supervisor_pidfd(m);
        CHECK(fd >= 0 && other >= 0);
        CHECK_EQUAL(fcntl(fd, F_GETFD), FD_CLOEXEC);
        CHECK_EQUAL(pid_behind(fd), pid);
        close(fd);
        close(other);
        make_zombie(pid);
        CHECK_EQUAL(machine_is_alive(m), 0);
        CHECK_EQUAL(machine_leader_pidfd(m), -ESRCH);
    }
    end_process(pid);
    CHECK(!machine_free(m));
}

static void what_a_record_lacks_is_no_data(void) {
    empty();
    write_record("web", "CLASS=vm\nSERVICE=\n");
    struct machine *m = NULL;
    REQUIRE(machine_open("web", 0, &m) == 0);
    CHECK_TEXT(machine_get_class(m), "vm");
    CHECK(!machine_get_service(m) && !machine_get_unit(m) && !machine_get_subgroup(m) && !machine_get_root(m));
    CHECK(!machine_get_ssh_address(m) && !machine_get_ssh_private_key_path(m) && !machine_get_control_address(m));
    CHECK(!machine_get_control_group(m));
    uint8_t id[16];
    pid_t pid = 7;
    uid_t uid = 7;
    uint32_t cid = 7;
    uint64_t number = 7;
    CHECK_EQUAL(machine_get_id(m, id), -ENODATA);
    CHECK_EQUAL(machine_get_leader(m, &pid), -ENODATA);
    CHECK_EQUAL(machine_get_supervisor(m, &pid), -ENODATA);
    CHECK_EQUAL(machine_leader_pidfd(m), -ENODATA);
    CHECK_EQUAL(machine_supervisor_pidfd(m), -ENODATA);
    CHECK_EQUAL(machine_get_owner(m, &uid), -ENODATA);
    CHECK_EQUAL(machine_get_vsock_cid(m, &cid), -ENODATA);
    CHECK_EQUAL(machine_get_control_group_id(m, &number), -ENODATA);
    CHECK_EQUAL(machine_get_realtime(m, &number), -ENODATA);
    CHECK_EQUAL(machine_get_monotonic(m, &number), -ENODATA);
    CHECK_EQUAL(machine_uid_to_host(m, 0, &uid), -ENXIO);
    CHECK_EQUAL(machine_uid_from_host(m, 0, &uid), -ENXIO);
    CHECK_EQUAL(machine_gid_to_host(m, 0, &uid), -ENXIO);
    CHECK_EQUAL(machine_gid_from_host(m, 0, &uid), -ENXIO);
    CHECK(pid == 7 && uid == 7 && cid == 7 && number == 7);
    CHECK_EQUAL(machine_get_incarnation(m, &number), -ENODATA);
    CHECK_EQUAL(machine_control_group_fd(m), -ENODATA);
    int index = 7;
    const void *bytes = &pid;
    CHECK_EQUAL(machine_get_ifindex(m, 0, &index), 0);
    // Its users are not on the host.
    CHECK_EQUAL(machine_get_uid_range(m, 0, &uid, &uid, &cid), -ENXIO);
    CHECK_EQUAL(machine_get_gid_range(m, 0, &uid, &uid, &cid), -ENXIO);
    CHECK_EQUAL(machine_get_address(m, 0, &index, &bytes, &cid), -ENODATA);
    CHECK(bytes == &pid && index == 7 && uid == 7 && cid == 7 && number == 7);
    CHECK_EQUAL(machine_is_alive(m), 0);
    machine_free(m);
    write_record("web", "CLASS=container\nADDRESSES=host\nUIDMAP=0:0:4294967295\n");
    REQUIRE(machine_open("web", 0, &m) == 0);
    CHECK_EQUAL(machine_get_address(m, 0, NULL, NULL, NULL), -ENONET);
    // What the kernel has for a process without a user namespace of its own.
    CHECK_EQUAL(machine_get_uid_range(m, 0, &uid, &uid, &cid), 0);
    CHECK_EQUAL(machine_uid_to_host(m, 1000, &uid), 0);
    CHECK_EQUAL(uid, 1000);
    CHECK_EQUAL(machine_get_gid_range(m, 0, &uid, &uid, &cid), -ENODATA);
    CHECK_EQUAL(machine_gid_from_host(m, 0, &uid), -ENODATA);
    machine_free(m);
    write_record("web", "CLASS=container\nADDRESSES=\n");
    REQUIRE(machine_open("web", 0, &m) == 0);
    CHECK_EQUAL(machine_get_address(m, 0, NULL, NULL, NULL), 0);
    machine_free(m);
}

static void nothing_may_be_null_that_must_not(void) {
    empty();
    write_record("web", "CLASS=vm\n");
    struct machine *m = NULL;
    CHECK_EQUAL(machine_open(NULL, 0, &m), -EINVAL);
    CHECK_EQUAL(machine_open("web", 0, NULL), -EINVAL);
    CHECK(!m && !machine_free(NULL));
    CHECK(!machine_get_name(NULL) && !machine_get_class(NULL) && !machine_get_service(NULL) && !machine_get_unit(NULL));
    CHECK(!machine_get_subgroup(NULL) && !machine_get_root(NULL) && !machine_get_ssh_address(NULL));
    CHECK(!machine_get_ssh_private_key_path(NULL) && !machine_get_control_address(NULL) && !machine_get_control_group(NULL));
    uint8_t id[16];
    pid_t pid;
    uid_t uid;
    uint32_t cid;
    uint64_t number;
    REQUIRE(machine_open("web", 0, &m) == 0);
#define BOTH(function, place)                    \
    (CHECK_EQUAL(function(NULL, place), -EINVAL), \
     CHECK_EQUAL(function(m, NULL), -EINVAL))
    BOTH(machine_get_id, id);
    BOTH(machine_get_leader, &pid);
    BOTH(machine_get_supervisor, &pid);
    BOTH(machine_get_owner, &uid);
    BOTH(machine_get_vsock_cid, &cid);
    BOTH(machine_get_control_group_id, &number);
    BOTH(machine_get_realtime, &number);
    BOTH(machine_get_monotonic, &number);
    CHECK_EQUAL(machine_is_alive(NULL), -EINVAL);
    CHECK_EQUAL(machine_leader_pidfd(NULL), -EINVAL);
    CHECK_EQUAL(machine_supervisor_pidfd(NULL), -EINVAL);
    BOTH(machine_get_incarnation, &number);
    CHECK_EQUAL(machine_get_ifindex(NULL, 0, NULL), -EINVAL);
    CHECK_EQUAL(machine_get_address(NULL, 0, NULL, NULL, NULL), -EINVAL);
    CHECK_EQUAL(machine_get_address_source(NULL, 0, NULL), -EINVAL);
    CHECK_EQUAL(machine_get_uid_range(NULL, 0, NULL, NULL, NULL), -EINVAL);
    CHECK_EQUAL(machine_get_gid_range(NULL, 0, NULL, NULL, NULL), -EINVAL);
    CHECK_EQUAL(machine_control_group_fd(NULL), -EINVAL);
    CHECK_EQUAL(machine_find_processes(NULL, 0, NULL), -EINVAL);
    CHECK_EQUAL(machine_find_processes(m, 1, NULL), -EINVAL);
    CHECK_EQUAL(machine_uid_to_host(NULL, 0, &uid), -EINVAL);
    CHECK_EQUAL(machine_uid_to_host(m, 0, NULL), -EINVAL);
    CHECK_EQUAL(machine_uid_from_host(NULL, 0, &uid), -EINVAL);
    CHECK_EQUAL(machine_uid_from_host(m, 0, NULL), -EINVAL);
    CHECK_EQUAL(machine_gid_to_host(NULL, 0, &uid), -EINVAL);
    CHECK_EQUAL(machine_gid_to_host(m, 0, NULL), -EINVAL);
    CHECK_EQUAL(machine_gid_from_host(NULL, 0, &uid), -EINVAL);
    CHECK_EQUAL(machine_gid_from_host(m, 0, NULL), -EINVAL);
    machine_free(m);
    struct machine *none = NULL;
    struct machine_batch *batch = NULL;
    struct machine_list *list = NULL;
    struct machine_monitor *monitor = NULL;
    const struct machine_event *event = NULL;
    // Flags that no version knows yet are refused by all that take some.
    const uint64_t flag = UINT64_C(1) << 63;
    CHECK_EQUAL(machine_open("web", flag, &none), -EINVAL);
    CHECK_EQUAL(machine_batch_new(NULL, 1, 0, &batch), -EINVAL);
    CHECK_EQUAL(machine_batch_new(&pid, 1, 0, NULL), -EINVAL);
    CHECK_EQUAL(machine_batch_new(&pid, SIZE_MAX, 0, &batch), -EINVAL);
    CHECK_EQUAL(machine_batch_new(&pid, 1, flag, &batch), -EINVAL);
    CHECK_EQUAL(machine_batch_get_count(NULL), -EINVAL);
    CHECK_EQUAL(machine_batch_get_found(NULL), -EINVAL);
    CHECK(!machine_batch_get_path(NULL, 0) && !machine_batch_get_name(NULL, 0) && !machine_batch_free(NULL));
    CHECK_EQUAL(machine_by_pid(0, 0, NULL), -EINVAL);
    CHECK_EQUAL(machine_by_pid(0, flag, &none), -EINVAL);
    CHECK_EQUAL(machine_by_pidfd(0, 0, NULL), -EINVAL);
    CHECK_EQUAL(machine_by_pidfd(0, flag, &none), -EINVAL);
    CHECK_EQUAL(machine_path_by_pid(0, flag, NULL), -EINVAL);
    CHECK_EQUAL(machine_path_by_pidfd(0, flag, NULL), -EINVAL);
    CHECK_EQUAL(machine_by_uid(1000000, 0, NULL, NULL), -EINVAL);
    CHECK_EQUAL(machine_by_uid(1000000, flag, &none, NULL), -EINVAL);
    CHECK_EQUAL(machine_by_gid(1000000, flag, &none, NULL), -EINVAL);
    CHECK_EQUAL(machine_name_by_uid(1000000, flag, NULL, NULL), -EINVAL);
    CHECK_EQUAL(machine_name_by_gid(1000000, flag, NULL, NULL), -EINVAL);
    CHECK_EQUAL(machine_by_address(AF_INET, "\x0a\0\0\x01", 0, NULL), -EINVAL);
    CHECK_EQUAL(machine_by_address(AF_INET, NULL, 0, &none), -EINVAL);
    CHECK_EQUAL(machine_name_by_address(AF_INET, NULL, 0, NULL), -EINVAL);
    CHECK_EQUAL(machine_by_vsock_cid(3, 0, NULL), -EINVAL);
    CHECK_EQUAL(machine_by_vsock_cid(3, flag, &none), -EINVAL);
    CHECK_EQUAL(machine_by_ifindex(3, 0, NULL), -EINVAL);
    CHECK_EQUAL(machine_by_id(NULL, 0, &none), -EINVAL);
    CHECK_EQUAL(machine_by_control_group_id(3, 0, NULL), -EINVAL);
    CHECK_EQUAL(machine_list_new(0, NULL), -EINVAL);
    CHECK_EQUAL(machine_list_new(flag, &list), -EINVAL);
    CHECK_EQUAL(machine_list_by_pid(0, flag, &list), -EINVAL);
    CHECK_EQUAL(machine_list_by_pidfd(0, flag, &list), -EINVAL);
    CHECK_EQUAL(machine_list_get_count(NULL), -EINVAL);
    CHECK_EQUAL(machine_list_get_failure(NULL, 0, NULL, NULL), -EINVAL);
    CHECK_EQUAL(machine_list_keep_alive(NULL), -EINVAL);
    CHECK_EQUAL(machine_list_keep_class(NULL, "vm"), -EINVAL);
    CHECK_EQUAL(machine_list_keep_owner(NULL, 0), -EINVAL);
    CHECK_EQUAL(machine_list_keep_id(NULL, NULL), -EINVAL);
    CHECK(!machine_list_get_machine(NULL, 0) && !machine_list_free(NULL));
    CHECK_EQUAL(machine_monitor_new(0, NULL), -EINVAL);
    CHECK_EQUAL(machine_monitor_new(flag, &monitor), -EINVAL);
    CHECK_EQUAL(machine_monitor_get_fd(NULL), -EINVAL);
    CHECK_EQUAL(machine_monitor_next(NULL, &event), -EINVAL);
    CHECK_EQUAL(machine_event_get_change(NULL), -EINVAL);
    CHECK_EQUAL(machine_event_get_incarnation(NULL, &number), -EINVAL);
    CHECK(!machine_event_get_name(NULL) && !machine_event_get_machine(NULL) && !machine_monitor_free(NULL));
    CHECK_EQUAL(machine_wait(NULL, MACHINE_WAIT_GONE, 0, 0, NULL), -EINVAL);
    CHECK_EQUAL(machine_wait("a_b", MACHINE_WAIT_GONE, 0, 0, NULL), -EINVAL);
    CHECK_EQUAL(machine_wait("web", 0, 0, 0, NULL), -EINVAL);
    CHECK_EQUAL(machine_wait("web", MACHINE_WAIT_GONE, 1, 0, NULL), -EINVAL);
    CHECK(!none && !batch && !list && !monitor);
    CHECK_EQUAL(machine_name_check(NULL), -EINVAL);
    char name[MACHINE_NAME_MAX + 1];
    CHECK_EQUAL(machine_name_suggest(NULL, name, sizeof name), -EINVAL);
    CHECK_EQUAL(machine_name_suggest("web", NULL, sizeof name), -EINVAL);
    CHECK_EQUAL(machine_name_suggest("web", name, 3), -ENOBUFS);
    CHECK_EQUAL(machine_name_suggest("web", name, 4), 0);
}

static void what_cannot_be_opened_is_told(void) {
    static const char *const damaged[] = {"", "CLASS=vm", "LEADER=1\n", "NAME=db\nCLASS=vm\n", "CLASS=vm\nUID=x\n",
                                          "CLASS=vm\nLEADER=1 2\n", "CLASS=vm\nADDRESSES=1.2.3\n", "CLASS=vm\nID=1\n"};
    empty();
    struct machine *m = (struct machine *)1;
    CHECK_EQUAL(machine_open("nobody", 0, &m), -ENXIO);
    CHECK_EQUAL(machine_open("a_b", 0, &m), -EINVAL);
    CHECK_EQUAL(machine_open("", 0, &m), -EINVAL);
    CHECK_EQUAL(machine_open("../web", 0, &m), -EINVAL);
    CHECK_EQUAL(machine_open(".host", 0, &m), -EINVAL);
    for (size_t i = 0; i < sizeof damaged / sizeof *damaged; i++) {
        subject("%s", damaged[i]);
        write_record("web", "%s", damaged[i]);
        CHECK_EQUAL(machine_open("web", 0, &m), -EBADMSG);
    }
    CHECK(m == (struct machine *)1);
}

// A machine with a leader that lives, in this group, with a link of its unit and of its group.
static pid_t place(const char *name, const char *unit, const char *group) {
    char path[512];
    pid_t pid = start_process();
    write_record(name, "NAME=%s\nCLASS=container\n%s%s%s%s%s%s%s", name, unit ? "SCOPE=" : "", unit ? unit : "",
                 unit ? "\n" : "", group ? "CGROUP=" : "", group ? group : "", group ? "\n" : "", lines_of_leader(pid));
    if (unit) {
        snprintf(path, sizeof path, "unit:%s", unit);
        link_entry(RECORDS, path, name);
    }
    return pid;
}

// As sha256sum(1) says of the path, the first 32 digits.
static void link_group(const char *hash, const char *name) {
    link_entry(CGROUPS, hash, name);
}

// The same, by sha256sum(1) itself.
static void link_paths(const char *group, const char *name) {
    char command[256], hash[33] = "";
    snprintf(command, sizeof command, "printf %%s '%s' | sha256sum", group);
    FILE *pipe = popen(command, "re");
    REQUIRE(pipe && fread(hash, 1, 32, pipe) == 32 && pclose(pipe) == 0);
    link_group(hash, name);
}

static void check_path(pid_t pid, const char *group, const char *expected) {
    subject("%s", group);
    seem_in(pid, group);
    char *path = NULL, *other = NULL;
    int r = machine_path_by_pid(pid, 0, &path);
    if (expected)
        CHECK_TEXT(path, expected);
    else
        CHECK_EQUAL(r, -ENXIO);
    CHECK_EQUAL(machine_path_by_pid(pid, 0, NULL), r);
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd >= 0) {
        CHECK_EQUAL(machine_path_by_pidfd(fd, 0, &other), r);
        if (path)
            CHECK_TEXT(other, path);
        close(fd);
    }
    // The batch asks each process where it cannot ask the machines, as here, where groups only seem to be.
    char **paths = NULL;
    pid_t pids[] = {pid, 0, -1, INT32_MAX, pid};
    CHECK_EQUAL(paths_of(pids, 5, &paths), expected ? 2 : 0);
    REQUIRE(paths);
    if (expected) {
        CHECK_TEXT(paths[0], expected);
        CHECK_TEXT(paths[4], expected);
    } else
        CHECK(!paths[0] && !paths[4]);
    CHECK(!paths[1] && !paths[2] && !paths[3] && !paths[5]);
    free(paths);
    free(path);
    free(other);
}

static void a_record_that_cannot_be_read_hides_its_own_processes_only(void) {
    empty();
    seem_in(1, "/init.scope");
    pid_t web = place("web", "machine-web.scope", "/machine.slice/machine-web.scope");
    pid_t db = place("db", "machine-db.scope", "/machine.slice/machine-db.scope");
    seem_in(web, "/machine.slice/machine-web.scope");
    seem_in(db, "/machine.slice/machine-db.scope");
    // Nothing is at address 0: reading there fails with EIO. For this test alone.
    REQUIRE(unshare(CLONE_NEWNS) == 0);
    REQUIRE(mount("/proc/self/mem", RECORDS "/web", "", MS_BIND, NULL) == 0);
    char *path = NULL, **paths = NULL;
    CHECK_EQUAL(machine_path_by_pid(web, 0, &path), -EIO);
    pid_t pids[] = {web, db, web};
    CHECK_EQUAL(paths_of(pids, 3, &paths), 1);
    REQUIRE(paths);
    CHECK(!paths[0] && !paths[2]);
    CHECK_TEXT(paths[1], "db");
    free(paths);
    end_process(web);
    end_process(db);
}

static void the_nearest_machine_counts_and_those_around_it(void) {
    empty();
    seem_in(1, "/init.scope");
    pid_t pid = start_process();
    // Of the original's daemon: no group is known.
    pid_t stock = place("stock", "machine-stock.scope", NULL);
    // Of ours.
    pid_t web = place("web", "machine-web.scope", "/machine.slice/machine-web.scope");
    pid_t service = place("service", "systemd-nspawn@service.service", "/machine.slice/systemd-nspawn@service.service/payload");
    // Of a user, and one that is nested in web; neither has a unit of its own.
    pid_t user = place("user", NULL, "/user.slice/user-1000.slice/user@1000.service/machine-user.scope");
    pid_t inner = place("inner", NULL, "/machine.slice/machine-web.scope/payload/machine.slice/inner.scope");
    link_group("e1865d83a1dee4394f9fa7453bcfa8cd", "user");
    link_group("25715b77911a453e09047959e4b01438", "inner");
    check_path(pid, "/machine.slice/machine-stock.scope/payload", "stock");
    check_path(pid, "/machine.slice/machine-web.scope", "web");
    check_path(pid, "/machine.slice/machine-web.scope/payload/system.slice/cron.service", "web");
    check_path(pid, "/machine.slice/systemd-nspawn@service.service/payload/x", "service");
    check_path(pid, "/machine.slice/systemd-nspawn@service.service/supervisor", "service");
    check_path(pid, "/user.slice/user-1000.slice/user@1000.service/machine-user.scope/payload", "user");
    check_path(pid, "/user.slice/user-1000.slice/user@1000.service/app.slice/x.scope", NULL);
    check_path(pid, "/machine.slice/machine-web.scope/payload/machine.slice/inner.scope/x", "web/inner");
    check_path(pid, "/machine.slice/machine-web.scope/payload/machine.slice/inner.scope", "web/inner");
    // What a container calls its own groups does not make it another machine.
    check_path(pid, "/machine.slice/machine-web.scope/payload/machine-stock.scope", "web");
    check_path(pid, "/user.slice/machine-web.scope", NULL);
    check_path(pid, "/system.slice/cron.service/machine-stock.scope", NULL);
    // One that no link could name.
    char deep[320] = "/machine.slice/machine-web.scope/payload/";
    size_t above = strlen(deep);
    memset(deep + above, 'x', 255);
    strcpy(deep + above + 249, ".scope");
    check_path(pid, deep, "web");
    check_path(pid, "/system.slice/cron.service", NULL);
    check_path(pid, "/", NULL);
    if (has_pidfds()) {
        make_zombie(inner);
        check_path(pid, "/machine.slice/machine-web.scope/payload/machine.slice/inner.scope", "web");
        make_zombie(web);
        check_path(pid, "/machine.slice/machine-web.scope", NULL);
    }
    write_record("stock", "damaged");
    check_path(pid, "/machine.slice/machine-stock.scope", NULL);
    subject("errors");
    CHECK_EQUAL(machine_path_by_pid(-1, 0, NULL), -EINVAL);
    CHECK_EQUAL(machine_path_by_pid(INT32_MAX, 0, NULL), -ESRCH);
    CHECK_EQUAL(machine_path_by_pidfd(-1, 0, NULL), -EBADF);
    CHECK_EQUAL(machine_path_by_pidfd(999, 0, NULL), -EBADF);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    CHECK_EQUAL(machine_path_by_pidfd(null, 0, NULL), -ENOTTY);
    close(null);
    seem_in(pid, "/../x");
    CHECK_EQUAL(machine_path_by_pid(pid, 0, NULL), -EUNATCH);
    end_process(stock);
    end_process(web);
    end_process(service);
    end_process(user);
    end_process(inner);
    end_process(pid);
}

static void no_processes_are_in_no_machine(void) {
    empty();
    char **paths = NULL;
    CHECK_EQUAL(paths_of(NULL, 0, &paths), 0);
    REQUIRE(paths);
    CHECK(!paths[0]);
    free(paths);
    pid_t pids[] = {getpid(), 1};
    CHECK_EQUAL(paths_of(pids, 2, &paths), 0);
    CHECK(!paths[0] && !paths[1] && !paths[2]);
    free(paths);
    REQUIRE(system("rm -rf /run/systemd /run/machined") == 0);
    CHECK_EQUAL(paths_of(pids, 2, &paths), 0);
    CHECK(!paths[0] && !paths[1] && !paths[2]);
    free(paths);
}

static void ids_of_the_host_belong_to_machines(void) {
    empty();
    pid_t pid = start_process();
    write_mapped("web", pid, "0:1000000:65536", "0:2031616:65536");
    write_list(UIDS, "000f", "1000000:65536:0:web;");
    write_list(UIDS, "0010", "1000000:65536:0:web;");
    write_list(GIDS, "001f", "2031616:65536:0:web;");
    char *name = NULL;
    uid_t inside = 7;
    CHECK_EQUAL(machine_name_by_uid(1000005, 0, &name, &inside), 0);
    CHECK_TEXT(name, "web");
    CHECK_EQUAL(inside, 5);
    free(name);
    name = NULL;
    CHECK_EQUAL(machine_name_by_uid(1065534, 0, NULL, &inside), 0);
    CHECK_EQUAL(inside, 65534);
    CHECK_EQUAL(machine_name_by_gid(2031616, 0, &name, NULL), 0);
    CHECK_TEXT(name, "web");
    free(name);
    name = NULL;
    static const uid_t nobodys[] = {0, 1000, 65535, 65536, 999999, 1065536, 4294967295U, 4294967294U};
    for (size_t i = 0; i < sizeof nobodys / sizeof *nobodys; i++) {
        subject("%u", nobodys[i]);
        CHECK_EQUAL(machine_name_by_uid(nobodys[i], 0, &name, &inside), -ENXIO);
        CHECK_EQUAL(machine_name_by_gid(nobodys[i], 0, &name, &inside), -ENXIO);
    }
    struct machine *m = NULL;
    CHECK_EQUAL(machine_by_uid(1000005, 0, &m, &inside), 0);
    CHECK_TEXT(machine_get_name(m), "web");
    CHECK_EQUAL(inside, 5);
    m = machine_free(m);
    CHECK_EQUAL(machine_by_gid(2031617, 0, &m, NULL), 0);
    m = machine_free(m);
    CHECK_EQUAL(machine_by_uid(7, 0, &m, &inside), -ENXIO);
    subject("of two");
    write_mapped("twin", pid, "0:1000000:10", "0:2031616:10");
    write_list(UIDS, "000f", "1000000:65536:0:web;1000000:10:0:twin;");
    CHECK_EQUAL(machine_name_by_uid(1000005, 0, &name, &inside), -ENOTUNIQ);
    CHECK_EQUAL(machine_by_uid(1000005, 0, &m, &inside), -ENOTUNIQ);
    CHECK_EQUAL(machine_name_by_uid(1000010, 0, NULL, &inside), 0);
    CHECK(!m && !name);
    write_list(UIDS, "000f", "1000000:65536:0:web;");
    subject("damaged");
    write_record("web", "CLASS=container\nUIDMAP=x\n");
    CHECK_EQUAL(machine_name_by_uid(1000005, 0, &name, &inside), -EBADMSG);
    if (pidfd_id(pid) != 0) {
        subject("answered by the index");
        char list[128];
        snprintf(list, sizeof list, "1000000:65536:0:web%s;", leader_in_lists(pid));
        write_list(UIDS, "000f", list);
        CHECK_EQUAL(machine_name_by_uid(1000005, 0, &name, &inside), 0);
        CHECK_TEXT(name, "web");
        CHECK_EQUAL(inside, 5);
        free(name);
        name = NULL;
    }
    subject("dead");
    write_mapped("web", pid, "0:1000000:65536", "0:2031616:65536");
    end_process(pid);
    if (has_pidfds())
        CHECK_EQUAL(machine_name_by_uid(1000005, 0, &name, &inside), -ENXIO);
    CHECK(!name);
}

static void an_address_says_where_it_is_known_from(void) {
    empty();
    pid_t pid = start_process();
    struct machine *m = NULL;
    // Of each address its source; the last word is that of all that follow. -ENODATA where none is known.
    static const struct {
        const char *from;
        int sources[3];
    } rows[] = {
        {"ADDRESSES_FROM=interface\n", {MACHINE_ADDRESS_INTERFACE, MACHINE_ADDRESS_INTERFACE, MACHINE_ADDRESS_INTERFACE}},
        {"ADDRESSES_FROM=\"given lease neighbour\"\n", {MACHINE_ADDRESS_GIVEN, MACHINE_ADDRESS_LEASE, MACHINE_ADDRESS_NEIGHBOUR}},
        {"ADDRESSES_FROM=\"given lease\"\n", {MACHINE_ADDRESS_GIVEN, MACHINE_ADDRESS_LEASE, MACHINE_ADDRESS_LEASE}},
        {"ADDRESSES_FROM=\"given agent\"\n", {-ENODATA, -ENODATA, -ENODATA}},
        {"", {-ENODATA, -ENODATA, -ENODATA}},
    };
    for (size_t row = 0; row < sizeof rows / sizeof *rows; row++) {
        subject("%s", rows[row].from);
        write_record("vm", "CLASS=vm\nADDRESSES=\"10.0.0.2 fd00::2 10.0.0.3\"\n%s%s", rows[row].from, lines_of_leader(pid));
        REQUIRE(machine_open("vm", 0, &m) == 0);
        for (size_t i = 0; i < 3; i++) {
            int source = 0, expected = rows[row].sources[i];
            CHECK_EQUAL(machine_get_address_source(m, i, &source), expected < 0 ? expected : 1);
            CHECK_EQUAL(source, expected < 0 ? 0 : expected);
        }
        CHECK_EQUAL(machine_get_address_source(m, 3, NULL), 0);
        m = machine_free(m);
    }
    subject("the network of the host");
    write_record("vm", "CLASS=vm\nADDRESSES=host\nADDRESSES_FROM=interface\n%s", lines_of_leader(pid));
    REQUIRE(machine_open("vm", 0, &m) == 0);
    CHECK_EQUAL(machine_get_address_source(m, 0, NULL), -ENONET);
    m = machine_free(m);
    // What the registry found besides leads to it as well.
    subject("interfaces");
    write_record("vm", "CLASS=vm\nNETIF=3\nNETIF_FOUND=\"3 7\"\n%s", lines_of_leader(pid));
    REQUIRE(machine_open("vm", 0, &m) == 0);
    int ifindex = 0;
    CHECK(machine_get_ifindex(m, 0, &ifindex) == 1 && ifindex == 3);
    CHECK(machine_get_ifindex(m, 1, &ifindex) == 1 && ifindex == 7);
    CHECK_EQUAL(machine_get_ifindex(m, 2, &ifindex), 0);
    m = machine_free(m);
    CHECK_EQUAL(machine_by_ifindex(7, 0, &m), 0);
    m = machine_free(m);
    end_process(pid);
}

static void an_error_has_words_of_its_own(void) {
    CHECK_TEXT(machine_strerror(-ENXIO), "no machine is, or has, what was asked for");
    CHECK_TEXT(machine_strerror(-ENONET), "the machine shares the network of the host");
    CHECK_TEXT(machine_strerror(-EACCES), strerror(EACCES));
    CHECK_TEXT(machine_strerror(ENXIO), machine_strerror(-ENXIO));
    static const int own[] = {EINVAL, ENXIO, ENOTUNIQ, ENODATA, ENONET, ENOENT, EBADMSG, ESRCH, EREMOTE, EUNATCH, ESTALE, ECHILD,
                              ETIMEDOUT, EINTR, ENOMEM, EAFNOSUPPORT, EBADF, ENOTTY, ENOSYS, ENOBUFS};
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) {
        subject("%s", strerrorname_np(own[i]));
        CHECK(strcmp(machine_strerror(-own[i]), strerror(own[i])) != 0);
        for (size_t j = 0; j < i; j++)
            CHECK(strcmp(machine_strerror(-own[i]), machine_strerror(-own[j])) != 0);
    }
    subject("no error");
    CHECK(machine_strerror(0) && machine_strerror(INT_MIN) && machine_strerror(INT_MAX));
}

static void addresses_belong_to_machines(void) {
    empty();
    pid_t pid = start_process();
    write_container("web", pid, "10.0.0.2 fd00::2 fe80::1%5");
    link_address("10.0.0.2", "web");
    link_address("fd00::2", "web");
    link_address("10.0.0.3", "web");
    link_address("10.0.0.4", "nobody");
    link_address("10.0.0.5", "not a name");
    struct in_addr v4;
    struct in6_addr v6;
    char *name = NULL;
    inet_pton(AF_INET, "10.0.0.2", &v4);
    CHECK_EQUAL(machine_name_by_address(AF_INET, &v4, 0, &name), 0);
    CHECK_TEXT(name, "web");
    free(name);
    name = NULL;
    CHECK_EQUAL(machine_name_by_address(AF_INET, &v4, 0, NULL), 0);
    struct machine *m = NULL;
    CHECK_EQUAL(machine_by_address(AF_INET, &v4, 0, &m), 0);
    CHECK_TEXT(machine_get_name(m), "web");
    m = machine_free(m);
    inet_pton(AF_INET6, "fd00::2", &v6);
    CHECK_EQUAL(machine_name_by_address(AF_INET6, &v6, 0, &name), 0);
    CHECK_TEXT(name, "web");
    free(name);
    name = NULL;
    static const char *const others[] = {"10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"};
    for (size_t i = 0; i < 4; i++) {
        subject("%s", others[i]);
        inet_pton(AF_INET, others[i], &v4);
        CHECK_EQUAL(machine_name_by_address(AF_INET, &v4, 0, &name), -ENXIO);
    }
    CHECK_EQUAL(machine_name_by_address(AF_UNIX, &v4, 0, &name), -EAFNOSUPPORT);
    // Nobody's is one thing, and that of several another; where they are no longer several, the index is behind.
    subject("shared");
    pid_t other = start_process();
    inet_pton(AF_INET, "10.0.0.2", &v4);
    link_address("10.0.0.2", "*");
    write_container("db", other, "10.0.0.2");
    CHECK_EQUAL(machine_name_by_address(AF_INET, &v4, 0, &name), -ENOTUNIQ);
    CHECK_EQUAL(machine_by_address(AF_INET, &v4, 0, &m), -ENOTUNIQ);
    end_process(other);
    if (has_pidfds())
        CHECK_EQUAL(machine_by_address(AF_INET, &v4, 0, &m), -ENXIO);
    unlink(RECORDS "/db");
    CHECK_EQUAL(machine_by_address(AF_INET, &v4, 0, &m), -ENXIO);
    CHECK(!name && !m);
    link_address("10.0.0.2", "web");
    inet_pton(AF_INET, "10.0.0.2", &v4);
    write_record("web", "damaged");
    CHECK_EQUAL(machine_name_by_address(AF_INET, &v4, 0, &name), -EBADMSG);
    write_container("web", pid, "10.0.0.2");
    end_process(pid);
    if (has_pidfds())
        CHECK_EQUAL(machine_name_by_address(AF_INET, &v4, 0, &name), -ENXIO);
    CHECK(!name);
}

static int is_ready(const struct machine_monitor *monitor) {
    struct pollfd entry = {.fd = machine_monitor_get_fd(monitor), .events = POLLIN};
    return poll(&entry, 1, 0) == 1;
}

static void check_change(struct machine_monitor *monitor, int change, const char *name) {
    struct told event = {0};
    CHECK_EQUAL(next_event(monitor, &event), 1);
    CHECK_EQUAL(event.change, change);
    CHECK_TEXT(event.name, name);
}

static void a_monitor_says_what_changed(void) {
    empty();
    struct told event;
    write_record("old", "CLASS=vm\n");
    struct machine_monitor *monitor = NULL;
    REQUIRE(machine_monitor_new(0, &monitor) == 0);
    CHECK(!is_ready(monitor));
    CHECK_EQUAL(next_event(monitor, &event), 0);
    CHECK_EQUAL(machine_monitor_next(monitor, NULL), -EINVAL);
    write_record("web", "CLASS=vm\n");
    CHECK(is_ready(monitor));
    write_record("old", "CLASS=container\n");
    write_record("web", "CLASS=container\n");
    write_record("a.old", "CLASS=vm\n");
    link_entry(RECORDS, "unit:x.scope", "web");
    unlink(RECORDS "/old");
    unlink(RECORDS "/unit:x.scope");
    write_record("old", "CLASS=vm\n");
    mkdir(RECORDS "/directory", 0755);
    rmdir(RECORDS "/directory");
    check_change(monitor, MACHINE_EVENT_NEW, "web");
    check_change(monitor, MACHINE_EVENT_CHANGED, "old");
    check_change(monitor, MACHINE_EVENT_CHANGED, "web");
    check_change(monitor, MACHINE_EVENT_NEW, "a.old");
    check_change(monitor, MACHINE_EVENT_REMOVED, "old");
    check_change(monitor, MACHINE_EVENT_NEW, "old");
    CHECK_EQUAL(next_event(monitor, &event), 0);
    CHECK(!is_ready(monitor));
    REQUIRE(system("rm -rf " RECORDS) == 0);
    int r, removed = 0;
    while ((r = next_event(monitor, &event)) == 1)
        removed += event.change == MACHINE_EVENT_REMOVED;
    CHECK_EQUAL(removed, 3);
    CHECK_EQUAL(r, -ESTALE);
    CHECK_EQUAL(next_event(monitor, &event), -ESTALE);
    int fd = machine_monitor_get_fd(monitor);
    CHECK(is_open(fd) && !machine_monitor_free(monitor) && !is_open(fd));
    monitor = NULL;
    CHECK_EQUAL(machine_monitor_new(0, &monitor), -ENOENT);
    CHECK(!monitor);
}

static double processor_time(void) {
    struct timespec now;
    REQUIRE(clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now) == 0);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

// Of thousands of machines each costs a monitor about what it costs a list.
static void a_monitor_of_many_machines_takes_no_more_than_a_list_of_them(void) {
    enum { MANY = 4000 };
    // Under valgrind all that takes too long.
    if (getenv("SLOW"))
        return;
    empty();
    struct machine_monitor *coming = NULL, *listing = NULL;
    struct machine_list *list = NULL;
    struct told told;
    REQUIRE(machine_monitor_new(0, &coming) == 0);
    for (int i = 0; i < MANY; i++) {
        char name[32];
        snprintf(name, sizeof name, "m%d", i * 7919 % MANY);
        write_record(name, "CLASS=vm\nLEADER=%d\n", (int)getpid());
    }
    double started = processor_time(), events, present, listed;
    int came = 0, there = 0;
    while (next_event(coming, &told) == 1)
        came += told.change == MACHINE_EVENT_NEW && told.has_machine;
    events = processor_time() - started;
    started = processor_time();
    REQUIRE(machine_monitor_new(MACHINE_MONITOR_LIST, &listing) == 0);
    while (next_event(listing, &told) == 1)
        there += told.change == MACHINE_EVENT_PRESENT;
    present = processor_time() - started;
    started = processor_time();
    REQUIRE(machine_list_new(0, &list) == 0);
    listed = processor_time() - started;
    CHECK_EQUAL(came, MANY);
    CHECK_EQUAL(there, MANY);
    CHECK_EQUAL(machine_list_get_count(list), MANY);
    // What is short may be off by a tick.
    subject("%.3f s to list, by a monitor %.3f s, and %.3f s as they come", listed, present, events);
    CHECK(present < 5 * listed + 0.02);
    CHECK(events < 20 * listed + 0.02);
    machine_list_free(list);
    machine_monitor_free(coming);
    machine_monitor_free(listing);
}

static unsigned queued_events(void) {
    unsigned limit = 16384;
    FILE *stream = fopen("/proc/sys/fs/inotify/max_queued_events", "re");
    if (stream) {
        CHECK_EQUAL(fscanf(stream, "%u", &limit), 1);
        fclose(stream);
    }
    return limit;
}

static void flood(void) {
    unsigned limit = queued_events();
    for (unsigned i = 0; i < limit + 100; i++)
        write_record(i % 2 ? "m0" : "m1", "CLASS=vm\n");
}

static void check_event(struct machine_monitor *monitor, int change, const char *name) {
    struct told told = {0};
    CHECK_EQUAL(next_event(monitor, &told), 1);
    CHECK_EQUAL(told.change, change);
    CHECK_TEXT(told.name, name);
    CHECK_EQUAL(told.has_machine, change == MACHINE_EVENT_NEW || change == MACHINE_EVENT_PRESENT);
}

static void a_monitor_that_lost_events_says_so_and_lists_anew(void) {
    empty();
    write_record("gone", "CLASS=vm\n");
    write_record("stays", "CLASS=vm\n");
    struct machine_monitor *plain = NULL, *listing = NULL;
    struct told told;
    REQUIRE(machine_monitor_new(0, &plain) == 0);
    REQUIRE(machine_monitor_new(MACHINE_MONITOR_LIST, &listing) == 0);
    int present = 0;
    while (next_event(listing, &told) == 1 && told.change == MACHINE_EVENT_PRESENT)
        present++;
    CHECK_EQUAL(present, 2);
    CHECK_EQUAL(told.change, MACHINE_EVENT_LISTED);
    flood();
    unlink(RECORDS "/gone");
    unlink(RECORDS "/m0");
    unlink(RECORDS "/m1");
    int r, overflows = 0, seen = 0;
    while ((r = next_event(plain, &told)) == 1)
        if (told.change == MACHINE_EVENT_OVERFLOW)
            overflows++;
    CHECK_EQUAL(r, 0);
    CHECK_EQUAL(overflows, 1);
    // Nothing that was before is told after.
    while ((r = next_event(listing, &told)) == 1 && told.change != MACHINE_EVENT_OVERFLOW)
        seen++;
    CHECK(seen > 0);
    CHECK_EQUAL(told.change, MACHINE_EVENT_OVERFLOW);
    check_event(listing, MACHINE_EVENT_PRESENT, "stays");
    check_event(listing, MACHINE_EVENT_LISTED, "");
    CHECK_EQUAL(next_event(listing, &told), 0);
    // And it goes on from there.
    write_record("new", "CLASS=vm\n");
    unlink(RECORDS "/stays");
    check_event(plain, MACHINE_EVENT_NEW, "new");
    check_event(plain, MACHINE_EVENT_REMOVED, "stays");
    check_event(listing, MACHINE_EVENT_NEW, "new");
    check_event(listing, MACHINE_EVENT_REMOVED, "stays");
    machine_monitor_free(plain);
    machine_monitor_free(listing);
}

// Events that were lost, and none of the descriptors that listing takes.
static void a_monitor_that_cannot_list_does_so_later(void) {
    empty();
    write_record("web", "CLASS=vm\n");
    struct machine_monitor *monitor = NULL;
    REQUIRE(machine_monitor_new(MACHINE_MONITOR_LIST, &monitor) == 0);
    check_event(monitor, MACHINE_EVENT_PRESENT, "web");
    check_event(monitor, MACHINE_EVENT_LISTED, "");
    flood();
    struct rlimit few, none;
    REQUIRE(getrlimit(RLIMIT_NOFILE, &few) == 0);
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = few.rlim_max};
    int limited = setrlimit(RLIMIT_NOFILE, &none) == 0, present = 0, listed = 0, shortages = 0, r;
    struct told event;
    while ((r = next_event(monitor, &event)) != 0) {
        if (r < 0) {
            CHECK_EQUAL(r, -EMFILE);
            // A second time it still wants to.
            if (++shortages == 2)
                REQUIRE(setrlimit(RLIMIT_NOFILE, &few) == 0);
        } else {
            present += event.change == MACHINE_EVENT_PRESENT;
            listed += event.change == MACHINE_EVENT_LISTED;
        }
        if (shortages > 2)
            break;
    }
    // Under valgrind the limit is valgrind's.
    CHECK_EQUAL(shortages, limited ? 2 : 0);
    CHECK_EQUAL(present, 3);
    CHECK_EQUAL(listed, 1);
    machine_monitor_free(monitor);
}

// Each leader has an incarnation of its own.
static pid_t start_machine(const char *name) {
    pid_t pid = start_process();
    write_record(name, "CLASS=container\n%s", lines_of_leader(pid));
    return pid;
}

static uint64_t incarnation_of(const char *name) {
    struct machine *m = NULL;
    uint64_t incarnation = 0;
    REQUIRE(machine_open(name, 0, &m) == 0);
    CHECK_EQUAL(machine_get_incarnation(m, &incarnation), 0);
    machine_free(m);
    return incarnation;
}

static void removal_comes_before_arrival_and_each_says_of_whom(void) {
    empty();
    pid_t first = start_machine("web");
    uint64_t old = incarnation_of("web");
    struct machine_monitor *monitor = NULL;
    struct told told;
    REQUIRE(machine_monitor_new(0, &monitor) == 0);
    // Replaced without being removed.
    pid_t second = start_machine("web");
    uint64_t new = incarnation_of("web");
    CHECK(old != 0 && new != 0 && old != new);
    CHECK_EQUAL(next_event(monitor, &told), 1);
    CHECK(told.change == MACHINE_EVENT_REMOVED && told.incarnation == old);
    CHECK_EQUAL(next_event(monitor, &told), 1);
    CHECK(told.change == MACHINE_EVENT_NEW && told.incarnation == new && told.has_machine);
    CHECK_EQUAL(next_event(monitor, &told), 0);
    // Written again, and nothing else.
    write_record("web", "CLASS=container\nSERVICE=x\n%s", lines_of_leader(second));
    CHECK_EQUAL(next_event(monitor, &told), 1);
    CHECK(told.change == MACHINE_EVENT_CHANGED && told.incarnation == new && told.has_machine);
    // One that came and went between two looks is told, and that nobody knows any more which it was.
    pid_t third = start_machine("db");
    unlink(RECORDS "/db");
    pid_t fourth = start_machine("db");
    CHECK_EQUAL(next_event(monitor, &told), 1);
    CHECK(told.change == MACHINE_EVENT_NEW && strcmp(told.name, "db") == 0 && told.incarnation == 0 && !told.has_machine);
    CHECK_EQUAL(next_event(monitor, &told), 1);
    CHECK(told.change == MACHINE_EVENT_REMOVED && told.incarnation == 0);
    CHECK_EQUAL(next_event(monitor, &told), 1);
    CHECK(told.change == MACHINE_EVENT_NEW && told.incarnation == incarnation_of("db"));
    CHECK_EQUAL(next_event(monitor, &told), 0);
    machine_monitor_free(monitor);
    end_process(first);
    end_process(second);
    end_process(third);
    end_process(fourth);
}

static void the_end_of_a_leader_is_told_by_nobody_but_the_kernel(void) {
    if (!has_pidfds())
        return;
    empty();
    pid_t web = start_machine("web"), db = start_machine("db");
    uint64_t incarnation = incarnation_of("web");
    struct machine_monitor *monitor = NULL;
    struct told told;
    const uint64_t flags = MACHINE_MONITOR_LIST | MACHINE_MONITOR_LEADERS;
    // One that is dead already is none.
    write_record("dead", "CLASS=container\nLEADER=%d\nLEADER_PIDFDID=1\n", (int)web);
    REQUIRE(machine_monitor_new(flags, &monitor) == 0);
    int present = 0;
    while (next_event(monitor, &told) == 1 && told.change == MACHINE_EVENT_PRESENT)
        present++;
    CHECK_EQUAL(present, 2);
    CHECK(!is_ready(monitor));
    make_zombie(web);
    CHECK(is_ready(monitor));
    CHECK_EQUAL(next_event(monitor, &told), 1);
    CHECK(told.change == MACHINE_EVENT_REMOVED && strcmp(told.name, "web") == 0 && told.incarnation == incarnation);
    CHECK_EQUAL(next_event(monitor, &told), 0);
    CHECK(!is_ready(monitor));
    // That its record goes is told no second time.
    unlink(RECORDS "/web");
    unlink(RECORDS "/dead");
    CHECK_EQUAL(next_event(monitor, &told), 0);
    // One that comes later is watched as well.
    pid_t later = start_machine("later");
    check_event(monitor, MACHINE_EVENT_NEW, "later");
    end_process(later);
    CHECK_EQUAL(next_event(monitor, &told), 1);
    CHECK(told.change == MACHINE_EVENT_REMOVED && strcmp(told.name, "later") == 0);
    machine_monitor_free(monitor);
    end_process(web);
    end_process(db);
}

static void a_monitor_waits_for_the_registry(void) {
    REQUIRE(system("rm -rf /run/systemd /run/machined") == 0);
    struct machine_monitor *monitor = NULL;
    struct told told;
    const uint64_t flags = MACHINE_MONITOR_WAIT | MACHINE_MONITOR_LIST;
    CHECK_EQUAL(machine_monitor_new(MACHINE_MONITOR_LIST, &monitor), -ENOENT);
    REQUIRE(machine_monitor_new(flags, &monitor) == 0);
    check_event(monitor, MACHINE_EVENT_LISTED, "");
    for (int round = 0; round < 3; round++) {
        subject("round %d", round);
        CHECK_EQUAL(next_event(monitor, &told), 0);
        CHECK(!is_ready(monitor));
        // In one step, or in two.
        REQUIRE(mkdir("/run/systemd", 0755) == 0);
        if (round == 1)
            CHECK_EQUAL(next_event(monitor, &told), 0);
        REQUIRE(mkdir(RECORDS, 0755) == 0);
        if (round == 2)
            CHECK_EQUAL(next_event(monitor, &told), 0);
        write_record("web", "CLASS=vm\n");
        CHECK(is_ready(monitor));
        check_event(monitor, MACHINE_EVENT_NEW, "web");
        // However it was come upon, it is there once.
        while (next_event(monitor, &told) == 1)
            CHECK_EQUAL(told.change, MACHINE_EVENT_CHANGED);
        REQUIRE(system("rm -rf /run/systemd") == 0);
        check_event(monitor, MACHINE_EVENT_REMOVED, "web");
    }
    machine_monitor_free(monitor);
}

static void a_child_of_fork_takes_no_events_from_its_parent(void) {
    empty();
    pid_t leader = start_machine("web");
    struct machine_monitor *monitor = NULL;
    struct told told;
    REQUIRE(machine_monitor_new(MACHINE_MONITOR_LEADERS, &monitor) == 0);
    write_record("new", "CLASS=vm\n");
    pid_t pid = fork();
    if (pid == 0) {
        int r = next_event(monitor, &told), again = next_event(monitor, &told);
        machine_monitor_free(monitor);
        _exit(r == -ECHILD && again == -ECHILD ? 0 : 1);
    }
    int status = 0;
    REQUIRE(pid > 0 && waitpid(pid, &status, 0) == pid);
    CHECK_EQUAL(status, 0);
    check_event(monitor, MACHINE_EVENT_NEW, "new");
    // Nor does it take the leaders from what the parent waits for.
    end_process(leader);
    if (has_pidfds())
        check_event(monitor, MACHINE_EVENT_REMOVED, "web");
    machine_monitor_free(monitor);
}

static uint64_t in_milliseconds(unsigned milliseconds) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000 + (uint64_t)now.tv_nsec / 1000 + milliseconds * 1000ULL;
}

// Does something after a while, in another process.
static pid_t later(void (*act)(pid_t), pid_t with) {
    pid_t pid = fork();
    if (pid == 0) {
        usleep(50000);
        act(with);
        _exit(0);
    }
    return pid;
}

static void make_registry_and_web(pid_t leader) {
    if (mkdir("/run/systemd", 0755) == 0 && mkdir(RECORDS, 0755) == 0)
        write_record("web", "CLASS=container\n%s", lines_of_leader(leader));
}

static void kill_process(pid_t pid) {
    kill(pid, SIGKILL);
}

static void open_as(const char *asked, const char *name) {
    struct machine *m = NULL;
    subject("%s", asked);
    CHECK_EQUAL(machine_open(asked, 0, &m), name ? 0 : -ENXIO);
    if (name)
        CHECK_TEXT(machine_get_name(m), name);
    machine_free(m);
    // sd_* have libsystemd's rules.
    int at_stock = sd_machine_get_class(asked, NULL);
    CHECK_EQUAL(at_stock >= 0, name && strcmp(asked, name) == 0);
}

static void names_have_no_case_where_none_is_exactly_this_one(void) {
    empty();
    pid_t leader = start_process();
    write_container("BigTEST", leader, "");
    open_as("BigTEST", "BigTEST");
    open_as("BigTEST.", "BigTEST");
    open_as("bigtest", NULL);
    link_entry(LOWER, "bigtest", "BigTEST");
    open_as("bigtest", "BigTEST");
    open_as("BIGtest.", "BigTEST");
    open_as("outer./bigtest", "BigTEST");
    CHECK_EQUAL(machine_open("bigtest..", 0, NULL), -EINVAL);
    CHECK_EQUAL(machine_wait("bigtest.", MACHINE_WAIT_PRESENT, 0, 0, NULL), 0);
    CHECK_EQUAL(machine_wait("BIGTEST", MACHINE_WAIT_GONE, 0, 0, NULL), -ETIMEDOUT);
    write_container("bigtest", leader, "");
    open_as("bigtest", "bigtest");
    unlink(RECORDS "/bigtest");
    unlink(RECORDS "/BigTEST");
    open_as("bigtest", NULL);
    CHECK_EQUAL(machine_wait("BIGTEST", MACHINE_WAIT_GONE, 0, 0, NULL), 0);
    end_process(leader);
}

static void remove_web(pid_t unused) {
    (void)unused;
    unlink(RECORDS "/web");
}

static void one_machine_is_waited_for(void) {
    REQUIRE(system("rm -rf /run/systemd /run/machined") == 0);
    struct machine *m = NULL;
    pid_t leader = start_process();
    CHECK_EQUAL(machine_wait("web", MACHINE_WAIT_PRESENT, 0, 0, &m), -ETIMEDOUT);
    CHECK_EQUAL(machine_wait("web", MACHINE_WAIT_PRESENT, 0, in_milliseconds(30), &m), -ETIMEDOUT);
    m = (struct machine *)&leader;
    CHECK_EQUAL(machine_wait("web", MACHINE_WAIT_GONE, 0, UINT64_MAX, &m), 0);
    CHECK(!m);
    pid_t helper = later(make_registry_and_web, leader);
    CHECK_EQUAL(machine_wait("web", MACHINE_WAIT_PRESENT, 0, in_milliseconds(30000), &m), 0);
    CHECK_TEXT(machine_get_name(m), "web");
    m = machine_free(m);
    REQUIRE(waitpid(helper, NULL, 0) == helper);
    CHECK_EQUAL(machine_wait("web", MACHINE_WAIT_PRESENT, 0, 0, NULL), 0);
    CHECK_EQUAL(machine_wait("web", MACHINE_WAIT_GONE, 0, 0, NULL), -ETIMEDOUT);
    helper = later(remove_web, 0);
    CHECK_EQUAL(machine_wait("web", MACHINE_WAIT_GONE, 0, in_milliseconds(30000), NULL), 0);
    REQUIRE(waitpid(helper, NULL, 0) == helper);
    if (has_pidfds()) {
        // Its leader ends, and nobody removes the record.
        write_record("web", "CLASS=container\n%s", lines_of_leader(leader));
        helper = later(kill_process, leader);
        CHECK_EQUAL(machine_wait("web", MACHINE_WAIT_GONE, 0, in_milliseconds(30000), NULL), 0);
        REQUIRE(waitpid(helper, NULL, 0) == helper);
        CHECK_EQUAL(machine_wait("web", MACHINE_WAIT_PRESENT, 0, in_milliseconds(30), &m), -ETIMEDOUT);
        CHECK_EQUAL(machine_wait("web", MACHINE_WAIT_GONE, 0, 0, NULL), 0);
        REQUIRE(waitpid(leader, NULL, 0) == leader);
    } else
        end_process(leader);
}

// As in a cgroup namespace whose root is /hl, with the host's /run: /hl/machines/web is called /machines/web there.
static void the_text_of_a_path_makes_nobody_a_machine(void) {
    empty();
    pid_t leader = start_process(), other = start_process();
    REQUIRE(mkdir("/sys/fs/cgroup/machines", 0755) == 0 && mkdir("/sys/fs/cgroup/machines/web", 0755) == 0);
    REQUIRE(close(open("/sys/fs/cgroup/cgroup.controllers", O_WRONLY | O_CREAT | O_CLOEXEC, 0644)) == 0);
    struct stat group;
    REQUIRE(stat("/sys/fs/cgroup/machines/web", &group) == 0);
    link_paths("/machines/web", "web");
    seem_in(1, "/init.scope");
    seem_in(leader, "/machines/web");
    seem_in(other, "/machines/web");
    for (int is_other = 0; is_other < 2; is_other++) {
        subject("%s", is_other ? "another group" : "the group");
        write_record("web", "CLASS=container\nCGROUP=/machines/web\nCGROUPID=%llu\n%s",
                     (unsigned long long)group.st_ino + is_other, lines_of_leader(leader));
        CHECK_EQUAL(machine_path_by_pid(other, 0, NULL), is_other ? -ENXIO : 0);
        char **paths = NULL;
        CHECK_EQUAL(paths_of(&other, 1, &paths), is_other ? 0 : 1);
        free(paths);
    }
    REQUIRE(system("rm -rf /sys/fs/cgroup/*") == 0);
    end_process(leader);
    end_process(other);
}

static void a_leader_without_unit_and_group_is_found_and_who_descends_from_it(void) {
    empty();
    REQUIRE(mkdir("/run/machined/leaders", 0755) == 0);
    int pipe_ends[2];
    REQUIRE(pipe(pipe_ends) == 0);
    pid_t leader = fork(), child = 0;
    if (leader == 0) {
        child = fork();
        if (child == 0)
            for (;;)
                pause();
        if (write(pipe_ends[1], &child, sizeof child) == sizeof child)
            for (;;)
                pause();
        _exit(1);
    }
    REQUIRE(leader > 0 && read(pipe_ends[0], &child, sizeof child) == sizeof child);
    char link[32], *path = NULL;
    snprintf(link, sizeof link, "%d", (int)leader);
    link_entry("/run/machined/leaders", link, "lone");
    write_record("lone", "CLASS=container\n%s", lines_of_leader(leader));
    pid_t pids[] = {leader, child, getpid()};
    for (int i = 0; i < 2; i++) {
        subject("%s", i ? "its child" : "the leader");
        CHECK_EQUAL(machine_path_by_pid(pids[i], 0, &path), 0);
        CHECK_TEXT(path, "lone");
        free(path);
        path = NULL;
    }
    subject("others");
    CHECK_EQUAL(machine_path_by_pid(getpid(), 0, NULL), -ENXIO);
    char **paths = NULL;
    CHECK_EQUAL(paths_of(pids, 3, &paths), 2);
    CHECK_TEXT(paths[0], "lone");
    CHECK_TEXT(paths[1], "lone");
    CHECK(!paths[2]);
    free(paths);
    for (int is_only = 0; is_only < 2; is_only++) {
        // One within it; and one that shares its group with others, so that the leader is known and nobody else.
        subject("%s", is_only ? "a leader only" : "one within another");
        snprintf(link, sizeof link, "%s%d", is_only ? "only-" : "", (int)child);
        link_entry("/run/machined/leaders", link, "inner");
        write_record("inner", "CLASS=container\n%s%s", is_only ? "SCOPE=user@1.service\nSUBGROUP=a\nCGROUP=/a\n" : "",
                     lines_of_leader(child));
        CHECK_EQUAL(machine_path_by_pid(child, 0, &path), 0);
        CHECK_TEXT(path, "lone/inner");
        free(path);
        path = NULL;
        struct machine *m = NULL;
        CHECK_EQUAL(machine_by_pid(child, MACHINE_OUTERMOST, &m), 0);
        CHECK_TEXT(machine_get_name(m), "lone");
        m = machine_free(m);
        CHECK_EQUAL(paths_of(pids, 3, &paths), 2);
        CHECK_TEXT(paths[0], "lone");
        CHECK_TEXT(paths[1], "lone/inner");
        free(paths);
        char entry[64];
        snprintf(entry, sizeof entry, "/run/machined/leaders/%s", link);
        REQUIRE(unlink(entry) == 0 && unlink(RECORDS "/inner") == 0);
    }
    // The index is a hint.
    subject("a hint");
    write_record("lone", "CLASS=container\nLEADER=1\n");
    CHECK_EQUAL(machine_path_by_pid(leader, 0, NULL), -ENXIO);
    write_record("lone", "CLASS=container\nSCOPE=x.scope\n%s", lines_of_leader(leader));
    CHECK_EQUAL(machine_path_by_pid(leader, 0, NULL), -ENXIO);
    write_record("lone", "CLASS=container\n%s", lines_of_leader(leader));
    // That of another namespace is another process.
    write_record("lone", "CLASS=container\nLEADER=%d\nPIDNS=1\n", (int)leader);
    CHECK_EQUAL(machine_path_by_pid(leader, 0, NULL), -ENXIO);
    REQUIRE(kill(child, SIGKILL) == 0);
    end_process(leader);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
}

static void a_leader_of_another_pid_namespace_is_not_said_to_be_gone(void) {
    if (!has_pidfds())
        return;
    empty();
    struct machine *m = NULL;
    write_record("web", "CLASS=container\nLEADER=%d\nLEADER_PIDFDID=12345678901\nPIDNS=1\n", INT32_MAX);
    REQUIRE(machine_open("web", 0, &m) == 0);
    CHECK_EQUAL(machine_leader_pidfd(m), -EREMOTE);
    CHECK_EQUAL(machine_is_alive(m), -EREMOTE);
    machine_free(m);
}

static void where_pidfds_are_refused_the_number_and_proc_tell_of_the_dead(void) {
    empty();
    pid_t lives = start_machine("lives"), zombie = start_machine("zombie"), gone = start_machine("gone");
    make_zombie(zombie);
    end_process(gone);
    struct machine *m[3];
    REQUIRE(machine_open("lives", 0, &m[0]) == 0 && machine_open("zombie", 0, &m[1]) == 0 && machine_open("gone", 0, &m[2]) == 0);
    filter_calls((struct filtered[]){{SYS_pidfd_open, EPERM}}, 1);
    CHECK_EQUAL(machine_is_alive(m[0]), 1);
    CHECK_EQUAL(machine_is_alive(m[1]), 0);
    CHECK_EQUAL(machine_is_alive(m[2]), 0);
    for (int i = 0; i < 3; i++)
        machine_free(m[i]);
    end_process(lives);
    end_process(zombie);
}

// As before Linux 6.9: the record knows the leader by its number, and when it started.
static void a_leader_that_is_known_by_its_number_alone_is_opened_where_that_means_it(void) {
    empty();
    pid_t pid = start_process();
    struct {
        uint64_t start, namespace;
        int expected;
    } rows[] = {{start_time(pid), pid_namespace(), 0},
                {start_time(pid) + 1, pid_namespace(), -ESRCH},
                // In another namespace the number is another process's.
                {start_time(pid), pid_namespace() + 1, -EREMOTE},
                {start_time(pid) + 1, pid_namespace() + 1, -EREMOTE}};
    if (!has_pidfds()) {
        end_process(pid);
        return;
    }
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        subject("row %zu", i);
        write_record("web", "CLASS=vm\nLEADER=%d\nSUPERVISOR=%d\nLEADER_STARTTIME=%llu\nPIDNS=%llu\n", (int)pid, (int)pid,
                     (unsigned long long)rows[i].start, (unsigned long long)rows[i].namespace);
        struct machine *m = NULL;
        REQUIRE(machine_open("web", 0, &m) == 0);
        int fd = machine_leader_pidfd(m), other = machine_supervisor_pidfd(m);
        CHECK_EQUAL(fd < 0 ? fd : 0, rows[i].expected);
        CHECK_EQUAL(other < 0 ? other : 0, rows[i].expected == -EREMOTE ? -EREMOTE : 0);
        if (fd >= 0)
            CHECK_EQUAL(pid_behind(fd), pid);
        close(fd);
        close(other);
        machine_free(m);
    }
    subject("hidden by /proc");
    write_record("web", "CLASS=vm\nLEADER=%d\nLEADER_STARTTIME=%llu\n", (int)pid, (unsigned long long)start_time(pid));
    struct machine *m = NULL;
    REQUIRE(machine_open("web", 0, &m) == 0);
    hide_process(pid);
    CHECK_EQUAL(machine_is_alive(m), 1);
    CHECK_EQUAL(machine_leader_pidfd(m), -ENODATA);
    machine_free(m);
    end_process(pid);
}

// As /proc with hidepid is for a user.
static void who_does_not_see_process_1_finds_machines_all_the_same(void) {
    empty();
    pid_t leader = start_process(), hidden = start_process();
    write_record("web", "CLASS=container\nSCOPE=machine-web.scope\n%s", lines_of_leader(leader));
    link_entry(RECORDS, "unit:machine-web.scope", "web");
    seem_in(leader, "/machine.slice/machine-web.scope/payload");
    hide_process(1);
    hide_process(hidden);
    char *path = NULL, **paths = NULL;
    CHECK_EQUAL(machine_path_by_pid(leader, 0, &path), 0);
    REQUIRE(path);
    CHECK_TEXT(path, "web");
    CHECK_EQUAL(machine_path_by_pid(hidden, 0, NULL), -ESRCH);
    pid_t pids[] = {hidden, leader};
    CHECK_EQUAL(paths_of(pids, 2, &paths), 1);
    REQUIRE(paths && paths[1]);
    CHECK(!paths[0]);
    CHECK_TEXT(paths[1], "web");
    free(path);
    free(paths);
    end_process(leader);
    end_process(hidden);
}

static void without_proc_nothing_is_said_to_be_in_no_machine(void) {
    empty();
    write_record("web", "CLASS=vm\nLEADER=%d\n", (int)getpid());
    bool is_known = has_pidfds();
    int fd = (int)syscall(SYS_pidfd_open, getpid(), 0);
    REQUIRE(unshare(CLONE_NEWNS) == 0 && umount2("/proc", MNT_DETACH) == 0);
    char **paths = NULL;
    pid_t pids[] = {getpid(), 1};
    for (size_t n = 0; n <= 2; n++)
        CHECK_EQUAL(paths_of(pids, n, &paths), -ESRCH);
    CHECK_EQUAL(machine_path_by_pid(0, 0, NULL), -ESRCH);
    CHECK_EQUAL(sd_pid_get_machine_name(0, NULL), -ESRCH);
    CHECK(!paths);
    if (!is_known)
        return;
    CHECK_EQUAL(sd_pidfd_get_machine_name(fd, NULL), -ESRCH);
    // Before Linux 6.13 a pidfd does not tell whose it is.
    filter_calls((struct filtered[]){{SYS_ioctl, ENOTTY}}, 1);
    CHECK_EQUAL(sd_pidfd_get_machine_name(fd, NULL), -ENOSYS);
    CHECK_EQUAL(machine_path_by_pidfd(fd, 0, NULL), -ENOSYS);
    CHECK_EQUAL(machine_path_by_pidfd(fd + 1, 0, NULL), -EBADF);
}

static void where_a_pidfd_may_not_be_asked_proc_tells_whose_it_is(void) {
    if (!has_pidfds())
        return;
    empty();
    seem_in(1, "/init.scope");
    pid_t web = place("web", NULL, "/web");
    link_paths("/web", "web");
    seem_in(web, "/web");
    int fd = (int)syscall(SYS_pidfd_open, web, 0);
    REQUIRE(fd >= 0);
    filter_calls((struct filtered[]){{SYS_ioctl, EPERM}}, 1);
    CHECK_EQUAL(machine_path_by_pidfd(fd, 0, NULL), 0);
    CHECK_EQUAL(sd_pidfd_get_machine_name(fd, NULL), -ENODATA);
    CHECK_EQUAL(machine_path_by_pidfd(fd + 1, 0, NULL), -EBADF);
    end_process(web);
    close(fd);
}

static void a_name_is_checked_and_a_better_one_suggested(void) {
    static const struct {
        const char *name, *suggestion;
        int rule;
    } rows[] = {
        {"web", "web", 0},
        {"a.b-c", "a.b-c", 0},
        {"", "machine", MACHINE_RULE_EMPTY},
        {"foo_bar", "foo-bar", MACHINE_RULE_BYTE},
        {"caf\xc3\xa9", "caf", MACHINE_RULE_BYTE},
        {"-a", "a", MACHINE_RULE_HYPHEN},
        {"a.-b", "a.b", MACHINE_RULE_HYPHEN},
        {".host", "host", MACHINE_RULE_EMPTY_LABEL},
        {"a..b", "a.b", MACHINE_RULE_EMPTY_LABEL},
        {"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
         "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx", MACHINE_RULE_TOO_LONG},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        subject("%s", rows[i].name);
        char name[MACHINE_NAME_MAX + 1];
        memset(name, '#', sizeof name);
        CHECK_EQUAL(machine_name_check(rows[i].name), rows[i].rule);
        CHECK_EQUAL(machine_name_suggest(rows[i].name, name, MACHINE_NAME_MAX + 1), 0);
        CHECK_TEXT(name, rows[i].suggestion);
        CHECK_EQUAL(machine_name_check(name), 0);
        CHECK_EQUAL(!machine_name_rule(rows[i].rule), rows[i].rule == 0);
    }
    subject("rules");
    CHECK(strstr(machine_name_rule(MACHINE_RULE_TOO_LONG), "64"));
    CHECK(!machine_name_rule(-1) && !machine_name_rule(6));
}

static void all_machines_are_listed(void) {
    empty();
    struct machine_list *list = NULL;
    CHECK_EQUAL(machine_list_new(0, &list), 0);
    CHECK_EQUAL(machine_list_get_count(list), 0);
    CHECK(!machine_list_get_machine(list, 0) && !machine_list_free(list));
    pid_t pid = start_process();
    write_record("web.old", "CLASS=vm\nVSOCK_CID=9\nUID=1000\nNETIF=4\n%s", lines_of_leader(pid));
    write_record("dead", "CLASS=vm\nUID=1000\n");
    write_record("web", "CLASS=container\nID=0123456789abcdef0123456789abcdef\nCGROUPID=77\nUID=0\nNETIF=\"3 4\"\n%s",
                 lines_of_leader(pid));
    write_record("bad", "damaged");
    CHECK_EQUAL(sd_get_machine_names(NULL), 3);
    REQUIRE(machine_list_new(0, &list) == 0);
    CHECK_EQUAL(machine_list_get_count(list), 3);
    const char *name = NULL;
    int error = 0;
    CHECK_EQUAL(machine_list_get_failure(list, 0, &name, &error), 1);
    CHECK_TEXT(name, "bad");
    CHECK_EQUAL(error, -EBADMSG);
    CHECK_EQUAL(machine_list_get_failure(list, 0, NULL, NULL), 1);
    CHECK_EQUAL(machine_list_get_failure(list, 1, &name, &error), 0);
    CHECK_EQUAL(machine_list_keep_alive(list), 2);
    CHECK_EQUAL(machine_list_keep_ifindex(list, 4), 2);
    CHECK_EQUAL(machine_list_keep_class(list, "vm"), 1);
    CHECK_TEXT(machine_get_name(machine_list_get_machine(list, 0)), "web.old");
    CHECK_EQUAL(machine_list_keep_owner(list, 1000), 1);
    CHECK_EQUAL(machine_list_keep_vsock_cid(list, 9), 1);
    CHECK_EQUAL(machine_list_keep_vsock_cid(list, 10), 0);
    machine_list_free(list);
    static const uint8_t id[16] = {1, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef, 1, 0x23, 0x45, 0x67, 0x89, 0xab, 0xcd, 0xef};
    static const uint8_t other[16] = {1};
    REQUIRE(machine_list_new(0, &list) == 0);
    CHECK_EQUAL(machine_list_keep_id(list, id), 1);
    CHECK_EQUAL(machine_list_keep_control_group_id(list, 77), 1);
    CHECK_EQUAL(machine_list_keep_id(list, other), 0);
    machine_list_free(list);
    REQUIRE(unlink(RECORDS "/bad") == 0);
    struct machine *m = NULL;
    CHECK_EQUAL(machine_by_vsock_cid(9, 0, &m), 0);
    CHECK_TEXT(machine_get_name(m), "web.old");
    m = machine_free(m);
    CHECK_EQUAL(machine_by_id(id, 0, &m), 0);
    CHECK_TEXT(machine_get_name(m), "web");
    m = machine_free(m);
    CHECK_EQUAL(machine_by_ifindex(3, 0, &m), 0);
    m = machine_free(m);
    CHECK_EQUAL(machine_by_control_group_id(77, 0, &m), 0);
    m = machine_free(m);
    CHECK_EQUAL(machine_by_ifindex(4, 0, &m), -ENOTUNIQ);
    CHECK_EQUAL(machine_by_vsock_cid(10, 0, &m), -ENXIO);
    CHECK_EQUAL(machine_by_id(other, 0, &m), -ENXIO);
    end_process(pid);
    CHECK_EQUAL(machine_by_vsock_cid(9, 0, &m), -ENXIO);
    // Which may be its.
    write_record("bad", "damaged");
    CHECK_EQUAL(machine_by_vsock_cid(9, 0, &m), -EBADMSG);
    CHECK(!m);
}

static void the_version_is_that_of_the_header(void) {
    CHECK_TEXT(libmachine_version(), LIBMACHINE_VERSION);
    CHECK_EQUAL(libmachine_version_number(), LIBMACHINE_VERSION_NUMBER);
}

static void what_a_function_returns_others_take(void) {
    empty();
    seem_in(1, "/init.scope");
    pid_t outer = place("outer", NULL, "/outer"), inner = place("inner", NULL, "/outer/inner");
    link_paths("/outer", "outer");
    link_paths("/outer/inner", "inner");
    seem_in(outer, "/outer");
    seem_in(inner, "/outer/inner");
    char *path = NULL;
    struct machine *m = NULL;
    struct machine_list *list = NULL;
    CHECK_EQUAL(machine_path_by_pid(inner, 0, &path), 0);
    REQUIRE(path);
    CHECK_TEXT(path, "outer/inner");
    CHECK_EQUAL(machine_open(path, 0, &m), 0);
    CHECK_TEXT(machine_get_name(m), "inner");
    m = machine_free(m);
    CHECK_EQUAL(machine_wait(path, MACHINE_WAIT_PRESENT, 0, 0, &m), 0);
    CHECK_TEXT(machine_get_name(m), "inner");
    m = machine_free(m);
    CHECK_EQUAL(machine_wait(path, MACHINE_WAIT_GONE, 0, 0, NULL), -ETIMEDOUT);
    CHECK_EQUAL(machine_wait("outer/none", MACHINE_WAIT_GONE, 0, 0, NULL), 0);
    CHECK_EQUAL(machine_wait("outer/", MACHINE_WAIT_GONE, 0, 0, NULL), -EINVAL);
    CHECK_EQUAL(machine_open("outer/", 0, &m), -EINVAL);
    CHECK_EQUAL(machine_open("/inner", 0, &m), -EINVAL);
    CHECK_EQUAL(machine_by_pid(inner, 0, &m), 0);
    CHECK_TEXT(machine_get_name(m), "inner");
    m = machine_free(m);
    CHECK_EQUAL(machine_by_pid(inner, MACHINE_OUTERMOST, &m), 0);
    CHECK_TEXT(machine_get_name(m), "outer");
    m = machine_free(m);
    CHECK_EQUAL(machine_list_by_pid(inner, 0, &list), 0);
    CHECK_EQUAL(machine_list_get_count(list), 2);
    CHECK_TEXT(machine_get_name(machine_list_get_machine(list, 0)), "outer");
    CHECK_TEXT(machine_get_name(machine_list_get_machine(list, 1)), "inner");
    CHECK(!machine_list_get_machine(list, 2));
    machine_list_free(list);
    CHECK_EQUAL(machine_list_by_pid(1, 0, &list), 0);
    CHECK_EQUAL(machine_list_get_count(list), 0);
    machine_list_free(list);
    struct machine_batch *batch = NULL;
    // A count is how many there are to be got, as of a list; how many of them are in a machine has another name.
    const pid_t both[] = {getpid(), inner};
    CHECK_EQUAL(machine_batch_new(both, 2, 0, &batch), 0);
    CHECK_EQUAL(machine_batch_get_count(batch), 2);
    CHECK_EQUAL(machine_batch_get_found(batch), 1);
    CHECK(!machine_batch_get_path(batch, 0) && !machine_batch_get_name(batch, 0));
    CHECK_TEXT(machine_batch_get_path(batch, 1), "outer/inner");
    CHECK_TEXT(machine_batch_get_name(batch, 1), "inner");
    CHECK(!machine_batch_get_name(batch, 2));
    machine_batch_free(batch);
    free(path);
    end_process(outer);
    end_process(inner);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
#define TEST(name) {#name, name, EVERYWHERE}
        TEST(a_snapshot_has_all_of_a_record),
        TEST(what_a_record_lacks_is_no_data),
        TEST(nothing_may_be_null_that_must_not),
        TEST(what_cannot_be_opened_is_told),
        TEST(a_record_that_cannot_be_read_hides_its_own_processes_only),
        TEST(the_nearest_machine_counts_and_those_around_it),
        TEST(no_processes_are_in_no_machine),
        TEST(ids_of_the_host_belong_to_machines),
        TEST(addresses_belong_to_machines),
        TEST(an_address_says_where_it_is_known_from),
        TEST(an_error_has_words_of_its_own),
        TEST(a_monitor_says_what_changed),
        TEST(a_monitor_of_many_machines_takes_no_more_than_a_list_of_them),
        TEST(a_monitor_that_lost_events_says_so_and_lists_anew),
        TEST(a_monitor_that_cannot_list_does_so_later),
        TEST(removal_comes_before_arrival_and_each_says_of_whom),
        TEST(the_end_of_a_leader_is_told_by_nobody_but_the_kernel),
        TEST(a_monitor_waits_for_the_registry),
        TEST(a_child_of_fork_takes_no_events_from_its_parent),
        TEST(one_machine_is_waited_for),
        TEST(names_have_no_case_where_none_is_exactly_this_one),
        TEST(the_text_of_a_path_makes_nobody_a_machine),
        TEST(a_leader_without_unit_and_group_is_found_and_who_descends_from_it),
        TEST(a_leader_of_another_pid_namespace_is_not_said_to_be_gone),
        TEST(where_pidfds_are_refused_the_number_and_proc_tell_of_the_dead),
        TEST(a_leader_that_is_known_by_its_number_alone_is_opened_where_that_means_it),
        TEST(who_does_not_see_process_1_finds_machines_all_the_same),
        TEST(without_proc_nothing_is_said_to_be_in_no_machine),
        TEST(where_a_pidfd_may_not_be_asked_proc_tells_whose_it_is),
        TEST(a_name_is_checked_and_a_better_one_suggested),
        TEST(all_machines_are_listed),
        TEST(the_version_is_that_of_the_header),
        TEST(what_a_function_returns_others_take),
    };
    return run_tests(argc, argv, tests, sizeof tests / sizeof *tests);
}
