// What the module says of machines in a user's own registry, that of `machined --user`.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "check.h"
#include "module.h"
#include "process.h"

enum { OWNER = 1000, OTHER = 1001, GROUP = 4711, NOBODY = 65534 };
// How a lookup ends: by its first address, or as unknown, or in another way.
enum { SYSTEMS = 10, OWN = 20, UNKNOWN = 1, ELSE = 2 };

typedef enum nss_status user_by_id(uid_t, struct passwd *, char *, size_t, int *);
typedef enum nss_status user_by_name(const char *, struct passwd *, char *, size_t, int *);
static user_by_id *by_id;
static user_by_name *by_name;

static void load(void) {
    load_module();
    by_id = (user_by_id *)module_function("getpwuid_r");
    by_name = (user_by_name *)module_function("getpwnam_r");
    REQUIRE(by_id && by_name);
}

static int outcome_of(const char *name) {
    struct answer by4 = ask4(name), by3 = ask3(name, AF_INET);
    if (by4.status == NSS_STATUS_SUCCESS && by3.status == NSS_STATUS_SUCCESS)
        return (unsigned char)by3.host.h_addr_list[0][0];
    bool unknown4 = by4.status == NSS_STATUS_UNAVAIL && by4.errnop == ENXIO;
    bool unknown3 = by3.status == NSS_STATUS_UNAVAIL && by3.errnop == ENXIO;
    return unknown4 && unknown3 ? UNKNOWN : ELSE;
}

static int web(void) {
    return outcome_of("web");
}

static int web_in_capitals(void) {
    return outcome_of("WEB");
}

// Whether the address of the own machine leads to its name.
static int back(void) {
    unsigned char address[4] = {20, 0, 0, 1};
    struct answer answer = ask(&(struct question){.entry = BY_ADDRESS, .address = address, .length = 4, .family = AF_INET});
    if (answer.status == NSS_STATUS_SUCCESS)
        return strcmp(answer.host.h_name, "web") == 0 ? OWN : ELSE;
    return answer.status == NSS_STATUS_NOTFOUND ? UNKNOWN : ELSE;
}

// Whether the id of the own machine's user leads to its name, and that back to the id.
static int user(void) {
    struct passwd found;
    char buffer[256];
    int error;
    enum nss_status status = by_id(1048577, &found, buffer, sizeof buffer, &error);
    if (status != NSS_STATUS_SUCCESS)
        return status == NSS_STATUS_NOTFOUND ? UNKNOWN : ELSE;
    if (strcmp(found.pw_name, "vu-web-1") != 0)
        return ELSE;
    return by_name("vu-web-1", &found, buffer, sizeof buffer, &error) == NSS_STATUS_SUCCESS && found.pw_uid == 1048577 ? OWN : ELSE;
}

