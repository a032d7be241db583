// The users and groups of machines: called directly, and as any program finds them through glibc.
#define _GNU_SOURCE
#include <errno.h>
#include <grp.h>
#include <inttypes.h>
#include <pthread.h>
#include <pwd.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <fcntl.h>

#include "check.h"
#include "filter.h"
#include "module.h"
#include "process.h"

enum { NOBODY = 65534 };

// A question to one of the four entry points, and what it told.
struct asked {
    enum nss_status status;
    int errnop, error;
    // Of a user or of a group.
    const char *name, *password, *real_name, *home, *shell;
    unsigned id, group;
    char **members;
};

typedef enum nss_status user_by_name(const char *, struct passwd *, char *, size_t, int *);
typedef enum nss_status user_by_id(uid_t, struct passwd *, char *, size_t, int *);
typedef enum nss_status group_by_name(const char *, struct group *, char *, size_t, int *);
typedef enum nss_status group_by_id(gid_t, struct group *, char *, size_t, int *);

static void *entry_points[4];

static void load_entry_points(void) {
    const char *const names[] = {"getpwnam_r", "getpwuid_r", "getgrnam_r", "getgrgid_r"};
    load_module();
    for (size_t i = 0; i < 4; i++) {
        entry_points[i] = module_function(names[i]);
        REQUIRE(entry_points[i]);
    }
}

// Asks for a name, or for an id where it is NULL.
static struct asked ask_into_buffer(bool for_group, const char *name, unsigned id, char *buffer, size_t size) {
    struct passwd user;
    struct group group;
    struct asked asked = {.errnop = ERRNOP_BEFORE};
    if (!entry_points[0])
        load_entry_points();
    memset(&user, 0x5a, sizeof user);
    memset(&group, 0x5a, sizeof group);
    struct passwd user_before = user;
    struct group group_before = group;
    errno = ERRNO_BEFORE;
    if (for_group)
        asked.status = name ? ((group_by_name *)entry_points[2])(name, &group, buffer, size, &asked.errnop)
                            : ((group_by_id *)entry_points[3])(id, &group, buffer, size, &asked.errnop);
    else
        asked.status = name ? ((user_by_name *)entry_points[0])(name, &user, buffer, size, &asked.errnop)
                            : ((user_by_id *)entry_points[1])(id, &user, buffer, size, &asked.errnop);
    asked.error = errno;
    if (asked.status != NSS_STATUS_SUCCESS) {
        CHECK(memcmp(&user, &user_before, sizeof user) == 0 && memcmp(&group, &group_before, sizeof group) == 0);
    } else if (for_group) {
        asked.name = group.gr_name, asked.password = group.gr_passwd, asked.id = group.gr_gid, asked.members = group.gr_mem;
    } else {
        asked.name = user.pw_name, asked.password = user.pw_passwd, asked.id = user.pw_uid, asked.group = user.pw_gid;
        asked.real_name = user.pw_gecos, asked.home = user.pw_dir, asked.shell = user.pw_shell;
    }
    return asked;
}

static struct asked ask_anyone(bool for_group, const char *name, unsigned id) {
    static _Thread_local char *buffer;
    if (!buffer)
        buffer = malloc(1024);
    REQUIRE(buffer);
    return ask_into_buffer(for_group, name, id, buffer, 1024);
}

static void check_end(const struct asked *asked, enum nss_status status, int error) {
    CHECK_EQUAL(asked->status, status);
    CHECK_EQUAL(asked->errnop, error ? error : ERRNOP_BEFORE);
    CHECK_EQUAL(asked->error, ERRNO_BEFORE);
}

static void expect_id(unsigned id, const char *user, const char *group) {
    subject("id %u", id);
    for (int for_group = 0; for_group < 2; for_group++) {
        const char *expected = for_group ? group : user;
        struct asked asked = ask_anyone(for_group, NULL, id);
        check_end(&asked, expected ? NSS_STATUS_SUCCESS : NSS_STATUS_NOTFOUND, 0);
        if (!expected || asked.status != NSS_STATUS_SUCCESS)
            continue;
        CHECK_TEXT(asked.name, expected);
        CHECK_EQUAL(asked.id, id);
        // And back.
        asked = ask_anyone(for_group, expected, 0);
        check_end(&asked, NSS_STATUS_SUCCESS, 0);
        CHECK_EQUAL(asked.id, id);
        asked = ask_anyone(!for_group, expected, 0);
        check_end(&asked, NSS_STATUS_NOTFOUND, 0);
    }
}

static void expect_nobody(unsigned id) {
    expect_id(id, NULL, NULL);
}

