// libmachine and a user's own registry, that of `machined --user`. Needs a mount namespace and a /run of its own.
#define _GNU_SOURCE
#include <machine.h>

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

// Both have a `struct machine`.
#define machine world_machine
#include "../nss/check.h"
#include "../nss/process.h"
#include "../nss/world.h"
#undef machine
#include "answers.h"
#include "group.h"

enum { OWNER = 1000, OTHER = 1001 };
#define CGROUPS "/run/machined/cgroups"
#define OWN "/run/user/1000"
#define SLICE "/user.slice/user-1000.slice/user@1000.service/app.slice"

static void shell(const char *format, ...) {
    char command[1024];
    va_list list;
    va_start(list, format);
    vsnprintf(command, sizeof command, format, list);
    va_end(list);
    REQUIRE(system(command) == 0);
}

static void empty(void) {
    shell("rm -rf /run/systemd /run/machined /run/user && mkdir -p " RECORDS " " ADDRESSES " " UIDS " " NAMES " " CGROUPS
          " " OWN "/systemd/machines " OWN "/machined/addresses " OWN "/machined/uids " OWN "/machined/names " OWN
          "/machined/cgroups " OWN "/machined/leaders && chown -R 1000:1000 " OWN);
}

// Moves a record of the system's to the user's own registry, at once.
static void make_own(const char *name) {
    shell("chown 1000:1000 " RECORDS "/%s && mv " RECORDS "/%s " OWN "/systemd/machines/%s", name, name, name);
}

// A machine with a leader in this group of the user's; it is of the user's own registry.
static pid_t own_machine(const char *name, const char *address, const char *group) {
    pid_t leader = start_process();
    seem_in(leader, group);
    write_record(name, "NAME=%s\nUID=1000\nPUBLIC=1\nCLASS=container\nCGROUP=%s\nUIDMAP=0:1048576:65536\nADDRESSES=%s\n%s", name,
                 group, address, lines_of_leader(leader));
    make_own(name);
    shell("ln -sfn %s " OWN "/machined/cgroups/$(printf %%s '%s' | sha256sum | cut -c1-32)", name, group);
    return leader;
}

// Runs a function as this user, in a child; the failures that it notes are those of the test.
static void as(uid_t uid, void (*run)(void)) {
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        REQUIRE(setresgid(uid, uid, uid) == 0 && setresuid(uid, uid, uid) == 0);
        unsigned before = failures();
        run();
        _exit(failures() != before);
    }
    int status;
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK_EQUAL(status, 0);
}

static pid_t leader, other;

static int opened(const char *name, uint32_t *address) {
    struct machine *m = NULL;
    const void *found = NULL;
    int r = machine_open(name, 0, &m), family;
    *address = r == 0 && machine_get_address(m, 0, &family, &found, NULL) == 1 ? *(const unsigned char *)found : 0;
    machine_free(m);
    return r;
}

static void check_all_know(int r) {
    uint32_t first;
    char *path = NULL, **paths = NULL, *name = NULL;
    struct machine *m = NULL;
    CHECK_EQUAL(opened("web", &first), r);
    CHECK_EQUAL(opened("WEB", &first), r);
    CHECK_EQUAL(machine_path_by_pid(leader, 0, &path), r);
    CHECK_EQUAL(machine_by_pid(leader, 0, &m), r);
    m = machine_free(m);
    unsigned char address[] = {20, 0, 0, 1};
    CHECK_EQUAL(machine_by_address(AF_INET, address, 0, &m), r);
    m = machine_free(m);
    CHECK_EQUAL(machine_by_uid(1048577, 0, &m, NULL), r);
    m = machine_free(m);
    CHECK_EQUAL(machine_name_by_uid(1048577, 0, &name, NULL), r);
    pid_t pids[] = {leader, getpid(), other};
    CHECK_EQUAL(paths_of(pids, 3, &paths), r == 0 ? 2 : 1);
    if (r == 0) {
        CHECK_TEXT(path, "web");
        CHECK_TEXT(name, "web");
        CHECK_TEXT(paths[0], "web");
    }
    CHECK_TEXT(paths[2], "system");
    struct machine_list *list = NULL;
    CHECK_EQUAL(machine_list_new(0, &list), 0);
    CHECK_EQUAL(machine_list_get_count(list), r == 0 ? 2 : 1);
    machine_list_free(list);
    free(path);
    free(paths);
    free(name);
}

static void known(void) {
    check_all_know(0);
}

static void unknown(void) {
    check_all_know(-ENXIO);
}

// What is of sd-login's names looks into the system's registry alone, as libsystemd does.
static void as_libsystemd(void) {
    char **names = NULL, *text = NULL;
    CHECK_EQUAL(sd_get_machine_names(&names), 1);
    CHECK_EQUAL(sd_machine_get_class("web", &text), -ENXIO);
    CHECK(sd_pid_get_machine_name(leader, &text) < 0);
    for (size_t i = 0; names && names[i]; i++)
        free(names[i]);
    free(names);
}

