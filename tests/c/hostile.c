// What may stand in the directory of the records that is no record, and what may happen to it meanwhile: nothing of it may
// hold a caller up or harm it. Needs a mount namespace and a /run of its own.
#define _GNU_SOURCE
#include <machine.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#define machine world_machine
#include "../nss/check.h"
#include "../nss/process.h"
#include "../nss/world.h"
#undef machine
#include "answers.h"
#include "group.h"

static void empty(void) {
    REQUIRE(system("rm -rf /run/systemd /run/machined && mkdir -p " RECORDS " " ADDRESSES " " UIDS " " GIDS
                   " /run/machined/cgroups") == 0);
}

static void what_is_no_file_holds_nobody_up(void) {
    empty();
    REQUIRE(mkfifo(RECORDS "/fifo", 0644) == 0);
    int writer = open(RECORDS "/fifo", O_RDWR | O_CLOEXEC);
    REQUIRE(mkfifo(RECORDS "/lonely", 0644) == 0 && mkdir(RECORDS "/directory", 0755) == 0);
    REQUIRE(symlink("loop", RECORDS "/loop") == 0 && symlink("/dev/zero", RECORDS "/zero") == 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = RECORDS "/socket"};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    REQUIRE(writer >= 0 && bind(fd, (struct sockaddr *)&address, sizeof address) == 0);
    static const struct {
        const char *name;
        int class, open;
    } rows[] = {{"fifo", -EBADFD, -EBADMSG},  {"lonely", -EBADFD, -EBADMSG}, {"directory", -EISDIR, -EBADMSG},
                {"loop", -ELOOP, -ENXIO},     {"zero", -EBADFD, -ENXIO},     {"socket", -ENXIO, -EBADMSG}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        subject("%s", rows[i].name);
        char *class = NULL;
        struct machine *m = NULL;
        CHECK_EQUAL(sd_machine_get_class(rows[i].name, &class), rows[i].class);
        CHECK_EQUAL(sd_machine_get_ifindices(rows[i].name, NULL), rows[i].class);
        CHECK_EQUAL(machine_open(rows[i].name, 0, &m), rows[i].open);
        CHECK(!class && !m);
    }
    subject("indexes");
    REQUIRE(mkfifo(ADDRESSES "/0a000001", 0644) == 0 && mkfifo(UIDS "/000f", 0644) == 0 && mkdir(GIDS "/000f", 0755) == 0);
    CHECK_EQUAL(machine_name_by_address(AF_INET, "\x0a\0\0\x01", 0, NULL), -ENXIO);
    CHECK_EQUAL(machine_name_by_uid(1000000, 0, NULL, NULL), -ENXIO);
    CHECK_EQUAL(machine_name_by_gid(1000000, 0, NULL, NULL), -ENXIO);
    // The batch passes over all of it.
    pid_t pids[64];
    for (size_t i = 0; i < 64; i++)
        pids[i] = getpid();
    char **paths = NULL;
    CHECK_EQUAL(paths_of(pids, 64, &paths), 0);
    free(paths);
}