// A user and a group of the same machine and id inside, from the user's name; NULL stands for nobody.
static void expect_name(const char *user, unsigned id) {
    char group[64];
    snprintf(group, sizeof group, "vg%s", user + 2);
    subject("%s", user);
    for (int for_group = 0; for_group < 2; for_group++) {
        struct asked asked = ask_anyone(for_group, for_group ? group : user, 0);
        check_end(&asked, id ? NSS_STATUS_SUCCESS : NSS_STATUS_NOTFOUND, 0);
        if (asked.status == NSS_STATUS_SUCCESS) {
            CHECK_EQUAL(asked.id, id);
            CHECK_TEXT(asked.name, for_group ? group : user);
        }
    }
}

static void no_name(const char *user) {
    expect_name(user, 0);
}

// The same list for uids and gids.
static void list(const char *entry, const char *target) {
    link_entry(UIDS, entry, target);
    link_entry(GIDS, entry, target);
}

// A machine with the same map for uids and gids, and the leader that outlives the test.
static void machine_with(const char *name, const char *map) {
    write_mapped(name, getppid(), map, map);
}

// `web` has 100000 and the 65,535 behind.
static void make_web(void) {
    machine_with("web", "0:100000:65536");
    list("0001", "100000:65536:0:web;");
    list("0002", "100000:65536:0:web;");
}

static void all_fields(void) {
    make_web();
    struct asked user = ask_anyone(false, NULL, 100007);
    check_end(&user, NSS_STATUS_SUCCESS, 0);
    CHECK_TEXT(user.name, "vu-web-7");
    CHECK_TEXT(user.password, "x");
    CHECK_EQUAL(user.id, 100007);
    CHECK_EQUAL(user.group, NOBODY);
    CHECK_TEXT(user.real_name, "UID 7 of Container web");
    CHECK_TEXT(user.home, "/");
    CHECK_TEXT(user.shell, "/usr/sbin/nologin");
    struct asked group = ask_anyone(true, "vg-web-7", 0);
    check_end(&group, NSS_STATUS_SUCCESS, 0);
    CHECK_TEXT(group.name, "vg-web-7");
    CHECK_TEXT(group.password, "x");
    CHECK_EQUAL(group.id, 100007);
    CHECK(group.members && !group.members[0]);
}

static void both_ways(void) {
    make_web();
    expect_id(100000, "vu-web-0", "vg-web-0");
    expect_id(131072, "vu-web-31072", "vg-web-31072");
    expect_id(165534, "vu-web-65534", "vg-web-65534");
    expect_nobody(99999);
    expect_nobody(165536);
    expect_nobody(4294967294);
    no_name("vu-web-65536");
    no_name("vu-nobody-0");
    write_mapped("apart", getppid(), "0:200000:10", "0:300000:10");
    link_entry(UIDS, "0003", "200000:10:0:apart;");
    link_entry(GIDS, "0004", "300000:10:0:apart;");
    expect_id(200003, "vu-apart-3", NULL);
    expect_id(300003, NULL, "vg-apart-3");
}

static bool lies_within(const void *piece, size_t length, const char *buffer, size_t size) {
    const char *start = piece;
    return start >= buffer && start + length <= buffer + size;
}

static void any_buffer(void) {
    enum { ZONE = 32, LARGEST = 160 };
    char memory[ZONE + 16 + LARGEST + ZONE] __attribute__((aligned(16)));
    make_web();
    for (int for_group = 0; for_group < 2; for_group++)
        for (size_t offset = 0; offset < 16; offset++) {
            size_t smallest = 0;
            for (size_t size = 0; size <= LARGEST; size++) {
                subject("%s, %zu bytes at %zu", for_group ? "group" : "user", size, offset);
                memset(memory, 0x55, sizeof memory);
                char *buffer = memory + ZONE + offset;
                struct asked asked = ask_into_buffer(for_group, NULL, 165534, buffer, size);
                for (size_t i = 0; i < sizeof memory; i++)
                    if ((i < ZONE + offset || i >= ZONE + offset + size) && memory[i] != 0x55)
                        FAIL("byte %zd is written", (ssize_t)(i - ZONE - offset));
                if (asked.status == NSS_STATUS_TRYAGAIN) {
                    check_end(&asked, NSS_STATUS_TRYAGAIN, ERANGE);
                    CHECK_EQUAL(smallest, 0);
                    continue;
                }
                check_end(&asked, NSS_STATUS_SUCCESS, 0);
                smallest = smallest ? smallest : size;
                CHECK_TEXT(asked.name, for_group ? "vg-web-65534" : "vu-web-65534");
                CHECK_TEXT(asked.password, "x");
                CHECK(lies_within(asked.name, 13, buffer, size) && lies_within(asked.password, 2, buffer, size));
                if (for_group) {
                    CHECK(lies_within(asked.members, sizeof(char *), buffer, size) && (uintptr_t)asked.members % sizeof(char *) == 0);
                } else {
                    CHECK_TEXT(asked.real_name, "UID 65534 of Container web");
                    CHECK(lies_within(asked.real_name, 27, buffer, size) && lies_within(asked.home, 2, buffer, size));
                    CHECK(lies_within(asked.shell, 18, buffer, size));
                }
            }
            CHECK(smallest > 0 && smallest < LARGEST);
        }
    // Nobody is nobody with any buffer.
    for (size_t size = 0; size < 64; size += 8) {
        struct asked asked = ask_into_buffer(false, NULL, 99999, memory, size);
        check_end(&asked, NSS_STATUS_NOTFOUND, 0);
    }
}

