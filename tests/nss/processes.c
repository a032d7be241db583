// The module in processes that make its life hard: many threads, forks, signals, no descriptors, small stacks, filters.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include "check.h"
#include "filter.h"
#include "module.h"
#include "process.h"

// The open descriptors, as a text.
static void list_descriptors(char *text, size_t size) {
    DIR *directory = opendir("/proc/self/fd");
    REQUIRE(directory);
    size_t length = 0;
    text[0] = 0;
    for (struct dirent *entry; (entry = readdir(directory));)
        if (entry->d_name[0] != '.' && atoi(entry->d_name) != dirfd(directory))
            length += (size_t)snprintf(text + length, size - length, "%s ", entry->d_name);
    closedir(directory);
}

static uint32_t address_of_one;

// A lookup of each kind, with what it must tell.
static void look_up_all(void) {
    struct answer answer = ask4("three");
    check_found(&answer);
    answer = ask3("many", AF_INET);
    check_found(&answer);
    answer = ask4("none");
    check_not_found(&answer);
    answer = ask4("nobody");
    check_unavailable(&answer, ENXIO);
    answer = ask4("vm");
    check_unavailable(&answer, ENOTTY);
    answer = ask4("shared");
    check_unavailable(&answer, ENOSYS);
    answer = ask4("damaged");
    check_unavailable(&answer, EBADMSG);
    answer = ask4("dead");
    check_unavailable(&answer, ENXIO);
    answer = ask4("recycled");
    check_unavailable(&answer, ENXIO);
    answer = ask(&(struct question){.entry = BY_ADDRESS, .address = &address_of_one, .length = 4, .family = AF_INET});
    check_found(&answer);
    CHECK_TEXT(answer.host.h_name, "one");
}

static void prepare(void) {
    load_module();
    address_of_one = inet_addr("10.0.0.2");
    write_record("damaged", "CLASS=container\nLEADER=1");
    pid_t leader = start_process();
    write_container("dead", leader, "10.0.0.1");
    end_process(leader);
    write_record("recycled", "CLASS=container\nLEADER=%d\nLEADER_STARTTIME=%" PRIu64 "\nADDRESSES=10.0.0.1\n", getppid(),
                 start_time(getppid()) + 1);
    look_up_all();
}

static void no_descriptor_is_left(void) {
    char before[4096], after[4096];
    prepare();
    list_descriptors(before, sizeof before);
    for (unsigned i = 0; i < 200; i++)
        look_up_all();
    list_descriptors(after, sizeof after);
    CHECK_TEXT(after, before);
}

static void closed_standard_descriptors(void) {
    char before[4096], after[4096];
    prepare();
    close(0);
    close(1);
    close(2);
    list_descriptors(before, sizeof before);
    for (unsigned i = 0; i < 20; i++)
        look_up_all();
    struct addrinfo *list;
    CHECK_EQUAL(getaddrinfo("three", NULL, NULL, &list), 0);
    for (int fd = 0; fd < 3; fd++)
        CHECK(fcntl(fd, F_GETFD) < 0 && errno == EBADF);
    list_descriptors(after, sizeof after);
    CHECK_TEXT(after, before);
}

static int spare[512];

// Leaves this many descriptors free.
static void leave_descriptors(unsigned count) {
    REQUIRE(setrlimit(RLIMIT_NOFILE, &(struct rlimit){256, 256}) == 0);
    unsigned taken = 0;
    for (int fd; (fd = open("/dev/null", O_RDONLY | O_CLOEXEC)) >= 0;)
        spare[taken++] = fd;
    REQUIRE(errno == EMFILE && taken > count);
    while (count-- > 0)
        close(spare[--taken]);
}

static void resolve_all(int expected) {
    const char *const names[] = {"one", "three", "many6"};
    const int families[] = {AF_UNSPEC, AF_INET6};
    for (size_t i = 0; i < 3; i++)
        for (size_t f = 0; f < 2; f++) {
            if (expected == 0 && i == 0 && f == 1)
                continue;
            struct addrinfo *list = NULL;
            subject("%s, family %d", names[i], families[f]);
            CHECK_EQUAL(getaddrinfo(names[i], NULL, &(struct addrinfo){.ai_family = families[f]}, &list), expected);
            if (list)
                freeaddrinfo(list);
        }
}

static void two_descriptors(void) {
    prepare();
    resolve_all(0);
    leave_descriptors(2);
    look_up_all();
    resolve_all(0);
}

static void one_descriptor(void) {
    prepare();
    resolve_all(0);
    leave_descriptors(1);
    look_up_all();
    resolve_all(0);
}

