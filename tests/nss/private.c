// What the module says of a machine that a user registered without being an administrator: its name is that user's alone.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "module.h"

enum { OWNER = 1000, OTHER = 1001, GROUP = 4711, FOUND = 0, UNKNOWN = 1, ELSE = 2 };

// How a lookup of `web` ends, by each way there is.
static int outcome(void) {
    struct answer by4 = ask4("web"), by3 = ask3("web", AF_INET);
    if (by4.status == NSS_STATUS_SUCCESS && by3.status == NSS_STATUS_SUCCESS)
        return FOUND;
    bool unknown4 = by4.status == NSS_STATUS_UNAVAIL && by4.errnop == ENXIO;
    bool unknown3 = by3.status == NSS_STATUS_UNAVAIL && by3.errnop == ENXIO;
    return unknown4 && unknown3 ? UNKNOWN : ELSE;
}

static int status_of(pid_t child) {
    int status;
    REQUIRE(waitpid(child, &status, 0) == child && WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int as(uid_t real, uid_t effective, uid_t saved) {
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0)
        _exit(setresuid(real, effective, saved) == 0 ? outcome() : ELSE);
    return status_of(child);
}

static void write_owned(const char *lines) {
    subject("%s", lines);
    write_record("web", "NAME=web\n%sCLASS=container\n%sADDRESSES=\"10.9.9.9\"\n", lines, lines_of_leader(getpid()));
    link_address("10.9.9.9", "web");
}

static void the_owner_alone(void) {
    load_module();
    write_owned("UID=1000\n");
    CHECK_EQUAL(as(OWNER, OWNER, OWNER), FOUND);
    CHECK_EQUAL(as(0, 0, 0), UNKNOWN);
    CHECK_EQUAL(as(OTHER, OTHER, OTHER), UNKNOWN);
}

static void all_three_uids(void) {
    load_module();
    write_owned("UID=1000\n");
    for (unsigned others = 1; others < 8; others++)
        for (uid_t other = 0; other <= OTHER; other += OTHER) {
            subject("others %u are %u", others, (unsigned)other);
            CHECK_EQUAL(as(others & 1 ? other : OWNER, others & 2 ? other : OWNER, others & 4 ? other : OWNER), UNKNOWN);
        }
}

static void for_everybody(void) {
    load_module();
    const char *const public[] = {"", "UID=0\n", "UID=1000\nPUBLIC=1\n"};
    for (size_t i = 0; i < sizeof public / sizeof *public; i++) {
        write_owned(public[i]);
        CHECK_EQUAL(as(0, 0, 0), FOUND);
        CHECK_EQUAL(as(OTHER, OTHER, OTHER), FOUND);
        CHECK_EQUAL(as(0, OTHER, 0), FOUND);
    }
    write_owned("UID=1000\nPUBLIC=0\n");
    CHECK_EQUAL(as(0, 0, 0), UNKNOWN);
}

static void no_address_leads_there(void) {
    write_owned("UID=1001\n");
    unsigned char address[4];
    inet_pton(AF_INET, "10.9.9.9", address);
    struct answer answer = ask(&(struct question){.entry = BY_ADDRESS, .address = address, .length = 4, .family = AF_INET});
    check_not_found(&answer);
}

// This program, set-gid, started by the owner of the record: all uids are the owner's, and the rights another's.
static void a_program_with_more_rights(void) {
    load_module();
    write_owned("UID=1000\n");
    Dl_info found;
    REQUIRE(dladdr(module_function("gethostbyname4_r"), &found));
    int from = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), to = open("/run/set-gid", O_WRONLY | O_CREAT | O_CLOEXEC, 0755);
    struct stat stat;
    REQUIRE(from >= 0 && to >= 0 && fstat(from, &stat) == 0);
    for (off_t done = 0; done < stat.st_size;)
        REQUIRE(sendfile(to, from, &done, (size_t)(stat.st_size - done)) > 0);
    REQUIRE(fchown(to, OWNER, GROUP) == 0 && close(to) == 0);
    for (int secure = 0; secure <= 1; secure++) {
        subject(secure ? "set-gid" : "plain");
        REQUIRE(chmod("/run/set-gid", secure ? 02755 : 0755) == 0);
        pid_t child = fork();
        if (child == 0) {
            if (setgroups(0, NULL) == 0 && setresgid(OWNER, OWNER, OWNER) == 0 && setresuid(OWNER, OWNER, OWNER) == 0)
                execl("/run/set-gid", "set-gid", "--outcome", found.dli_fname, NULL);
            _exit(ELSE);
        }
        CHECK_EQUAL(status_of(child), secure ? UNKNOWN : FOUND);
    }
}

static const struct test tests[] = {
    {"a user's machine resolves for that user alone", the_owner_alone, OURS_ONLY},
    {"real, effective and saved uid have to be the user's, all three", all_three_uids, OURS_ONLY},
    {"root's machines, and those of an administrator, resolve for everybody", for_everybody, OURS_ONLY},
    {"no address leads to another user's machine", no_address_leads_there, OURS_ONLY},
    {"a program with more rights than its user's does not take that user's word", a_program_with_more_rights, OURS_ONLY},
};

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "--outcome") == 0)
        return load_module_from(argv[2]), outcome();
    if (setresuid(-1, OWNER, -1) < 0) {
        puts("SKIPPED: whose name it is: there are no other uids here");
        return 0;
    }
    if (setresuid(-1, 0, -1) < 0)
        return 2;
    return run_tests(argc, argv, tests, sizeof tests / sizeof *tests);
}
