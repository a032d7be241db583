// What the module makes of each record there may be: its states, its damage, and its leader.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "check.h"
#include "module.h"
#include "process.h"

static const char HEAD[] = "# This is private data. Do not parse.\nNAME=m\nCLASS=container\n";
static const char GOOD[] = "ADDRESSES=\"10.9.9.9\"\n";

// Both ways in which records are read: all addresses, and those of a family.
static void expect(void check(const struct answer *, int), int error) {
    struct answer answer = ask4("m");
    check(&answer, error);
    answer = ask3("m", AF_INET);
    check(&answer, error);
}

static void found(const struct answer *answer, int unused) {
    (void)unused;
    check_found(answer);
}

static void not_found(const struct answer *answer, int unused) {
    (void)unused;
    check_not_found(answer);
}

static void expect_alive(void) {
    expect(found, 0);
}

static void expect_unavailable(int error) {
    expect(check_unavailable, error);
}

// By each entry point; the answer names the machine as it names itself.
static void expect_spelled(const char *asked, const char *name) {
    subject("%s", asked);
    struct answer answer = ask4(asked);
    if (name)
        check_found(&answer);
    else
        check_unavailable(&answer, ENXIO);
    if (name && answer.tuples)
        CHECK_TEXT(answer.tuples->name, name);
    answer = ask3(asked, AF_INET);
    if (name)
        check_found(&answer);
    else
        check_unavailable(&answer, ENXIO);
    if (name && answer.host.h_name)
        CHECK_TEXT(answer.host.h_name, name);
}

static void names_have_no_case_where_none_is_exactly_this_one(void) {
    write_container("BigTEST", getpid(), "10.9.9.9");
    expect_spelled("BigTEST", "BigTEST");
    expect_spelled("BigTEST.", "BigTEST");
    expect_spelled("bigtest", NULL);
    link_entry(NAMES, "bigtest", "BigTEST");
    expect_spelled("bigtest", "BigTEST");
    expect_spelled("BIGtest.", "BigTEST");
    expect_spelled("bigtest.x", NULL);
    char longest[67];
    memset(longest, 'x', 64);
    strcpy(longest + 64, ".");
    expect_spelled(longest, NULL);
    strcpy(longest + 64, "..");
    struct answer answer = ask4(longest);
    check_unavailable(&answer, EINVAL);
    // Exactly this one counts, whatever the index says.
    write_container("bigtest", getpid(), "10.9.9.9");
    expect_spelled("bigtest", "bigtest");
    // The index is a hint.
    unlink(RECORDS "/bigtest");
    unlink(RECORDS "/BigTEST");
    expect_spelled("bigtest", NULL);
    link_entry(NAMES, "bigtest", "../../etc/passwd");
    expect_spelled("bigtest", NULL);
    link_entry(NAMES, "bigtest", "bigtest");
    expect_spelled("bigtest", NULL);
    unlink(NAMES "/bigtest");
    mkdir(NAMES "/bigtest", 0755);
    expect_spelled("bigtest", NULL);
    rmdir(NAMES "/bigtest");
}

static void addresses_have_four_states(void) {
    const char *leader = lines_of_leader(getpid());
    subject("a list");
    write_record("m", "%s%s%s", HEAD, leader, GOOD);
    expect_alive();
    subject("an empty list");
    write_record("m", "%s%sADDRESSES=\n", HEAD, leader);
    expect(not_found, 0);
    subject("an empty list in quotes");
    write_record("m", "%s%sADDRESSES=\"\"\n", HEAD, leader);
    expect(not_found, 0);
    subject("the host's network");
    write_record("m", "%s%sADDRESSES=host\n", HEAD, leader);
    expect_unavailable(ENOSYS);
    subject("no such line");
    write_record("m", "%s%s", HEAD, leader);
    expect_unavailable(ENODATA);
}

