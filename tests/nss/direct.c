// What the module tells its caller: status, errno and host error, called directly.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <pwd.h>
#include <resolv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "check.h"
#include "filter.h"
#include "module.h"

// RES_USE_INET6 of resolv.h, which warns of its use.
enum { USE_INET6 = 0x2000 };

static const int NAME_ENTRIES[] = {BY_NAME, BY_NAME2, BY_NAME3, BY_NAME4};

// Asks each entry point for a name, in both families; the answer must be this failure, for a buffer of any size.
static void expect_unavailable(const char *name, int error) {
    static char buffer[4096] __attribute__((aligned(16)));
    load_module();
    for (size_t i = 0; i < sizeof NAME_ENTRIES / sizeof *NAME_ENTRIES; i++)
        for (size_t size = 0; size <= sizeof buffer; size += sizeof buffer / 2)
            for (int family = 0; family < 2; family++) {
                subject("'%s' by entry %d, family %d, %zu bytes", name, (int)i, family, size);
                struct question question = {
                    .entry = (enum entry)NAME_ENTRIES[i], .name = name, .family = family ? AF_INET6 : AF_INET};
                struct answer answer;
                ask_into(&question, &answer, buffer, size);
                check_unavailable(&answer, error);
            }
    subject("%s", "");
}

static void machines_with_addresses(void) {
    for (const struct machine *machine = machines; machine < machines + machine_count; machine++) {
        if (machine->kind != WITH_ADDRESSES || machine->count == 0)
            continue;
        subject("%s", machine->name);
        struct answer answer = ask4(machine->name);
        check_found(&answer);
        struct gaih_addrtuple *tuple = answer.tuples;
        for (size_t i = 0; i < machine->count; i++, tuple = tuple->next) {
            REQUIRE(tuple);
            CHECK(memcmp(tuple->addr, machine->addresses[i].bytes, length_of_family(tuple->family)) == 0);
        }
        CHECK(tuple == NULL);
    }
}

static void no_addresses(void) {
    for (int family = 0; family < 2; family++)
        for (size_t i = 0; i < sizeof NAME_ENTRIES / sizeof *NAME_ENTRIES; i++) {
            struct answer answer = ask(&(struct question){
                .entry = (enum entry)NAME_ENTRIES[i], .name = "none", .family = family ? AF_INET6 : AF_INET});
            check_not_found(&answer);
        }
}

static void no_addresses_of_the_family(void) {
    struct answer answer = ask3("one", AF_INET6);
    check_not_found(&answer);
    answer = ask(&(struct question){.entry = BY_NAME2, .name = "many6", .family = AF_INET});
    check_not_found(&answer);
    answer = ask(&(struct question){.entry = BY_NAME, .name = "many6"});
    check_not_found(&answer);
}

static void unspecified_family(void) {
    struct answer answer = ask3("three", AF_UNSPEC);
    check_found(&answer);
    CHECK_EQUAL(answer.host.h_addrtype, AF_INET);
    answer = ask(&(struct question){.entry = BY_NAME2, .name = "three", .family = AF_UNSPEC});
    check_found(&answer);
    CHECK_EQUAL(answer.host.h_addrtype, AF_INET);
}

static void other_families(void) {
    const char *const names[] = {"three", "nobody", "not_a_name", "vm"};
    const int families[] = {AF_UNIX, AF_PACKET, -1, 4711};
    for (size_t n = 0; n < 4; n++)
        for (size_t f = 0; f < 4; f++)
            for (int entry = BY_NAME2; entry <= BY_NAME3; entry++) {
                subject("%s, family %d", names[n], families[f]);
                struct answer answer =
                    ask(&(struct question){.entry = (enum entry)entry, .name = names[n], .family = families[f]});
                check_unavailable(&answer, EAFNOSUPPORT);
            }
}

static void unknown_names(void) {
    expect_unavailable("nobody", ENXIO);
    expect_unavailable("three..", EINVAL);
    expect_unavailable("Three", ENXIO);
    expect_unavailable("three.example.com", ENXIO);
    expect_unavailable("localhost", ENXIO);
    expect_unavailable("10.0.1.2", ENXIO);
}

