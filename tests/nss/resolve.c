// Machines as any program resolves them: through glibc.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <grp.h>
#include <netdb.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check.h"
#include "process.h"
#include "world.h"

static int resolve(const char *name, int family, int flags, struct addrinfo **list) {
    struct addrinfo hints = {.ai_family = family, .ai_flags = flags, .ai_socktype = SOCK_STREAM};
    *list = NULL;
    return getaddrinfo(name, NULL, &hints, list);
}

static bool is_same(const struct sockaddr *found, const struct address *expected, bool with_scope) {
    if (found->sa_family != expected->family)
        return false;
    if (expected->family == AF_INET)
        return memcmp(&((const struct sockaddr_in *)(const void *)found)->sin_addr, expected->bytes, 4) == 0;
    const struct sockaddr_in6 *six = (const void *)found;
    return memcmp(&six->sin6_addr, expected->bytes, 16) == 0 && (!with_scope || six->sin6_scope_id == expected->scope);
}

// glibc sorts what it hands out, so the order is not checked here.
static void expect_addresses(const struct machine *machine, int family, int flags) {
    subject("%s, family %d, flags %d", machine->name, family, flags);
    struct addrinfo *list;
    size_t count = count_of_family(machine, family);
    int error = resolve(machine->name, family, flags, &list);
    if (count == 0) {
        CHECK(error == EAI_NONAME || error == EAI_NODATA || error == EAI_ADDRFAMILY);
        return;
    }
    CHECK_EQUAL(error, 0);
    if (error != 0)
        return;
    if (flags & AI_CANONNAME)
        CHECK_TEXT(list->ai_canonname, machine->name);
    size_t found = 0;
    for (struct addrinfo *info = list; info; info = info->ai_next)
        found++;
    CHECK_EQUAL(found, count);
    for (size_t i = 0; i < count; i++) {
        const struct address *expected = address_of_family(machine, family, i);
        bool is_there = false;
        // glibc asks for scope ids only where it asks for both families at once.
        for (struct addrinfo *info = list; info && !is_there; info = info->ai_next)
            is_there = is_same(info->ai_addr, expected, family == AF_UNSPEC);
        CHECK(is_there);
    }
    freeaddrinfo(list);
}

static void by_getaddrinfo(void) {
    const int families[] = {AF_UNSPEC, AF_INET, AF_INET6};
    for (const struct machine *machine = machines; machine < machines + machine_count; machine++)
        for (size_t i = 0; i < 3; i++) {
            expect_addresses(machine, families[i], 0);
            expect_addresses(machine, families[i], AI_CANONNAME);
        }
}

static void scope_ids(void) {
    struct addrinfo *list;
    const struct machine *three = machine_named("three");
    unsigned link_local = 0;
    REQUIRE(resolve("three", AF_UNSPEC, 0, &list) == 0);
    for (struct addrinfo *info = list; info; info = info->ai_next) {
        struct sockaddr_in6 *six = (void *)info->ai_addr;
        if (info->ai_family == AF_INET6 && IN6_IS_ADDR_LINKLOCAL(&six->sin6_addr)) {
            for (size_t i = 0; i < three->count; i++)
                if (is_same(info->ai_addr, &three->addresses[i], false))
                    CHECK_EQUAL(six->sin6_scope_id, three->addresses[i].scope);
            CHECK(six->sin6_scope_id != 0);
            link_local++;
        }
    }
    CHECK_EQUAL(link_local, 1);
    freeaddrinfo(list);
}

static void expect_host(const struct machine *machine, const struct hostent *host, int family) {
    size_t count = count_of_family(machine, family);
    subject("%s, family %d", machine->name, family);
    if (count == 0) {
        CHECK(host == NULL);
        return;
    }
    if (!host) {
        FAIL("it is not found: %s", hstrerror(h_errno));
        return;
    }
    CHECK_TEXT(host->h_name, machine->name);
    CHECK_EQUAL(host->h_addrtype, family);
    CHECK(host->h_aliases[0] == NULL);
    for (size_t i = 0; i <= count; i++) {
        const struct address *expected = address_of_family(machine, family, i);
        CHECK(expected ? host->h_addr_list[i] && memcmp(host->h_addr_list[i], expected->bytes, length_of_family(family)) == 0
                       : host->h_addr_list[i] == NULL);
    }
}

