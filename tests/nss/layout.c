// Where the answers lie in the caller's buffer, to the byte, for every size and alignment of it.
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "check.h"
#include "module.h"

enum { RED_ZONE = 64, LARGEST_SWEPT = 3000, RED = 0xa5 };

static size_t padded(size_t size) {
    return (size + 7) & ~(size_t)7;
}

static int family_of(const struct question *question) {
    return question->entry == BY_NAME || question->family == AF_UNSPEC ? AF_INET : question->family;
}

// How many bytes of an aligned buffer the answer needs; 0 if the answer is that there is none.
static size_t need(const struct question *question, const struct machine *machine) {
    size_t name = padded(strlen(machine->name) + 1), pointer = sizeof(char *);
    if (question->entry == BY_NAME4)
        return machine->count ? name + machine->count * padded(sizeof(struct gaih_addrtuple)) : 0;
    size_t slot = padded(length_of_family(family_of(question)));
    size_t count = question->entry == BY_ADDRESS ? 1 : count_of_family(machine, family_of(question));
    return count ? name + count * slot + (count + 2) * pointer : 0;
}

static void check_tuples(const struct answer *answer, const struct question *question, const struct machine *machine, char *base) {
    char *name = base;
    struct gaih_addrtuple *tuple = (void *)(base + padded(strlen(machine->name) + 1));
    CHECK_TEXT(name, machine->name);
    if (question->with_tuple) {
        CHECK(answer->tuples == &answer->own_tuple);
        CHECK(memcmp(&answer->own_tuple, tuple, sizeof *tuple) == 0);
    } else {
        CHECK(answer->tuples == tuple);
    }
    for (size_t i = 0; i < machine->count; i++, tuple++) {
        const struct address *expected = &machine->addresses[i];
        CHECK(tuple->name == name);
        CHECK_EQUAL(tuple->family, expected->family);
        CHECK(memcmp(tuple->addr, expected->bytes, length_of_family(expected->family)) == 0);
        CHECK_EQUAL(tuple->scopeid, expected->scope);
        CHECK(tuple->next == (i + 1 < machine->count ? tuple + 1 : NULL));
    }
    CHECK_EQUAL(answer->ttl, question->without_extras ? -1 : 0);
}

static void check_host(const struct answer *answer, const struct question *question, const struct machine *machine, char *base) {
    int family = family_of(question);
    size_t length = length_of_family(family), slot = padded(length);
    size_t count = question->entry == BY_ADDRESS ? 1 : count_of_family(machine, family);
    char **aliases = (void *)(base + padded(strlen(machine->name) + 1));
    char *address = (char *)(aliases + 1);
    char **list = (void *)(address + count * slot);
    CHECK(answer->host.h_name == base);
    CHECK_TEXT(base, machine->name);
    CHECK(answer->host.h_aliases == aliases && *aliases == NULL);
    CHECK_EQUAL(answer->host.h_addrtype, family);
    CHECK_EQUAL(answer->host.h_length, length);
    CHECK(answer->host.h_addr_list == list);
    for (size_t i = 0; i < count; i++) {
        const void *expected =
            question->entry == BY_ADDRESS ? question->address : address_of_family(machine, family, i)->bytes;
        CHECK(list[i] == address + i * slot);
        CHECK(memcmp(list[i], expected, length) == 0);
    }
    CHECK(list[count] == NULL);
    bool extras = question->entry == BY_NAME3 && !question->without_extras;
    CHECK_EQUAL(answer->ttl, extras ? 0 : -1);
    CHECK(answer->canonical == (extras ? base : NULL));
}

// A buffer between two red zones, at an offset from an address that is a multiple of 16.
struct zone {
    char *bytes;
    size_t offset, size;
};

static void prepare(struct zone *zone, size_t offset, size_t size) {
    static char bytes[RED_ZONE + 16 + 2 * 32768 + RED_ZONE] __attribute__((aligned(16)));
    *zone = (struct zone){bytes, RED_ZONE + offset, size};
    memset(bytes, RED, zone->offset);
    memset(bytes + zone->offset + size, RED, RED_ZONE);
}

static bool is_red(const char *bytes, size_t length) {
    static char red[RED_ZONE + 16];
    if (!*red)
        memset(red, RED, sizeof red);
    return memcmp(bytes, red, length) == 0;
}

static void ask_with_size(const struct question *question, const struct machine *machine, size_t offset, size_t size) {
    struct zone zone;
    prepare(&zone, offset, size);
    struct answer answer;
    char *buffer = zone.bytes + zone.offset;
    ask_into(question, &answer, buffer, size);
    unsigned before = failures();
    CHECK(is_red(zone.bytes, zone.offset));
    CHECK(is_red(buffer + size, RED_ZONE));

    size_t needed = need(question, machine), padding = -offset & 7;
    if (needed == 0) {
        check_not_found(&answer);
    } else if (size < needed + padding) {
        check_told(&answer, NSS_STATUS_TRYAGAIN, ERANGE, NETDB_INTERNAL);
    } else {
        check_found(&answer);
        if (answer.status == NSS_STATUS_SUCCESS)
            (question->entry == BY_NAME4 ? check_tuples : check_host)(&answer, question, machine, buffer + padding);
    }
    if (failures() != before)
        FAIL("that was a buffer of %zu bytes at offset %zu; %zu are needed", size, offset, needed);
}

// Whether it is a machine for its addresses; the others are for their names.
static bool is_of_usual_name(const struct machine *machine) {
    return strlen(machine->name) <= 5;
}