static void make_two(void) {
    empty();
    seem_in(1, "/init.scope");
    leader = own_machine("web", "20.0.0.1", SLICE "/web.service");
    shell("ln -s web " OWN "/machined/names/web && ln -s web " OWN "/machined/addresses/14000001");
    char list[128];
    snprintf(list, sizeof list, "1048576:65536:0:web%s;", leader_in_lists(leader));
    shell("ln -s '%s' " OWN "/machined/uids/0010", list);
    other = start_process();
    seem_in(other, "/machine.slice/machine-system.scope");
    write_record("system", "NAME=system\nCLASS=container\nSCOPE=machine-system.scope\n%s", lines_of_leader(other));
    link_entry(RECORDS, "unit:machine-system.scope", "system");
}

static void a_users_own_machines_are_known_to_that_user_alone(void) {
    make_two();
    as(OWNER, known);
    as(OWNER, as_libsystemd);
    as(0, unknown);
    as(OTHER, unknown);
    subject("a directory that is not the user's");
    REQUIRE(chown(OWN "/systemd/machines", OTHER, OTHER) == 0);
    as(OWNER, unknown);
    REQUIRE(chown(OWN "/systemd/machines", OWNER, OWNER) == 0);
    subject("a record that is not");
    REQUIRE(chown(OWN "/systemd/machines/web", 0, 0) == 0);
    shell("rm " OWN "/machined/uids/0010");
    CHECK_EQUAL(machine_open("web", 0, &(struct machine *){NULL}), -ENXIO);
    end_process(leader);
    end_process(other);
}

static void systems_is_open(void) {
    uint32_t first;
    CHECK_EQUAL(opened("web", &first), 0);
    CHECK_EQUAL(first, 10);
    // The own one has no name that would lead to it.
    CHECK_EQUAL(machine_path_by_pid(leader, 0, NULL), -ENXIO);
    unsigned char address[] = {20, 0, 0, 1};
    CHECK_EQUAL(machine_by_address(AF_INET, address, 0, &(struct machine *){NULL}), -ENXIO);
    CHECK_EQUAL(machine_name_by_uid(1048577, 0, NULL, NULL), -ENXIO);
    struct machine_list *list = NULL;
    CHECK_EQUAL(machine_list_new(0, &list), 0);
    CHECK_EQUAL(machine_list_get_count(list), 2);
    machine_list_free(list);
}

static void own_is_open(void) {
    uint32_t first;
    CHECK_EQUAL(opened("web", &first), 0);
    CHECK_EQUAL(first, 20);
    CHECK_EQUAL(machine_path_by_pid(leader, 0, NULL), 0);
}

static void a_name_of_the_systems_is_that_machines(void) {
    make_two();
    write_container("web", other, "10.0.0.9");
    as(OWNER, systems_is_open);
    subject("another user's alone");
    write_record("web", "NAME=web\nUID=1001\nCLASS=container\n%sADDRESSES=10.0.0.9\n", lines_of_leader(other));
    as(OWNER, own_is_open);
    end_process(leader);
    end_process(other);
}

static void the_same_machine_in_both_is_one(void) {
    make_two();
    shell("cp " OWN "/systemd/machines/web " RECORDS "/web && sed -i '/^PUBLIC=/d' " RECORDS "/web");
    shell("ln -s web " CGROUPS "/$(printf %%s '" SLICE "/web.service' | sha256sum | cut -c1-32)");
    as(OWNER, known);
    end_process(leader);
    end_process(other);
}

static pid_t inside;

static void nested(void) {
    char *path = NULL, **paths = NULL;
    CHECK_EQUAL(machine_path_by_pid(inside, 0, &path), 0);
    CHECK_TEXT(path, "web/inner");
    pid_t pids[] = {inside, leader};
    CHECK_EQUAL(paths_of(pids, 2, &paths), 2);
    CHECK_TEXT(paths[0], "web/inner");
    CHECK_TEXT(paths[1], "web");
    free(path);
    free(paths);
}

static void the_nearest_of_a_users_machines_counts(void) {
    make_two();
    pid_t inner = own_machine("inner", "20.0.0.2", SLICE "/web.service/payload/inner.scope");
    inside = start_process();
    seem_in(inside, SLICE "/web.service/payload/inner.scope/x");
    as(OWNER, nested);
    CHECK_EQUAL(machine_path_by_pid(inside, 0, NULL), -ENXIO);
    end_process(inside);
    end_process(inner);
    end_process(leader);
    end_process(other);
}

static void check_next(struct machine_monitor *monitor, int change, const char *name) {
    struct told told;
    struct pollfd poll_fd = {.fd = machine_monitor_get_fd(monitor), .events = POLLIN};
    int r;
    while ((r = next_event(monitor, &told)) == 0)
        REQUIRE(poll(&poll_fd, 1, 5000) == 1);
    REQUIRE(r == 1);
    CHECK_EQUAL(told.change, change);
    CHECK_TEXT(told.name, name);
}

