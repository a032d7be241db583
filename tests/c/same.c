// sd-login's functions for machines: one body, linked once with libsystemd (-DSYSTEMD=VERSION) and once with libmachine. What is
// expected stands here once, for both. Needs a mount namespace and a /run of its own.
#define _GNU_SOURCE
#ifdef SYSTEMD
#include <systemd/sd-login.h>
enum { is_systemd = 1 };
#else
#include <machine.h>
enum { is_systemd = 0 };
// The version that ours is like.
#define SYSTEMD 262
#endif

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../nss/check.h"
#include "../nss/process.h"
#include "group.h"

#define RECORDS "/run/systemd/machines"

static void make_directories(void) {
    mkdir("/run/systemd", 0755);
    mkdir(RECORDS, 0755);
    mkdir("/run/systemd/seats", 0755);
    mkdir("/run/systemd/sessions", 0755);
    mkdir("/run/systemd/users", 0755);
}

static const char *path_of(const char *entry) {
    static char path[512];
    snprintf(path, sizeof path, RECORDS "/%s", entry);
    return path;
}

static void put(const char *entry, const char *text) {
    FILE *stream = fopen(path_of(entry), "we");
    REQUIRE(stream && fputs(text, stream) >= 0 && fclose(stream) == 0);
}

static void link_to(const char *entry, const char *target) {
    unlink(path_of(entry));
    REQUIRE(symlink(target, path_of(entry)) == 0);
}

static void empty(void) {
    make_directories();
    REQUIRE(system("rm -rf " RECORDS "/* " RECORDS "/.??*") == 0);
}

// The machine of a process by pid, and by pidfd; both must say the same. The text is the caller's.
static int by_pid(pid_t pid, char **name) {
    int fd = (int)syscall(SYS_pidfd_open, pid ? pid : getpid(), 0);
    char *other = NULL;
    *name = NULL;
    int r = sd_pid_get_machine_name(pid, name);
    if (fd >= 0) {
        CHECK_EQUAL(sd_pidfd_get_machine_name(fd, &other), r);
        if (r >= 0)
            CHECK_TEXT(other, *name);
        free(other);
        close(fd);
    }
    return r;
}

static void a_process_is_in_the_machine_of_its_outermost_unit(void) {
    static const struct {
        const char *init, *path;
        int expected;
        const char *name;
    } rows[] = {
        {"/init.scope", "/machine.slice/machine-foo.scope", 0, "foo"},
        {"/init.scope", "/machine.slice/machine-foo.scope/payload/system.slice/machine-bar.scope", 0, "foo"},
        {"/init.scope", "/a.slice/a-b.slice/machine-foo.scope", 0, "foo"},
        {"/init.scope", "/machine-foo.scope", 0, "foo"},
        {"/init.scope", "/x.slice/_machine-foo.scope", 0, "foo"},
        {"/init.scope", "/x.slice/__machine-foo.scope", -ENOENT, NULL},
        {"/init.scope", "/_x.slice/machine-foo.scope", 0, "foo"},
        {"/init.scope", "/machine.slice/my\\x2dvm.scope", 0, "vm"},
        {"/init.scope", "/machine.slice/my-vm.scope", -ENOENT, NULL},
        {"/init.scope", "/system.slice/at@x.service/payload", 0, "at"},
        {"/init.scope", "/system.slice/at@x@y.service", -ENOENT, NULL},
        {"/init.scope", "/system.slice/at@.service", -ENODATA, NULL},
        {"/init.scope", "/system.slice/@x.service", -ENODATA, NULL},
        {"/init.scope", "/system.slice/cron.service", -ENOENT, NULL},
        {"/init.scope", "/user.slice/user-1000.slice/user@1000.service/machine-foo.scope", -ENOENT, NULL},
        {"/init.scope", "/machine-foo.scope (deleted)", 0, "foo"},
        {"/init.scope", "/machine.slice", -ENODATA, NULL},
        {"/init.scope", "/", -ENODATA, NULL},
        {"/init.scope", "/ab/machine-foo.scope", -ENODATA, NULL},
        {"/init.scope", "/x/machine-foo.scope", -ENODATA, NULL},
        {"/init.scope", "/machines/web", -ENODATA, NULL},
        {"/init.scope", "/a.conf", -ENODATA, NULL},
        {"/init.scope", "/a b.scope", -ENODATA, NULL},
        {"/init.scope", "/../machine-foo.scope", -EUNATCH, NULL},
        {"/init.scope", "/x.slice/real.scope", -EINVAL, NULL},
        {"/", "/machine-foo.scope", 0, "foo"},
        {"/machine.slice/machine-foo.scope/payload/init.scope",
         "/machine.slice/machine-foo.scope/payload/system.slice/at@x.service", 0, "at"},
        {"/machine.slice/machine-foo.scope/payload/init.scope", "/machine.slice/machine-foo.scope/payload",
         SYSTEMD < 262 ? -ENODATA : 0, SYSTEMD < 262 ? NULL : "foo"},
        {"/machine.slice/machine-foo.scope/payload/init.scope", "/machine.slice/machine-foo.scope/payloads", 0, "foo"},
        {"/machine.slice/machine-foo.scope/payload/init.scope", "/machine.slice/machine-foo.scope", 0, "foo"},
        {"/a.slice/init.scope", "/a.slice/machine-foo.scope", 0, "foo"},
        {"/machine-foo.scope", "/machine-foo.scope/x.service", -ENOENT, NULL},
    };
    empty();
    link_to("unit:machine-foo.scope", "foo");
    link_to("unit:my\\x2dvm.scope", "vm");
    link_to("unit:at@x.service", "at");
    put("unit:real.scope", "no link");
    pid_t pid = start_process();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        subject("init in %s, process in %s", rows[i].init, rows[i].path);
        seem_in(1, rows[i].init);
        seem_in(pid, rows[i].path);
        char *name = NULL;
        CHECK_EQUAL(by_pid(pid, &name), rows[i].expected);
        if (rows[i].name)
            CHECK_TEXT(name, rows[i].name);
        else
            CHECK(!name);
        free(name);
    }
    end_process(pid);
}

