// The machines that the tests look up, and the records and index links behind them.
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define RECORDS "/run/systemd/machines"
#define ADDRESSES "/run/machined/addresses"
#define UIDS "/run/machined/uids"
#define GIDS "/run/machined/gids"
#define ALIASES "/run/machined/aliases"
#define NAMES "/run/machined/names"

struct address {
    int family;
    unsigned char bytes[16];
    uint32_t scope;
};

enum kind { WITH_ADDRESSES, SHARED_NETWORK, VIRTUAL_MACHINE };

struct machine {
    char name[65];
    enum kind kind;
    size_t count;
    struct address *addresses;
};

// The machines there are. `none`, `one`, `three`, `many` (300 of IPv4) and `many6` (300 of IPv6) are containers with
// that many addresses, `shared` has the host's network, `vm` is a virtual machine; there may be more.
extern struct machine *machines;
extern size_t machine_count;

const struct machine *machine_named(const char *name);

// The addresses of one family; AF_UNSPEC: of all.
size_t count_of_family(const struct machine *machine, int family);
const struct address *address_of_family(const struct machine *machine, int family, size_t position);

static inline size_t length_of_family(int family) {
    return family == 2 /* AF_INET */ ? 4 : 16;
}

// Makes the machines above: their records and index links, with this process as the leader of each.
void make_world(void);

// Reads the machines of a running system from a file with a line for each: NAME container|shared|vm ADDRESS[%SCOPE]...
// in the order in which they are to be found.
void read_world(const char *path);

struct address parse_address(const char *text);

// Replaces the record of a machine by this text, at once (by rename).
void write_record(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));
void write_record_bytes(const char *name, const void *bytes, size_t length);

// A record of a container with this leader and these addresses.
void write_container(const char *name, pid_t leader, const char *addresses);

// A record of a container with this leader and these maps, `INSIDE:OUTSIDE:COUNT ...`, which may be empty.
void write_mapped(const char *name, pid_t leader, const char *uids, const char *gids);

void path_of_record(char path[128], const char *name);

// Points the index link of an address at a name.
void link_address(const char *address, const char *name);

// Replaces a symlink of the registry, at once.
void link_entry(const char *directory, const char *entry, const char *target);

// Replaces a list of the uid or gid index by this text, in a file, at once.
void write_list(const char *directory, const char *entry, const char *text);

// The lines that identify a leader. The text is overwritten by the next call.
const char *lines_of_leader(pid_t leader);
// How an entry of the id index goes on behind the name of its machine. The text is overwritten by the next call.
const char *leader_in_lists(pid_t leader);

// Whether there is pidfd_open(2). Where there is none (under an old valgrind) nothing is known of leaders, and records
// are trusted.
bool has_pidfds(void);

// The number by which a record knows its leader; 0 where there are no pidfds.
uint64_t pidfd_id(pid_t pid);
uint64_t start_time(pid_t pid);
uint64_t pid_namespace(void);