static void scope_ids_are_those_written(void) {
    write_record("m", "%s%sNETIF=7\nADDRESSES=\"fe80::1%%5 fe80::2 10.0.0.1 fd00::1 fe80::3%%4294967295\"\n", HEAD,
                 lines_of_leader(getpid()));
    struct answer answer = ask4("m");
    check_found(&answer);
    const uint32_t expected[] = {5, 0, 0, 0, 4294967295};
    struct gaih_addrtuple *tuple = answer.tuples;
    for (size_t i = 0; i < 5; i++, tuple = tuple->next) {
        REQUIRE(tuple);
        CHECK_EQUAL(tuple->scopeid, expected[i]);
    }
}

static void damaged_records(void) {
    const char *const damaged[] = {
        "",
        "\n",
        "CLASS=container\nLEADER=1",
        "LEADER=1\nADDRESSES=10.0.0.1\n",
        "NAME=other\nCLASS=container\nLEADER=1\nADDRESSES=10.0.0.1\n",
        "CLASS=container\nLEADER=\"1\nADDRESSES=10.0.0.1\n",
        "CLASS=container\nLEADER=one\n",
        "CLASS=container\nLEADER=-1\n",
        "CLASS=container\nLEADER=1 2\n",
        "CLASS=container\nLEADER=99999999999999999999\n",
        "CLASS=container\nLEADER=1\nLEADER_PIDFDID=x\n",
        "CLASS=container\nLEADER=1\nADDRESSES=10.0.0\n",
        "CLASS=container\nLEADER=1\nADDRESSES=10.0.0.256\n",
        "CLASS=container\nLEADER=1\nADDRESSES=\"10.0.0.1 nonsense\"\n",
        "CLASS=container\nLEADER=1\nADDRESSES=\"10.0.0.1 host\"\n",
        "CLASS=container\nLEADER=1\nADDRESSES=\"host 10.0.0.1\"\n",
        "CLASS=container\nLEADER=1\nADDRESSES=10.0.0.1%5\n",
        "CLASS=container\nLEADER=1\nADDRESSES=fe80::1%\n",
        "CLASS=container\nLEADER=1\nADDRESSES=fe80::1%0\n",
        "CLASS=container\nLEADER=1\nADDRESSES=fe80::1%eth0\n",
        "CLASS=container\nLEADER=1\nADDRESSES=fe80::1%4294967296\n",
        "CLASS=container\nLEADER=1\nADDRESSES=1:2:3:4:5:6:7:8:9\n",
        "CLASS=container\nLEADER=1\nADDRESSES=::1::2\n",
        "CLASS=container\nLEADER=1\nADDRESSES=12345::\n",
        "CLASS=container\nLEADER=1\nNETIF=0\nADDRESSES=10.0.0.1\n",
        "CLASS=container\nLEADER=1\nNETIF=\"2 eth0\"\nADDRESSES=10.0.0.1\n",
        "CLASS=container\nLEADER=1\nNETIF=2147483648\nADDRESSES=10.0.0.1\n",
    };
    for (size_t i = 0; i < sizeof damaged / sizeof *damaged; i++) {
        subject("%s", damaged[i]);
        write_record("m", "%s", damaged[i]);
        expect_unavailable(EBADMSG);
    }
}

static void a_record_that_is_cut_off_anywhere(void) {
    char text[1024];
    int length = snprintf(text, sizeof text, "%s%sNETIF=\"2 3\"\nADDRESSES=\"10.0.0.1 fe80::1%%5\"\n", HEAD, lines_of_leader(getpid()));
    for (int cut = 0; cut < length; cut++) {
        // At the end of a line the rest may be of no meaning, but a record cut off there is not told from a whole one.
        if (cut > 0 && text[cut - 1] == '\n')
            continue;
        subject("after %d of %d bytes", cut, length);
        write_record_bytes("m", text, (size_t)cut);
        expect_unavailable(EBADMSG);
    }
}