// What the caller may leave out is left out by turns.
static void vary(struct question *question, size_t turn) {
    question->without_extras = turn & 1;
    question->with_tuple = turn & 2;
}

static void sweep(struct question question, const struct machine *machine) {
    load_module();
    size_t needed = need(&question, machine);
    if (!is_stock()) {
        // An answer that there is none does not depend on the size; and once an answer fits it does not change.
        size_t step = needed == 0 ? 7 : 1, largest = needed == 0 || is_of_usual_name(machine) ? LARGEST_SWEPT : needed + 64;
        for (size_t offset = 0; offset < 16; offset++)
            for (size_t size = 0; size <= largest && !failures(); size += step) {
                vary(&question, size + offset);
                ask_with_size(&question, machine, offset, size);
            }
    }
    // Around the exact size, where the sweep does not reach or, with the original, would take minutes. The original
    // is asked with aligned buffers only: it writes wherever the buffer begins, as glibc's are aligned.
    for (size_t turn = 0; turn < 4; turn++) {
        vary(&question, turn);
        for (size_t size = needed > 9 ? needed - 9 : 0; size <= needed + 9; size += is_stock() ? 3 : 1)
            for (size_t offset = 0; offset < (is_stock() ? 1 : 16); offset++)
                ask_with_size(&question, machine, offset, size);
        ask_with_size(&question, machine, 0, 0);
        ask_with_size(&question, machine, 0, 1);
        ask_with_size(&question, machine, 0, needed - (needed != 0));
        ask_with_size(&question, machine, 0, needed);
        ask_with_size(&question, machine, 0, 32768);
    }
}

static void sweep_names(enum entry entry, int family) {
    for (const struct machine *machine = machines; machine < machines + machine_count; machine++)
        if (machine->kind == WITH_ADDRESSES) {
            subject("%s", machine->name);
            sweep((struct question){.entry = entry, .name = machine->name, .family = family}, machine);
        }
}

static void by_name4(void) {
    sweep_names(BY_NAME4, AF_UNSPEC);
}

static void by_name3_v4(void) {
    sweep_names(BY_NAME3, AF_INET);
}

static void by_name3_v6(void) {
    sweep_names(BY_NAME3, AF_INET6);
}

static void by_name2_v4(void) {
    sweep_names(BY_NAME2, AF_INET);
}

static void by_name2_v6(void) {
    sweep_names(BY_NAME2, AF_INET6);
}

static void by_name(void) {
    sweep_names(BY_NAME, AF_UNSPEC);
}

static void sweep_addresses(int family) {
    for (const struct machine *machine = machines; machine < machines + machine_count; machine++) {
        size_t count = count_of_family(machine, family);
        if (count == 0)
            continue;
        subject("the last address of %s", machine->name);
        sweep((struct question){.entry = BY_ADDRESS,
                                .family = family,
                                .address = address_of_family(machine, family, count - 1)->bytes,
                                .length = (socklen_t)length_of_family(family)},
              machine);
    }
}

static void by_address_v4(void) {
    sweep_addresses(AF_INET);
}

static void by_address_v6(void) {
    sweep_addresses(AF_INET6);
}

static void at_a_guard_page(void) {
    load_module();
    size_t page = 65536;
    char *map = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(map != MAP_FAILED && mprotect(map + page, page, PROT_NONE) == 0);
    for (const struct machine *machine = machines; machine < machines + machine_count; machine++)
        for (int entry = BY_NAME; entry <= BY_NAME4; entry++) {
            struct question question = {.entry = (enum entry)entry, .name = machine->name, .family = AF_INET};
            size_t largest = is_stock() ? 64 : 1024;
            for (size_t size = 0; size < largest; size += is_stock() ? 8 : 1) {
                struct answer answer;
                ask_into(&question, &answer, map + page - size, size);
            }
        }
}

static void the_name_of_the_caller_is_not_part_of_the_answer(void) {
    char name[] = "three";
    struct answer answer = ask4(name);
    check_found(&answer);
    memset(name, 'x', sizeof name - 1);
    CHECK_TEXT(answer.tuples->name, "three");
    CHECK(answer.tuples->name != name);
}

static const struct test tests[] = {
    {"gethostbyname4_r fills a buffer of any size and alignment as it should", by_name4, EVERYWHERE},
    {"gethostbyname3_r fills a buffer of any size and alignment as it should, IPv4", by_name3_v4, EVERYWHERE},
    {"gethostbyname3_r fills a buffer of any size and alignment as it should, IPv6", by_name3_v6, EVERYWHERE},
    {"gethostbyname2_r fills a buffer of any size and alignment as it should, IPv4", by_name2_v4, EVERYWHERE},
    {"gethostbyname2_r fills a buffer of any size and alignment as it should, IPv6", by_name2_v6, EVERYWHERE},
    {"gethostbyname_r fills a buffer of any size and alignment as it should", by_name, EVERYWHERE},
    {"gethostbyaddr_r fills a buffer of any size and alignment as it should, IPv4", by_address_v4, OURS_ONLY},
    {"gethostbyaddr_r fills a buffer of any size and alignment as it should, IPv6", by_address_v6, OURS_ONLY},
    {"a buffer that ends at an unmapped page is not overrun", at_a_guard_page, EVERYWHERE},
    {"the name in the answer is a copy", the_name_of_the_caller_is_not_part_of_the_answer, EVERYWHERE},
};

int main(int argc, char **argv) {
    return run_tests(argc, argv, tests, sizeof tests / sizeof *tests);
}
