// The functions that libmachine alone has, machine_*: each, and each error. Needs a mount namespace and a /run of its own.
#define _GNU_SOURCE
#include <machine.h>

#include <arpa/inet.h>
#include <errno.h>
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
#include <unistd.h>

// Both have a `struct machine`.
#define machine world_machine
#include "../nss/check.h"
#include "../nss/filter.h"
#include "../nss/process.h"
#include "../nss/world.h"
#undef machine
#include "group.h"

#define CGROUPS "/run/machined/cgroups"

static void empty(void) {
    REQUIRE(system("rm -rf /run/systemd /run/machined && mkdir -p " RECORDS " " ADDRESSES " " UIDS " " GIDS " " ALIASES
                   " " CGROUPS) == 0);
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
    REQUIRE(machine_open("web", &m) == 0 && m);
    // It stays as it is.
    REQUIRE(unlink(RECORDS "/web") == 0);
    CHECK_TEXT(machine_name(m), "web");
    CHECK_TEXT(machine_class(m), "container");
    CHECK_TEXT(machine_service(m), "a b");
    CHECK_TEXT(machine_unit(m), "machine-web.scope");
    CHECK_TEXT(machine_subgroup(m), "payload");
    CHECK_TEXT(machine_root(m), "/var/lib/machines/web");
    CHECK_TEXT(machine_ssh_address(m), "vsock/5");
    CHECK_TEXT(machine_ssh_private_key(m), "/key");
    CHECK_TEXT(machine_control_address(m), "/run/x");
    CHECK_TEXT(machine_control_group(m), "/machine.slice/machine-web.scope/payload");
    uint8_t id[16];
    CHECK_EQUAL(machine_id(m, id), 0);
    CHECK(memcmp(id, "\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef", 16) == 0);
    pid_t leader = 0, supervisor = 0;
    CHECK_EQUAL(machine_leader(m, &leader), 0);
    CHECK_EQUAL(leader, pid);
    CHECK_EQUAL(machine_supervisor(m, &supervisor), 0);
    CHECK_EQUAL(supervisor, getpid());
    uid_t owner = 0, uid = 0;
    uint32_t cid = 0;
    uint64_t number = 0;
    CHECK_EQUAL(machine_owner(m, &owner), 0);
    CHECK_EQUAL(owner, 1000);
    CHECK_EQUAL(machine_vsock_cid(m, &cid), 0);
    CHECK_EQUAL(cid, 5);
    CHECK_EQUAL(machine_control_group_id(m, &number), 0);
    CHECK_EQUAL(number, 99);
    CHECK_EQUAL(machine_realtime(m, &number), 0);
    CHECK_EQUAL(number, 1700000000000000);
    CHECK_EQUAL(machine_monotonic(m, &number), 0);
    CHECK_EQUAL(number, 12345);
    const int *interfaces = NULL;
    CHECK_EQUAL(machine_ifindices(m, &interfaces), 2);
    CHECK(interfaces && interfaces[0] == 2 && interfaces[1] == 3);
    CHECK_EQUAL(machine_ifindices(m, NULL), 2);
    const struct machine_address *addresses = NULL;
    CHECK_EQUAL(machine_addresses(m, &addresses), 2);
    REQUIRE(addresses);
    CHECK_EQUAL(addresses[0].family, AF_INET);
    CHECK(memcmp(addresses[0].bytes, "\x0a\0\0\x02", 4) == 0);
    CHECK_EQUAL(addresses[1].family, AF_INET6);
    CHECK_EQUAL(addresses[1].scope_id, 5);
    char text[INET6_ADDRSTRLEN];
    CHECK_TEXT(inet_ntop(AF_INET6, addresses[1].bytes, text, sizeof text), "fe80::1");
    const struct machine_id_range *map = NULL;
    CHECK_EQUAL(machine_uid_map(m, &map), 2);
    CHECK(map && map[1].inside == 1000 && map[1].outside == 5000 && map[1].count == 1);
    CHECK_EQUAL(machine_gid_map(m, &map), 1);
    CHECK(map && map[0].inside == 0 && map[0].outside == 200000 && map[0].count == 65536);
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
    REQUIRE(machine_open("web", &m) == 0);
    CHECK_TEXT(machine_class(m), "vm");
    CHECK(!machine_service(m) && !machine_unit(m) && !machine_subgroup(m) && !machine_root(m));
    CHECK(!machine_ssh_address(m) && !machine_ssh_private_key(m) && !machine_control_address(m));
    CHECK(!machine_control_group(m));
    uint8_t id[16];
    pid_t pid = 7;
    uid_t uid = 7;
    uint32_t cid = 7;
    uint64_t number = 7;
    CHECK_EQUAL(machine_id(m, id), -ENODATA);
    CHECK_EQUAL(machine_leader(m, &pid), -ENODATA);
    CHECK_EQUAL(machine_supervisor(m, &pid), -ENODATA);
    CHECK_EQUAL(machine_leader_pidfd(m), -ENODATA);
    CHECK_EQUAL(machine_supervisor_pidfd(m), -ENODATA);
    CHECK_EQUAL(machine_owner(m, &uid), -ENODATA);
    CHECK_EQUAL(machine_vsock_cid(m, &cid), -ENODATA);
    CHECK_EQUAL(machine_control_group_id(m, &number), -ENODATA);
    CHECK_EQUAL(machine_realtime(m, &number), -ENODATA);
    CHECK_EQUAL(machine_monotonic(m, &number), -ENODATA);
    CHECK_EQUAL(machine_uid_to_host(m, 0, &uid), -ENODATA);
    CHECK_EQUAL(machine_uid_from_host(m, 0, &uid), -ENODATA);
    CHECK_EQUAL(machine_gid_to_host(m, 0, &uid), -ENODATA);
    CHECK_EQUAL(machine_gid_from_host(m, 0, &uid), -ENODATA);
    CHECK(pid == 7 && uid == 7 && cid == 7 && number == 7);
    const int *interfaces = (const int *)&pid;
    const struct machine_id_range *map = (const void *)&pid;
    const struct machine_address *addresses = (const void *)&pid;
    CHECK_EQUAL(machine_ifindices(m, &interfaces), 0);
    CHECK_EQUAL(machine_uid_map(m, &map), 0);
    CHECK(!interfaces && !map);
    map = (const void *)&pid;
    CHECK_EQUAL(machine_gid_map(m, &map), 0);
    CHECK(!map);
    CHECK_EQUAL(machine_addresses(m, &addresses), -ENODATA);
    CHECK(addresses == (const void *)&pid);
    CHECK_EQUAL(machine_is_alive(m), 0);
    machine_free(m);
    write_record("web", "CLASS=container\nADDRESSES=host\n");
    REQUIRE(machine_open("web", &m) == 0);
    CHECK_EQUAL(machine_addresses(m, NULL), -ENOSYS);
    machine_free(m);
    write_record("web", "CLASS=container\nADDRESSES=\n");
    REQUIRE(machine_open("web", &m) == 0);
    CHECK_EQUAL(machine_addresses(m, &addresses), 0);
    CHECK(!addresses);
    machine_free(m);
}