static void a_zero_byte(void) {
    char text[1024];
    int length = snprintf(text, sizeof text, "%s%s%s", HEAD, lines_of_leader(getpid()), GOOD);
    for (int at = 0; at < length; at++) {
        char byte = text[at];
        text[at] = 0;
        subject("at %d", at);
        write_record_bytes("m", text, (size_t)length);
        expect_unavailable(EBADMSG);
        text[at] = byte;
    }
}

static void the_largest_record(void) {
    enum { LARGEST = 65536 };
    char *text = malloc(LARGEST + 8192);
    int length = snprintf(text, LARGEST, "%s%s%sX=", HEAD, lines_of_leader(getpid()), GOOD);
    memset(text + length, 'x', LARGEST + 8192 - (size_t)length);
    for (size_t size = LARGEST - 3; size <= LARGEST + 4096 + 3; size += size == LARGEST + 3 ? 4090 : 1) {
        subject("%zu bytes", size);
        text[size - 1] = '\n';
        write_record_bytes("m", text, size);
        text[size - 1] = 'x';
        if (size <= LARGEST)
            expect_alive();
        else
            expect_unavailable(EBADMSG);
    }
    free(text);
}

static void remove_record(void) {
    char path[128];
    path_of_record(path, "m");
    if (unlink(path) < 0)
        rmdir(path);
}

static void what_is_no_file(void) {
    char path[128], other[128];
    path_of_record(path, "m");
    path_of_record(other, "one");
    subject("a directory");
    remove_record();
    REQUIRE(mkdir(path, 0755) == 0);
    expect_unavailable(EBADMSG);
    subject("a FIFO that nobody writes to");
    remove_record();
    REQUIRE(mkfifo(path, 0644) == 0);
    expect_unavailable(EBADMSG);
    subject("a FIFO with a silent writer");
    int writer = open(path, O_RDWR | O_CLOEXEC);
    REQUIRE(writer >= 0);
    expect_unavailable(EBADMSG);
    close(writer);
    subject("a symlink to a record");
    remove_record();
    REQUIRE(symlink(other, path) == 0);
    expect_unavailable(ENXIO);
    subject("a symlink to nothing");
    remove_record();
    REQUIRE(symlink("/nonexistent", path) == 0);
    expect_unavailable(ENXIO);
    subject("a symlink to itself");
    remove_record();
    REQUIRE(symlink("m", path) == 0);
    expect_unavailable(ENXIO);
    subject("a socket");
    remove_record();
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    strcpy(address.sun_path, path);
    REQUIRE(bind(fd, (struct sockaddr *)&address, sizeof address) == 0 && listen(fd, 1) == 0);
    struct answer answer = ask4("m");
    CHECK_EQUAL(answer.status, NSS_STATUS_UNAVAIL);
    close(fd);
    remove_record();
}

static void no_directory(void) {
    load_module();
    REQUIRE(rename(RECORDS, RECORDS ".away") == 0);
    struct answer answer = ask4("three");
    check_unavailable(&answer, ENXIO);
    uint32_t address = inet_addr("10.0.1.2");
    answer = ask(&(struct question){.entry = BY_ADDRESS, .address = &address, .length = 4, .family = AF_INET});
    check_not_found(&answer);
    REQUIRE(rename(RECORDS ".away", RECORDS) == 0);
}

static void a_missing_leader(void) {
    const char *const lines[] = {"", "LEADER=0\n", "LEADER=\n", "LEADER=\"\"\n"};
    for (size_t i = 0; i < 4; i++) {
        subject("%s", lines[i]);
        write_record("m", "%s%s%s", HEAD, lines[i], GOOD);
        expect_unavailable(ENXIO);
    }
}

static void a_leader_that_dies(void) {
    pid_t leader = start_process();
    write_record("m", "%s%s%s", HEAD, lines_of_leader(leader), GOOD);
    subject("it lives");
    expect_alive();
    make_zombie(leader);
    subject("it is a zombie");
    expect_unavailable(ENXIO);
    end_process(leader);
    subject("it is gone");
    expect_unavailable(ENXIO);
}