static int status_of(pid_t child) {
    int status;
    REQUIRE(waitpid(child, &status, 0) == child && WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int as_all(int (*look)(void), uid_t real, uid_t effective, uid_t saved) {
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0)
        _exit(setresuid(real, effective, saved) == 0 ? look() : ELSE);
    return status_of(child);
}

static int as(int (*look)(void), uid_t uid) {
    return as_all(look, uid, uid, uid);
}

static void path_of(char path[128], uid_t uid, const char *below) {
    snprintf(path, 128, "/run/user/%u/%s", (unsigned)uid, below);
}

static void make(uid_t uid, const char *below) {
    char path[128];
    path_of(path, uid, below);
    REQUIRE(mkdir(path, 0755) == 0 || errno == EEXIST);
    REQUIRE(lchown(path, uid, uid) == 0);
}

static void link_own(uid_t uid, const char *below, const char *target) {
    char path[128];
    path_of(path, uid, below);
    unlink(path);
    REQUIRE(symlink(target, path) == 0);
}

static void write_file(const char *path, uid_t uid, const char *text) {
    int file = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    REQUIRE(file >= 0 && write(file, text, strlen(text)) == (ssize_t)strlen(text) && fchown(file, uid, uid) == 0);
    REQUIRE(close(file) == 0);
}

// The registry of a user's own, with the machine `web` and whatever leads to it.
static void make_registry(uid_t uid, pid_t leader) {
    static const char *const directories[] = {"",       "systemd",        "systemd/machines", "machined",
                                              "machined/names", "machined/addresses", "machined/uids"};
    char path[128], text[1024];
    REQUIRE(system("rm -rf /run/user " RECORDS "/web") == 0);
    mkdir("/run/user", 0755);
    for (size_t i = 0; i < sizeof directories / sizeof *directories; i++)
        make(uid, directories[i]);
    path_of(path, uid, "systemd/machines/web");
    snprintf(text, sizeof text, "NAME=web\nUID=%u\nPUBLIC=1\nCLASS=container\n%sUIDMAP=0:1048576:65536\nADDRESSES=20.0.0.1\n",
             (unsigned)uid, lines_of_leader(leader));
    write_file(path, uid, text);
    link_own(uid, "machined/names/web", "web");
    link_own(uid, "machined/addresses/14000001", "web");
    snprintf(text, sizeof text, "1048576:65536:0:web%s;", leader_in_lists(leader));
    link_own(uid, "machined/uids/0010", text);
}

static void by_that_user_alone(void) {
    load();
    make_registry(OWNER, getpid());
    int (*const looks[])(void) = {web, web_in_capitals, back, user};
    for (size_t i = 0; i < sizeof looks / sizeof *looks; i++) {
        subject("look %zu", i);
        CHECK_EQUAL(as(looks[i], OWNER), OWN);
        CHECK_EQUAL(as(looks[i], 0), UNKNOWN);
        CHECK_EQUAL(as(looks[i], OTHER), UNKNOWN);
    }
    subject("a leader that ends");
    pid_t leader = start_process();
    make_registry(OWNER, leader);
    CHECK_EQUAL(as(web, OWNER), OWN);
    end_process(leader);
    CHECK_EQUAL(as(web, OWNER), UNKNOWN);
}

static void the_systems_first(void) {
    load();
    make_registry(OWNER, getpid());
    write_container("web", getpid(), "10.0.0.9");
    CHECK_EQUAL(as(web, OWNER), SYSTEMS);
    // Nor do an address and an id of the own one lead to a name that is the other's.
    CHECK_EQUAL(as(back, OWNER), UNKNOWN);
    write_mapped("web", getpid(), "0:4194304:65536", "0:4194304:65536");
    CHECK_EQUAL(as(user, OWNER), UNKNOWN);
    // The same machine, registered with both: its name is the system's, and leads to the same address.
    write_record("web", "NAME=web\nUID=1000\nCLASS=container\n%sADDRESSES=20.0.0.1\n", lines_of_leader(getpid()));
    int (*const looks[])(void) = {web, back, user};
    for (size_t i = 0; i < sizeof looks / sizeof *looks; i++)
        CHECK_EQUAL(as(looks[i], OWNER), OWN);
    write_record("web", "NAME=web\nUID=1001\nCLASS=container\n%sADDRESSES=10.0.0.9\n", lines_of_leader(getpid()));
    CHECK_EQUAL(as(web, OWNER), OWN);
    CHECK_EQUAL(as(web, OTHER), SYSTEMS);
    write_record("web", "damaged\n");
    CHECK_EQUAL(as(web, OWNER), ELSE);
}

static void all_three_uids(void) {
    load();
    make_registry(OWNER, getpid());
    for (unsigned others = 1; others < 8; others++)
        for (uid_t other = 0; other <= OTHER; other += OTHER) {
            subject("others %u are %u", others, (unsigned)other);
            uid_t real = others & 1 ? other : OWNER, effective = others & 2 ? other : OWNER, saved = others & 4 ? other : OWNER;
            CHECK_EQUAL(as_all(web, real, effective, saved), UNKNOWN);
        }
}

// This program, set-gid, started by the user: all uids are the user's, and the rights another's.
static void a_program_with_more_rights(void) {
    load();
    make_registry(OWNER, getpid());
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
        CHECK_EQUAL(status_of(child), secure ? UNKNOWN : OWN);
    }
}

static void what_is_not_the_users(void) {
    char directory[128], record[128], target[128], above[128];
    load();
    make_registry(OWNER, getpid());
    path_of(directory, OWNER, "systemd/machines");
    path_of(record, OWNER, "systemd/machines/web");
    path_of(target, OWNER, "systemd/target");
    path_of(above, OWNER, "systemd");

    subject("a record of another user's");
    REQUIRE(chown(record, OTHER, OTHER) == 0);
    CHECK_EQUAL(as(web, OWNER), UNKNOWN);
    REQUIRE(chown(record, 0, 0) == 0);
    CHECK_EQUAL(as(web, OWNER), UNKNOWN);
    REQUIRE(chown(record, OWNER, OWNER) == 0);

    subject("a directory of another user's");
    REQUIRE(chown(directory, OTHER, OTHER) == 0);
    CHECK_EQUAL(as(web, OWNER), UNKNOWN);
    REQUIRE(chown(directory, OWNER, OWNER) == 0);
    CHECK_EQUAL(as(web, OWNER), OWN);

    subject("a symlink in the place of the record");
    REQUIRE(rename(record, target) == 0 && symlink(target, record) == 0);
    CHECK_EQUAL(as(web, OWNER), UNKNOWN);
    subject("a FIFO");
    REQUIRE(unlink(record) == 0 && mkfifo(record, 0666) == 0 && chown(record, OWNER, OWNER) == 0);
    CHECK_EQUAL(as(web, OWNER), UNKNOWN);
    subject("a directory");
    REQUIRE(unlink(record) == 0 && mkdir(record, 0777) == 0 && chown(record, OWNER, OWNER) == 0);
    CHECK_EQUAL(as(web, OWNER), UNKNOWN);
    REQUIRE(rmdir(record) == 0 && rename(target, record) == 0);
    CHECK_EQUAL(as(web, OWNER), OWN);

    subject("a symlink in the place of the directory");
    REQUIRE(rename(directory, target) == 0 && symlink("target", directory) == 0 && lchown(directory, OWNER, OWNER) == 0);
    CHECK_EQUAL(as(web, OWNER), UNKNOWN);
}