static void check_nothing(struct machine_monitor *monitor) {
    struct told told;
    CHECK_EQUAL(next_event(monitor, &told), 0);
}

static int from_root, to_root;

static void step(char done) {
    char next;
    REQUIRE(write(to_root, &done, 1) == 1 && read(from_root, &next, 1) == 1);
}

static void watches(void) {
    struct machine_monitor *monitor = NULL;
    REQUIRE(machine_monitor_new(MACHINE_MONITOR_LIST, &monitor) == 0);
    check_next(monitor, MACHINE_EVENT_PRESENT, "system");
    check_next(monitor, MACHINE_EVENT_PRESENT, "web");
    check_next(monitor, MACHINE_EVENT_LISTED, "");
    check_nothing(monitor);
    step('a');
    check_next(monitor, MACHINE_EVENT_CHANGED, "web");
    step('b');
    // The system's registry has none of this name any more, the own one has.
    check_next(monitor, MACHINE_EVENT_CHANGED, "web");
    step('c');
    check_next(monitor, MACHINE_EVENT_REMOVED, "web");
    check_nothing(monitor);
    step('d');
    // The directory comes anew, with a machine in it.
    check_next(monitor, MACHINE_EVENT_NEW, "web");
    machine_monitor_free(monitor);
}

static void a_monitor_tells_of_both_registries(void) {
    make_two();
    int to_child[2], to_parent[2];
    REQUIRE(pipe(to_child) == 0 && pipe(to_parent) == 0);
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        from_root = to_child[0];
        to_root = to_parent[1];
        close(to_child[1]);
        close(to_parent[0]);
        as(OWNER, watches);
        _exit(failures() != 0);
    }
    close(to_child[0]);
    close(to_parent[1]);
    static const char *const steps[] = {
        "cp " OWN "/systemd/machines/web " RECORDS "/.web && mv " RECORDS "/.web " RECORDS "/web",
        "rm " RECORDS "/web",
        "mv " OWN "/systemd/machines " OWN "/systemd/aside && cp -r -p " OWN "/systemd/aside " OWN "/systemd/.x",
        "mv " OWN "/systemd/.x " OWN "/systemd/machines",
    };
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        char done;
        if (read(to_parent[0], &done, 1) != 1)
            break;
        shell("%s", steps[i]);
        REQUIRE(write(to_child[1], &done, 1) == 1);
    }
    int status;
    REQUIRE(waitpid(child, &status, 0) == child);
    CHECK_EQUAL(status, 0);
    end_process(leader);
    end_process(other);
}

// FIFOs, links and other things where root's programs may look, and where the user's do.
static void nothing_hangs(void) {
    struct machine_list *list = NULL;
    alarm(10);
    CHECK_EQUAL(machine_open("fifo", 0, &(struct machine *){NULL}), getuid() == OWNER ? -EBADMSG : -ENXIO);
    CHECK_EQUAL(machine_open("link", 0, &(struct machine *){NULL}), -ENXIO);
    CHECK_EQUAL(machine_open("directory", 0, &(struct machine *){NULL}), getuid() == OWNER ? -EBADMSG : -ENXIO);
    CHECK_EQUAL(machine_open("socket", 0, &(struct machine *){NULL}), getuid() == OWNER ? -EBADMSG : -ENXIO);
    CHECK_EQUAL(machine_list_new(0, &list), 0);
    CHECK_EQUAL(machine_list_get_count(list), 0);
    machine_list_free(list);
    CHECK_EQUAL(machine_path_by_pid(0, 0, NULL), -ENXIO);
    alarm(0);
}

static void what_a_user_plants_holds_nobody_up(void) {
    empty();
    shell("cd " OWN "/systemd/machines && mkfifo fifo && ln -s /etc/shadow link && mkdir directory && "
          "python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"socket\")' && chown -h 1000:1000 *");
    as(OWNER, nothing_hangs);
    as(0, nothing_hangs);
    as(OTHER, nothing_hangs);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
#define TEST(name) {#name, name, EVERYWHERE}
        TEST(a_users_own_machines_are_known_to_that_user_alone),
        TEST(a_name_of_the_systems_is_that_machines),
        TEST(the_same_machine_in_both_is_one),
        TEST(the_nearest_of_a_users_machines_counts),
        TEST(a_monitor_tells_of_both_registries),
        TEST(what_a_user_plants_holds_nobody_up),
    };
    if (setresuid(-1, OWNER, -1) < 0) {
        puts("SKIPPED: users' own registries: there are no other uids here");
        return 0;
    }
    if (setresuid(-1, 0, -1) < 0)
        return 2;
    return run_tests(argc, argv, tests, sizeof tests / sizeof *tests);
}
