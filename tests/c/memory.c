// A shortage of memory is an answer: each allocation of each function fails once, and the function says so, leaks nothing
// and writes nothing. The allocator of this program is what the library uses.
#define _GNU_SOURCE
#include <machine.h>

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define machine world_machine
#include "../nss/check.h"
#include "../nss/process.h"
#include "../nss/world.h"
#undef machine
#include "answers.h"
#include "group.h"

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);
extern void __libc_free(void *);

// How many allocations still succeed; negative: all do.
static long left = -1;
static long held;

static bool fails(void) {
    return left >= 0 && left-- == 0;
}

void *malloc(size_t size) {
    void *memory = fails() ? NULL : __libc_malloc(size);
    held += memory != NULL;
    return memory;
}

// What a compiler makes of an allocation that is filled with zeros.
void *calloc(size_t number, size_t size) {
    void *memory = fails() ? NULL : __libc_calloc(number, size);
    held += memory != NULL;
    return memory;
}

void *realloc(void *old, size_t size) {
    void *memory = fails() ? NULL : __libc_realloc(old, size);
    held += memory && !old;
    return memory;
}

void free(void *memory) {
    held -= memory != NULL;
    __libc_free(memory);
}

static pid_t leader;

// Each calls one function, and gives back what it got.
static int class(void) {
    char *text = NULL;
    int r = sd_machine_get_class("web", &text);
    CHECK_EQUAL(r < 0, !text);
    free(text);
    return r;
}
static int host_class(void) {
    char *text = NULL;
    int r = sd_machine_get_class(".host", &text);
    free(text);
    return r;
}
static int interfaces(void) {
    int *list = NULL, r = sd_machine_get_ifindices("web", &list);
    CHECK_EQUAL(r < 0, !list);
    free(list);
    return r;
}
static int names(void) {
    char **list = NULL;
    int r = sd_get_machine_names(&list);
    CHECK_EQUAL(r < 0, !list);
    for (int i = 0; i < r; i++)
        free(list[i]);
    free(list);
    return r;
}
static int pid(void) {
    char *text = NULL;
    int r = sd_pid_get_machine_name(leader, &text);
    CHECK_EQUAL(r < 0, !text);
    free(text);
    return r;
}
static int nearest(void) {
    char *text = NULL;
    int r = machine_path_by_pid(leader, 0, &text);
    CHECK_EQUAL(r < 0, !text);
    free(text);
    return r;
}
static int many(void) {
    char **list = NULL;
    pid_t pids[] = {leader, leader, 1};
    int r = paths_of(pids, 3, &list);
    CHECK_EQUAL(r < 0, !list);
    free(list);
    return r;
}
static int snapshot(void) {
    struct machine *m = NULL;
    int r = machine_open("web", 0, &m);
    CHECK_EQUAL(r < 0, !m);
    machine_free(m);
    return r;
}
static int by_uid(void) {
    char *text = NULL;
    int r = machine_name_by_uid(1000000, 0, &text, NULL);
    CHECK_EQUAL(r < 0, !text);
    free(text);
    return r;
}
static int by_address(void) {
    char *text = NULL;
    int r = machine_name_by_address(AF_INET, "\x0a\0\0\x02", 0, &text);
    CHECK_EQUAL(r < 0, !text);
    free(text);
    return r;
}
static int list_of_all(void) {
    struct machine_list *list = NULL;
    int r = machine_list_new(0, &list);
    CHECK_EQUAL(r < 0, !list);
    machine_list_free(list);
    return r;
}
static int by_pid(void) {
    struct machine *m = NULL;
    int r = machine_by_pid(leader, 0, &m);
    CHECK_EQUAL(r < 0, !m);
    machine_free(m);
    return r;
}
static int list_of_pid(void) {
    struct machine_list *list = NULL;
    int r = machine_list_by_pid(leader, 0, &list);
    CHECK_EQUAL(r < 0, !list);
    machine_list_free(list);
    return r;
}
static int waited_for(void) {
    struct machine *m = NULL;
    int r = machine_wait("web", MACHINE_WAIT_PRESENT, 0, 0, &m);
    CHECK_EQUAL(r < 0, !m);
    machine_free(m);
    return r;
}

static int monitor(void) {
    struct machine_monitor *m = NULL;
    struct told event;
    int r = machine_monitor_new(0, &m);
    CHECK_EQUAL(r < 0, !m);
    if (r == 0) {
        write_record("late", "CLASS=vm\n");
        r = next_event(m, &event);
        unlink(RECORDS "/late");
    }
    machine_monitor_free(m);
    return r;
}

static void each_allocation_fails_once(void) {
    static const struct {
        const char *name;
        int (*call)(void);
    } rows[] = {{"class", class},     {"host", host_class}, {"interfaces", interfaces}, {"names", names},
                {"pid", pid},         {"nearest", nearest}, {"many", many},             {"snapshot", snapshot},
                {"by uid", by_uid},   {"by address", by_address},
                {"list", list_of_all}, {"by pid", by_pid},  {"list by pid", list_of_pid}, {"wait", waited_for}};
    REQUIRE(system("rm -rf /run/systemd /run/machined; mkdir -p " RECORDS " " ADDRESSES " " UIDS) == 0);
    leader = start_process();
    write_record("web",
                 "NAME=web\nCLASS=container\nSCOPE=web.scope\nSERVICE=x\nNETIF=3\nUIDMAP=0:1000000:65536\nGIDMAP=0:1000000:65536\n"
                 "ADDRESSES=10.0.0.2\n%s",
                 lines_of_leader(leader));
    link_entry(RECORDS, "unit:web.scope", "web");
    link_address("10.0.0.2", "web");
    write_list(UIDS, "000f", "1000000:65536:0:web;");
    seem_in(1, "/init.scope");
    seem_in(leader, "/machine.slice/web.scope");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        // What the C library allocates once is allocated now.
        CHECK(rows[i].call() >= 0);
        long failed = 0, before = held;
        int r = -ENOMEM;
        for (; failed < 1000 && r < 0; failed++) {
            subject("%s, allocation %ld", rows[i].name, failed);
            left = failed;
            r = rows[i].call();
            left = -1;
            if (r < 0)
                CHECK_EQUAL(r, -ENOMEM);
            CHECK_EQUAL(held, before);
        }
        subject("%s", rows[i].name);
        CHECK(failed > 1);
    }
    subject("monitor");
    long before = held;
    for (long failed = 0; failed < 4; failed++) {
        left = failed;
        struct machine_monitor *m = NULL;
        int r = machine_monitor_new(0, &m);
        left = -1;
        CHECK(r == 0 || r == -ENOMEM);
        CHECK_EQUAL(r == 0, !!m);
        machine_monitor_free(m);
        CHECK_EQUAL(held, before);
    }
    CHECK_EQUAL(monitor(), 1);
    CHECK_EQUAL(held, before);
    end_process(leader);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {{"each_allocation_fails_once", each_allocation_fails_once, EVERYWHERE}};
    return run_tests(argc, argv, tests, 1);
}