static void nothing_may_be_null_that_must_not(void) {
    empty();
    write_record("web", "CLASS=vm\n");
    struct machine *m = NULL;
    CHECK_EQUAL(machine_open(NULL, &m), -EINVAL);
    CHECK_EQUAL(machine_open("web", NULL), -EINVAL);
    CHECK(!m && !machine_free(NULL));
    CHECK(!machine_name(NULL) && !machine_class(NULL) && !machine_service(NULL) && !machine_unit(NULL));
    CHECK(!machine_subgroup(NULL) && !machine_root(NULL) && !machine_ssh_address(NULL));
    CHECK(!machine_ssh_private_key(NULL) && !machine_control_address(NULL) && !machine_control_group(NULL));
    uint8_t id[16];
    pid_t pid;
    uid_t uid;
    uint32_t cid;
    uint64_t number;
    const int *interfaces;
    const struct machine_id_range *map;
    const struct machine_address *addresses;
    REQUIRE(machine_open("web", &m) == 0);
#define BOTH(function, place)                    \
    (CHECK_EQUAL(function(NULL, place), -EINVAL), \
     CHECK_EQUAL(function(m, NULL), -EINVAL))
    BOTH(machine_id, id);
    BOTH(machine_leader, &pid);
    BOTH(machine_supervisor, &pid);
    BOTH(machine_owner, &uid);
    BOTH(machine_vsock_cid, &cid);
    BOTH(machine_control_group_id, &number);
    BOTH(machine_realtime, &number);
    BOTH(machine_monotonic, &number);
    CHECK_EQUAL(machine_is_alive(NULL), -EINVAL);
    CHECK_EQUAL(machine_leader_pidfd(NULL), -EINVAL);
    CHECK_EQUAL(machine_supervisor_pidfd(NULL), -EINVAL);
    CHECK_EQUAL(machine_ifindices(NULL, &interfaces), -EINVAL);
    CHECK_EQUAL(machine_addresses(NULL, &addresses), -EINVAL);
    CHECK_EQUAL(machine_uid_map(NULL, &map), -EINVAL);
    CHECK_EQUAL(machine_gid_map(NULL, &map), -EINVAL);
    CHECK_EQUAL(machine_uid_to_host(NULL, 0, &uid), -EINVAL);
    CHECK_EQUAL(machine_uid_to_host(m, 0, NULL), -EINVAL);
    CHECK_EQUAL(machine_uid_from_host(NULL, 0, &uid), -EINVAL);
    CHECK_EQUAL(machine_uid_from_host(m, 0, NULL), -EINVAL);
    CHECK_EQUAL(machine_gid_to_host(NULL, 0, &uid), -EINVAL);
    CHECK_EQUAL(machine_gid_to_host(m, 0, NULL), -EINVAL);
    CHECK_EQUAL(machine_gid_from_host(NULL, 0, &uid), -EINVAL);
    CHECK_EQUAL(machine_gid_from_host(m, 0, NULL), -EINVAL);
    machine_free(m);
    char **list;
    CHECK_EQUAL(machine_by_pids(NULL, 1, &list), -EINVAL);
    CHECK_EQUAL(machine_by_pids(&pid, 1, NULL), -EINVAL);
    CHECK_EQUAL(machine_by_pids(&pid, SIZE_MAX, &list), -EINVAL);
    CHECK_EQUAL(machine_by_address(AF_INET, NULL, NULL), -EINVAL);
    CHECK_EQUAL(machine_monitor_new(NULL), -EINVAL);
    CHECK_EQUAL(machine_monitor_fd(NULL), -EINVAL);
    struct machine_event event;
    CHECK_EQUAL(machine_monitor_next(NULL, &event), -EINVAL);
    CHECK(!machine_monitor_free(NULL));
    CHECK_EQUAL(machine_name_check(NULL), -EINVAL);
    char name[MACHINE_NAME_MAX + 1];
    CHECK_EQUAL(machine_name_suggest(NULL, name), -EINVAL);
    CHECK_EQUAL(machine_name_suggest("web", NULL), -EINVAL);
}