static void by_gethostbyname(void) {
    for (const struct machine *machine = machines; machine < machines + machine_count; machine++) {
        expect_host(machine, gethostbyname(machine->name), AF_INET);
        expect_host(machine, gethostbyname2(machine->name, AF_INET), AF_INET);
        expect_host(machine, gethostbyname2(machine->name, AF_INET6), AF_INET6);
    }
}

static void a_small_buffer(void) {
    struct hostent host, *result;
    char buffer[32];
    int error = 0;
    CHECK_EQUAL(gethostbyname_r("many", &host, buffer, sizeof buffer, &result, &error), ERANGE);
    CHECK_EQUAL(error, NETDB_INTERNAL);
    CHECK(result == NULL);
}

static void expect_unresolved(const char *name, int expected_h_errno) {
    struct addrinfo *list;
    subject("%s", name);
    int error = resolve(name, AF_UNSPEC, 0, &list);
    CHECK(error == EAI_NONAME || error == EAI_FAIL);
    error = resolve(name, AF_INET6, AI_CANONNAME, &list);
    CHECK(error == EAI_NONAME || error == EAI_FAIL);
    h_errno = 0;
    CHECK(gethostbyname(name) == NULL);
    CHECK_EQUAL(h_errno, expected_h_errno);
}

static void unresolved_names(void) {
    expect_unresolved("none", HOST_NOT_FOUND);
    expect_unresolved("nobody", NO_RECOVERY);
    expect_unresolved("vm", NO_RECOVERY);
    expect_unresolved("shared", NO_RECOVERY);
    expect_unresolved("Three", NO_RECOVERY);
    expect_unresolved("under_score", NO_RECOVERY);
    expect_unresolved("three.example.com", NO_RECOVERY);
}

static void expect_alive(const char *name, const char *address) {
    struct addrinfo *list;
    struct address parsed = parse_address(address);
    subject("%s lives", name);
    REQUIRE(resolve(name, AF_UNSPEC, 0, &list) == 0);
    freeaddrinfo(list);
    struct hostent *host = gethostbyaddr(parsed.bytes, 4, AF_INET);
    REQUIRE(host);
    CHECK_TEXT(host->h_name, name);
}

static void expect_dead(const char *name, const char *address) {
    struct address parsed = parse_address(address);
    expect_unresolved(name, NO_RECOVERY);
    h_errno = 0;
    CHECK(gethostbyaddr(parsed.bytes, 4, AF_INET) == NULL);
    CHECK_EQUAL(h_errno, HOST_NOT_FOUND);
}

static void write_mortal(const char *name, const char *address, pid_t leader) {
    write_container(name, leader, address);
    link_address(address, name);
    expect_alive(name, address);
}

static void a_dying_machine(void) {
    pid_t leader = start_process();
    write_mortal("mortal", "10.50.0.1", leader);
    make_zombie(leader);
    expect_dead("mortal", "10.50.0.1");
    end_process(leader);
    expect_dead("mortal", "10.50.0.1");
}

static void recycle(void) {
    mount_own_proc();
    pid_t leader = start_process_as(100);
    write_mortal("recycled", "10.50.0.2", leader);
    uint64_t started = start_time(leader);
    end_process(leader);
    expect_dead("recycled", "10.50.0.2");
    // Start times are counted in hundredths of a second: the next process may have the same.
    for (leader = start_process_as(100); start_time(leader) == started; leader = start_process_as(100))
        end_process(leader);
    expect_dead("recycled", "10.50.0.2");
    end_process(leader);
}

static void a_recycled_pid(void) {
    in_new_pid_namespace(recycle);
}