static const unsigned HOSTS_OWN[] = {0, 1, 1000, 65533, 65534, 65535, 4294967295};
static const char *const NOT_OURS[] = {
    "",           "root",          "vu",         "vu-",         "vu-web",      "vu--0",          "vu-web-",        "vu-web-00",
    "vu-web-01",  "vu-web-+1",     "vu-web--1",  "vu-web- 1",   "vu-web-1 ",   "vu-web-65535",   "vu-web-4294967295", "vu-web-4294967296",
    "vu-web-0x1", "vu-a.b-0",      "vu-we_b-0",  "vu-w\xc3\xa9-0", "vu-../x-0", "vu-/etc/x-0",   "Vu-web-0",       "VU-WEB-0",
    "vux-web-0",  "vu_web_0",      "nobody",     "vu-.host-0",  "vu--web-0",   "vu-web--0",      "vu-a-name-of-twenty-six-bytes-10",
    "vu-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-0"};

static void not_ours(void) {
    make_web();
    list("0000", "0:65536:0:web;");
    list("ffff", "4294901760:65535:0:web;");
    for (size_t i = 0; i < sizeof HOSTS_OWN / sizeof *HOSTS_OWN; i++)
        expect_nobody(HOSTS_OWN[i]);
    for (size_t i = 0; i < sizeof NOT_OURS / sizeof *NOT_OURS; i++) {
        subject("'%s'", NOT_OURS[i]);
        struct asked asked = ask_anyone(false, NOT_OURS[i], 0);
        check_end(&asked, NSS_STATUS_NOTFOUND, 0);
        asked = ask_anyone(true, NOT_OURS[i], 0);
        check_end(&asked, NSS_STATUS_NOTFOUND, 0);
    }
    char long_name[1 << 16];
    memset(long_name, 'x', sizeof long_name);
    memcpy(long_name, "vu-", 3);
    strcpy(long_name + sizeof long_name - 3, "-0");
    struct asked asked = ask_anyone(false, long_name, 0);
    check_end(&asked, NSS_STATUS_NOTFOUND, 0);
}

static const unsigned CALLS[] = {SYS_openat,     SYS_open,  SYS_readlink, SYS_readlinkat, SYS_read,  SYS_pread64,    SYS_stat,       SYS_lstat,
                                 SYS_newfstatat, SYS_fstat, SYS_statx,    SYS_close,      SYS_ppoll, SYS_pidfd_open, SYS_getdents64, SYS_access};

static void no_system_call(void) {
    struct filtered killed[sizeof CALLS / sizeof *CALLS];
    for (size_t i = 0; i < sizeof CALLS / sizeof *CALLS; i++)
        killed[i] = (struct filtered){CALLS[i], 0};
    struct asked asked = ask_anyone(false, "root", 0);
    filter_calls(killed, sizeof killed / sizeof *killed);
    for (int for_group = 0; for_group < 2; for_group++) {
        for (size_t i = 0; i < sizeof HOSTS_OWN / sizeof *HOSTS_OWN; i++) {
            asked = ask_anyone(for_group, NULL, HOSTS_OWN[i]);
            check_end(&asked, NSS_STATUS_NOTFOUND, 0);
        }
        for (size_t i = 0; i < sizeof NOT_OURS / sizeof *NOT_OURS; i++) {
            asked = ask_anyone(for_group, NOT_OURS[i], 0);
            check_end(&asked, NSS_STATUS_NOTFOUND, 0);
        }
        asked = ask_anyone(for_group, for_group ? "vu-web-0" : "vg-web-0", 0);
        check_end(&asked, NSS_STATUS_NOTFOUND, 0);
    }
}

static void many_lines(void) {
    machine_with("lines", "0:100000:10 10:300000:10 1000:165536:1");
    list("0001", "100000:10:0:lines;");
    list("0002", "165536:1:1000:lines;");
    list("0004", "300000:10:10:lines;");
    expect_id(100009, "vu-lines-9", "vg-lines-9");
    expect_nobody(100010);
    expect_id(300000, "vu-lines-10", "vg-lines-10");
    expect_id(300009, "vu-lines-19", "vg-lines-19");
    expect_id(165536, "vu-lines-1000", "vg-lines-1000");
    no_name("vu-lines-20");
    no_name("vu-lines-999");
}