static void a_dead_vm(void) {
    pid_t leader = start_process();
    write_record("m", "NAME=m\nCLASS=vm\n%s", lines_of_leader(leader));
    expect_unavailable(ENOTTY);
    end_process(leader);
    expect_unavailable(ENXIO);
}

static void identified(const char *id, const char *start, void check(const struct answer *, int), int error) {
    subject("id %s, start time %s", id, start);
    write_record("m", "%sLEADER=%d\n%s%sPIDNS=%" PRIu64 "\n%s", HEAD, getpid(), id, start, pid_namespace(), GOOD);
    expect(check, error);
}

static void identity_of_the_leader(void) {
    char id[64], other_id[64], start[64], other_start[64];
    snprintf(id, sizeof id, "LEADER_PIDFDID=%" PRIu64 "\n", pidfd_id(getpid()));
    snprintf(other_id, sizeof other_id, "LEADER_PIDFDID=%" PRIu64 "\n", pidfd_id(getpid()) + 1);
    snprintf(start, sizeof start, "LEADER_STARTTIME=%" PRIu64 "\n", start_time(getpid()));
    snprintf(other_start, sizeof other_start, "LEADER_STARTTIME=%" PRIu64 "\n", start_time(getpid()) + 1);
    identified(id, start, found, 0);
    identified(id, "", found, 0);
    identified("", start, found, 0);
    identified("", "", found, 0);
    // Before Linux 6.9 there is no number to go by, and this would be a start time alone.
    if (pidfd_id(getpid()) != 0)
        identified(id, other_start, found, 0);
    identified("LEADER_PIDFDID=0\n", start, found, 0);
    identified(other_id, start, check_unavailable, ENXIO);
    identified(other_id, "", check_unavailable, ENXIO);
    identified("", other_start, check_unavailable, ENXIO);
    identified("LEADER_PIDFDID=0\n", other_start, check_unavailable, ENXIO);
}

static void recycle(void) {
    mount_own_proc();
    // Without a number of the pidfd, start times alone tell.
    for (int by_start_time = pidfd_id(getpid()) == 0; by_start_time < 2; by_start_time++) {
        subject(by_start_time ? "known by its start time" : "known by its pidfd's number");
        pid_t leader = start_process_as(100);
        uint64_t started = start_time(leader);
        char identity[64];
        if (by_start_time)
            snprintf(identity, sizeof identity, "LEADER_STARTTIME=%" PRIu64, started);
        else
            snprintf(identity, sizeof identity, "LEADER_PIDFDID=%" PRIu64, pidfd_id(leader));
        write_record("m", "%sLEADER=100\n%s\nPIDNS=%" PRIu64 "\n%s", HEAD, identity, pid_namespace(), GOOD);
        expect_alive();
        end_process(leader);
        expect_unavailable(ENXIO);
        // Start times are counted in hundredths of a second: the next process may have the same.
        for (leader = start_process_as(100); start_time(leader) == started; leader = start_process_as(100))
            end_process(leader);
        expect_unavailable(ENXIO);
        end_process(leader);
    }
}

static void a_recycled_pid(void) {
    in_new_pid_namespace(recycle);
}

static void look_from_another_namespace(void) {
    // The record is of the outer namespace, whose leader cannot be seen from here.
    expect_alive();
}

static void another_pid_namespace(void) {
    pid_t leader = start_process();
    char record[512];
    snprintf(record, sizeof record, "%s%s%s", HEAD, lines_of_leader(leader), GOOD);
    write_record("m", "%s", record);
    in_new_pid_namespace(look_from_another_namespace);
    // From here it can be seen to be gone.
    end_process(leader);
    expect_unavailable(ENXIO);
    subject("a namespace that is not ours");
    write_record("m", "%sLEADER=%d\nPIDNS=1\n%s", HEAD, (int)leader, GOOD);
    expect_alive();
    subject("no namespace");
    write_record("m", "%sLEADER=%d\n%s", HEAD, (int)leader, GOOD);
    expect_unavailable(ENXIO);
}