static void a_unit_of_any_length_is_found(void) {
    empty();
    pid_t pid = start_process();
    seem_in(1, "/init.scope");
    for (int length = 1; length < 260; length++) {
        char unit[300], entry[310], path[320], target[70];
        subject("%d letters", length);
        snprintf(unit, sizeof unit, "%.*s.scope", length, (char[300]){[0 ... 298] = 'u'});
        snprintf(entry, sizeof entry, "unit:%s", unit);
        snprintf(path, sizeof path, "/machine.slice/%s", unit);
        snprintf(target, sizeof target, "m%d", length);
        // Longer names no file can have.
        bool fits = strlen(entry) <= 255;
        if (fits)
            link_to(entry, target);
        seem_in(pid, path);
        char *name;
        int r = by_pid(pid, &name);
        if (fits) {
            CHECK_EQUAL(r, 0);
            CHECK_TEXT(name, target);
        } else
            CHECK_EQUAL(r, length + 6 > 255 ? -ENODATA : -ENAMETOOLONG);
        free(name);
    }
    end_process(pid);
}

static void what_a_link_says_is_not_judged(void) {
    empty();
    pid_t pid = start_process();
    seem_in(1, "/init.scope");
    seem_in(pid, "/machine-foo.scope");
    char target[4000], *name;
    for (size_t length = 1; length < sizeof target; length = length * 3 + 1) {
        subject("%zu bytes", length);
        memset(target, '/', length);
        target[length] = 0;
        link_to("unit:machine-foo.scope", target);
        CHECK_EQUAL(by_pid(pid, &name), 0);
        CHECK_TEXT(name, target);
        free(name);
    }
    end_process(pid);
}

static void the_hierarchies_may_be_in_any_order(void) {
    empty();
    link_to("unit:a.scope", "a");
    pid_t pid = start_process();
    seem_in(1, "/init.scope");
    seem_to_have(pid, "12:cpu,cpuacct:/b.scope\n1:name=systemd:/a.scope\n0::/a.scope\n");
    char *name;
    CHECK_EQUAL(by_pid(pid, &name), 0);
    CHECK_TEXT(name, "a");
    free(name);
    seem_to_have(pid, "5:cpu:/a.scope\n");
    CHECK_EQUAL(by_pid(pid, &name), -ENODATA);
    seem_to_have(pid, "");
    CHECK_EQUAL(by_pid(pid, &name), -ENODATA);
    end_process(pid);
}

