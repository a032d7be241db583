#define _GNU_SOURCE
#include "module.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "check.h"

typedef enum nss_status by_name(const char *, struct hostent *, char *, size_t, int *, int *);
typedef enum nss_status by_name2(const char *, int, struct hostent *, char *, size_t, int *, int *);
typedef enum nss_status by_name3(const char *, int, struct hostent *, char *, size_t, int *, int *, int32_t *, char **);
typedef enum nss_status by_name4(const char *, struct gaih_addrtuple **, char *, size_t, int *, int *, int32_t *);
typedef enum nss_status by_address(const void *, socklen_t, int, struct hostent *, char *, size_t, int *, int *);
typedef enum nss_status by_address2(const void *, socklen_t, int, struct hostent *, char *, size_t, int *, int *, int32_t *);

static struct {
    void *handle;
    by_name *by_name;
    by_name2 *by_name2;
    by_name3 *by_name3;
    by_name4 *by_name4;
    by_address *by_address;
    by_address2 *by_address2;
} module;

void *module_function(const char *name) {
    char symbol[64];
    snprintf(symbol, sizeof symbol, "_nss_mymachines_%s", name);
    return dlsym(module.handle, symbol);
}

void load_module(void) {
    load_module_from("libnss_mymachines.so.2");
}

void load_module_from(const char *file) {
    if (module.handle)
        return;
    module.handle = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (!module.handle) {
        fprintf(stderr, "%s\n", dlerror());
        _Exit(2);
    }
    module.by_name = (by_name *)module_function("gethostbyname_r");
    module.by_name2 = (by_name2 *)module_function("gethostbyname2_r");
    module.by_name3 = (by_name3 *)module_function("gethostbyname3_r");
    module.by_name4 = (by_name4 *)module_function("gethostbyname4_r");
    module.by_address = (by_address *)module_function("gethostbyaddr_r");
    module.by_address2 = (by_address2 *)module_function("gethostbyaddr2_r");
    if (!module.by_name || !module.by_name2 || !module.by_name3 || !module.by_name4) {
        fprintf(stderr, "the module lacks an entry point\n");
        _Exit(2);
    }
}

void ask_into(const struct question *q, struct answer *a, char *buffer, size_t size) {
    *a = (struct answer){.errnop = ERRNOP_BEFORE, .h_errnop = H_ERRNOP_BEFORE, .ttl = -1};
    a->tuples = q->with_tuple ? &a->own_tuple : NULL;
    int32_t *ttl = q->without_extras ? NULL : &a->ttl;
    char **canonical = q->without_extras ? NULL : &a->canonical;
    errno = ERRNO_BEFORE;
    h_errno = H_ERRNO_BEFORE;
    switch (q->entry) {
    case BY_NAME:
        a->status = module.by_name(q->name, &a->host, buffer, size, &a->errnop, &a->h_errnop);
        break;
    case BY_NAME2:
        a->status = module.by_name2(q->name, q->family, &a->host, buffer, size, &a->errnop, &a->h_errnop);
        break;
    case BY_NAME3:
        a->status = module.by_name3(q->name, q->family, &a->host, buffer, size, &a->errnop, &a->h_errnop, ttl, canonical);
        break;
    case BY_NAME4:
        a->status = module.by_name4(q->name, &a->tuples, buffer, size, &a->errnop, &a->h_errnop, ttl);
        break;
    case BY_ADDRESS2:
        a->status = module.by_address2(q->address, q->length, q->family, &a->host, buffer, size, &a->errnop, &a->h_errnop, ttl);
        break;
    case BY_ADDRESS:
        a->status = module.by_address(q->address, q->length, q->family, &a->host, buffer, size, &a->errnop, &a->h_errnop);
        break;
    }
    a->error = errno;
    a->h_error = h_errno;
}

struct answer ask(const struct question *question) {
    // Not in the thread's own storage, which takes from its stack.
    enum { SIZE = 32768 };
    static _Thread_local char *buffer;
    struct answer answer;
    load_module();
    if (!buffer)
        buffer = malloc(SIZE);
    REQUIRE(buffer);
    ask_into(question, &answer, buffer, SIZE);
    return answer;
}

struct answer ask4(const char *name) {
    return ask(&(struct question){.entry = BY_NAME4, .name = name});
}

struct answer ask3(const char *name, int family) {
    return ask(&(struct question){.entry = BY_NAME3, .name = name, .family = family});
}

void check_told(const struct answer *answer, enum nss_status status, int errnop, int h_errnop) {
    CHECK_EQUAL(answer->status, status);
    CHECK_EQUAL(answer->h_errnop, h_errnop);
    bool quiet = status == NSS_STATUS_SUCCESS || status == NSS_STATUS_NOTFOUND;
    CHECK_EQUAL(answer->errnop, quiet ? ERRNOP_BEFORE : errnop);
    // The original leaves errno as it may be when it fails; ours never touches it.
    if (quiet || !is_stock())
        CHECK_EQUAL(answer->error, ERRNO_BEFORE);
    if (status == NSS_STATUS_SUCCESS)
        CHECK_EQUAL(answer->h_error, 0);
    else if (!is_stock())
        CHECK_EQUAL(answer->h_error, H_ERRNO_BEFORE);
    if (status != NSS_STATUS_SUCCESS) {
        // Nothing is handed out that the caller could take for an answer.
        CHECK(answer->tuples == NULL || answer->tuples == &answer->own_tuple);
        CHECK(answer->own_tuple.name == NULL && answer->host.h_name == NULL && answer->canonical == NULL);
        CHECK_EQUAL(answer->ttl, -1);
    }
}

void check_found(const struct answer *answer) {
    check_told(answer, NSS_STATUS_SUCCESS, 0, NETDB_SUCCESS);
}

void check_not_found(const struct answer *answer) {
    check_told(answer, NSS_STATUS_NOTFOUND, 0, HOST_NOT_FOUND);
}

void check_unavailable(const struct answer *answer, int error) {
    check_told(answer, NSS_STATUS_UNAVAIL, error, NO_RECOVERY);
}
