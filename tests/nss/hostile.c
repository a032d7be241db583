// Records, links and names that nobody wrote with good will: whatever they hold, the answer is well formed, lies within
// the buffer, and the process lives on.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "check.h"
#include "module.h"

enum { RECORD_COUNT = 20000, LINK_COUNT = 3000, NAME_COUNT = 30000, PAGE = 65536 };

// xorshift64: the same numbers in every run.
static uint64_t state = 0x9e3779b97f4a7c15;

static uint64_t any(uint64_t limit) {
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (state >> 16) % limit;
}

// A buffer that ends at a page which may not be touched; a red zone lies before it.
static char *end_of_buffer;

static void map_buffer(void) {
    load_module();
    char *map = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(map != MAP_FAILED && mprotect(map + PAGE, PAGE, PROT_NONE) == 0);
    end_of_buffer = map + PAGE;
}

static void check_within(const char *buffer, const void *pointer, size_t length) {
    const char *start = pointer;
    CHECK(start >= buffer && start + length <= end_of_buffer);
}

static void check_well_formed(const struct question *question, const struct answer *answer, const char *buffer) {
    switch (answer->status) {
    case NSS_STATUS_NOTFOUND:
        check_not_found(answer);
        return;
    case NSS_STATUS_TRYAGAIN:
        check_told(answer, NSS_STATUS_TRYAGAIN, ERANGE, NETDB_INTERNAL);
        return;
    case NSS_STATUS_UNAVAIL:
        check_unavailable(answer, answer->errnop);
        CHECK(answer->errnop > 0 && answer->errnop < 200);
        return;
    default:
        check_found(answer);
    }
    if (question->entry == BY_NAME4) {
        for (const struct gaih_addrtuple *tuple = answer->tuples; tuple; tuple = tuple->next) {
            check_within(buffer, tuple, sizeof *tuple);
            CHECK(tuple->family == AF_INET || tuple->family == AF_INET6);
            CHECK_TEXT(tuple->name, question->name);
        }
        return;
    }
    check_within(buffer, answer->host.h_name, strlen(answer->host.h_name) + 1);
    check_within(buffer, answer->host.h_aliases, sizeof(char *));
    CHECK(answer->host.h_addr_list[0] != NULL);
    for (char **entry = answer->host.h_addr_list; *entry; entry++) {
        check_within(buffer, entry, 2 * sizeof *entry);
        check_within(buffer, *entry, (size_t)answer->host.h_length);
    }
}

static void ask_hostile(const struct question *question) {
    static const size_t sizes[] = {65536 - 64, 1024, 160, 40, 0};
    size_t size = sizes[any(sizeof sizes / sizeof *sizes)];
    char *buffer = end_of_buffer - size;
    memset(buffer - 64, 0xa5, 64);
    struct answer answer;
    ask_into(question, &answer, buffer, size);
    check_well_formed(question, &answer, buffer);
    for (int i = 1; i <= 64; i++)
        if ((unsigned char)buffer[-i] != 0xa5)
            FAIL("byte %d before the buffer was written to", i);
}

static void ask_all_ways(const char *name) {
    ask_hostile(&(struct question){.entry = BY_NAME4, .name = name});
    ask_hostile(&(struct question){.entry = BY_NAME3, .name = name, .family = any(2) ? AF_INET : AF_INET6});
}

static void random_bytes(void) {
    map_buffer();
    static unsigned char text[70000];
    for (unsigned i = 0; i < RECORD_COUNT / 2 && !failures(); i++) {
        size_t length = any(i % 64 == 0 ? sizeof text : 600);
        for (size_t n = 0; n < length; n++)
            text[n] = (unsigned char)any(256);
        subject("record %u", i);
        write_record_bytes("hostile", text, length);
        ask_all_ways("hostile");
    }
}

