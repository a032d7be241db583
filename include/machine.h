/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The containers and virtual machines of a host, from the files of their registry: no daemon is asked, nothing waits.
 * machine(3). Generated from the source of libmachine by `make header`: do not edit.
 *
 * The functions that begin with sd_ are those of <systemd/sd-login.h> that are about machines, with the same results,
 * errors and memory; those that begin with machine_ are of this library alone, and keep these rules:
 *
 * - Where a negative errno is returned, nothing was written to where an answer goes.
 * - What comes through a struct X **ret is the caller's, and given back by X_free(); what comes through a char ** or a
 *   pid_t ** is one piece of memory, for free(3). All else belongs to the object that it was got from.
 * - All structures are opaque. What there is more than one of is got one after the other, by a number from 0 on.
 * - Flags that are not known are refused with -EINVAL.
 * - All functions may be called by any number of threads at once. An object is used by one at a time, but for a struct
 *   machine, a list that is not changed any more, and a batch: those are shared at will.
 */


#ifndef MACHINE_H
#define MACHINE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* The version of this header; libmachine_version() tells that of the library at run time. */
#define LIBMACHINE_VERSION "0.2.0"
/* For #if: major * 1000000 + minor * 1000 + patch. */
#define LIBMACHINE_VERSION_NUMBER 2000

/* As <systemd/sd-login.h> has it. */
#if !defined(foosdloginhfoo)
typedef struct sd_login_monitor sd_login_monitor;
#endif


/**
 * For machine_by_pid() and machine_by_pidfd(): the outermost machine, not the nearest.
 */
#define MACHINE_OUTERMOST 1

/**
 * An event: a machine has come.
 */
#define MACHINE_EVENT_NEW 1

/**
 * An event: a machine is there no longer.
 */
#define MACHINE_EVENT_REMOVED 2

/**
 * An event: the record of a machine was written anew.
 */
#define MACHINE_EVENT_CHANGED 3

/**
 * An event: a machine was there when the monitor began (MACHINE_MONITOR_LIST).
 */
#define MACHINE_EVENT_PRESENT 4

/**
 * An event: all machines that were there have been told (MACHINE_MONITOR_LIST).
 */
#define MACHINE_EVENT_LISTED 5

/**
 * An event: the kernel kept no more, and what happened since the event before is lost. Forget all machines, and list them
 * anew; with MACHINE_MONITOR_LIST they are told again, as MACHINE_EVENT_PRESENT and MACHINE_EVENT_LISTED.
 */
#define MACHINE_EVENT_OVERFLOW 6

/**
 * For machine_monitor_new(): begin with the machines that are there, as MACHINE_EVENT_PRESENT, and then
 * MACHINE_EVENT_LISTED.
 */
#define MACHINE_MONITOR_LIST 1

/**
 * For machine_monitor_new(): where there is no registry, wait for it; and again where it is removed.
 */
#define MACHINE_MONITOR_WAIT 2

/**
 * For machine_monitor_new(): a machine is gone when its leader is, whether its record is removed or not. Takes a descriptor
 * for each machine.
 */
#define MACHINE_MONITOR_LEADERS 4

/**
 * For machine_wait(): until the machine is there.
 */
#define MACHINE_WAIT_PRESENT 1

/**
 * For machine_wait(): until the machine is gone.
 */
#define MACHINE_WAIT_GONE 2

/**
 * The longest name of a machine, in bytes.
 */
#define MACHINE_NAME_MAX 64

/**
 * The name is empty.
 */
#define MACHINE_RULE_EMPTY 1

/**
 * The name has more than MACHINE_NAME_MAX bytes.
 */
#define MACHINE_RULE_TOO_LONG 2

/**
 * The name has a byte that is none of A-Z, a-z, 0-9, '-' and '.'.
 */
#define MACHINE_RULE_BYTE 3

/**
 * The name begins or ends with a dot, or has two dots in a row.
 */
#define MACHINE_RULE_EMPTY_LABEL 4

/**
 * A part of the name between dots begins or ends with a hyphen.
 */
#define MACHINE_RULE_HYPHEN 5

/**
 * An interface of the machine's own has the address, by the kernel.
 */
#define MACHINE_ADDRESS_INTERFACE 1

/**
 * Whoever registered the machine has given the address.
 */
#define MACHINE_ADDRESS_GIVEN 2

/**
 * A DHCP server of the host has leased the address to the machine.
 */
#define MACHINE_ADDRESS_LEASE 3

/**
 * The kernel has met the address on the way to the machine, in its table of neighbours: the least sure of all.
 */
#define MACHINE_ADDRESS_NEIGHBOUR 4

/**
 * A machine, as its record had it when it was read.
 */
struct machine;

/**
 * The machines of many processes.
 */
struct machine_batch;

/**
 * What became of a machine.
 */
struct machine_event;

/**
 * Machines, as their records had them when they were read.
 */
struct machine_list;

/**
 * A watch over the machines of the host.
 */
struct machine_monitor;

/**
 * A monitor of sd-login's.
 */
struct sd_login_monitor;

