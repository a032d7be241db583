// The module's entry points, called as glibc calls them.
#pragma once

#include <netdb.h>
#include <nss.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "world.h"

// What stands in errno, *errnop, *h_errnop and h_errno before each call: values that no lookup yields.
enum { ERRNO_BEFORE = 4711, ERRNOP_BEFORE = 4712, H_ERRNOP_BEFORE = 4713, H_ERRNO_BEFORE = 4714 };

enum entry { BY_NAME, BY_NAME2, BY_NAME3, BY_NAME4, BY_ADDRESS, BY_ADDRESS2 };

// A question to the module. `family` is of no meaning to BY_NAME and BY_NAME4; `address` is only for BY_ADDRESS and
// BY_ADDRESS2.
struct question {
    enum entry entry;
    const char *name;
    int family;
    const void *address;
    socklen_t length;
    // What the caller passes: NULL for the time to live and the canonical name; a tuple of its own for the first one.
    bool without_extras, with_tuple;
};

// All that the module told.
struct answer {
    enum nss_status status;
    int errnop, h_errnop, error, h_error;
    struct hostent host;
    struct gaih_addrtuple *tuples, own_tuple;
    int32_t ttl;
    char *canonical;
};

// Loads libnss_mymachines.so.2, once.
void load_module(void);
// Loads it from this file, where no directory can be named.
void load_module_from(const char *file);

void ask_into(const struct question *question, struct answer *answer, char *buffer, size_t size);

// Asks with a buffer that is large enough. The answer's pointers are valid until the next call.
struct answer ask(const struct question *question);

// Checks the status, *errnop (where it is to be set) and *h_errnop; and that errno and *errnop are otherwise unchanged.
void check_told(const struct answer *answer, enum nss_status status, int errnop, int h_errnop);

// The three ends of a lookup that say no more than this.
void check_found(const struct answer *answer);
void check_not_found(const struct answer *answer);
void check_unavailable(const struct answer *answer, int error);

// Questions about a name.
struct answer ask4(const char *name);
struct answer ask3(const char *name, int family);

// Whether the module has a function.
void *module_function(const char *name);
