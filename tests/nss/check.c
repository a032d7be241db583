#define _GNU_SOURCE
#include "check.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "world.h"

enum { DEADLINE_SECONDS = 60, PRINTED_FAILURES = 8 };

// More where everything is slow.
static long deadline_seconds(void) {
    const char *text = getenv("DEADLINE");
    long seconds = text ? strtol(text, NULL, 10) : 0;
    return seconds > DEADLINE_SECONDS ? seconds : DEADLINE_SECONDS;
}

static atomic_uint failed_checks;
static char current_subject[256];
static bool stock;
// Where reports go: a copy of standard output, since tests close descriptors.
static int report = 1;

bool is_stock(void) {
    return stock;
}

unsigned failures(void) {
    return failed_checks;
}

void subject(const char *format, ...) {
    va_list list;
    va_start(list, format);
    vsnprintf(current_subject, sizeof current_subject, format, list);
    va_end(list);
}

void note_failure(const char *file, int line, const char *format, ...) {
    unsigned before = atomic_fetch_add(&failed_checks, 1);
    if (before > PRINTED_FAILURES)
        return;
    char text[512];
    va_list list;
    va_start(list, format);
    vsnprintf(text, sizeof text, format, list);
    va_end(list);
    if (before == PRINTED_FAILURES)
        strcpy(text, "and more");
    const char *base = strrchr(file, '/');
    dprintf(report, "    %s:%d: %s%s%s\n", base ? base + 1 : file, line, current_subject, *current_subject ? ": " : "", text);
}

void check_equal(const char *file, int line, const char *what, long long actual, long long expected) {
    if (actual != expected)
        note_failure(file, line, "%s is %lld, not %lld", what, actual, expected);
}

void check_text(const char *file, int line, const char *what, const char *actual, const char *expected) {
    if (!actual || strcmp(actual, expected) != 0)
        note_failure(file, line, "%s is \"%s\", not \"%s\"", what, actual ? actual : "(null)", expected);
}

void give_up(const char *file, int line, const char *what) {
    note_failure(file, line, "%s (%s)", what, strerror(errno));
    _exit(1);
}

// Waits for the test's process; kills it when its time is over. Returns what is wrong with its end, or nothing.
static const char *await(pid_t pid) {
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    struct timespec now, end;
    clock_gettime(CLOCK_MONOTONIC, &end);
    end.tv_sec += deadline_seconds();
    static char text[64];
    for (;;) {
        int status;
        if (waitpid(pid, &status, WNOHANG) == pid) {
            if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
                return NULL;
            if (WIFSIGNALED(status))
                snprintf(text, sizeof text, ": killed by signal %d", WTERMSIG(status));
            else
                snprintf(text, sizeof text, WEXITSTATUS(status) == 1 ? "" : ": exit status %d", WEXITSTATUS(status));
            return text;
        }
        clock_gettime(CLOCK_MONOTONIC, &now);
        if (now.tv_sec >= end.tv_sec) {
            kill(pid, SIGKILL);
            waitpid(pid, &status, 0);
            return ": out of time";
        }
        sigtimedwait(&child, NULL, &(struct timespec){.tv_sec = end.tv_sec - now.tv_sec});
    }
}

int run_tests(int argc, char **argv, const struct test *tests, size_t count) {
    const char *machines = NULL, *only = "";
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--stock") == 0 && i + 1 < argc) {
            machines = argv[++i];
            stock = true;
        } else if (strcmp(argv[i], "--only") == 0 && i + 1 < argc) {
            only = argv[++i];
        } else {
            fprintf(stderr, "usage: %s [--stock FILE] [--only TEXT]\n", argv[0]);
            return 2;
        }
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    report = fcntl(1, F_DUPFD_CLOEXEC, 200);
    if (stock)
        read_world(machines);
    else
        make_world();
    sigset_t child, before;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigprocmask(SIG_BLOCK, &child, &before);

    unsigned failed = 0;
    for (const struct test *test = tests; test < tests + count; test++) {
        if (!strstr(test->sentence, only))
            continue;
        if (test->where == (stock ? OURS_ONLY : STOCK_ONLY)) {
            if (stock)
                printf("not for stock: %s\n", test->sentence);
            continue;
        }
        fflush(stdout);
        pid_t pid = fork();
        if (pid == 0) {
            sigprocmask(SIG_SETMASK, &before, NULL);
            test->run();
            exit(failed_checks != 0);
        }
        const char *wrong = pid < 0 ? ": cannot fork" : await(pid);
        printf("%s %s%s\n", wrong ? "FAILED" : "ok", test->sentence, wrong ? wrong : "");
        failed += wrong != NULL;
    }
    return failed != 0;
}
