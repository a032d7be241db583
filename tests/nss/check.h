// The frame of the test programs. A test is a sentence and a function; it runs in a process of its own, so that a crash
// or a hang is one failed test, and the next one starts with fresh descriptors, limits and signal handlers.
#pragma once

#include <stdbool.h>
#include <stddef.h>

// Where a test applies. What the original does otherwise is a difference we decided on, and says so in the test's name.
enum where { EVERYWHERE, OURS_ONLY, STOCK_ONLY };

struct test {
    const char *sentence;
    void (*run)(void);
    enum where where;
};

// Runs the tests and prints a line for each: "ok", "FAILED" or "not for stock". Returns the exit status.
//
// Options: `--stock FILE` tests against the machines of FILE (see world.h) and the module the system has;
// `--only TEXT` runs the tests with TEXT in their sentence.
int run_tests(int argc, char **argv, const struct test *tests, size_t count);

// Whether the tests run against the original and its daemon.
bool is_stock(void);

// Notes a failure of the running test, which goes on.
#define CHECK(condition) \
    ((condition) ? (void)0 : note_failure(__FILE__, __LINE__, "%s", #condition))
#define CHECK_EQUAL(actual, expected) check_equal(__FILE__, __LINE__, #actual, (long long)(actual), (long long)(expected))
#define CHECK_TEXT(actual, expected) check_text(__FILE__, __LINE__, #actual, (actual), (expected))
#define FAIL(...) note_failure(__FILE__, __LINE__, __VA_ARGS__)

// Ends the running test where it cannot go on.
#define REQUIRE(condition) ((condition) ? (void)0 : give_up(__FILE__, __LINE__, #condition))

void note_failure(const char *file, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));
void check_equal(const char *file, int line, const char *what, long long actual, long long expected);
void check_text(const char *file, int line, const char *what, const char *actual, const char *expected);
_Noreturn void give_up(const char *file, int line, const char *what);

// What the checks say about: printed with the failures until it is set to the next text.
void subject(const char *format, ...) __attribute__((format(printf, 1, 2)));

// The number of failures of the running test.
unsigned failures(void);