static void ids_of_the_host(void) {
    machine_with("plain", "0:0:4294967295");
    machine_with("rootless", "0:1000:1 1:100000:65535");
    list("0000", "0:4294967295:0:plain;1000:1:0:rootless;");
    list("0001", "0:4294967295:0:plain;100000:65535:1:rootless;");
    list("wide", "0:4294967295:0:plain;");
    expect_nobody(1000);
    expect_nobody(70000);
    expect_nobody(4294967294);
    expect_id(100000, "vu-rootless-1", "vg-rootless-1");
    no_name("vu-plain-0");
    no_name("vu-plain-100000");
    no_name("vu-rootless-0");
}

static void overlapping(void) {
    pid_t leader = start_process();
    write_mapped("inner", leader, "0:120000:10", "0:120000:10");
    machine_with("outer", "0:100000:65536");
    list("0001", "100000:65536:0:outer;120000:10:0:inner;");
    expect_id(119999, "vu-outer-19999", "vg-outer-19999");
    expect_id(120010, "vu-outer-20010", "vg-outer-20010");
    expect_nobody(120000);
    expect_nobody(120009);
    expect_name("vu-outer-20000", 120000);
    expect_name("vu-inner-0", 120000);
    end_process(leader);
    expect_id(120000, "vu-outer-20000", "vg-outer-20000");
    no_name("vu-inner-0");
}

static void maps_written_later(void) {
    machine_with("late", "");
    list("0001", "100000:65536:0:other;");
    expect_nobody(100000);
    no_name("vu-late-0");
    machine_with("late", "0:100000:65536");
    expect_name("vu-late-0", 100000);
    list("0001", "100000:65536:0:late;");
    expect_id(100000, "vu-late-0", "vg-late-0");
}

static void ids_that_mean_none(void) {
    machine_with("high", "0:4294900000:67295 4294967294:100000:1");
    list("fffe", "4294900000:67295:0:high;");
    list("ffff", "4294900000:67295:0:high;");
    list("0001", "100000:1:4294967294:high;");
    expect_id(4294900000, "vu-high-0", "vg-high-0");
    expect_id(4294967294, "vu-high-67294", "vg-high-67294");
    expect_nobody(4294965535);
    expect_nobody(4294967295);
    expect_id(100000, "vu-high-4294967294", "vg-high-4294967294");
    no_name("vu-high-65535");
    machine_with("low", "0:65535:2");
    list("0000", "65535:2:0:low;");
    list("0001", "65535:2:0:low;");
    expect_nobody(65535);
    expect_id(65536, "vu-low-1", "vg-low-1");
    no_name("vu-low-0");
}

static void aliases(void) {
    const char *const dotted = "web.example.com", *const long_name = "a-name-of-twenty-six-bytes";
    machine_with(dotted, "0:100000:65536");
    machine_with(long_name, "0:200000:60000");
    list("0001", "100000:65536:0:web.example.com;");
    list("0002", "100000:65536:0:web.example.com;");
    list("0003", "200000:60000:0:a-name-of-twenty-six-bytes;");
    expect_nobody(100000);
    // sha256sum(1) of the names.
    link_entry(ALIASES, "a273ea6b", dotted);
    link_entry(ALIASES, "e3ee03db", long_name);
    expect_id(100000, "vu-a273ea6b-0", "vg-a273ea6b-0");
    expect_id(165534, "vu-a273ea6b-65534", "vg-a273ea6b-65534");
    expect_id(200009, "vu-a-name-of-twenty-six-bytes-9", "vg-a-name-of-twenty-six-bytes-9");
    expect_id(200010, "vu-e3ee03db-10", "vg-e3ee03db-10");
    no_name("vu-e3ee03db-9");
    no_name("vu-00000000-0");
    struct asked asked = ask_anyone(false, NULL, 100005);
    CHECK_TEXT(asked.real_name, "UID 5 of Container web.example.com");
    link_entry(ALIASES, "a273ea6b", long_name);
    expect_nobody(100000);
    no_name("vu-a273ea6b-0");
    link_entry(ALIASES, "a273ea6b", "../../etc/passwd");
    expect_nobody(100000);
    no_name("vu-a273ea6b-0");
    // The longest names there are, in full.
    const char *const sixty_four = "a-name-of-sixty-four-bytes.abcdefghijklmnopqrstuvwxyz-0123456789";
    machine_with(sixty_four, "4294900000:300000:60000");
    link_entry(ALIASES, "a15932be", sixty_four);
    char entry[128];
    snprintf(entry, sizeof entry, "300000:60000:4294900000:%s;", sixty_four);
    list("0004", entry);
    expect_id(300000, "vu-a15932be-4294900000", "vg-a15932be-4294900000");
}