static void no_proc(void) {
    pid_t leader = start_process();
    char record[512];
    snprintf(record, sizeof record, "%s%s%s", HEAD, lines_of_leader(leader), GOOD);
    write_record("m", "%s", record);
    end_process(leader);
    REQUIRE(unshare(CLONE_NEWNS) == 0 && mount("none", "/proc", "tmpfs", 0, NULL) == 0);
    expect_alive();
}

static struct answer ask_address(const char *text) {
    struct address address = parse_address(text);
    return ask(&(struct question){.entry = BY_ADDRESS,
                                  .address = address.bytes,
                                  .length = (socklen_t)length_of_family(address.family),
                                  .family = address.family});
}

static void reverse_found(void) {
    for (const struct machine *machine = machines; machine < machines + machine_count; machine++)
        for (size_t i = 0; i < machine->count; i++) {
            const struct address *address = &machine->addresses[i];
            struct answer answer = ask(&(struct question){.entry = BY_ADDRESS,
                                                          .address = address->bytes,
                                                          .length = (socklen_t)length_of_family(address->family),
                                                          .family = address->family});
            check_found(&answer);
            CHECK_TEXT(answer.host.h_name, machine->name);
            // nscd(8) keeps it no longer than it is told to.
            answer = ask(&(struct question){.entry = BY_ADDRESS2,
                                            .address = address->bytes,
                                            .length = (socklen_t)length_of_family(address->family),
                                            .family = address->family});
            check_found(&answer);
            CHECK_TEXT(answer.host.h_name, machine->name);
            CHECK_EQUAL(answer.ttl, 0);
        }
}

static void expect_miss(const char *address) {
    struct answer answer = ask_address(address);
    check_not_found(&answer);
}

static void reverse_misses(void) {
    subject("no link");
    expect_miss("10.99.0.1");
    expect_miss("::");
    subject("a link to a machine that there is not");
    link_address("10.99.0.2", "nobody");
    expect_miss("10.99.0.2");
    subject("a link to a machine without that address");
    link_address("10.99.0.3", "three");
    expect_miss("10.99.0.3");
    subject("a link to a machine without addresses");
    link_address("10.99.0.4", "none");
    expect_miss("10.99.0.4");
    subject("a link to what is no name");
    link_address("10.99.0.5", "../machines/three");
    expect_miss("10.99.0.5");
    char long_name[200];
    memset(long_name, 'x', sizeof long_name);
    long_name[199] = 0;
    link_address("10.99.0.6", long_name);
    expect_miss("10.99.0.6");
    subject("a link that says that several machines have the address");
    link_address("10.99.0.9", "*");
    expect_miss("10.99.0.9");
    subject("no link but a file, and a directory");
    int fd = open(ADDRESSES "/0a630007", O_CREAT | O_WRONLY | O_CLOEXEC, 0644);
    REQUIRE(fd >= 0 && mkdir(ADDRESSES "/0a630008", 0755) == 0);
    close(fd);
    expect_miss("10.99.0.7");
    expect_miss("10.99.0.8");
    subject("an IPv6 address that ends like an IPv4 one");
    expect_miss("::ffff:10.0.0.2");
}

static void reverse_of_the_dead(void) {
    pid_t leader = start_process();
    write_container("m", leader, "10.99.1.1 fe80::99%5");
    link_address("10.99.1.1", "m");
    link_address("fe80::99", "m");
    struct answer answer = ask_address("10.99.1.1");
    check_found(&answer);
    answer = ask_address("fe80::99");
    check_found(&answer);
    CHECK_TEXT(answer.host.h_name, "m");
    make_zombie(leader);
    expect_miss("10.99.1.1");
    end_process(leader);
    expect_miss("fe80::99");
}