static void no_descriptor(void) {
    prepare();
    resolve_all(0);
    leave_descriptors(0);
    const char *const names[] = {"three", "none", "nobody", "vm", "dead"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        subject("%s", names[i]);
        struct answer answer = ask4(names[i]);
        check_told(&answer, NSS_STATUS_TRYAGAIN, EMFILE, TRY_AGAIN);
        answer = ask3(names[i], AF_INET6);
        check_told(&answer, NSS_STATUS_TRYAGAIN, EMFILE, TRY_AGAIN);
        h_errno = 0;
        CHECK(gethostbyname(names[i]) == NULL);
        CHECK_EQUAL(h_errno, TRY_AGAIN);
    }
    struct answer answer = ask(&(struct question){.entry = BY_ADDRESS, .address = &address_of_one, .length = 4, .family = AF_INET});
    check_told(&answer, NSS_STATUS_TRYAGAIN, EMFILE, TRY_AGAIN);
    resolve_all(EAI_AGAIN);
    close(spare[0]);
    resolve_all(0);
}

static void refused_by_a_filter(int error, unsigned call, void check(void)) {
    pid_t pid = fork();
    if (pid == 0) {
        filter_calls(&(struct filtered){call, error}, 1);
        check();
        _exit(failures() != 0);
    }
    int status;
    REQUIRE(pid > 0 && waitpid(pid, &status, 0) == pid);
    if (status != 0)
        FAIL("with errno %d: status 0x%x", error, status);
}

static void expect_shortage(void) {
    struct answer answer = ask4("three");
    check_told(&answer, NSS_STATUS_TRYAGAIN, answer.errnop, TRY_AGAIN);
    CHECK(answer.errnop == ENFILE || answer.errnop == ENOMEM);
    answer = ask4("nobody");
    check_told(&answer, NSS_STATUS_TRYAGAIN, answer.errnop, TRY_AGAIN);
}

static void a_system_without_descriptors_or_memory(void) {
    prepare();
    refused_by_a_filter(ENFILE, SYS_openat, expect_shortage);
    refused_by_a_filter(ENOMEM, SYS_openat, expect_shortage);
}

static void expect_the_living(void) {
    struct answer answer = ask4("three");
    check_found(&answer);
    answer = ask4("dead");
    check_unavailable(&answer, ENXIO);
    // What the start time in /proc proves needs no pidfd.
    answer = ask4("recycled");
    check_unavailable(&answer, ENXIO);
}

static void no_pidfds(void) {
    prepare();
    const int errors[] = {EPERM, ENOSYS, EACCES, EMFILE, EINVAL};
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++)
        refused_by_a_filter(errors[i], SYS_pidfd_open, expect_the_living);
}

static void expect_access(void) {
    struct answer answer = ask4("three");
    check_unavailable(&answer, EACCES);
    answer = ask(&(struct question){.entry = BY_NAME, .name = "nobody"});
    check_unavailable(&answer, EACCES);
}

static void no_access(void) {
    prepare();
    refused_by_a_filter(EACCES, SYS_openat, expect_access);
}

// The record under change.
static const char *const STATES[] = {"10.20.0.1 fd00:20::2 10.20.0.3", "fd00:20::9"};
static _Atomic unsigned seen[2];

static bool is_in_state(size_t index, const struct gaih_addrtuple *tuple) {
    char *copy = strdupa(STATES[index]);
    for (char *word; (word = strsep(&copy, " ")); tuple = tuple->next) {
        struct address expected = parse_address(word);
        if (!tuple || tuple->family != expected.family ||
            memcmp(tuple->addr, expected.bytes, length_of_family(expected.family)) != 0)
            return false;
    }
    return tuple == NULL;
}

static void *look_at_changes(void *unused) {
    (void)unused;
    for (unsigned i = 0; i < 2000 && !failures(); i++) {
        if (i % 8 == 0) {
            // glibc sorts, so only the number tells the states apart.
            struct addrinfo *list, hints = {.ai_socktype = SOCK_STREAM};
            size_t count = 0;
            int error = getaddrinfo("changing", NULL, &hints, &list);
            CHECK_EQUAL(error, 0);
            if (error)
                break;
            for (struct addrinfo *info = list; info; info = info->ai_next)
                count++;
            CHECK(count == 3 || count == 1);
            freeaddrinfo(list);
            continue;
        }
        struct answer answer = ask4("changing");
        check_found(&answer);
        bool first = is_in_state(0, answer.tuples), second = is_in_state(1, answer.tuples);
        CHECK(first || second);
        seen[second]++;
    }
    return NULL;
}

static void a_hundred_threads(void) {
    char before[4096], after[4096];
    pid_t leader = getppid();
    load_module();
    list_descriptors(before, sizeof before);
    write_container("changing", leader, STATES[0]);
    pid_t test = getpid(), writer = fork();
    if (writer == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        for (unsigned i = 0; getppid() == test; i++)
            write_container("changing", leader, STATES[i % 2]);
        _exit(0);
    }
    pthread_t threads[100];
    for (size_t i = 0; i < 100; i++)
        REQUIRE(pthread_create(&threads[i], NULL, look_at_changes, NULL) == 0);
    for (size_t i = 0; i < 100; i++)
        pthread_join(threads[i], NULL);
    end_process(writer);
    CHECK(seen[0] > 0 && seen[1] > 0);
    list_descriptors(after, sizeof after);
    CHECK_TEXT(after, before);
}