static void wide_ranges(void) {
    machine_with("wide", "0:1000000:3000000000");
    machine_with("web", "0:2000000:10");
    list("wide", "1000000:3000000000:0:wide;");
    list("001e", "2000000:10:0:web;1000000:3000000000:0:wide;");
    expect_id(1000000, "vu-wide-0", "vg-wide-0");
    expect_id(3000999999, "vu-wide-2999999999", "vg-wide-2999999999");
    expect_id(2000010, "vu-wide-1000010", "vg-wide-1000010");
    expect_nobody(2000009);
    expect_nobody(3001000000);
}

// 300 machines of 200 ids each, in a list that no symlink holds.
static void make_crowd(void) {
    char name[64], map[64], *text = NULL;
    size_t length;
    FILE *stream = open_memstream(&text, &length);
    for (unsigned i = 0; i < 300; i++) {
        unsigned first = 0x100000 + i * 200;
        snprintf(name, sizeof name, "machine-%u", i);
        snprintf(map, sizeof map, "0:%u:200", first);
        machine_with(name, map);
        fprintf(stream, "%u:200:0:%s;", first, name);
    }
    fclose(stream);
    write_list(UIDS, "0010", text);
    write_list(GIDS, "0010", text);
    free(text);
}

static void a_crowded_page(void) {
    make_crowd();
    expect_id(0x100000, "vu-machine-0-0", "vg-machine-0-0");
    expect_id(0x100000 + 299 * 200 + 199, "vu-machine-299-199", "vg-machine-299-199");
    expect_id(0x100000 + 150 * 200 + 77, "vu-machine-150-77", "vg-machine-150-77");
    expect_nobody(0x100000 + 300 * 200);
}

// A list of one entry, which ends with these words: of a leader, or none.
static void list_mortal(const char *leader) {
    char entry[128];
    snprintf(entry, sizeof entry, "100000:65536:0:mortal%s;", leader);
    list("0001", entry);
}

static void a_dying_machine(void) {
    pid_t leader;
    for (int is_indexed = 0; is_indexed < 2; is_indexed++) {
        subject(is_indexed ? "the list names the leader" : "the list does not name the leader");
        leader = start_process();
        write_mapped("mortal", leader, "0:100000:65536", "0:100000:65536");
        list_mortal(is_indexed ? leader_in_lists(leader) : "");
        expect_id(100000, "vu-mortal-0", "vg-mortal-0");
        make_zombie(leader);
        expect_nobody(100000);
        no_name("vu-mortal-0");
        end_process(leader);
        expect_nobody(100000);
        no_name("vu-mortal-0");
    }
    write_record("mortal", "NAME=mortal\nCLASS=container\nUIDMAP=0:100000:65536\nGIDMAP=0:100000:65536\n");
    expect_nobody(100000);
    no_name("vu-mortal-0");
}

static void expect_user(const char *name) {
    struct asked asked = ask_anyone(false, NULL, 100000);
    check_end(&asked, NSS_STATUS_SUCCESS, 0);
    CHECK_TEXT(asked.name, name);
}

static void indexed_leaders(void) {
    // The record says something else, so that it is seen which of them answers.
    pid_t leader = start_process();
    write_mapped("mortal", leader, "7:100000:10", "7:100000:10");
    list_mortal(leader_in_lists(leader));
    expect_user(pidfd_id(leader) ? "vu-mortal-0" : "vu-mortal-7");
    end_process(leader);
    write_mapped("mortal", getppid(), "7:100000:10", "7:100000:10");
    expect_user("vu-mortal-7");
    static const char *const others[] = {":1:18446744073709551615", ":2147483647:5", ":0:0", ":1:0", ""};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        subject("leader '%s'", others[i]);
        list_mortal(others[i]);
        expect_user("vu-mortal-7");
    }
}

static void other_records(void) {
    list("0001", "100000:65536:0:m;");
    write_record("m", "NAME=m\nCLASS=vm\n%sUIDMAP=0:100000:65536\nGIDMAP=0:100000:65536\n", lines_of_leader(getppid()));
    expect_nobody(100000);
    no_name("vu-m-0");
    subject("a record of another daemon, without maps");
    write_record("m", "NAME=m\nCLASS=container\n%s", lines_of_leader(getppid()));
    expect_nobody(100000);
    no_name("vu-m-0");
    subject("no record");
    char path[128];
    path_of_record(path, "m");
    REQUIRE(unlink(path) == 0);
    expect_nobody(100000);
    subject("a link for a record");
    REQUIRE(symlink("web", path) == 0);
    expect_nobody(100000);
    no_name("vu-m-0");
    REQUIRE(unlink(path) == 0);
}