static void any_name_and_any_text_is_survived(void) {
    empty();
    srandom(1);
    for (int round = 0; round < 3000; round++) {
        char name[300], text[2000];
        size_t length = 1 + (size_t)random() % 80, size = (size_t)random() % sizeof text;
        for (size_t i = 0; i < length; i++)
            do
                name[i] = random() % 3 ? "ab.-_~:"[random() % 7] : (char)(1 + random() % 255);
            while (name[i] == '/');
        name[length] = 0;
        for (size_t i = 0; i < size; i++)
            text[i] = random() % 4 ? "CLASNETIFUD=\"'\\\n 0123456789"[random() % 26] : (char)random();
        int directory = open(RECORDS, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        int fd = openat(directory, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        close(directory);
        if (fd < 0)
            continue;
        CHECK_EQUAL(write(fd, text, size), size);
        close(fd);
        char *class = NULL;
        int *interfaces = NULL;
        struct machine *m = NULL;
        sd_machine_get_class(name, &class);
        sd_machine_get_ifindices(name, &interfaces);
        int r = machine_open(name, 0, &m);
        // A dot at the end is no part of the name that is asked for.
        char asked[sizeof name];
        snprintf(asked, sizeof asked, "%s", name);
        if (*name && name[strlen(name) - 1] == '.')
            asked[strlen(name) - 1] = 0;
        CHECK_EQUAL(r == -EINVAL, machine_name_check(asked) != 0);
        free(class);
        free(interfaces);
        machine_free(m);
    }
    char **names = NULL;
    int n = sd_get_machine_names(&names);
    CHECK(n > 0);
    for (int i = 0; i < n; i++) {
        CHECK_EQUAL(machine_name_check(names[i]), 0);
        free(names[i]);
    }
    free(names);
}

static void a_record_of_any_size_is_survived(void) {
    empty();
    char *text = malloc(80000);
    REQUIRE(text);
    for (size_t size = 60000; size < 70000; size += 517) {
        subject("%zu bytes", size);
        memset(text, 'x', size);
        memcpy(text, "CLASS=vm\nX=", 11);
        text[size - 1] = '\n';
        write_record_bytes("web", text, size);
        struct machine *m = NULL;
        char *class = NULL;
        CHECK_EQUAL(machine_open("web", 0, &m), size > 65536 ? -EBADMSG : 0);
        CHECK_EQUAL(sd_machine_get_class("web", &class), size > 65536 ? -E2BIG : 0);
        machine_free(m);
        free(class);
    }
    free(text);
}

static void ten_thousand_machines_are_listed(void) {
    enum { MOST = 10000 };
    // As many as that are read where it takes no minute: memory is looked at with fewer.
    const int COUNT = getenv("SLOW") ? MOST / 10 : MOST;
    empty();
    pid_t pid = start_process();
    char name[64];
    for (int i = 0; i < COUNT; i++) {
        snprintf(name, sizeof name, "machine-%d", i);
        write_record(name, "CLASS=container\nNETIF=%d\n%s", i + 1, lines_of_leader(pid));
    }
    char **names = NULL;
    REQUIRE(sd_get_machine_names(&names) == COUNT);
    bool *seen = calloc(COUNT, sizeof *seen);
    for (int i = 0; i < COUNT; i++) {
        int number = atoi(names[i] + 8), *list = NULL;
        CHECK(!seen[number]);
        seen[number] = true;
        CHECK_EQUAL(sd_machine_get_ifindices(names[i], &list), 1);
        CHECK_EQUAL(list[0], number + 1);
        free(list);
        free(names[i]);
    }
    free(names);
    free(seen);
    struct machine_monitor *monitor = NULL;
    struct told event;
    REQUIRE(machine_monitor_new(0, &monitor) == 0);
    for (int i = 0; i < COUNT; i += 2) {
        snprintf(name, sizeof name, RECORDS "/machine-%d", i);
        unlink(name);
    }
    int removed = 0;
    while (next_event(monitor, &event) == 1)
        removed += event.change == MACHINE_EVENT_REMOVED;
    CHECK_EQUAL(removed, COUNT / 2);
    machine_monitor_free(monitor);
    end_process(pid);
}

static atomic_bool stop;

// Writes and removes records, as a daemon does, and as none should.
static void *write_all_the_time(void *unused) {
    (void)unused;
    for (unsigned round = 0; !stop; round++) {
        write_record("web", "CLASS=container\nNETIF=%u\nADDRESSES=10.0.0.%u\n%s", round % 1000 + 1, round % 255, "LEADER=1\n");
        if (round % 5 == 0)
            unlink(RECORDS "/web");
        if (round % 7 == 0) {
            mkdir(RECORDS "/web", 0755);
            rmdir(RECORDS "/web");
        }
        link_entry(RECORDS, "unit:web.scope", "web");
        if (round % 3 == 0)
            unlink(RECORDS "/unit:web.scope");
        link_address("10.0.0.1", round % 2 ? "web" : "nobody");
    }
    return NULL;
}

static void *read_all_the_time(void *count) {
    pid_t self = getpid();
    for (unsigned round = 0; round < *(unsigned *)count; round++) {
        char *text = NULL, **list = NULL;
        int *interfaces = NULL, r;
        r = sd_machine_get_class("web", &text);
        CHECK(r == 0 || r == -ENXIO || r == -EISDIR);
        CHECK_EQUAL(r == 0, !!text);
        if (text)
            CHECK_TEXT(text, "container");
        free(text);
        text = NULL;
        r = sd_machine_get_ifindices("web", &interfaces);
        CHECK(r == 1 || r == -ENXIO || r == -EISDIR);
        free(interfaces);
        r = sd_get_machine_names(&list);
        CHECK(r >= 0 && r <= 2);
        for (int i = 0; i < r; i++)
            free(list[i]);
        free(list);
        list = NULL;
        struct machine *m = NULL;
        r = machine_open("web", 0, &m);
        CHECK(r == 0 || r == -ENXIO || r == -EBADMSG);
        if (m)
            CHECK_EQUAL(machine_get_address(m, 0, NULL, NULL, NULL), 1);
        machine_free(m);
        r = machine_name_by_address(AF_INET, "\x0a\0\0\x01", 0, &text);
        CHECK(r == 0 || r == -ENXIO || r == -EBADMSG);
        free(text);
        text = NULL;
        r = sd_pid_get_machine_name(self, &text);
        CHECK(r == 0 || r == -ENOENT);
        free(text);
        r = paths_of(&self, 1, &list);
        CHECK(r == 0 || r == 1);
        free(list);
    }
    return NULL;
}

static void readers_race_a_writer(void) {
    empty();
    seem_in(1, "/init.scope");
    seem_in(getpid(), "/machine.slice/web.scope");
    pthread_t writer, readers[2];
    // Under valgrind and sanitizers everything is many times slower.
    unsigned count = getenv("SLOW") ? 300 : 5000;
    REQUIRE(pthread_create(&writer, NULL, write_all_the_time, NULL) == 0);
    for (int i = 0; i < 2; i++)
        REQUIRE(pthread_create(&readers[i], NULL, read_all_the_time, &count) == 0);
    for (int i = 0; i < 2; i++)
        pthread_join(readers[i], NULL);
    stop = true;
    pthread_join(writer, NULL);
}

// The daemon writes a list as a symlink where it fits into one, and as a file otherwise.
static void *write_a_list_all_the_time(void *unused) {
    for (unsigned round = 0; !stop; round++)
        if (round % 2)
            write_list(UIDS, "000f", "1000000:65536:0:web;");
        else
            link_entry(UIDS, "000f", "1000000:65536:0:web;");
    return unused;
}

static void a_list_that_becomes_a_link_is_never_missed(void) {
    empty();
    write_record("web", "CLASS=container\nUIDMAP=0:1000000:65536\n%s", lines_of_leader(getpid()));
    link_entry(UIDS, "000f", "1000000:65536:0:web;");
    pthread_t writer;
    REQUIRE(pthread_create(&writer, NULL, write_a_list_all_the_time, NULL) == 0);
    unsigned missed = 0, count = getenv("SLOW") ? 2000 : 100000;
    for (unsigned round = 0; round < count; round++)
        missed += machine_name_by_uid(1000000, 0, NULL, NULL) != 0;
    CHECK_EQUAL(missed, 0);
    stop = true;
    pthread_join(writer, NULL);
}

static int count_descriptors(void) {
    int count = 0;
    DIR *directory = opendir("/proc/self/fd");
    while (directory && readdir(directory))
        count++;
    closedir(directory);
    return count;
}

static void *look_up_until_cancelled(void *unused) {
    for (;;) {
        char *text = NULL;
        if (sd_machine_get_class("web", &text) == 0)
            free(text);
        pthread_testcancel();
    }
    return unused;
}

static void a_cancelled_thread_leaves_no_descriptor(void) {
    empty();
    write_record("web", "CLASS=vm\n");
    int before = count_descriptors();
    for (int i = 0; i < (getenv("SLOW") ? 20 : 300); i++) {
        pthread_t thread;
        REQUIRE(pthread_create(&thread, NULL, look_up_until_cancelled, NULL) == 0);
        usleep(100);
        pthread_cancel(thread);
        pthread_join(thread, NULL);
    }
    CHECK_EQUAL(count_descriptors(), before);
}

static void a_child_of_a_busy_process_looks_up(void) {
    empty();
    seem_in(1, "/init.scope");
    write_record("web", "CLASS=container\nLEADER=1\n");
    pthread_t readers[2];
    seem_in(getpid(), "/machine.slice/web.scope");
    link_entry(RECORDS, "unit:web.scope", "web");
    for (int i = 0; i < 2; i++)
        REQUIRE(pthread_create(&readers[i], NULL, look_up_until_cancelled, NULL) == 0);
    for (int i = 0; i < 30; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            // A lock that another thread had held would keep it waiting for ever.
            struct machine *m = NULL;
            char *class = NULL;
            bool found = sd_machine_get_class("web", &class) == 0 && machine_open("web", 0, &m) == 0;
            // By a signal: what the threads had allocated that are not here is no leak.
            if (found)
                raise(SIGKILL);
            _exit(1);
        }
        int status;
        REQUIRE(pid > 0 && waitpid(pid, &status, 0) == pid);
        CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    }
    for (int i = 0; i < 2; i++) {
        pthread_cancel(readers[i]);
        pthread_join(readers[i], NULL);
    }
}

static void *look_everything_up(void *unused) {
    pid_t self = getpid();
    char *text = NULL, **list = NULL;
    struct machine *m = NULL;
    struct machine_monitor *monitor = NULL;
    CHECK_EQUAL(sd_get_machine_names(NULL), 1);
    struct machine_list *machines = NULL;
    CHECK_EQUAL(machine_list_new(0, &machines), 0);
    CHECK_EQUAL(machine_list_get_count(machines), 1);
    machine_list_free(machines);
    CHECK_EQUAL(machine_wait("web", MACHINE_WAIT_PRESENT, 0, 0, NULL), 0);
    CHECK_EQUAL(sd_machine_get_class("web", NULL), 0);
    CHECK_EQUAL(sd_machine_get_ifindices("web", NULL), 0);
    CHECK_EQUAL(sd_pid_get_machine_name(0, NULL), 0);
    CHECK_EQUAL(machine_path_by_pid(0, 0, &text), 0);
    CHECK_EQUAL(paths_of(&self, 1, &list), 1);
    CHECK_EQUAL(machine_name_by_uid(1000000, 0, NULL, NULL), 0);
    CHECK_EQUAL(machine_name_by_address(AF_INET, "\x0a\0\0\x01", 0, NULL), 0);
    CHECK_EQUAL(machine_open("web", 0, &m), 0);
    CHECK_EQUAL(machine_monitor_new(0, &monitor), 0);
    machine_free(m);
    machine_monitor_free(monitor);
    free(list);
    free(text);
    return unused;
}

static void the_smallest_stack_is_enough(void) {
    empty();
    seem_in(1, "/init.scope");
    seem_in(getpid(), "/machine.slice/web.scope");
    link_entry(RECORDS, "unit:web.scope", "web");
    write_record("web", "CLASS=container\nSCOPE=web.scope\nUIDMAP=0:1000000:65536\nADDRESSES=10.0.0.1\n%s",
                 lines_of_leader(getpid()));
    link_address("10.0.0.1", "web");
    write_list(UIDS, "000f", "1000000:65536:0:web;");
    pthread_attr_t attributes;
    pthread_t thread;
    REQUIRE(pthread_attr_init(&attributes) == 0);
    // Sanitizers take some of it for themselves.
    REQUIRE(pthread_attr_setstacksize(&attributes, getenv("SLOW") ? 1 << 18 : PTHREAD_STACK_MIN) == 0);
    REQUIRE(pthread_create(&thread, &attributes, look_everything_up, NULL) == 0);
    pthread_join(thread, NULL);
    pthread_attr_destroy(&attributes);
}

static void no_free_descriptor_is_an_error(void) {
    empty();
    write_record("web", "CLASS=vm\n");
    struct rlimit none = {0};
    // Under valgrind the limit is valgrind's.
    if (setrlimit(RLIMIT_NOFILE, &none) != 0 && getenv("SLOW"))
        return;
    struct machine *m = NULL;
    struct machine_monitor *monitor = NULL;
    sd_login_monitor *other = NULL;
    char *text = NULL, **list = NULL;
    pid_t self = getpid();
    CHECK_EQUAL(sd_machine_get_class("web", &text), -EMFILE);
    CHECK_EQUAL(sd_machine_get_ifindices("web", NULL), -EMFILE);
    CHECK_EQUAL(sd_get_machine_names(&list), -EMFILE);
    CHECK_EQUAL(sd_pid_get_machine_name(0, &text), -EMFILE);
    CHECK_EQUAL(sd_login_monitor_new("machine", &other), -EMFILE);
    CHECK_EQUAL(machine_open("web", 0, &m), -EMFILE);
    struct machine_list *machines = NULL;
    CHECK_EQUAL(machine_list_new(0, &machines), -EMFILE);
    CHECK_EQUAL(machine_wait("web", MACHINE_WAIT_GONE, 0, 0, NULL), -EMFILE);
    CHECK(!machines);
    CHECK_EQUAL(machine_path_by_pid(0, 0, &text), -EMFILE);
    CHECK_EQUAL(paths_of(&self, 1, &list), -EMFILE);
    CHECK_EQUAL(machine_monitor_new(0, &monitor), -EMFILE);
    CHECK(!m && !monitor && !other && !text && !list);
}

int main(int argc, char **argv) {
    static const struct test tests[] = {
#define TEST(name) {#name, name, EVERYWHERE}
        TEST(what_is_no_file_holds_nobody_up),
        TEST(any_name_and_any_text_is_survived),
        TEST(a_record_of_any_size_is_survived),
        TEST(ten_thousand_machines_are_listed),
        TEST(readers_race_a_writer),
        TEST(a_list_that_becomes_a_link_is_never_missed),
        TEST(a_cancelled_thread_leaves_no_descriptor),
        TEST(a_child_of_a_busy_process_looks_up),
        TEST(the_smallest_stack_is_enough),
        TEST(no_free_descriptor_is_an_error),
    };
    return run_tests(argc, argv, tests, sizeof tests / sizeof *tests);
}