static void the_caller_is_process_0(void) {
    empty();
    link_to("unit:a.scope", "a");
    seem_in(1, "/init.scope");
    seem_in(getpid(), "/a.scope");
    char *name;
    CHECK_EQUAL(by_pid(0, &name), 0);
    CHECK_TEXT(name, "a");
    free(name);
}

static void what_is_no_process_is_told(void) {
    empty();
    char *name = (char *)1;
    // What is wanted of nobody, since 262.
    CHECK_EQUAL(sd_pid_get_machine_name(0, NULL), SYSTEMD < 262 ? -EINVAL : sd_pid_get_machine_name(0, &name));
    if (name != (char *)1)
        free(name);
    name = (char *)1;
    CHECK_EQUAL(sd_pid_get_machine_name(-1, &name), -EINVAL);
    CHECK_EQUAL(sd_pid_get_machine_name(INT32_MAX, &name), -ESRCH);
    pid_t pid = start_process();
    int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    end_process(pid);
    CHECK_EQUAL(sd_pid_get_machine_name(pid, &name), -ESRCH);
    // An old valgrind has no pidfds.
    if (pidfd >= 0)
        CHECK_EQUAL(sd_pidfd_get_machine_name(pidfd, &name), -ESRCH);
    CHECK_EQUAL(sd_pidfd_get_machine_name(-1, &name), -EBADF);
    CHECK_EQUAL(sd_pidfd_get_machine_name(999, &name), -EBADF);
    int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    CHECK_EQUAL(sd_pidfd_get_machine_name(null, &name), -ENOTTY);
    CHECK(name == (char *)1);
    close(pidfd);
    close(null);
}

static void a_peer_is_a_process_at_a_socket(void) {
    empty();
    link_to("unit:a.scope", "a");
    seem_in(1, "/init.scope");
    int pair[2], internet, null = open("/dev/null", O_RDONLY | O_CLOEXEC);
    REQUIRE(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) == 0);
    REQUIRE((internet = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) >= 0);
    char *name = NULL;
    seem_in(getpid(), "/a.scope");
    CHECK_EQUAL(sd_peer_get_machine_name(pair[0], &name), 0);
    CHECK_TEXT(name, "a");
    free(name);
    name = NULL;
    seem_in(getpid(), "/b.scope");
    CHECK_EQUAL(sd_peer_get_machine_name(pair[0], &name), -ENOENT);
    // Unlike sd_pid_get_machine_name(3).
    seem_in(getpid(), "/");
    CHECK_EQUAL(sd_peer_get_machine_name(pair[0], &name), -ENXIO);
    CHECK_EQUAL(sd_peer_get_machine_name(-1, &name), -EBADF);
    CHECK_EQUAL(sd_peer_get_machine_name(999, &name), -EBADF);
    CHECK_EQUAL(sd_peer_get_machine_name(null, &name), -ENOTSOCK);
    CHECK_EQUAL(sd_peer_get_machine_name(internet, &name), -ENODATA);
    CHECK(!name);
}