static atomic_bool over;

static void *look_up_until_over(void *unused) {
    (void)unused;
    while (!over) {
        struct answer answer = ask4("three");
        check_found(&answer);
    }
    return NULL;
}

static void forks(void) {
    prepare();
    pthread_t threads[8];
    for (size_t i = 0; i < 8; i++)
        REQUIRE(pthread_create(&threads[i], NULL, look_up_until_over, NULL) == 0);
    for (unsigned i = 0; i < 50; i++) {
        pid_t pid = fork();
        if (pid == 0) {
            for (unsigned n = 0; n < 20; n++)
                look_up_all();
            _exit(failures() != 0);
        }
        int status;
        REQUIRE(pid > 0 && waitpid(pid, &status, 0) == pid);
        CHECK_EQUAL(status, 0);
    }
    over = true;
    for (size_t i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
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

static volatile sig_atomic_t signals, wrong_in_handler;

static void look_up_in_handler(int number) {
    (void)number;
    static char buffer[4096] __attribute__((aligned(16)));
    int error = errno, h_error = h_errno;
    struct answer answer;
    ask_into(&(struct question){.entry = BY_NAME4, .name = "three"}, &answer, buffer, sizeof buffer);
    signals++;
    wrong_in_handler += answer.status != NSS_STATUS_SUCCESS || strcmp(answer.tuples->name, "three") != 0;
    errno = error;
    h_errno = h_error;
}

static void signals_in_the_middle(void) {
    prepare();
    REQUIRE(sigaction(SIGALRM, &(struct sigaction){.sa_handler = look_up_in_handler}, NULL) == 0);
    REQUIRE(setitimer(ITIMER_REAL, &(struct itimerval){{0, 100}, {0, 100}}, NULL) == 0);
    for (unsigned i = 0; i < 100000 && (i < 500 || signals < 1000); i++)
        look_up_all();
    REQUIRE(setitimer(ITIMER_REAL, &(struct itimerval){{0, 0}, {0, 0}}, NULL) == 0);
    CHECK(signals >= 100);
    CHECK_EQUAL(wrong_in_handler, 0);
}

static void *look_up_until_cancelled(void *started) {
    atomic_store((atomic_bool *)started, true);
    for (;;) {
        static _Thread_local char buffer[4096];
        struct answer answer;
        ask_into(&(struct question){.entry = BY_NAME4, .name = "three"}, &answer, buffer, sizeof buffer);
        pthread_testcancel();
    }
    return NULL;
}

static void cancelled_threads(void) {
    char before[4096], after[4096];
    prepare();
    list_descriptors(before, sizeof before);
    for (unsigned i = 0; i < 200; i++) {
        atomic_bool started = false;
        pthread_t thread;
        REQUIRE(pthread_create(&thread, NULL, look_up_until_cancelled, &started) == 0);
        while (!started)
            sched_yield();
        pthread_cancel(thread);
        void *result;
        pthread_join(thread, &result);
        CHECK(result == PTHREAD_CANCELED);
    }
    list_descriptors(after, sizeof after);
    CHECK_TEXT(after, before);
}

static const struct test tests[] = {
    {"no lookup leaves a descriptor open", no_descriptor_is_left, OURS_ONLY},
    {"closed standard descriptors stay closed", closed_standard_descriptors, OURS_ONLY},
    {"two free descriptors are enough", two_descriptors, OURS_ONLY},
    {"one free descriptor is enough", one_descriptor, OURS_ONLY},
    {"without a free descriptor nothing is known, and never that there is no such host", no_descriptor, OURS_ONLY},
    {"a system out of descriptors or memory is one to ask again", a_system_without_descriptors_or_memory, OURS_ONLY},
    {"records that may not be read are unavailable with EACCES", no_access, OURS_ONLY},
    {"where pidfd_open is refused the number tells of the dead", no_pidfds, OURS_ONLY},
    {"a hundred threads see one state or the other of a record that is replaced", a_hundred_threads, OURS_ONLY},
    {"fifty forks in the middle of lookups do no harm", forks, OURS_ONLY},
    {"the smallest stack that a thread can have is enough", small_stacks, OURS_ONLY},
    {"signals in the middle of lookups do no harm, nor do lookups in their handlers", signals_in_the_middle, OURS_ONLY},
    {"a thread that is cancelled in a lookup leaves no descriptor open", cancelled_threads, OURS_ONLY},
};

int main(int argc, char **argv) {
    return run_tests(argc, argv, tests, sizeof tests / sizeof *tests);
}