static void what_cannot_be_opened_is_told(void) {
    static const char *const damaged[] = {"", "CLASS=vm", "LEADER=1\n", "NAME=db\nCLASS=vm\n", "CLASS=vm\nUID=x\n",
                                          "CLASS=vm\nLEADER=1 2\n", "CLASS=vm\nADDRESSES=1.2.3\n", "CLASS=vm\nID=1\n"};
    empty();
    struct machine *m = (struct machine *)1;
    CHECK_EQUAL(machine_open("nobody", &m), -ENXIO);
    CHECK_EQUAL(machine_open("a_b", &m), -EINVAL);
    CHECK_EQUAL(machine_open("", &m), -EINVAL);
    CHECK_EQUAL(machine_open("../web", &m), -EINVAL);
    CHECK_EQUAL(machine_open(".host", &m), -EINVAL);
    for (size_t i = 0; i < sizeof damaged / sizeof *damaged; i++) {
        subject("%s", damaged[i]);
        write_record("web", "%s", damaged[i]);
        CHECK_EQUAL(machine_open("web", &m), -EBADMSG);
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

static void check_path(pid_t pid, const char *group, const char *expected) {
    subject("%s", group);
    seem_in(pid, group);
    char *path = NULL, *other = NULL;
    int r = machine_by_pid(pid, &path);
    if (expected)
        CHECK_TEXT(path, expected);
    else
        CHECK_EQUAL(r, -ENXIO);
    CHECK_EQUAL(machine_by_pid(pid, NULL), r);
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (fd >= 0) {
        CHECK_EQUAL(machine_by_pidfd(fd, &other), r);
        if (path)
            CHECK_TEXT(other, path);
        close(fd);
    }
    // The batch asks each process where it cannot ask the machines, as here, where groups only seem to be.
    char **paths = NULL;
    pid_t pids[] = {pid, 0, -1, INT32_MAX, pid};
    CHECK_EQUAL(machine_by_pids(pids, 5, &paths), expected ? 2 : 0);
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
    CHECK_EQUAL(machine_by_pid(web, &path), -EIO);
    pid_t pids[] = {web, db, web};
    CHECK_EQUAL(machine_by_pids(pids, 3, &paths), 1);
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
    CHECK_EQUAL(machine_by_pid(-1, NULL), -EINVAL);
    CHECK_EQUAL(machine_by_pid(INT32_MAX, NULL), -ESRCH);
    CHECK_EQUAL(machine_by_pidfd(-1, NULL), -EBADF);
    CHECK_EQUAL(machine_by_pidfd(999, NULL), -EBADF);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    CHECK_EQUAL(machine_by_pidfd(null, NULL), -ENOTTY);
    close(null);
    seem_in(pid, "/../x");
    CHECK_EQUAL(machine_by_pid(pid, NULL), -EUNATCH);
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
    CHECK_EQUAL(machine_by_pids(NULL, 0, &paths), 0);
    REQUIRE(paths);
    CHECK(!paths[0]);
    free(paths);
    pid_t pids[] = {getpid(), 1};
    CHECK_EQUAL(machine_by_pids(pids, 2, &paths), 0);
    CHECK(!paths[0] && !paths[1] && !paths[2]);
    free(paths);
    REQUIRE(system("rm -rf /run/systemd /run/machined") == 0);
    CHECK_EQUAL(machine_by_pids(pids, 2, &paths), 0);
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
    CHECK_EQUAL(machine_by_uid(1000005, &name, &inside), 0);
    CHECK_TEXT(name, "web");
    CHECK_EQUAL(inside, 5);
    free(name);
    name = NULL;
    CHECK_EQUAL(machine_by_uid(1065534, NULL, &inside), 0);
    CHECK_EQUAL(inside, 65534);
    CHECK_EQUAL(machine_by_gid(2031616, &name, NULL), 0);
    CHECK_TEXT(name, "web");
    free(name);
    name = NULL;
    static const uid_t nobodys[] = {0, 1000, 65535, 65536, 999999, 1065536, 4294967295U, 4294967294U};
    for (size_t i = 0; i < sizeof nobodys / sizeof *nobodys; i++) {
        subject("%u", nobodys[i]);
        CHECK_EQUAL(machine_by_uid(nobodys[i], &name, &inside), -ENXIO);
        CHECK_EQUAL(machine_by_gid(nobodys[i], &name, &inside), -ENXIO);
    }
    subject("damaged");
    write_record("web", "CLASS=container\nUIDMAP=x\n");
    CHECK_EQUAL(machine_by_uid(1000005, &name, &inside), -EBADMSG);
    if (pidfd_id(pid) != 0) {
        subject("answered by the index");
        char list[128];
        snprintf(list, sizeof list, "1000000:65536:0:web%s;", leader_in_lists(pid));
        write_list(UIDS, "000f", list);
        CHECK_EQUAL(machine_by_uid(1000005, &name, &inside), 0);
        CHECK_TEXT(name, "web");
        CHECK_EQUAL(inside, 5);
        free(name);
        name = NULL;
    }
    subject("dead");
    write_mapped("web", pid, "0:1000000:65536", "0:2031616:65536");
    end_process(pid);
    if (has_pidfds())
        CHECK_EQUAL(machine_by_uid(1000005, &name, &inside), -ENXIO);
    CHECK(!name);
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
    CHECK_EQUAL(machine_by_address(AF_INET, &v4, &name), 0);
    CHECK_TEXT(name, "web");
    free(name);
    name = NULL;
    CHECK_EQUAL(machine_by_address(AF_INET, &v4, NULL), 0);
    inet_pton(AF_INET6, "fd00::2", &v6);
    CHECK_EQUAL(machine_by_address(AF_INET6, &v6, &name), 0);
    CHECK_TEXT(name, "web");
    free(name);
    name = NULL;
    static const char *const others[] = {"10.0.0.3", "10.0.0.4", "10.0.0.5", "10.0.0.6"};
    for (size_t i = 0; i < 4; i++) {
        subject("%s", others[i]);
        inet_pton(AF_INET, others[i], &v4);
        CHECK_EQUAL(machine_by_address(AF_INET, &v4, &name), -ENXIO);
    }
    CHECK_EQUAL(machine_by_address(AF_UNIX, &v4, &name), -EAFNOSUPPORT);
    inet_pton(AF_INET, "10.0.0.2", &v4);
    write_record("web", "damaged");
    CHECK_EQUAL(machine_by_address(AF_INET, &v4, &name), -EBADMSG);
    write_container("web", pid, "10.0.0.2");
    end_process(pid);
    if (has_pidfds())
        CHECK_EQUAL(machine_by_address(AF_INET, &v4, &name), -ENXIO);
    CHECK(!name);
}

static int is_ready(const struct machine_monitor *monitor) {
    struct pollfd entry = {.fd = machine_monitor_fd(monitor), .events = POLLIN};
    return poll(&entry, 1, 0) == 1;
}

static void check_change(struct machine_monitor *monitor, int change, const char *name) {
    struct machine_event event = {0};
    CHECK_EQUAL(machine_monitor_next(monitor, &event), 1);
    CHECK_EQUAL(event.change, change);
    CHECK_TEXT(event.name, name);
}

static void a_monitor_says_what_changed(void) {
    empty();
    struct machine_event event;
    write_record("old", "CLASS=vm\n");
    struct machine_monitor *monitor = NULL;
    REQUIRE(machine_monitor_new(&monitor) == 0);
    CHECK(!is_ready(monitor));
    CHECK_EQUAL(machine_monitor_next(monitor, &event), 0);
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
    check_change(monitor, MACHINE_NEW, "web");
    check_change(monitor, MACHINE_CHANGED, "old");
    check_change(monitor, MACHINE_CHANGED, "web");
    check_change(monitor, MACHINE_NEW, "a.old");
    check_change(monitor, MACHINE_REMOVED, "old");
    check_change(monitor, MACHINE_NEW, "old");
    CHECK_EQUAL(machine_monitor_next(monitor, &event), 0);
    CHECK(!is_ready(monitor));
    REQUIRE(system("rm -rf " RECORDS) == 0);
    int r, removed = 0;
    while ((r = machine_monitor_next(monitor, &event)) == 1)
        removed += event.change == MACHINE_REMOVED;
    CHECK_EQUAL(removed, 3);
    CHECK_EQUAL(r, -ESTALE);
    CHECK_EQUAL(machine_monitor_next(monitor, &event), -ESTALE);
    int fd = machine_monitor_fd(monitor);
    CHECK(is_open(fd) && !machine_monitor_free(monitor) && !is_open(fd));
    monitor = NULL;
    CHECK_EQUAL(machine_monitor_new(&monitor), -ENOENT);
    CHECK(!monitor);
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

static void a_monitor_that_lost_events_finds_out(void) {
    empty();
    unsigned limit = queued_events();
    for (unsigned i = 0; i < 10; i++) {
        char name[32];
        snprintf(name, sizeof name, "m%u", i);
        write_record(name, "CLASS=vm\n");
    }
    struct machine_monitor *monitor = NULL;
    REQUIRE(machine_monitor_new(&monitor) == 0);
    for (unsigned i = 0; i < limit + 100; i++)
        write_record(i % 2 ? "m0" : "m1", "CLASS=vm\n");
    unlink(RECORDS "/m5");
    write_record("late", "CLASS=vm\n");
    int seen_removed = 0, seen_new = 0, r;
    struct machine_event event;
    while ((r = machine_monitor_next(monitor, &event)) == 1) {
        seen_removed += event.change == MACHINE_REMOVED && strcmp(event.name, "m5") == 0;
        seen_new += event.change == MACHINE_NEW && strcmp(event.name, "late") == 0;
    }
    CHECK_EQUAL(r, 0);
    CHECK_EQUAL(seen_removed, 1);
    CHECK_EQUAL(seen_new, 1);
    machine_monitor_free(monitor);
}

// Events that were lost, and none of the descriptors that the comparison takes.
static void a_monitor_that_cannot_compare_does_so_later(void) {
    empty();
    write_record("web", "CLASS=vm\n");
    struct machine_monitor *monitor = NULL;
    REQUIRE(machine_monitor_new(&monitor) == 0);
    unsigned limit = queued_events();
    for (unsigned i = 0; i < limit + 100; i++)
        write_record(i % 2 ? "m0" : "m1", "CLASS=vm\n");
    unlink(RECORDS "/web");
    struct rlimit few, none;
    REQUIRE(getrlimit(RLIMIT_NOFILE, &few) == 0);
    none = (struct rlimit){.rlim_cur = 0, .rlim_max = few.rlim_max};
    int limited = setrlimit(RLIMIT_NOFILE, &none) == 0, removed = 0, shortages = 0, r;
    struct machine_event event;
    while ((r = machine_monitor_next(monitor, &event)) != 0) {
        if (r < 0) {
            CHECK_EQUAL(r, -EMFILE);
            // A second time it still wants to compare.
            if (++shortages == 2)
                REQUIRE(setrlimit(RLIMIT_NOFILE, &few) == 0);
        } else {
            removed += event.change == MACHINE_REMOVED && strcmp(event.name, "web") == 0;
        }
        if (shortages > 2)
            break;
    }
    // Under valgrind the limit is valgrind's.
    CHECK_EQUAL(shortages, limited ? 2 : 0);
    CHECK_EQUAL(removed, 1);
    machine_monitor_free(monitor);
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
        REQUIRE(machine_open("web", &m) == 0);
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
    REQUIRE(machine_open("web", &m) == 0);
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
    CHECK_EQUAL(machine_by_pid(leader, &path), 0);
    REQUIRE(path);
    CHECK_TEXT(path, "web");
    CHECK_EQUAL(machine_by_pid(hidden, NULL), -ESRCH);
    pid_t pids[] = {hidden, leader};
    CHECK_EQUAL(machine_by_pids(pids, 2, &paths), 1);
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
        CHECK_EQUAL(machine_by_pids(pids, n, &paths), -ESRCH);
    CHECK_EQUAL(machine_by_pid(0, NULL), -ESRCH);
    CHECK_EQUAL(sd_pid_get_machine_name(0, NULL), -ESRCH);
    CHECK(!paths);
    if (!is_known)
        return;
    CHECK_EQUAL(sd_pidfd_get_machine_name(fd, NULL), -ESRCH);
    // Before Linux 6.13 a pidfd does not tell whose it is.
    filter_calls((struct filtered[]){{SYS_ioctl, ENOTTY}}, 1);
    CHECK_EQUAL(sd_pidfd_get_machine_name(fd, NULL), -ENOSYS);
    CHECK_EQUAL(machine_by_pidfd(fd, NULL), -ENOSYS);
    CHECK_EQUAL(machine_by_pidfd(fd + 1, NULL), -EBADF);
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
        CHECK_EQUAL(machine_name_suggest(rows[i].name, name), 0);
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
    char **names = (char **)1;
    CHECK_EQUAL(machine_list(&names), 0);
    CHECK(!names);
    write_record("web.old", "CLASS=vm\n");
    CHECK_EQUAL(machine_list(&names), 1);
    CHECK_TEXT(names[0], "web.old");
    CHECK(!names[1]);
    free(names[0]);
    free(names);
    CHECK_EQUAL(sd_get_machine_names(NULL), 0);
    CHECK_EQUAL(machine_list(NULL), 1);
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
        TEST(a_monitor_says_what_changed),
        TEST(a_monitor_that_lost_events_finds_out),
        TEST(a_monitor_that_cannot_compare_does_so_later),
        TEST(a_leader_that_is_known_by_its_number_alone_is_opened_where_that_means_it),
        TEST(who_does_not_see_process_1_finds_machines_all_the_same),
        TEST(without_proc_nothing_is_said_to_be_in_no_machine),
        TEST(a_name_is_checked_and_a_better_one_suggested),
        TEST(all_machines_are_listed),
    };
    return run_tests(argc, argv, tests, sizeof tests / sizeof *tests);
}