static int compare(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void check_names(const char *expected) {
    char **names = NULL, all[4096] = "";
    int n = sd_get_machine_names(&names);
    CHECK_EQUAL(sd_get_machine_names(NULL), n);
    if (n < 0) {
        FAIL("sd_get_machine_names says %d", n);
        return;
    }
    if (!names) {
        CHECK_EQUAL(n, 0);
        CHECK_TEXT("NULL", expected);
        return;
    }
    CHECK(!names[n]);
    qsort(names, (size_t)n, sizeof *names, compare);
    for (int i = 0; i < n; i++) {
        strcat(strcat(all, i ? " " : ""), names[i]);
        free(names[i]);
    }
    free(names);
    CHECK_TEXT(all, expected);
}

static void all_machines_are_listed(void) {
    empty();
    check_names("NULL");
    REQUIRE(mkdir(path_of("directory"), 0755) == 0);
    check_names("NULL");
    link_to("unit:web.scope", "web");
    check_names("");
    static const char *entries[] = {"web",      "db",       "a.b.c",     "web.old",  "web.bak",    "x~",      ".hidden",   "x.new",
                                    "x.swp",    "x.rpmnew", "x.dpkg-tmp", "x.ucf-old", "lost+found", "aquota.user", "a_b", "-a",
                                    "a-",       "a..b",     "a.",        "old",      "x.older",    "UPPER",   "0"};
    for (size_t i = 0; i < sizeof entries / sizeof *entries; i++)
        put(entries[i], "CLASS=container\n");
    char longest[66] = {[0 ... 63] = 'x'};
    put(longest, "");
    longest[64] = 'x';
    put(longest, "");
    longest[64] = 0;
    link_to("link", "nowhere");
    REQUIRE(mkfifo(path_of("fifo"), 0644) == 0);
    char expected[512];
    snprintf(expected, sizeof expected, "0 UPPER a.b.c db link old web x.older %s", longest);
    check_names(expected);
    REQUIRE(system("rm -rf " RECORDS) == 0);
    check_names("NULL");
    close(open(RECORDS, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
    CHECK_EQUAL(sd_get_machine_names(NULL), -ENOTDIR);
    unlink(RECORDS);
}

static void check_class(const char *name, int expected, const char *text) {
    char *class = NULL;
    CHECK_EQUAL(sd_machine_get_class(name, &class), expected);
    if (text)
        CHECK_TEXT(class, text);
    else
        CHECK(!class);
    free(class);
}

static void a_class_is_what_the_record_says(void) {
    static const struct {
        const char *record;
        int expected;
        const char *class;
    } rows[] = {
        {"CLASS=container\n", 0, "container"},
        {"CLASS=vm\n", 0, "vm"},
        {"CLASS=anything else\n", 0, "anything else"},
        {"NAME=other\nCLASS=vm\nLEADER=nonsense\n", 0, "vm"},
        {"CLASS=vm", 0, "vm"},
        {"CLASS=\"a b\"'c'\n", 0, "a bc"},
        {"  CLASS = vm  \n", 0, "vm"},
        {"CLASS=vm\nCLASS=container\n", 0, "container"},
        {"CLASS=vm\nCLASS=\n", -EIO, NULL},
        {"CLASS=\"\"\n", -EIO, NULL},
        {"CLASS\n", -EIO, NULL},
        {"", -EIO, NULL},
        {"#CLASS=vm\n", -EIO, NULL},
        {"class=vm\n", -EIO, NULL},
        {"CLASS=\xff\n", -EINVAL, NULL},
        {"X=\xff\nCLASS=vm\n", -EINVAL, NULL},
    };
    empty();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        subject("%s", rows[i].record);
        put("web", rows[i].record);
        check_class("web", rows[i].expected, rows[i].class);
    }
    subject("no record");
    check_class("nobody", -ENXIO, NULL);
    put("web", "CLASS=vm\n");
    CHECK_EQUAL(sd_machine_get_class("web", NULL), SYSTEMD < 262 ? -EINVAL : 0);
    check_class(".host", 0, "host");
    static const char *bad[] = {"", ".", "..", "a/b", "/web", "a_b", "-a", "unit:x", "a b", "web."};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        subject("'%s'", bad[i]);
        check_class(bad[i], -EINVAL, NULL);
        CHECK_EQUAL(sd_machine_get_ifindices(bad[i], NULL), -EINVAL);
    }
    CHECK_EQUAL(sd_machine_get_ifindices(".host", NULL), -EINVAL);
}

static void what_is_no_file_is_no_record(void) {
    empty();
    REQUIRE(mkdir(path_of("directory"), 0755) == 0);
    link_to("loop", "loop");
    link_to("dangling", "nowhere");
    put("web", "CLASS=vm\nNETIF=3\n");
    link_to("alias", "web");
    check_class("directory", -EISDIR, NULL);
    check_class("loop", -ELOOP, NULL);
    check_class("dangling", -ENXIO, NULL);
    check_class("alias", 0, "vm");
    int *list = NULL;
    CHECK_EQUAL(sd_machine_get_ifindices("directory", &list), -EISDIR);
    CHECK_EQUAL(sd_machine_get_ifindices("loop", &list), -ELOOP);
    CHECK_EQUAL(sd_machine_get_ifindices("dangling", &list), -ENXIO);
    CHECK(!list);
}

static void interfaces_are_what_the_record_says(void) {
    static const struct {
        const char *record;
        int expected, first, last;
    } rows[] = {
        {"CLASS=vm\n", 0, 0, 0},
        {"NETIF=\n", 0, 0, 0},
        {"NETIF=\"  \"\n", 0, 0, 0},
        {"NETIF=3\n", 1, 3, 3},
        {"NETIF=\" 2 3\"\n", 2, 2, 3},
        {"NETIF='2\t3\n4'\n", 3, 2, 4},
        {"NETIF=2147483647\n", 1, INT32_MAX, INT32_MAX},
        {"NETIF=0x10\n", 1, 16, 16},
        {"NETIF=5\nNETIF=6\n", 1, 6, 6},
        {"NETIF=0\n", -EUCLEAN, 0, 0},
        {"NETIF=-1\n", -EUCLEAN, 0, 0},
        {"NETIF=2147483648\n", -ERANGE, 0, 0},
        {"NETIF=-2147483649\n", -ERANGE, 0, 0},
        {"NETIF=99999999999999999999x\n", -ERANGE, 0, 0},
        {"NETIF=2147483648x\n", -EUCLEAN, 0, 0},
        {"NETIF=+5\n", 1, 5, 5},
        {"NETIF=0b11\n", 1, 3, 3},
        {"NETIF=0o17\n", 1, 15, 15},
        {"NETIF=eth0\n", -EUCLEAN, 0, 0},
        {"NETIF=2,3\n", -EUCLEAN, 0, 0},
        {"NETIF=\"2 x\"\n", -EUCLEAN, 0, 0},
        {"NETIF=08\n", -EUCLEAN, 0, 0},
        {"NETIF=010\n", 1, 8, 8},
    };
    empty();
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        subject("%s", rows[i].record);
        put("web", rows[i].record);
        int *list = NULL, n = sd_machine_get_ifindices("web", &list);
        CHECK_EQUAL(n, rows[i].expected);
        // Where there are none, the original writes to where nobody wants it.
        if (!is_systemd || n != 0)
            CHECK_EQUAL(sd_machine_get_ifindices("web", NULL), rows[i].expected);
        CHECK_EQUAL(!!list, n > 0 || (n == 0 && strchr(rows[i].record, '"')));
        if (n > 0 && list) {
            CHECK_EQUAL(list[0], rows[i].first);
            CHECK_EQUAL(list[n - 1], rows[i].last);
        }
        free(list);
    }
    subject("no record");
    CHECK_EQUAL(sd_machine_get_ifindices("nobody", NULL), -ENXIO);
}