#ifdef __cplusplus
extern "C" {
#endif /* __cplusplus */

/**
 * Tells which machines many processes are in, each as machine_path_by_pid() does, at a fraction of the price: for tools that
 * show all processes.
 *
 * Parameters:
 *   pids   the processes; 0 is none here
 *   n      how many there are
 *   flags  0
 *   ret    where the answers go
 *
 * Returns: 0, or a negative errno. -EINVAL: ret is NULL, or pids is and n is not 0, or a flag is not known. -ESRCH: /proc is
 * not mounted.
 *
 * Memory: machine_batch_free() the answers.
 */
int machine_batch_new(const pid_t *pids, size_t n, uint64_t flags, struct machine_batch **ret);

/**
 * Frees the answers of a batch.
 *
 * Parameters:
 *   batch  the answers; may be NULL
 *
 * Returns: NULL.
 */
struct machine_batch *machine_batch_free(struct machine_batch *batch);

/**
 * The number of answers in a batch: one for each process that was asked for, in a machine or not.
 *
 * Parameters:
 *   batch  the answers
 *
 * Returns: how many there are, or a negative errno. -EINVAL: batch is NULL.
 */
int machine_batch_get_count(const struct machine_batch *batch);

/**
 * How many of the processes of a batch are in a machine: those that machine_batch_get_path() has a text for.
 *
 * Parameters:
 *   batch  the answers
 *
 * Returns: their number, or a negative errno. -EINVAL: batch is NULL.
 */
int machine_batch_get_found(const struct machine_batch *batch);

/**
 * The machines that a process of a batch is in, the outermost first: "outer/inner".
 *
 * Parameters:
 *   batch  the answers
 *   i      which process, by its place in what was asked, from 0 on
 *
 * Returns: the names; NULL if it is in no machine, gone, hidden from the caller, or in a machine whose record cannot be read,
 * and if batch is NULL or has no such process.
 *
 * Memory: the batch's.
 */
const char *machine_batch_get_path(const struct machine_batch *batch, size_t i);

/**
 * The nearest machine that a process of a batch is in.
 *
 * Parameters:
 *   batch  the answers
 *   i      which process, by its place in what was asked, from 0 on
 *
 * Returns: its name; NULL where machine_batch_get_path() is.
 *
 * Memory: the batch's.
 */
const char *machine_batch_get_name(const struct machine_batch *batch, size_t i);

/**
 * Says in words what an error of a machine_ function means: "no machine is, or has, what was asked for" for -ENXIO, where
 * strerror(3) has "No such device or address". Those errors that have a meaning of the library's own are told in English;
 * all others, such as -EACCES and -EMFILE, as strerror(3) tells them, in the language of the program.
 *
 * Parameters:
 *   error  what the function returned, with its sign or without
 *
 * Returns: the words, which are never NULL.
 *
 * Memory: the library's, which stays as it is; or that of strerror(3), which its next call in the same thread may change.
 */
const char *machine_strerror(int error);

/**
 * Reads the records of all machines of the host. They are in no order. One whose leader has gone may be among them:
 * machine_list_keep_alive() leaves those out. Where there is no registry the list is empty.
 *
 * Parameters:
 *   flags  0
 *   ret    where the list goes
 *
 * Returns: 0, or a negative errno. -EINVAL: ret is NULL, or a flag is not known.
 *
 * Memory: machine_list_free() the list.
 */
int machine_list_new(uint64_t flags, struct machine_list **ret);

/**
 * Lists the machines that a process is in, the outermost first.
 *
 * Parameters:
 *   pid    the process; 0 for the caller
 *   flags  0
 *   ret    where the list goes, which is empty if it is in none
 *
 * Returns: 0, or a negative errno: those of machine_by_pid(), but for -ENXIO.
 *
 * Memory: machine_list_free() the list.
 */
int machine_list_by_pid(pid_t pid, uint64_t flags, struct machine_list **ret);

/**
 * Lists the machines that a process is in, as machine_list_by_pid() does, by a descriptor of it.
 *
 * Parameters:
 *   pidfd  a descriptor made by pidfd_open(2)
 *   flags  0
 *   ret    where the list goes, which is empty if it is in none
 *
 * Returns: 0, or a negative errno: those of machine_by_pidfd(), but for -ENXIO.
 *
 * Memory: machine_list_free() the list.
 */
int machine_list_by_pidfd(int pidfd, uint64_t flags, struct machine_list **ret);

/**
 * Frees a list, and its machines.
 *
 * Parameters:
 *   list  the list; may be NULL
 *
 * Returns: NULL.
 */
struct machine_list *machine_list_free(struct machine_list *list);

/**
 * The number of machines in a list.
 *
 * Parameters:
 *   list  the list
 *
 * Returns: how many there are, or a negative errno. -EINVAL: list is NULL.
 */
int machine_list_get_count(const struct machine_list *list);

/**
 * A machine of a list.
 *
 * Parameters:
 *   list  the list
 *   i     which one, from 0 on
 *
 * Returns: the machine; NULL if there are not so many, or list is NULL.
 *
 * Memory: the list's.
 */
const struct machine *machine_list_get_machine(const struct machine_list *list, size_t i);

/**
 * Tells of a machine that is not in a list since its record could not be read.
 *
 * Parameters:
 *   list   the list
 *   i      which one, from 0 on
 *   name   where its name goes; may be NULL
 *   error  where the negative errno goes that says why, -EBADMSG for a damaged record; may be NULL
 *
 * Returns: 1; 0 if there are not so many; or a negative errno. -EINVAL: list is NULL.
 *
 * Memory: the list's.
 */
int machine_list_get_failure(const struct machine_list *list, size_t i, const char **name, int *error);

/**
 * Leaves out of a list the machines whose leader has gone.
 *
 * Parameters:
 *   list  the list
 *
 * Returns: how many are left, or a negative errno. -EINVAL: list is NULL.
 */
int machine_list_keep_alive(struct machine_list *list);

/**
 * Leaves out of a list the machines of other classes.
 *
 * Parameters:
 *   list  the list
 *   name  that of the class, "container" or "vm"
 *
 * Returns: how many are left, or a negative errno. -EINVAL: an argument is NULL.
 */
int machine_list_keep_class(struct machine_list *list, const char *name);

/**
 * Leaves out of a list the machines that other users registered.
 *
 * Parameters:
 *   list   the list
 *   owner  the uid of the user
 *
 * Returns: how many are left, or a negative errno. -EINVAL: list is NULL.
 */
int machine_list_keep_owner(struct machine_list *list, uid_t owner);

/**
 * Leaves out of a list the machines with other context ids of vsock(7), or none.
 *
 * Parameters:
 *   list  the list
 *   cid   the context id
 *
 * Returns: how many are left, or a negative errno. -EINVAL: list is NULL.
 */
int machine_list_keep_vsock_cid(struct machine_list *list, uint32_t cid);

/**
 * Leaves out of a list the machines that a network interface of the host does not lead to.
 *
 * Parameters:
 *   list     the list
 *   ifindex  the index of the interface
 *
 * Returns: how many are left, or a negative errno. -EINVAL: list is NULL.
 */
int machine_list_keep_ifindex(struct machine_list *list, int ifindex);

/**
 * Leaves out of a list the machines whose systems have other ids, machine-id(5).
 *
 * Parameters:
 *   list  the list
 *   id    the 16 bytes of the id
 *
 * Returns: how many are left, or a negative errno. -EINVAL: an argument is NULL.
 */
int machine_list_keep_id(struct machine_list *list, const uint8_t id[16]);

/**
 * Leaves out of a list the machines with other control groups.
 *
 * Parameters:
 *   list  the list
 *   id    the id of the group, the inode number of its directory
 *
 * Returns: how many are left, or a negative errno. -EINVAL: list is NULL.
 */
int machine_list_keep_control_group_id(struct machine_list *list, uint64_t id);

/**
 * Finds the machine that a process is in: of machines that are nested in each other the nearest. Unlike
 * sd_pid_get_machine_name() it finds machines within other units, such as those of users, and leaves out those whose
 * leader has gone. Of a machine that shares its control group with others the leader alone is found.
 *
 * Parameters:
 *   pid    the process; 0 for the caller
 *   flags  0, or MACHINE_OUTERMOST for the outermost machine
 *   ret    where the machine goes
 *
 * Returns: 0, or a negative errno. -ENXIO: it is in no machine. -ESRCH: there is no such process, or none that /proc
 * shows. -EINVAL: pid is negative, ret is NULL, or a flag is not known. -EUNATCH: its control group is outside of the
 * caller's cgroup namespace.
 *
 * Memory: machine_free() the machine.
 */
int machine_by_pid(pid_t pid, uint64_t flags, struct machine **ret);

/**
 * Finds the machine that a process is in, as machine_by_pid() does, by a descriptor of it.
 *
 * Parameters:
 *   pidfd  a descriptor made by pidfd_open(2)
 *   flags  as of machine_by_pid()
 *   ret    where the machine goes
 *
 * Returns: 0, or a negative errno: those of machine_by_pid(). -EBADF, -ENOTTY: pidfd is no descriptor, or none of a
 * process. -EREMOTE: the process is of another PID namespace. -ENOSYS: before Linux 6.13 /proc has to tell, and is not
 * there.
 *
 * Memory: machine_free() the machine.
 */
int machine_by_pidfd(int pidfd, uint64_t flags, struct machine **ret);

/**
 * Tells which machines a process is in, by their names, the outermost first: "outer/inner". machine_open() takes that.
 *
 * Parameters:
 *   pid    the process; 0 for the caller
 *   flags  0
 *   path   where the names go; may be NULL
 *
 * Returns: 0, or a negative errno: those of machine_by_pid().
 *
 * Memory: free(3) the path.
 */
int machine_path_by_pid(pid_t pid, uint64_t flags, char **path);

/**
 * Tells which machines a process is in, as machine_path_by_pid() does, by a descriptor of it.
 *
 * Parameters:
 *   pidfd  a descriptor made by pidfd_open(2)
 *   flags  0
 *   path   where the names go; may be NULL
 *
 * Returns: 0, or a negative errno: those of machine_by_pidfd().
 *
 * Memory: free(3) the path.
 */
int machine_path_by_pidfd(int pidfd, uint64_t flags, char **path);

/**
 * Finds the machine that a uid of the host belongs to. machine_name_by_uid() takes less time.
 *
 * Parameters:
 *   uid     the uid on the host
 *   flags   0
 *   ret     where the machine goes
 *   inside  where the uid inside the machine goes; may be NULL
 *
 * Returns: 0, or a negative errno. -ENXIO: it is no living machine's, as those of the host itself. -ENOTUNIQ: it is
 * more than one machine's. -EBADMSG: the record that decides is damaged. -EINVAL: ret is NULL, or a flag is not known.
 *
 * Memory: machine_free() the machine.
 */
int machine_by_uid(uid_t uid, uint64_t flags, struct machine **ret, uid_t *inside);

/**
 * Tells which machine a uid of the host belongs to, by its name.
 *
 * Parameters:
 *   uid     the uid on the host
 *   flags   0
 *   name    where the name of the machine goes; may be NULL
 *   inside  where the uid inside the machine goes; may be NULL
 *
 * Returns: 0, or a negative errno: those of machine_by_uid().
 *
 * Memory: free(3) the name.
 */
int machine_name_by_uid(uid_t uid, uint64_t flags, char **name, uid_t *inside);

/**
 * Finds the machine that a gid of the host belongs to. machine_name_by_gid() takes less time.
 *
 * Parameters:
 *   gid     the gid on the host
 *   flags   0
 *   ret     where the machine goes
 *   inside  where the gid inside the machine goes; may be NULL
 *
 * Returns: 0, or a negative errno. -ENXIO: it is no living machine's, as those of the host itself. -ENOTUNIQ: it is
 * more than one machine's. -EBADMSG: the record that decides is damaged. -EINVAL: ret is NULL, or a flag is not known.
 *
 * Memory: machine_free() the machine.
 */
int machine_by_gid(gid_t gid, uint64_t flags, struct machine **ret, gid_t *inside);

/**
 * Tells which machine a gid of the host belongs to, by its name.
 *
 * Parameters:
 *   gid     the gid on the host
 *   flags   0
 *   name    where the name of the machine goes; may be NULL
 *   inside  where the gid inside the machine goes; may be NULL
 *
 * Returns: 0, or a negative errno: those of machine_by_gid().
 *
 * Memory: free(3) the name.
 */
int machine_name_by_gid(gid_t gid, uint64_t flags, char **name, gid_t *inside);

/**
 * Finds the machine that an address leads to from the host, by the index that gethostbyaddr(3) asks as well. An address that
 * several machines have leads to none of them.
 *
 * Parameters:
 *   family   AF_INET or AF_INET6
 *   address  a struct in_addr or a struct in6_addr
 *   flags    0
 *   ret      where the machine goes
 *
 * Returns: 0, or a negative errno. -ENXIO: it leads to no living machine. -ENOTUNIQ: more than one has it; go through a list
 * with machine_get_address() to find them. -EAFNOSUPPORT: another family. -EINVAL: address or ret is NULL, or a flag is not
 * known. -EBADMSG: the record that decides is damaged.
 *
 * Memory: machine_free() the machine.
 */
int machine_by_address(int family, const void *address, uint64_t flags, struct machine **ret);

/**
 * Tells which machine an address leads to from the host, by its name.
 *
 * Parameters:
 *   family   AF_INET or AF_INET6
 *   address  a struct in_addr or a struct in6_addr
 *   flags    0
 *   name     where the name of the machine goes; may be NULL
 *
 * Returns: 0, or a negative errno: those of machine_by_address().
 *
 * Memory: free(3) the name.
 */
int machine_name_by_address(int family, const void *address, uint64_t flags, char **name);

/**
 * Finds the virtual machine that has a context id of vsock(7). All records are read for it.
 *
 * Parameters:
 *   cid    the context id
 *   flags  0
 *   ret    where the machine goes
 *
 * Returns: 0, or a negative errno. -ENXIO: no living machine has it. -ENOTUNIQ: more than one has. -EBADMSG, -EACCES: none
 * has, but there is a record that is damaged or cannot be read, which may be its. -EINVAL: ret is NULL, or a flag is not
 * known.
 *
 * Memory: machine_free() the machine.
 */
int machine_by_vsock_cid(uint32_t cid, uint64_t flags, struct machine **ret);

/**
 * Finds the machine that a network interface of the host leads to. All records are read for it.
 *
 * Parameters:
 *   ifindex  the index of the interface
 *   flags    0
 *   ret      where the machine goes
 *
 * Returns: 0, or a negative errno: those of machine_by_vsock_cid().
 *
 * Memory: machine_free() the machine.
 */
int machine_by_ifindex(int ifindex, uint64_t flags, struct machine **ret);

/**
 * Finds the machine whose system has an id of machine-id(5). All records are read for it.
 *
 * Parameters:
 *   id     its 16 bytes
 *   flags  0
 *   ret    where the machine goes
 *
 * Returns: 0, or a negative errno: those of machine_by_vsock_cid(). -EINVAL: also if id is NULL.
 *
 * Memory: machine_free() the machine.
 */
int machine_by_id(const uint8_t id[16], uint64_t flags, struct machine **ret);

/**
 * Finds the machine that has this control group for its own. All records are read for it.
 *
 * Parameters:
 *   id     the id of the group, the inode number of its directory
 *   flags  0
 *   ret    where the machine goes
 *
 * Returns: 0, or a negative errno: those of machine_by_vsock_cid().
 *
 * Memory: machine_free() the machine.
 */
int machine_by_control_group_id(uint64_t id, uint64_t flags, struct machine **ret);

/**
 * Starts to watch. Without MACHINE_MONITOR_LIST machines that are there already are not told: list them after this, so that
 * none is missed.
 *
 * Parameters:
 *   flags  0, or MACHINE_MONITOR_LIST, MACHINE_MONITOR_WAIT, MACHINE_MONITOR_LEADERS, or'ed
 *   ret    where the monitor goes
 *
 * Returns: 0, or a negative errno. -ENOENT: there is no registry, and MACHINE_MONITOR_WAIT is not given. -EINVAL: ret is NULL,
 * or a flag is not known.
 *
 * Memory: machine_monitor_free() the monitor. One thread at a time may use it.
 */
int machine_monitor_new(uint64_t flags, struct machine_monitor **ret);

/**
 * Ends a monitor, and the event that it told last. In a child of fork(2) it gives back the child's copy, and the parent's goes
 * on.
 *
 * Parameters:
 *   m  the monitor; may be NULL
 *
 * Returns: NULL.
 */
struct machine_monitor *machine_monitor_free(struct machine_monitor *m);

/**
 * The descriptor of a monitor, for poll(2) with POLLIN; it stays the monitor's, and is closed on exec.
 *
 * Parameters:
 *   m  the monitor
 *
 * Returns: the descriptor, or -EINVAL if m is NULL.
 */
int machine_monitor_get_fd(const struct machine_monitor *m);

/**
 * Tells the next event, and does not wait for one. Call it until it returns 0, then wait for the descriptor. What came and
 * went meanwhile is told as both, in that order; where a record is replaced by another machine's of the same name, first
 * that the one was removed, then that the other is new; where more happens than the kernel keeps, MACHINE_EVENT_OVERFLOW
 * says so.
 *
 * Parameters:
 *   m      the monitor
 *   event  where the event goes
 *
 * Returns: 1; 0 if there is none at the moment; or a negative errno. -ESTALE: the registry was removed, and a new monitor
 * is needed; its machines were told to be removed before. -ECHILD: this process is a child of that which made the monitor,
 * and has to make its own. -EMFILE, -ENFILE, -ENOMEM: nothing is lost, and the next call tries again. -EINVAL: an
 * argument is NULL.
 *
 * Memory: the monitor's, until the next call of this function or machine_monitor_free().
 */
int machine_monitor_next(struct machine_monitor *m, const struct machine_event **event);

/**
 * What happened.
 *
 * Parameters:
 *   event  the event
 *
 * Returns: MACHINE_EVENT_NEW, MACHINE_EVENT_REMOVED, MACHINE_EVENT_CHANGED, MACHINE_EVENT_PRESENT, MACHINE_EVENT_LISTED or
 * MACHINE_EVENT_OVERFLOW, or -EINVAL if event is NULL. There may be others in later versions: pass over what is not known.
 */
int machine_event_get_change(const struct machine_event *event);

/**
 * The machine that an event is of.
 *
 * Parameters:
 *   event  the event
 *
 * Returns: its name; NULL for MACHINE_EVENT_LISTED and MACHINE_EVENT_OVERFLOW, and if event is NULL.
 *
 * Memory: the event's.
 */
const char *machine_event_get_name(const struct machine_event *event);

/**
 * Which of the machines of its name an event is of: see machine_get_incarnation().
 *
 * Parameters:
 *   event        the event
 *   incarnation  where the number goes
 *
 * Returns: 0, or a negative errno. -ENODATA: the record does not tell, or the machine was gone, or another in its place,
 * before it could be read. -EINVAL: an argument is NULL.
 */
int machine_event_get_incarnation(const struct machine_event *event, uint64_t *incarnation);

/**
 * What the record said of a machine that is there.
 *
 * Parameters:
 *   event  the event
 *
 * Returns: the machine; NULL for MACHINE_EVENT_REMOVED, MACHINE_EVENT_LISTED and MACHINE_EVENT_OVERFLOW, where the machine
 * was gone before its record could be read, and if event is NULL.
 *
 * Memory: the event's.
 */
const struct machine *machine_event_get_machine(const struct machine_event *event);

/**
 * Waits for one machine. This is the only function that waits. No machine is there while its leader is gone; there need be
 * no registry yet.
 *
 * Parameters:
 *   name      the name of the machine, or a path, as for machine_open(); where none is there yet it has exactly this name
 *   what      MACHINE_WAIT_PRESENT: until it is there; MACHINE_WAIT_GONE: until the machine that has the name now is gone,
 *             which is at once where there is none
 *   flags     0
 *   deadline  a time of CLOCK_MONOTONIC, in microseconds; UINT64_MAX for none. One that is past asks without waiting.
 *   ret       where the machine goes that is there, NULL with MACHINE_WAIT_GONE; may be NULL
 *
 * Returns: 0, or a negative errno. -ETIMEDOUT: the deadline is over. -EINTR: a signal was handled; call it again with the
 * same arguments. -EINVAL: no valid name, another what, or a flag is not known.
 *
 * Memory: machine_free() the machine.
 */
int machine_wait(const char *name, int what, uint64_t flags, uint64_t deadline, struct machine **ret);

/**
 * Checks whether a text may be the name of a machine, and says which rule it breaks.
 *
 * Parameters:
 *   name  the text
 *
 * Returns: 0 if it may; else the first rule that it breaks, MACHINE_RULE_EMPTY and so on. -EINVAL: name is NULL.
 */
int machine_name_check(const char *name);

/**
 * Says in words what a rule demands, in English: "a name has at least one letter or digit".
 *
 * Parameters:
 *   rule  what machine_name_check() returned
 *
 * Returns: the words; NULL if there is no such rule.
 *
 * Memory: the library's.
 */
const char *machine_name_rule(int rule);

/**
 * Finds a name that resembles a text and may be the name of a machine. A text that may be one is its own suggestion. Whether
 * there is a machine of that name is not looked at.
 *
 * Parameters:
 *   name        the text
 *   suggestion  where the name goes
 *   size        how much room there is: MACHINE_NAME_MAX + 1 bytes are always enough
 *
 * Returns: 0, or a negative errno. -ENOBUFS: there is not enough room. -EINVAL: an argument is NULL.
 */
int machine_name_suggest(const char *name, char *suggestion, size_t size);

/**
 * Tells which machine a process is in, by the unit it is in: the outermost one, whatever is nested in it.
 *
 * Parameters:
 *   pid   the process; 0 for the caller
 *   name  where the name goes; may be NULL
 *
 * Returns: 0, or a negative errno. -ENOENT: no machine runs in its unit, as for most processes of a host. -ENODATA: it is
 * in no unit. -ESRCH: there is no such process, or none that /proc shows. -EINVAL: pid is negative. -EUNATCH: its control
 * group is outside of the caller's namespace.
 *
 * Memory: free(3) the name.
 */
int sd_pid_get_machine_name(pid_t pid, char **name);

/**
 * Tells which machine a process is in, as sd_pid_get_machine_name() does, by a descriptor of it.
 *
 * Parameters:
 *   pidfd  a descriptor made by pidfd_open(2)
 *   name   where the name goes; may be NULL
 *
 * Returns: 0, or a negative errno: those of sd_pid_get_machine_name(). -EBADF, -ENOTTY: pidfd is no descriptor, or none of
 * a process. -EREMOTE: the process is of another PID namespace.
 *
 * Memory: free(3) the name.
 */
int sd_pidfd_get_machine_name(int pidfd, char **name);

/**
 * Tells which machine the process at the other end of a Unix socket is in.
 *
 * Parameters:
 *   fd    a connected socket, unix(7)
 *   name  where the name goes; may be NULL
 *
 * Returns: 0, or a negative errno: those of sd_pid_get_machine_name(), but -ENXIO where the process is in no unit.
 * -ENODATA: the other end is no process of this PID namespace. -EBADF, -ENOTSOCK: fd is no descriptor, or no socket.
 *
 * Memory: free(3) the name.
 */
int sd_peer_get_machine_name(int fd, char **name);

/**
 * Lists the machines of the host, in no order. Names that look like backups (web.old, web.bak) are left out;
 * machine_list_new() has them.
 *
 * Parameters:
 *   machines  where the list goes, which ends in NULL; may be NULL. It is NULL if there is not even a file.
 *
 * Returns: how many there are, or a negative errno.
 *
 * Memory: free(3) each name, and then the list.
 */
int sd_get_machine_names(char ***machines);

/**
 * Tells the class of a machine: "container" or "vm", or whatever its record says; "host" for ".host".
 *
 * Parameters:
 *   machine    its name
 *   ret_class  where the class goes; may be NULL
 *
 * Returns: 0, or a negative errno. -EINVAL: no valid name. -ENXIO: no such machine. -EIO: its record has no class.
 *
 * Memory: free(3) the class.
 */
int sd_machine_get_class(const char *machine, char **ret_class);

/**
 * Lists the network interfaces of the host that lead to a machine, by their indexes.
 *
 * Parameters:
 *   machine    its name
 *   ifindices  where the array goes; may be NULL. It is NULL if there are none.
 *
 * Returns: how many there are, or a negative errno. -EINVAL: no valid name. -ENXIO: no such machine. -EUCLEAN,
 * -ERANGE: its record has something else in their place.
 *
 * Memory: free(3) the array.
 */
int sd_machine_get_ifindices(const char *machine, int **ifindices);

/**
 * Watches for changes: of machines, and of what systemd-logind keeps. Wait for the descriptor, flush, look again.
 *
 * Parameters:
 *   category  "machine", "seat", "session" or "uid"; NULL for all of them
 *   ret       where the monitor goes
 *
 * Returns: 0, or a negative errno. -EINVAL: no such category, or ret is NULL. -ENOENT: there is nothing to be watched,
 * as where no registry or no systemd-logind runs.
 *
 * Memory: sd_login_monitor_unref() the monitor.
 */
int sd_login_monitor_new(const char *category, struct sd_login_monitor **ret);

/**
 * Ends a monitor.
 *
 * Parameters:
 *   m  the monitor; may be NULL
 *
 * Returns: NULL.
 */
struct sd_login_monitor *sd_login_monitor_unref(struct sd_login_monitor *m);

/**
 * Forgets what a monitor has noticed, so that its descriptor is not readable until something happens again.
 *
 * Parameters:
 *   m  the monitor
 *
 * Returns: 0, or a negative errno.
 */
int sd_login_monitor_flush(struct sd_login_monitor *m);

/**
 * The descriptor of a monitor, for poll(2); it stays the monitor's.
 *
 * Parameters:
 *   m  the monitor
 *
 * Returns: the descriptor, or a negative errno.
 */
int sd_login_monitor_get_fd(struct sd_login_monitor *m);

/**
 * What to wait for at a monitor's descriptor, as poll(2) has it.
 *
 * Parameters:
 *   m  the monitor
 *
 * Returns: POLLIN, or a negative errno.
 */
int sd_login_monitor_get_events(struct sd_login_monitor *m);

/**
 * How long to wait at most for a monitor's descriptor.
 *
 * Parameters:
 *   m             the monitor
 *   timeout_usec  where the time goes, in microseconds of CLOCK_MONOTONIC: UINT64_MAX, for ever
 *
 * Returns: 0, or a negative errno.
 */
int sd_login_monitor_get_timeout(struct sd_login_monitor *m, uint64_t *timeout_usec);

/**
 * Reads the record of a machine. What is read then stays as it is, whatever becomes of the machine.
 *
 * Parameters:
 *   name   its name, or a path as machine_path_by_pid() gives it, "outer/inner", of which the last name counts. As a host's it
 *          may end in a dot, and may be in capitals or small letters where no machine has exactly this name, and one alone
 *          has it so.
 *   flags  0
 *   ret    where the machine goes
 *
 * Returns: 0, or a negative errno. -EINVAL: no valid name, ret is NULL, or a flag is not known. -ENXIO: no such machine.
 * -EBADMSG: its record is damaged, or something that is no file is in its place.
 *
 * Memory: machine_free() the machine.
 */
int machine_open(const char *name, uint64_t flags, struct machine **ret);

/**
 * Frees a machine, and everything that was got from it by pointer.
 *
 * Parameters:
 *   m  the machine; may be NULL
 *
 * Returns: NULL.
 */
struct machine *machine_free(struct machine *m);

/**
 * The name of a machine.
 *
 * Parameters:
 *   m  the machine
 *
 * Returns: the name; NULL if m is.
 *
 * Memory: the machine's.
 */
const char *machine_get_name(const struct machine *m);

/**
 * Whether the process that leads a machine runs. The answer is that of now, not of when the record was read. Where the
 * caller cannot tell for want of a right it is 1.
 *
 * Parameters:
 *   m  the machine
 *
 * Returns: 1, 0, or a negative errno, all but 0 being true in C. -EREMOTE: its process ids mean nothing in the caller's PID
 * namespace, so that it may run or not. -EINVAL: m is NULL.
 */
int machine_is_alive(const struct machine *m);

/**
 * The network interfaces of the host that lead to a machine, by their indexes, one after the other: first those that its
 * registrar said, then those that the registry found.
 *
 * Parameters:
 *   m        the machine
 *   i        which one, from 0 on
 *   ifindex  where its index goes; may be NULL
 *
 * Returns: 1; 0 if there are not so many; or a negative errno. -EINVAL: m is NULL.
 */
int machine_get_ifindex(const struct machine *m, size_t i, int *ifindex);

/**
 * What the name of a machine resolves to, one address after the other, the best first.
 *
 * Parameters:
 *   m         the machine
 *   i         which one, from 0 on
 *   family    where AF_INET or AF_INET6 goes; may be NULL
 *   address   where a pointer to a struct in_addr or a struct in6_addr goes, as inet_ntop(3) takes it; may be NULL
 *   scope_id  where the host's interface goes that an IPv6 link-local address is reached through, 0 where none is needed
 *             or known; may be NULL
 *
 * Returns: 1; 0 if there are not so many; or a negative errno. -ENODATA: the record does not tell, as one of
 * systemd-machined's, or of a virtual machine of which no address is known. -ENONET: the machine has no network of its own,
 * but the host's. -EINVAL: m is NULL.
 *
 * Memory: the machine's.
 */
int machine_get_address(const struct machine *m, size_t i, int *family, const void **address, uint32_t *scope_id);

/**
 * Where an address of a machine is known from.
 *
 * Parameters:
 *   m       the machine
 *   i       which address, as of machine_get_address()
 *   source  where MACHINE_ADDRESS_INTERFACE, MACHINE_ADDRESS_GIVEN, MACHINE_ADDRESS_LEASE or MACHINE_ADDRESS_NEIGHBOUR goes;
 *           may be NULL. There may be others in later versions.
 *
 * Returns: 1; 0 if there are not so many addresses; or a negative errno: those of machine_get_address(), and -ENODATA also
 * where the record has the address, and does not tell where it is from.
 */
int machine_get_address_source(const struct machine *m, size_t i, int *source);

/**
 * The class of a machine: "container" or "vm", or what else its record says.
 *
 * Parameters:
 *   m  the machine
 *
 * Returns: the text, without which no record is whole; NULL if m is.
 *
 * Memory: the machine's.
 */
const char *machine_get_class(const struct machine *m);

/**
 * What started a machine, "systemd-nspawn" for example.
 *
 * Parameters:
 *   m  the machine
 *
 * Returns: the text; NULL if it is not known, or if m is NULL.
 *
 * Memory: the machine's.
 */
const char *machine_get_service(const struct machine *m);

/**
 * The systemd unit that a machine runs in.
 *
 * Parameters:
 *   m  the machine
 *
 * Returns: the text; NULL if it is not known, or if m is NULL.
 *
 * Memory: the machine's.
 */
const char *machine_get_unit(const struct machine *m);

/**
 * The control group below the unit, of a machine that is not all of it.
 *
 * Parameters:
 *   m  the machine
 *
 * Returns: the text; NULL if it is not known, or if m is NULL.
 *
 * Memory: the machine's.
 */
const char *machine_get_subgroup(const struct machine *m);

/**
 * The root directory of a machine on the host, as its registrar said.
 *
 * Parameters:
 *   m  the machine
 *
 * Returns: the text; NULL if it is not known, or if m is NULL.
 *
 * Memory: the machine's.
 */
const char *machine_get_root(const struct machine *m);

/**
 * Where the SSH server of a machine is reached, "vsock/3" for example.
 *
 * Parameters:
 *   m  the machine
 *
 * Returns: the text; NULL if it is not known, or if m is NULL.
 *
 * Memory: the machine's.
 */
const char *machine_get_ssh_address(const struct machine *m);

/**
 * The file with the private key for the SSH server of a machine.
 *
 * Parameters:
 *   m  the machine
 *
 * Returns: the text; NULL if it is not known, or if m is NULL.
 *
 * Memory: the machine's.
 */
const char *machine_get_ssh_private_key_path(const struct machine *m);

/**
 * The Varlink address of the manager of a machine.
 *
 * Parameters:
 *   m  the machine
 *
 * Returns: the text; NULL if it is not known, or if m is NULL.
 *
 * Memory: the machine's.
 */
const char *machine_get_control_address(const struct machine *m);

/**
 * The control group of a machine, as its registry sees it.
 *
 * Parameters:
 *   m  the machine
 *
 * Returns: the text; NULL if it is not known, or if m is NULL.
 *
 * Memory: the machine's.
 */
const char *machine_get_control_group(const struct machine *m);

/**
 * The id that the system inside a machine has, machine-id(5).
 *
 * Parameters:
 *   m   the machine
 *   id  where its 16 bytes go
 *
 * Returns: 0, or a negative errno. -ENODATA: it is not known. -EINVAL: an argument is NULL.
 */
int machine_get_id(const struct machine *m, uint8_t id[16]);

/**
 * What tells the leader of a machine from every other that this host has had since it started, of whatever machine: two
 * snapshots of one name are of the same machine if theirs is equal. It is the inode number of the leader's pidfd, or
 * before Linux 6.9 a number made of its process id and when it started.
 *
 * Parameters:
 *   m            the machine
 *   incarnation  where the number goes
 *
 * Returns: 0, or a negative errno. -ENODATA: the record does not tell. -EINVAL: an argument is NULL.
 */
int machine_get_incarnation(const struct machine *m, uint64_t *incarnation);

/**
 * The process that leads a machine, as the PID namespace of its registry numbers it. machine_leader_pidfd() is safe from
 * the number becoming another process's.
 *
 * Parameters:
 *   m    the machine
 *   pid  where the process id goes
 *
 * Returns: 0, or a negative errno. -ENODATA: it is not known. -EINVAL: an argument is NULL.
 */
int machine_get_leader(const struct machine *m, pid_t *pid);

/**
 * Opens the process that leads a machine: a pidfd, which is certainly of that process. (But for a record that has no more of
 * it than its number, as systemd-machined's before 257 or Linux 6.9.)
 *
 * Parameters:
 *   m  the machine
 *
 * Returns: a descriptor, which is closed on exec, or a negative errno. -ENODATA: it is not known, or not to be told from
 * another process, as where /proc hides it before Linux 6.9. -ESRCH: it has gone. -EREMOTE: its number means nothing in
 * the caller's PID namespace. -EINVAL: m is NULL.
 *
 * Memory: close(2) the descriptor.
 */
int machine_leader_pidfd(const struct machine *m);

/**
 * The process that looks after a machine, as the PID namespace of its registry numbers it.
 *
 * Parameters:
 *   m    the machine
 *   pid  where the process id goes
 *
 * Returns: 0, or a negative errno. -ENODATA: it is not known. -EINVAL: an argument is NULL.
 */
int machine_get_supervisor(const struct machine *m, pid_t *pid);

/**
 * Opens the process that looks after a machine. Before Linux 6.9 the record has no more of it than its number, which may have
 * become another process's.
 *
 * Parameters:
 *   m  the machine
 *
 * Returns: a descriptor, which is closed on exec, or a negative errno. -ENODATA: it is not known. -ESRCH: it has gone.
 * -EREMOTE: its number means nothing in the caller's PID namespace. -EINVAL: m is NULL.
 *
 * Memory: close(2) the descriptor.
 */
int machine_supervisor_pidfd(const struct machine *m);

/**
 * The user who registered a machine.
 *
 * Parameters:
 *   m    the machine
 *   uid  where the uid goes
 *
 * Returns: 0, or a negative errno. -ENODATA: it is not known. -EINVAL: an argument is NULL.
 */
int machine_get_owner(const struct machine *m, uid_t *uid);

/**
 * The context id of a machine, vsock(7).
 *
 * Parameters:
 *   m    the machine
 *   cid  where the id goes
 *
 * Returns: 0, or a negative errno. -ENODATA: it is not known. -EINVAL: an argument is NULL.
 */
int machine_get_vsock_cid(const struct machine *m, uint32_t *cid);

/**
 * The id of the control group of a machine: the inode number of its directory.
 *
 * Parameters:
 *   m   the machine
 *   id  where the id goes
 *
 * Returns: 0, or a negative errno. -ENODATA: it is not known. -EINVAL: an argument is NULL.
 */
int machine_get_control_group_id(const struct machine *m, uint64_t *id);

/**
 * When a machine was registered, by the clock on the wall.
 *
 * Parameters:
 *   m     the machine
 *   usec  where the time goes, in microseconds of CLOCK_REALTIME
 *
 * Returns: 0, or a negative errno. -ENODATA: it is not known. -EINVAL: an argument is NULL.
 */
int machine_get_realtime(const struct machine *m, uint64_t *usec);

/**
 * When a machine was registered, counted from when the host started.
 *
 * Parameters:
 *   m     the machine
 *   usec  where the time goes, in microseconds of CLOCK_MONOTONIC
 *
 * Returns: 0, or a negative errno. -ENODATA: it is not known. -EINVAL: an argument is NULL.
 */
int machine_get_monotonic(const struct machine *m, uint64_t *usec);

/**
 * Opens the directory of the control group of a machine, with O_DIRECTORY, for openat(2) and the like: memory.current,
 * cpu.stat and so on are files below it. It is certainly that group: its id is compared.
 *
 * Parameters:
 *   m  the machine
 *
 * Returns: a descriptor, which is closed on exec, or a negative errno. -ENODATA: the record does not tell the group and its
 * id. -EUNATCH: no such group is to be seen from the caller's cgroup namespace. -EINVAL: m is NULL.
 *
 * Memory: close(2) the descriptor.
 */
int machine_control_group_fd(const struct machine *m);

/**
 * Finds the processes of a machine, in one pass over its control groups: each once, in no order. Those of machines that are
 * nested in it, or share its control group, are among them; those that the caller's PID namespace does not see are not.
 *
 * Parameters:
 *   m      the machine
 *   flags  0
 *   pids   where an array of as many process ids as there are goes; may be NULL
 *
 * Returns: how many there are, or a negative errno. -ENODATA: its control group is not known, as of a machine that has none.
 * -EUNATCH: that is not to be seen from the caller's cgroup namespace. -EACCES: nor is a part of it. -EINVAL: m is NULL, or
 * a flag is not known.
 *
 * Memory: free(3) the array.
 */
int machine_find_processes(const struct machine *m, uint64_t flags, pid_t **pids);

/**
 * The uids of a machine and what they are on the host, one range after the other; none if the machine has no user
 * namespace, so that its uids are the host's.
 *
 * Parameters:
 *   m        the machine
 *   i        which range, from 0 on
 *   inside   where its first uid inside the machine goes; may be NULL
 *   outside  where its first uid on the host goes; may be NULL
 *   number   where the number of uids goes, which is at least 1; may be NULL
 *
 * Returns: 1; 0 if there are not so many; or a negative errno. -ENODATA: the record does not tell. -ENXIO: it is a virtual
 * machine, whose uids are not on the host. -EINVAL: m is NULL.
 */
int machine_get_uid_range(const struct machine *m, size_t i, uid_t *inside, uid_t *outside, uint32_t *number);

/**
 * The gids of a machine and what they are on the host, one range after the other; none if the machine has no user
 * namespace, so that its gids are the host's.
 *
 * Parameters:
 *   m        the machine
 *   i        which range, from 0 on
 *   inside   where its first gid inside the machine goes; may be NULL
 *   outside  where its first gid on the host goes; may be NULL
 *   number   where the number of gids goes, which is at least 1; may be NULL
 *
 * Returns: 1; 0 if there are not so many; or a negative errno. -ENODATA: the record does not tell. -ENXIO: it is a virtual
 * machine, whose gids are not on the host. -EINVAL: m is NULL.
 */
int machine_get_gid_range(const struct machine *m, size_t i, gid_t *inside, gid_t *outside, uint32_t *number);

/**
 * Translates a uid of a machine to that of the host; where the machine has no user namespace it is the same.
 *
 * Parameters:
 *   m     the machine
 *   uid   the id inside the machine
 *   host  where the id on the host goes
 *
 * Returns: 0, or a negative errno. -ENXIO: the machine does not have this id, or is a virtual machine, whose ids are not on
 * the host. -ENODATA: the record does not tell. -EINVAL: host is NULL, or m.
 */
int machine_uid_to_host(const struct machine *m, uid_t uid, uid_t *host);

/**
 * Translates a uid of the host to that of a machine.
 *
 * Parameters:
 *   m       the machine
 *   uid     the id on the host
 *   inside  where the id inside the machine goes
 *
 * Returns: 0, or a negative errno. -ENXIO: the id is none of the machine's. -ENODATA: the record does not tell. -EINVAL:
 * an argument is NULL.
 */
int machine_uid_from_host(const struct machine *m, uid_t uid, uid_t *inside);

/**
 * Translates a gid of a machine to that of the host; where the machine has no user namespace it is the same.
 *
 * Parameters:
 *   m     the machine
 *   gid   the id inside the machine
 *   host  where the id on the host goes
 *
 * Returns: 0, or a negative errno. -ENXIO: the machine does not have this id, or is a virtual machine, whose ids are not on
 * the host. -ENODATA: the record does not tell. -EINVAL: host is NULL, or m.
 */
int machine_gid_to_host(const struct machine *m, gid_t gid, gid_t *host);

/**
 * Translates a gid of the host to that of a machine.
 *
 * Parameters:
 *   m       the machine
 *   gid     the id on the host
 *   inside  where the id inside the machine goes
 *
 * Returns: 0, or a negative errno. -ENXIO: the id is none of the machine's. -ENODATA: the record does not tell. -EINVAL:
 * an argument is NULL.
 */
int machine_gid_from_host(const struct machine *m, gid_t gid, gid_t *inside);

/**
 * The version of the library that the program runs with, "0.2.0" for example; that of the header is LIBMACHINE_VERSION.
 *
 * Returns: the version.
 *
 * Memory: the library's.
 */
const char *libmachine_version(void);

/**
 * The version of the library that the program runs with, as a number; that of the header is LIBMACHINE_VERSION_NUMBER.
 *
 * Returns: major * 1000000 + minor * 1000 + patch: 2000 for 0.2.0.
 */
uint32_t libmachine_version_number(void);

#ifdef __cplusplus
} /* extern "C" */
#endif /* __cplusplus */

#endif  /* MACHINE_H */