// Who is in a user namespace of the user's, without a name there, shares nobody's registry.
static int in_a_user_namespace(void) {
    return unshare(CLONE_NEWUSER) == 0 ? web() : ELSE;
}

static void who_has_no_name(void) {
    load();
    make_registry(NOBODY, getpid());
    CHECK_EQUAL(as(web, NOBODY), UNKNOWN);
    CHECK_EQUAL(as(in_a_user_namespace, OWNER), UNKNOWN);
}

static int with_one_descriptor(void) {
    int next = open("/dev/null", O_RDONLY | O_CLOEXEC);
    struct rlimit limit = {.rlim_cur = (rlim_t)next + 1, .rlim_max = (rlim_t)next + 1};
    return next >= 0 && close(next) == 0 && setrlimit(RLIMIT_NOFILE, &limit) == 0 ? web() : ELSE;
}

static void one_descriptor(void) {
    load();
    make_registry(OWNER, getpid());
    CHECK_EQUAL(as(with_one_descriptor, OWNER), OWN);
}

// Of the user's uids only some: as a daemon of root's that serves the user.
static int of_root_for_the_user(void) {
    return setresuid(0, OWNER, 0) == 0 ? web() : ELSE;
}

// A file system of the user's that nobody serves: whoever asks it for anything waits.
static void a_file_system_that_hangs(void) {
    load();
    make_registry(OWNER, getpid());
    int fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    char options[128];
    snprintf(options, sizeof options, "fd=%d,rootmode=40755,user_id=%d,group_id=%d,allow_other", fuse, OWNER, OWNER);
    if (fuse < 0 || mount("hangs", "/run/user/1000/systemd/machines", "fuse", MS_NOSUID | MS_NODEV, options) != 0) {
        puts("SKIPPED: a file system that hangs: there is no FUSE here");
        return;
    }
    struct timespec start, end;
    clock_gettime(CLOCK_MONOTONIC, &start);
    CHECK_EQUAL(as(web, 0), UNKNOWN);
    CHECK_EQUAL(as(web, OTHER), UNKNOWN);
    CHECK_EQUAL(as(of_root_for_the_user, 0), UNKNOWN);
    clock_gettime(CLOCK_MONOTONIC, &end);
    CHECK(end.tv_sec - start.tv_sec < 2);
    // The user's own wait, which shows that it does hang.
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        // The last who has it open ends the wait.
        close(fuse);
        _exit(setresuid(OWNER, OWNER, OWNER) == 0 ? web() : ELSE);
    }
    nanosleep(&(struct timespec){.tv_nsec = 200000000}, NULL);
    CHECK_EQUAL(waitpid(child, NULL, WNOHANG), 0);
    close(fuse);
    CHECK(status_of(child) != OWN);
    umount2("/run/user/1000/systemd/machines", MNT_DETACH);
}

static const struct test tests[] = {
    {"a user's own machine is found by that user alone, by its name, address and id", by_that_user_alone, OURS_ONLY},
    {"the system's registry goes first, but for what is another user's alone there", the_systems_first, OURS_ONLY},
    {"real, effective and saved uid have to be the user's, all three", all_three_uids, OURS_ONLY},
    {"a program with more rights than its user's does not look there", a_program_with_more_rights, OURS_ONLY},
    {"what is not the user's, or no file, is as good as missing", what_is_not_the_users, OURS_ONLY},
    {"who has no name has no registry", who_has_no_name, OURS_ONLY},
    {"one descriptor is enough", one_descriptor, OURS_ONLY},
    {"a hang of the user's file system hurts nobody else", a_file_system_that_hangs, OURS_ONLY},
};

int main(int argc, char **argv) {
    if (argc == 3 && strcmp(argv[1], "--outcome") == 0)
        return load_module_from(argv[2]), web();
    if (setresuid(-1, OWNER, -1) < 0) {
        puts("SKIPPED: users' own registries: there are no other uids here");
        return 0;
    }
    if (setresuid(-1, 0, -1) < 0)
        return 2;
    return run_tests(argc, argv, tests, sizeof tests / sizeof *tests);
}