static bool is_ready(sd_login_monitor *monitor) {
    struct pollfd entry = {.fd = sd_login_monitor_get_fd(monitor), .events = (short)sd_login_monitor_get_events(monitor)};
    return poll(&entry, 1, 0) == 1;
}

static void a_monitor_sees_what_is_renamed_and_deleted(void) {
    empty();
    sd_login_monitor *monitor = NULL;
    REQUIRE(sd_login_monitor_new("machine", &monitor) == 0);
    uint64_t timeout = 0;
    CHECK_EQUAL(sd_login_monitor_get_events(monitor), POLLIN);
    CHECK_EQUAL(sd_login_monitor_get_timeout(monitor, &timeout), 0);
    CHECK(timeout == UINT64_MAX);
    CHECK_EQUAL(fcntl(sd_login_monitor_get_fd(monitor), F_GETFD), FD_CLOEXEC);
    CHECK(!is_ready(monitor));
    put("web", "CLASS=vm\n");
    link_to("unit:x", "web");
    CHECK(!is_ready(monitor));
    REQUIRE(rename(RECORDS "/web", RECORDS "/db") == 0);
    CHECK(is_ready(monitor));
    CHECK_EQUAL(sd_login_monitor_flush(monitor), 0);
    CHECK(!is_ready(monitor));
    CHECK_EQUAL(sd_login_monitor_flush(monitor), 0);
    unlink(RECORDS "/db");
    CHECK(is_ready(monitor));
    CHECK_EQUAL(sd_login_monitor_flush(monitor), 0);
    unlink(RECORDS "/unit:x");
    CHECK(is_ready(monitor));
    CHECK_EQUAL(sd_login_monitor_flush(monitor), 0);
    put("/../users/7", "");
    unlink("/run/systemd/users/7");
    CHECK(!is_ready(monitor));
    int fd = sd_login_monitor_get_fd(monitor);
    CHECK(!sd_login_monitor_unref(monitor));
    CHECK(fcntl(fd, F_GETFD) < 0 && errno == EBADF);
}