static void damaged_records(void) {
    const char *const damaged[] = {
        "",
        "CLASS=container",
        "NAME=other\nCLASS=container\nLEADER=1\n",
        "CLASS=container\nLEADER=x\n",
        "CLASS=container\nLEADER=1\nUIDMAP=0:100000\n",
        "CLASS=container\nLEADER=1\nUIDMAP=\"0:100000:65536 0\"\n",
        "CLASS=container\nLEADER=1\nUIDMAP=0:100000:0\n",
        "CLASS=container\nLEADER=1\nUIDMAP=0:4294967295:2\n",
        "CLASS=container\nLEADER=1\nGIDMAP=0:100000:-1\n",
    };
    list("0001", "100000:65536:0:m;");
    for (size_t i = 0; i < sizeof damaged / sizeof *damaged; i++) {
        subject("%s", damaged[i]);
        write_record("m", "%s", damaged[i]);
        for (int for_group = 0; for_group < 2; for_group++) {
            struct asked asked = ask_anyone(for_group, NULL, 100000);
            check_end(&asked, NSS_STATUS_UNAVAIL, EBADMSG);
            asked = ask_anyone(for_group, for_group ? "vg-m-0" : "vu-m-0", 0);
            check_end(&asked, NSS_STATUS_UNAVAIL, EBADMSG);
        }
    }
    expect_nobody(99999);
}

static void damaged_index(void) {
    make_web();
    const char *const lists[] = {"x", ";", ";;;;", "100000:65536:0:web", "100000:65536:web;", "../0002", "/etc/passwd",
                                 "100000:65536:0:we_b;", "100000:65536:0:../machines/web;", "99999999999:1:0:web;"};
    for (size_t i = 0; i < sizeof lists / sizeof *lists; i++) {
        list("0001", lists[i]);
        expect_nobody(100000);
    }
    subject("whatever its fields say of the id inside, the record decides");
    list("0001", "100000:65536:77:web;");
    expect_id(100000, "vu-web-0", "vg-web-0");
    REQUIRE(unlink(UIDS "/0001") == 0 && mkdir(UIDS "/0001", 0755) == 0);
    subject("a directory");
    struct asked asked = ask_anyone(false, NULL, 100000);
    check_end(&asked, NSS_STATUS_NOTFOUND, 0);
    REQUIRE(rmdir(UIDS "/0001") == 0 && mkfifo(UIDS "/0001", 0644) == 0);
    subject("a FIFO");
    asked = ask_anyone(false, NULL, 100000);
    check_end(&asked, NSS_STATUS_NOTFOUND, 0);
    REQUIRE(unlink(UIDS "/0001") == 0 && rename(UIDS, UIDS ".away") == 0);
    subject("no index");
    asked = ask_anyone(false, NULL, 100000);
    check_end(&asked, NSS_STATUS_NOTFOUND, 0);
    expect_name("vu-web-0", 100000);
    REQUIRE(rename(UIDS ".away", UIDS) == 0);
}

static void random_lists(void) {
    static const char characters[] = "0123456789:;wweebb.-/";
    char text[4096];
    make_web();
    srandom(4);
    for (unsigned i = 0; i < 20000; i++) {
        size_t length = 1 + (size_t)random() % (i % 50 ? 60 : sizeof text - 2);
        for (size_t n = 0; n < length; n++)
            text[n] = characters[(size_t)random() % (sizeof characters - 1)];
        text[length] = 0;
        if (i % 3 == 0)
            memcpy(text, "100000:65536:0:web;", length < 19 ? length : 19);
        if (i % 2)
            link_entry(UIDS, "0001", text);
        else
            write_list(UIDS, "0001", text);
        struct asked asked = ask_anyone(false, NULL, 100000);
        CHECK(asked.status == NSS_STATUS_SUCCESS || asked.status == NSS_STATUS_NOTFOUND);
        if (asked.status == NSS_STATUS_SUCCESS)
            CHECK_TEXT(asked.name, "vu-web-0");
    }
}