static size_t damage(char *text, size_t length, size_t room) {
    static const char *const pieces[] = {"\n",    "=",          "\"", "'",    "\\",    " ",      "%",       "ADDRESSES=", "LEADER=", "fe80::1%5 ",
                                         "::",    "10.0.0.1 ",  "host", "\\\n", "CLASS=", "NETIF=", "#",     ";",          ".",       "1.1.1.1.1 ",
                                         "::%0 ", "99999999999999999999 "};
    for (uint64_t changes = any(4); changes > 0; changes--) {
        size_t at = (size_t)any(length + 1);
        switch (any(4)) {
        case 0:
            if (at < length)
                text[at] = (char)any(256);
            break;
        case 1:
            if (at < length) {
                size_t gone = (size_t)any(length - at) + 1;
                memmove(text + at, text + at + gone, length - at - gone);
                length -= gone;
            }
            break;
        case 2: {
            const char *piece = pieces[any(sizeof pieces / sizeof *pieces)];
            size_t size = strlen(piece);
            if (length + size < room) {
                memmove(text + at + size, text + at, length - at);
                memcpy(text + at, piece, size);
                length += size;
            }
            break;
        }
        default: {
            // A part of the text once more.
            size_t size = (size_t)any(length - at + 1);
            if (length + size < room) {
                memmove(text + at + size, text + at, length - at);
                length += size;
            }
        }
        }
    }
    return length;
}

static void damaged_records(void) {
    map_buffer();
    char good[1024], text[8192];
    int length = snprintf(good, sizeof good,
                          "# This is private data. Do not parse.\nNAME=hostile\nCLASS=container\nSERVICE=\"a b\"\n%sNETIF=\"2 3\"\n"
                          "ADDRESSES=\"10.0.0.1 10.0.0.2 fd00::1 fe80::1:2:3%%5\"\n",
                          lines_of_leader(getppid()));
    unsigned found = 0;
    for (unsigned i = 0; i < RECORD_COUNT / 2 && !failures(); i++) {
        memcpy(text, good, (size_t)length);
        subject("record %u", i);
        write_record_bytes("hostile", text, damage(text, (size_t)length, sizeof text));
        ask_all_ways("hostile");
        struct answer answer = ask4("hostile");
        found += answer.status == NSS_STATUS_SUCCESS;
    }
    // Some survive, or the damage done would be of one kind only.
    CHECK(found > RECORD_COUNT / 20 && found < RECORD_COUNT / 2 - RECORD_COUNT / 20);
}

static void random_links(void) {
    map_buffer();
    const char path[] = ADDRESSES "/0a3c0001";
    const unsigned char address[4] = {10, 60, 0, 1};
    for (unsigned i = 0; i < LINK_COUNT && !failures(); i++) {
        char target[200];
        size_t length = 1 + any(any(4) ? 70 : sizeof target - 1);
        for (size_t n = 0; n < length; n++)
            target[n] = (char)(any(2) ? 'a' + any(26) : 1 + any(255));
        target[length - (length == sizeof target)] = 0;
        subject("link %u", i);
        unlink(path);
        REQUIRE(symlink(target, path) == 0);
        ask_hostile(&(struct question){.entry = BY_ADDRESS, .address = address, .length = 4, .family = AF_INET});
    }
}

static void random_names(void) {
    map_buffer();
    for (unsigned i = 0; i < NAME_COUNT && !failures(); i++) {
        // The name ends where the readable memory does.
        static const char alphabet[] = "abc019-.-._:/%";
        static char *end;
        if (!end) {
            end = mmap(NULL, 2 * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
            REQUIRE(end != MAP_FAILED && mprotect(end + PAGE, PAGE, PROT_NONE) == 0);
            end += PAGE;
        }
        size_t length = any(any(16) ? 80 : 2000);
        char *name = end - length - 1;
        for (size_t n = 0; n < length; n++)
            name[n] = (char)(i % 2 ? 1 + any(255) : (unsigned char)alphabet[any(sizeof alphabet - 1)]);
        end[-1] = 0;
        subject("name %u", i);
        ask_all_ways(name);
    }
}

static const struct test tests[] = {
    {"records of random bytes do no harm", random_bytes, OURS_ONLY},
    {"damaged records do no harm", damaged_records, OURS_ONLY},
    {"index links of random bytes do no harm", random_links, OURS_ONLY},
    {"random names, up to the end of readable memory, do no harm", random_names, OURS_ONLY},
};

int main(int argc, char **argv) {
    return run_tests(argc, argv, tests, sizeof tests / sizeof *tests);
}