static int name_of(const struct address *address, char name[NI_MAXHOST], int flags) {
    struct sockaddr_in four = {.sin_family = AF_INET};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6};
    memcpy(&four.sin_addr, address->bytes, 4);
    memcpy(&six.sin6_addr, address->bytes, 16);
    if (address->family == AF_INET)
        return getnameinfo((void *)&four, sizeof four, name, NI_MAXHOST, NULL, 0, flags);
    return getnameinfo((void *)&six, sizeof six, name, NI_MAXHOST, NULL, 0, flags);
}

static void back_to_the_name(void) {
    char name[NI_MAXHOST];
    for (const struct machine *machine = machines; machine < machines + machine_count; machine++)
        for (size_t i = 0; i < machine->count; i++) {
            const struct address *address = &machine->addresses[i];
            subject("address %zu of %s", i, machine->name);
            CHECK_EQUAL(name_of(address, name, NI_NAMEREQD), 0);
            CHECK_TEXT(name, machine->name);
            struct hostent *host = gethostbyaddr(address->bytes, (socklen_t)length_of_family(address->family), address->family);
            REQUIRE(host);
            CHECK_TEXT(host->h_name, machine->name);
            CHECK(memcmp(host->h_addr_list[0], address->bytes, length_of_family(address->family)) == 0);
            CHECK(host->h_addr_list[1] == NULL && host->h_aliases[0] == NULL);
        }
}

static void expect_nameless(const char *text) {
    char name[NI_MAXHOST];
    struct address address = parse_address(text);
    subject("%s", text);
    CHECK_EQUAL(name_of(&address, name, NI_NAMEREQD), EAI_NONAME);
    CHECK_EQUAL(name_of(&address, name, 0), 0);
    CHECK_TEXT(name, text);
    h_errno = 0;
    CHECK(gethostbyaddr(address.bytes, (socklen_t)length_of_family(address.family), address.family) == NULL);
    CHECK_EQUAL(h_errno, HOST_NOT_FOUND);
}

static void no_name(void) {
    expect_nameless("10.99.9.9");
    expect_nameless("fd00:99::9");
    link_address("10.99.9.8", "three");
    expect_nameless("10.99.9.8");
    link_address("10.99.9.7", "nobody");
    expect_nameless("10.99.9.7");
}

static void users_are_elsewhere(void) {
    struct passwd user, *found_user = &user;
    struct group group, *found_group = &group;
    char buffer[1024];
    CHECK_EQUAL(getpwnam_r("vu-three-0", &user, buffer, sizeof buffer, &found_user), 0);
    CHECK(found_user == NULL);
    CHECK_EQUAL(getpwuid_r(4000000000U, &user, buffer, sizeof buffer, &found_user), 0);
    CHECK(found_user == NULL);
    CHECK_EQUAL(getgrnam_r("vg-three-0", &group, buffer, sizeof buffer, &found_group), 0);
    CHECK(found_group == NULL);
    CHECK_EQUAL(getgrgid_r(4000000000U, &group, buffer, sizeof buffer, &found_group), 0);
    CHECK(found_group == NULL);
}

static const struct test tests[] = {
    {"getaddrinfo finds all addresses of a machine, of each family", by_getaddrinfo, EVERYWHERE},
    {"link-local addresses come with their scope id", scope_ids, EVERYWHERE},
    {"gethostbyname and gethostbyname2 find the addresses in their order", by_gethostbyname, EVERYWHERE},
    {"gethostbyname_r with a small buffer says so", a_small_buffer, EVERYWHERE},
    {"names that no machine with addresses has do not resolve", unresolved_names, EVERYWHERE},
    {"a machine that died between two calls does not resolve, zombie or gone", a_dying_machine, OURS_ONLY},
    {"a machine whose leader's pid another process has does not resolve", a_recycled_pid, OURS_ONLY},
    {"every address resolves to the name of its machine", back_to_the_name, OURS_ONLY},
    {"an address that no record confirms has no name", no_name, OURS_ONLY},
    {"a system that looks for users among the machines finds none", users_are_elsewhere, EVERYWHERE},
};

int main(int argc, char **argv) {
    return run_tests(argc, argv, tests, sizeof tests / sizeof *tests);
}