static unsigned count_descriptors(void) {
    unsigned count = 0;
    for (int fd = 0; fd < 1024; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void look_up_all(void) {
    expect_id(100000, "vu-web-0", "vg-web-0");
    expect_id(100003, "vu-web-3", "vg-web-3");
    expect_id(0x100000 + 299 * 200, "vu-machine-299-0", "vg-machine-299-0");
    expect_id(1000000000, "vu-wide-0", "vg-wide-0");
    expect_id(700003, "vu-indexed-3", "vg-indexed-3");
    expect_nobody(99999);
    expect_nobody(200);
    no_name("vu-web-70000");
}

static void prepare(void) {
    make_web();
    make_crowd();
    machine_with("wide", "0:1000000000:1000000000");
    list("wide", "1000000000:1000000000:0:wide;");
    machine_with("indexed", "0:700000:10");
    char entry[128];
    snprintf(entry, sizeof entry, "700000:10:0:indexed%s;", leader_in_lists(getppid()));
    list("000a", entry);
    look_up_all();
}

// Leaves this many descriptors free.
static void leave_descriptors(unsigned free_ones) {
    static int spare[512];
    REQUIRE(setrlimit(RLIMIT_NOFILE, &(struct rlimit){256, 256}) == 0);
    unsigned taken = 0;
    for (int fd; (fd = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0;)
        spare[taken++] = fd;
    while (free_ones-- > 0)
        close(spare[--taken]);
}

static void one_descriptor(void) {
    prepare();
    unsigned before = count_descriptors();
    for (unsigned i = 0; i < 100; i++)
        look_up_all();
    CHECK_EQUAL(count_descriptors(), before);
    leave_descriptors(1);
    look_up_all();
}

static void no_descriptor(void) {
    prepare();
    leave_descriptors(0);
    struct asked asked = ask_anyone(false, NULL, 100000);
    check_end(&asked, NSS_STATUS_TRYAGAIN, EMFILE);
    asked = ask_anyone(true, "vg-web-0", 0);
    check_end(&asked, NSS_STATUS_TRYAGAIN, EMFILE);
    asked = ask_anyone(false, "vu-nobody-0", 0);
    check_end(&asked, NSS_STATUS_TRYAGAIN, EMFILE);
    asked = ask_anyone(false, NULL, 0x100000);
    check_end(&asked, NSS_STATUS_TRYAGAIN, EMFILE);
    asked = ask_anyone(false, NULL, 700000);
    check_end(&asked, NSS_STATUS_TRYAGAIN, EMFILE);
    // Where the index says that nobody has it, none is needed.
    asked = ask_anyone(false, NULL, 99999);
    check_end(&asked, NSS_STATUS_NOTFOUND, 0);
}

static void no_pidfds(void) {
    prepare();
    pid_t leader = start_process();
    write_mapped("dead", leader, "0:500000:10", "0:500000:10");
    list("0007", "500000:10:0:dead;");
    make_zombie(leader);
    expect_nobody(500000);
    filter_calls(&(struct filtered){SYS_pidfd_open, EPERM}, 1);
    look_up_all();
    // /proc tells.
    expect_nobody(500000);
    REQUIRE(waitpid(leader, NULL, 0) == leader);
    expect_nobody(500000);
}

static void *look_up_many(void *unused) {
    (void)unused;
    for (unsigned i = 0; i < 300 && !failures(); i++) {
        struct asked asked = ask_anyone(false, NULL, 100000);
        check_end(&asked, NSS_STATUS_SUCCESS, 0);
        CHECK_TEXT(asked.name, "vu-web-0");
        asked = ask_anyone(true, "vg-web-5", 0);
        CHECK_EQUAL(asked.id, 100005);
        struct passwd user, *found;
        char buffer[512];
        CHECK_EQUAL(getpwuid_r(100000, &user, buffer, sizeof buffer, &found), 0);
        CHECK(found && strcmp(user.pw_name, "vu-web-0") == 0);
    }
    return NULL;
}

static void a_hundred_threads(void) {
    make_web();
    unsigned before = count_descriptors();
    pid_t test = getpid(), leader = getppid(), writer = fork();
    if (writer == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (unsigned i = 0; getppid() == test; i++) {
            const char *const other[] = {"0:100000:65536", "0:100000:65536 70000:400000:5"};
            write_mapped("web", leader, other[i % 2], other[i % 2]);
            list("0001", i % 2 ? "100000:65536:0:web;" : "65536:5:0:other;100000:65536:0:web;");
        }
        _exit(0);
    }
    pthread_t threads[100];
    for (size_t i = 0; i < 100; i++)
        REQUIRE(pthread_create(&threads[i], NULL, look_up_many, NULL) == 0);
    for (size_t i = 0; i < 100; i++)
        pthread_join(threads[i], NULL);
    end_process(writer);
    getpwuid(100000);
    CHECK_EQUAL(count_descriptors(), before);
}

static void *look_up_once(void *unused) {
    (void)unused;
    look_up_all();
    return NULL;
}

static void small_stacks(void) {
    prepare();
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    REQUIRE(pthread_attr_setstacksize(&attributes, (size_t)sysconf(_SC_THREAD_STACK_MIN)) == 0);
    for (unsigned i = 0; i < 50; i++) {
        pthread_t thread;
        REQUIRE(pthread_create(&thread, &attributes, look_up_once, NULL) == 0);
        pthread_join(thread, NULL);
    }
}

static void through_glibc(void) {
    make_web();
    struct passwd *user = getpwuid(100001);
    REQUIRE(user);
    CHECK_TEXT(user->pw_name, "vu-web-1");
    CHECK_TEXT(user->pw_gecos, "UID 1 of Container web");
    user = getpwnam("vu-web-65534");
    REQUIRE(user);
    CHECK_EQUAL(user->pw_uid, 165534);
    struct group *group = getgrgid(100001);
    REQUIRE(group);
    CHECK_TEXT(group->gr_name, "vg-web-1");
    CHECK(!group->gr_mem[0]);
    group = getgrnam("vg-web-65534");
    REQUIRE(group);
    CHECK_EQUAL(group->gr_gid, 165534);
    const unsigned nobody[] = {66000, 99999, 165535, 4000000000, 4294967295};
    for (size_t i = 0; i < sizeof nobody / sizeof *nobody; i++) {
        errno = 0;
        CHECK(!getpwuid(nobody[i]) && !getgrgid(nobody[i]));
        CHECK_EQUAL(errno, 0);
    }
    CHECK(!getpwnam("vg-web-0") && !getgrnam("vu-web-0") && !getpwnam("vu-web-00") && !getpwnam("vu-gone-0"));
    CHECK(getpwuid(0) && getpwnam("root") && getgrgid(0));

    struct passwd result, *found;
    char buffer[64];
    CHECK_EQUAL(getpwuid_r(100001, &result, buffer, sizeof buffer, &found), ERANGE);
    CHECK(!found);
    struct group group_result, *group_found;
    CHECK_EQUAL(getgrgid_r(100001, &group_result, buffer, 16, &group_found), ERANGE);
}

static void enumeration(void) {
    make_web();
    unsigned users = 0, groups = 0;
    setpwent();
    for (struct passwd *user; (user = getpwent()); users++)
        CHECK(strncmp(user->pw_name, "vu-", 3) != 0);
    endpwent();
    setgrent();
    for (struct group *group; (group = getgrent()); groups++)
        CHECK(strncmp(group->gr_name, "vg-", 3) != 0);
    endgrent();
    CHECK(users > 0 && groups > 0);
}

static void groups_of_a_user(void) {
    make_web();
    gid_t groups[8];
    int count = 8;
    CHECK_EQUAL(getgrouplist("vu-web-0", NOBODY, groups, &count), 1);
    CHECK_EQUAL(count, 1);
    CHECK_EQUAL(groups[0], NOBODY);
    // Nothing of the registry is asked for that.
    getgrouplist("root", 0, groups, &count);
    REQUIRE(rename("/run/machined", "/run/machined.away") == 0);
    REQUIRE(mkfifo("/run/machined", 0644) == 0);
    count = 8;
    CHECK_EQUAL(getgrouplist("vu-web-0", NOBODY, groups, &count), 1);
    REQUIRE(unlink("/run/machined") == 0 && rename("/run/machined.away", "/run/machined") == 0);
}

static const struct test tests[] = {
    {"a user and a group have all their fields", all_fields, OURS_ONLY},
    {"an id of a container has a name, which leads back to the id", both_ways, OURS_ONLY},
    {"any buffer is enough or told to be too small, and nothing is written beside it", any_buffer, OURS_ONLY},
    {"the host's own ids and other names are nobody's", not_ours, OURS_ONLY},
    {"for the host's own ids and other names no system call is made", no_system_call, OURS_ONLY},
    {"maps of many lines are searched line by line", many_lines, OURS_ONLY},
    {"identity maps and ids below 65536 make no users", ids_of_the_host, OURS_ONLY},
    {"an id that two living machines have is nobody's", overlapping, OURS_ONLY},
    {"maps that are written later count from then on", maps_written_later, OURS_ONLY},
    {"65535 and 4294967295 are no ids, inside and outside", ids_that_mean_none, OURS_ONLY},
    {"a machine whose name makes no user name has an alias, both ways", aliases, OURS_ONLY},
    {"a machine with millions of ids has users", wide_ranges, OURS_ONLY},
    {"three hundred machines in one page have users", a_crowded_page, OURS_ONLY},
    {"a machine loses its users when its leader ends, zombie or gone", a_dying_machine, OURS_ONLY},
    {"what is no record of a container with maps makes no users", other_records, OURS_ONLY},
    {"a list that names the leader answers while it runs, and else its record", indexed_leaders, OURS_ONLY},
    {"a damaged record is unavailable with EBADMSG", damaged_records, OURS_ONLY},
    {"a damaged index makes nobody of what it is asked for", damaged_index, OURS_ONLY},
    {"no list makes more than the record says", random_lists, OURS_ONLY},
    {"one free descriptor is enough, and none is left open", one_descriptor, OURS_ONLY},
    {"without a free descriptor nothing is known", no_descriptor, OURS_ONLY},
    {"where pidfd_open is refused the number and /proc tell of the dead", no_pidfds, OURS_ONLY},
    {"a hundred threads find a user while record and index are replaced", a_hundred_threads, OURS_ONLY},
    {"the smallest stack that a thread can have is enough", small_stacks, OURS_ONLY},
    {"glibc finds users and groups, by name and by id", through_glibc, OURS_ONLY},
    {"an enumeration lists nothing of machines", enumeration, OURS_ONLY},
    {"a user of a machine is in no group but his own, and nothing is read for that", groups_of_a_user, OURS_ONLY},
};

int main(int argc, char **argv) {
    return run_tests(argc, argv, tests, sizeof tests / sizeof *tests);
}