static void a_monitor_watches_any_category(void) {
    static const struct {
        const char *category, *directory;
    } rows[] = {{"seat", "seats"}, {"session", "sessions"}, {"uid", "users"}, {"machine", "machines"}};
    empty();
    for (size_t i = 0; i < 4; i++) {
        sd_login_monitor *one = NULL, *all = NULL;
        REQUIRE(sd_login_monitor_new(rows[i].category, &one) == 0 && sd_login_monitor_new(NULL, &all) == 0);
        for (size_t j = 0; j < 4; j++) {
            subject("%s, a change in %s", rows[i].category, rows[j].directory);
            char path[64];
            snprintf(path, sizeof path, "/run/systemd/%s/x", rows[j].directory);
            close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0644));
            unlink(path);
            CHECK_EQUAL(is_ready(one), i == j);
            CHECK(is_ready(all));
            CHECK_EQUAL(sd_login_monitor_flush(one), 0);
            CHECK_EQUAL(sd_login_monitor_flush(all), 0);
        }
        sd_login_monitor_unref(one);
        sd_login_monitor_unref(all);
    }
}

static void a_monitor_that_cannot_be_is_none(void) {
    empty();
    sd_login_monitor *monitor = NULL;
    uint64_t timeout;
    CHECK_EQUAL(sd_login_monitor_new("nonsense", &monitor), -EINVAL);
    CHECK_EQUAL(sd_login_monitor_new("", &monitor), -EINVAL);
    CHECK_EQUAL(sd_login_monitor_new("machine", NULL), -EINVAL);
    REQUIRE(rmdir(RECORDS) == 0);
    CHECK_EQUAL(sd_login_monitor_new("machine", &monitor), -ENOENT);
    CHECK_EQUAL(sd_login_monitor_new(NULL, &monitor), -ENOENT);
    CHECK(!monitor);
    CHECK(!sd_login_monitor_unref(NULL));
    CHECK_EQUAL(sd_login_monitor_flush(NULL), -EINVAL);
    CHECK_EQUAL(sd_login_monitor_get_fd(NULL), -EINVAL);
    CHECK_EQUAL(sd_login_monitor_get_events(NULL), -EINVAL);
    CHECK_EQUAL(sd_login_monitor_get_timeout(NULL, &timeout), -EINVAL);
    REQUIRE(mkdir(RECORDS, 0755) == 0 && sd_login_monitor_new("machine", &monitor) == 0);
    CHECK_EQUAL(sd_login_monitor_get_timeout(monitor, NULL), -EINVAL);
    sd_login_monitor_unref(monitor);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
#define TEST(name) {#name, name, EVERYWHERE}
        TEST(a_process_is_in_the_machine_of_its_outermost_unit),
        TEST(a_unit_of_any_length_is_found),
        TEST(what_a_link_says_is_not_judged),
        TEST(the_hierarchies_may_be_in_any_order),
        TEST(the_caller_is_process_0),
        TEST(what_is_no_process_is_told),
        TEST(a_peer_is_a_process_at_a_socket),
        TEST(all_machines_are_listed),
        TEST(a_class_is_what_the_record_says),
        TEST(what_is_no_file_is_no_record),
        TEST(interfaces_are_what_the_record_says),
        TEST(a_monitor_sees_what_is_renamed_and_deleted),
        TEST(a_monitor_watches_any_category),
        TEST(a_monitor_that_cannot_be_is_none),
    };
    return run_tests(argc, argv, tests, sizeof tests / sizeof *tests);
}