static void reverse_errors(void) {
    struct answer answer;
    unsigned char bytes[16] = {10, 0, 1, 2};
    const struct {
        int family;
        socklen_t length;
        int error;
    } wrong[] = {{AF_INET, 16, EINVAL}, {AF_INET6, 4, EINVAL},        {AF_INET, 0, EINVAL},
                 {AF_INET, 3, EINVAL},  {AF_UNIX, 4, EAFNOSUPPORT}, {AF_UNSPEC, 4, EAFNOSUPPORT}};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        subject("family %d, %u bytes", wrong[i].family, wrong[i].length);
        answer = ask(&(struct question){
            .entry = BY_ADDRESS, .address = bytes, .length = wrong[i].length, .family = wrong[i].family});
        check_unavailable(&answer, wrong[i].error);
    }
    subject("a damaged record");
    link_address("10.99.2.1", "m");
    write_record("m", "CLASS=container\nADDRESSES=10.99.2.1");
    answer = ask_address("10.99.2.1");
    check_unavailable(&answer, EBADMSG);
    subject("no index");
    REQUIRE(rename(ADDRESSES, ADDRESSES ".away") == 0);
    expect_miss("10.0.1.2");
    REQUIRE(rename(ADDRESSES ".away", ADDRESSES) == 0);
}

static void the_last_line_counts(void) {
    write_record("m", "%s%sADDRESSES=\"10.9.0.1 10.9.0.2 fd00::1\"\nADDRESSES=10.9.0.3\n", HEAD, lines_of_leader(getpid()));
    struct answer answer = ask4("m");
    check_found(&answer);
    CHECK(answer.tuples->next == NULL && answer.tuples->addr[0] == inet_addr("10.9.0.3"));
    answer = ask3("m", AF_INET6);
    check_not_found(&answer);
}

static const struct test tests[] = {
    {"the addresses of a record have four states", addresses_have_four_states, OURS_ONLY},
    {"scope ids are those written, and on no other address", scope_ids_are_those_written, OURS_ONLY},
    {"of two lines of addresses the last counts", the_last_line_counts, OURS_ONLY},
    {"a name is found in any case and with a dot, where no machine has exactly this one",
     names_have_no_case_where_none_is_exactly_this_one, OURS_ONLY},
    {"a damaged record is unavailable with EBADMSG", damaged_records, OURS_ONLY},
    {"a record cut off anywhere within a line is damaged", a_record_that_is_cut_off_anywhere, OURS_ONLY},
    {"a record with a zero byte anywhere is damaged", a_zero_byte, OURS_ONLY},
    {"a record of 64 KiB is read, a larger one is damaged", the_largest_record, OURS_ONLY},
    {"what is no file is damaged, and a symlink is no record", what_is_no_file, OURS_ONLY},
    {"without the directory of the records every machine is unknown", no_directory, OURS_ONLY},
    {"a record without a leader is of a dead machine", a_missing_leader, OURS_ONLY},
    {"a machine dies with its leader, zombie or gone", a_leader_that_dies, OURS_ONLY},
    {"a dead virtual machine is as unknown", a_dead_vm, OURS_ONLY},
    {"a leader is known by its pidfd's number, or by its start time where there is none", identity_of_the_leader, OURS_ONLY},
    {"another process with the leader's pid is not the leader", a_recycled_pid, OURS_ONLY},
    {"a reader in another PID namespace trusts the record", another_pid_namespace, OURS_ONLY},
    {"a reader that cannot tell its PID namespace trusts the record", no_proc, OURS_ONLY},
    {"every address leads back to its machine, and is kept by nobody", reverse_found, OURS_ONLY},
    {"an address that no record confirms is not found", reverse_misses, OURS_ONLY},
    {"an address of a dead machine is not found", reverse_of_the_dead, OURS_ONLY},
    {"an address of a wrong length or family is told so, and a damaged record too", reverse_errors, OURS_ONLY},
};

int main(int argc, char **argv) {
    return run_tests(argc, argv, tests, sizeof tests / sizeof *tests);
}