static void invalid_names(void) {
    char long_name[300];
    memset(long_name, 'x', sizeof long_name);
    long_name[sizeof long_name - 1] = 0;
    expect_unavailable(long_name, EINVAL);
    long_name[65] = 0;
    expect_unavailable(long_name, EINVAL);
    long_name[64] = 0;
    expect_unavailable(long_name, ENXIO);
    const char *const names[] = {"",      "under_score", "a/b",  "../machines/three", "/run/systemd/machines/three",
                                 "..",    ".",           "-a",   "a-",                "a..b",
                                 ".a",    "a b",         "a\n",  "caf\xc3\xa9",       "unit:x",
                                 "three%5", "a.-b",      "\xff", ".#three"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        expect_unavailable(names[i], EINVAL);
}

static void virtual_machines(void) {
    expect_unavailable("vm", ENOTTY);
}

static void the_host_itself(void) {
    expect_unavailable(".host", ENOTTY);
}

static void shared_network(void) {
    struct answer answer = ask4("shared");
    // The module of systemd 262 has lost its table of the bus's errors, and says EIO to all of them.
    bool is_without_table = is_stock() && answer.errnop == EIO;
    expect_unavailable("shared", is_without_table ? EIO : ENOSYS);
}

static void resolver_option(void) {
    struct question question = {.entry = BY_NAME, .name = "three"};
    _res.options |= USE_INET6;
    struct answer answer = ask(&question);
    check_found(&answer);
    CHECK_EQUAL(answer.host.h_addrtype, AF_INET6);
    question.name = "one";
    answer = ask(&question);
    check_found(&answer);
    CHECK_EQUAL(answer.host.h_addrtype, AF_INET);
    question.name = "none";
    answer = ask(&question);
    check_not_found(&answer);
    question.name = "nobody";
    answer = ask(&question);
    check_unavailable(&answer, ENXIO);

    // A buffer too small for the IPv6 addresses is no reason to answer with the IPv4 ones.
    char buffer[40] __attribute__((aligned(16)));
    question.name = "many6";
    ask_into(&question, &answer, buffer, sizeof buffer);
    check_told(&answer, NSS_STATUS_TRYAGAIN, ERANGE, NETDB_INTERNAL);

    _res.options &= ~(unsigned long)USE_INET6;
    question.name = "three";
    answer = ask(&question);
    check_found(&answer);
    CHECK_EQUAL(answer.host.h_addrtype, AF_INET);
}

static void errno_may_be_the_callers(void) {
    // glibc passes its own errno and h_errno.
    static char buffer[4096] __attribute__((aligned(16)));
    typedef enum nss_status by_name3(const char *, int, struct hostent *, char *, size_t, int *, int *, int32_t *, char **);
    load_module();
    by_name3 *function = (by_name3 *)module_function("gethostbyname3_r");
    struct hostent host;
    errno = ERRNO_BEFORE;
    CHECK_EQUAL(function("nobody", AF_INET, &host, buffer, sizeof buffer, &errno, &h_errno, NULL, NULL), NSS_STATUS_UNAVAIL);
    CHECK_EQUAL(errno, ENXIO);
    CHECK_EQUAL(h_errno, NO_RECOVERY);
    CHECK_EQUAL(function("three", AF_INET, &host, buffer, 8, &errno, &h_errno, NULL, NULL), NSS_STATUS_TRYAGAIN);
    CHECK_EQUAL(errno, ERANGE);
    errno = ERRNO_BEFORE;
    CHECK_EQUAL(function("three", AF_INET, &host, buffer, sizeof buffer, &errno, &h_errno, NULL, NULL), NSS_STATUS_SUCCESS);
    CHECK_EQUAL(errno, ERRNO_BEFORE);
    CHECK_EQUAL(h_errno, 0);
}

static void the_daemons_own_environment(void) {
    setenv("SYSTEMD_ACTIVATION_UNIT", "systemd-machined.service", 1);
    setenv("SYSTEMD_ACTIVATION_SCOPE", "system", 1);
    struct answer answer = ask4("three");
    if (is_stock() && geteuid() == 0)
        check_unavailable(&answer, EDEADLK);
    else
        check_found(&answer);
}

static void users_and_groups(void) {
    typedef enum nss_status by_text(const char *, void *, char *, size_t, int *);
    typedef enum nss_status by_id(unsigned, void *, char *, size_t, int *);
    load_module();
    union {
        struct passwd user;
        struct group group;
        char bytes[256];
    } result, before;
    memset(&result, 0x5a, sizeof result);
    memset(&before, 0x5a, sizeof before);
    const char *const names[] = {"getpwnam_r", "getgrnam_r", "getpwuid_r", "getgrgid_r"};
    for (size_t i = 0; i < 4; i++) {
        int error = ERRNOP_BEFORE;
        void *function = module_function(names[i]);
        subject("%s", names[i]);
        REQUIRE(function);
        errno = ERRNO_BEFORE;
        enum nss_status status = i < 2 ? ((by_text *)function)("vu-three-0", &result, NULL, 0, &error)
                                       : ((by_id *)function)(0, &result, NULL, 0, &error);
        CHECK_EQUAL(status, NSS_STATUS_NOTFOUND);
        CHECK_EQUAL(error, ERRNOP_BEFORE);
        CHECK_EQUAL(errno, ERRNO_BEFORE);
        CHECK(memcmp(&result, &before, sizeof result) == 0);
    }
}

static void no_bus(void) {
    setenv("DBUS_SYSTEM_BUS_ADDRESS", "unix:path=/nonexistent/socket", 1);
    struct answer answer = ask4("three");
    if (is_stock())
        CHECK_EQUAL(answer.status, NSS_STATUS_UNAVAIL);
    else
        check_found(&answer);
}

static void no_sockets(void) {
    struct answer answer = ask4("one");
    uint32_t address = inet_addr("10.0.0.2");
    const struct filtered killed[] = {{SYS_socket, 0},  {SYS_connect, 0},  {SYS_socketpair, 0}, {SYS_sendto, 0}, {SYS_sendmsg, 0},
                                      {SYS_recvmsg, 0}, {SYS_recvfrom, 0}, {SYS_clone, 0},      {SYS_clone3, 0}, {SYS_fork, 0},
                                      {SYS_vfork, 0},   {SYS_execve, 0},   {SYS_brk, 0},        {SYS_mmap, 0}};
    filter_calls(killed, sizeof killed / sizeof *killed);
    const char *const names[] = {"one", "many", "nobody", "vm", "shared", "none"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        answer = ask4(names[i]);
        answer = ask3(names[i], AF_INET6);
    }
    answer = ask(&(struct question){.entry = BY_ADDRESS, .address = &address, .length = 4, .family = AF_INET});
    check_found(&answer);
}

static const struct test tests[] = {
    {"a machine with addresses is found, and its addresses in their order", machines_with_addresses, EVERYWHERE},
    {"a machine without addresses is not found", no_addresses, EVERYWHERE},
    {"a machine without addresses of the family asked for is not found", no_addresses_of_the_family, EVERYWHERE},
    {"an unspecified family is IPv4", unspecified_family, EVERYWHERE},
    {"another family is not supported, whatever the name", other_families, EVERYWHERE},
    {"an unknown name is unavailable with ENXIO, by any entry point and with any buffer", unknown_names, EVERYWHERE},
    {"an invalid name is unavailable with EINVAL", invalid_names, EVERYWHERE},
    {"a virtual machine is unavailable with ENOTTY", virtual_machines, EVERYWHERE},
    {"the host itself is unavailable with ENOTTY", the_host_itself, EVERYWHERE},
    {"a machine in the host's network is unavailable with ENOSYS", shared_network, EVERYWHERE},
    {"with RES_USE_INET6 gethostbyname_r prefers IPv6", resolver_option, EVERYWHERE},
    {"errno and h_errno of the caller may be where errors are told", errno_may_be_the_callers, EVERYWHERE},
    {"the environment of the daemon's own unit means a deadlock only where there is a bus", the_daemons_own_environment, EVERYWHERE},
    {"no bus is needed", no_bus, EVERYWHERE},
    {"users and groups are not found, and nothing is written", users_and_groups, EVERYWHERE},
    {"a lookup makes no socket, no process and asks for no memory", no_sockets, OURS_ONLY},
};

int main(int argc, char **argv) {
    return run_tests(argc, argv, tests, sizeof tests / sizeof *tests);
}
