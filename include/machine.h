/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The containers and virtual machines of a host, from the files of their registry: no daemon is asked, nothing waits.
 * machine(3). Generated from the source of libmachine by `make header`: do not edit.
 *
 * The functions that begin with sd_ are those of <systemd/sd-login.h> that are about machines, with the same results and
 * errors; those that begin with machine_ are of this library alone. Where a negative errno is returned, nothing was written
 * to where an answer goes. All may be called by any number of threads at once; an object is used by one at a time, but
 * for a struct machine, which never changes.
 */


#ifndef MACHINE_H
#define MACHINE_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define LIBMACHINE_VERSION "0.1.0"

/* As <systemd/sd-login.h> has it. */
#if !defined(foosdloginhfoo)
typedef struct sd_login_monitor sd_login_monitor;
#endif


/**
 * A machine is there that was not.
 */
#define MACHINE_NEW 1

/**
 * A machine is there no longer.
 */
#define MACHINE_REMOVED 2

/**
 * The record of a machine was written anew.
 */
#define MACHINE_CHANGED 3

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
 * A machine, as its record had it when machine_open() read it.
 */
struct machine;

/**
 * A watch over the machines of the host.
 */
struct machine_monitor;

/**
 * A monitor of sd-login's.
 */
struct sd_login_monitor;

/**
 * What became of a machine.
 */
struct machine_event {
  /**
   * MACHINE_NEW, MACHINE_REMOVED or MACHINE_CHANGED.
   */
  int change;
  /**
   * The name of the machine.
   */
  char name[65];
};

/**
 * An address of a machine.
 */
struct machine_address {
  /**
   * AF_INET or AF_INET6.
   */
  int family;
  /**
   * The host's interface that an IPv6 link-local address is reached through; 0 where none is needed or known.
   */
  uint32_t scope_id;
  /**
   * In network byte order; of IPv4, the first four.
   */
  uint8_t bytes[16];
};

/**
 * A range of uids or gids of a machine, which are others on the host.
 */
struct machine_id_range {
  /**
   * The first id inside the machine.
   */
  uint32_t inside;
  /**
   * The first id on the host.
   */
  uint32_t outside;
  /**
   * How many ids, at least one.
   */
  uint32_t count;
};

#ifdef __cplusplus
extern "C" {
#endif /* __cplusplus */

/**
 * Tells which machines many processes are in, each as machine_by_pid() does, at a fraction of the price: for tools that
 * show all processes.
 *
 * Parameters:
 *   pids   the processes; 0 is none here
 *   n      how many there are
 *   paths  where an array goes that has, for each process in turn, "outer/inner", or NULL if it is in no machine, gone,
 *          hidden from the caller, or in a machine whose record cannot be read
 *
 * Returns: how many of the processes are in a machine, or a negative errno. -EINVAL: paths is NULL, or pids is and n is
 * not 0. -ESRCH: /proc is not mounted.
 *
 * Memory: free(3) the array, and nothing else: the texts are in it.
 */
int machine_by_pids(const pid_t *pids, size_t n, char ***paths);

/**
 * Tells which machines a process is in: the nearest one, and those around it, as "outer/inner". Unlike
 * sd_pid_get_machine_name() it finds machines within other units, such as those of users, and leaves out those whose
 * leader has gone.
 *
 * Parameters:
 *   pid   the process; 0 for the caller
 *   path  where the names go; may be NULL
 *
 * Returns: 0, or a negative errno. -ENXIO: it is in no machine. -ESRCH: there is no such process, or none that /proc
 * shows. -EINVAL: pid is negative. -EUNATCH: its control group is outside of the caller's namespace.
 *
 * Memory: free(3) the path.
 */
int machine_by_pid(pid_t pid, char **path);

/**
 * Tells which machines a process is in, as machine_by_pid() does, by a descriptor of it.
 *
 * Parameters:
 *   pidfd  a descriptor made by pidfd_open(2)
 *   path   where the names go; may be NULL
 *
 * Returns: 0, or a negative errno: those of machine_by_pid(). -EBADF, -ENOTTY: pidfd is no descriptor, or none of a
 * process. -EREMOTE: the process is of another PID namespace.
 *
 * Memory: free(3) the path.
 */
int machine_by_pidfd(int pidfd, char **path);

/**
 * Tells which machine a uid of the host belongs to.
 *
 * Parameters:
 *   uid     the uid on the host
 *   name    where the name of the machine goes; may be NULL
 *   inside  where the uid inside the machine goes; may be NULL
 *
 * Returns: 0, or a negative errno. -ENXIO: to none that lives (as the host's own), or to more than one. -EBADMSG: the record
 * that decides is damaged.
 *
 * Memory: free(3) the name.
 */
int machine_by_uid(uid_t uid, char **name, uid_t *inside);

/**
 * Tells which machine a gid of the host belongs to.
 *
 * Parameters:
 *   gid     the gid on the host
 *   name    where the name of the machine goes; may be NULL
 *   inside  where the gid inside the machine goes; may be NULL
 *
 * Returns: 0, or a negative errno. -ENXIO: to none that lives (as the host's own), or to more than one. -EBADMSG: the record
 * that decides is damaged.
 *
 * Memory: free(3) the name.
 */
int machine_by_gid(gid_t gid, char **name, gid_t *inside);

/**
 * Tells which machine has an address.
 *
 * Parameters:
 *   family   AF_INET or AF_INET6
 *   address  a struct in_addr or a struct in6_addr
 *   name     where the name of the machine goes; may be NULL
 *
 * Returns: 0, or a negative errno. -ENXIO: none that lives, or more than one. -EAFNOSUPPORT: another family. -EINVAL:
 * address is NULL. -EBADMSG: the record that decides is damaged.
 *
 * Memory: free(3) the name.
 */
int machine_by_address(int family, const void *address, char **name);

/**
 * Starts to watch. Machines that are there already are not told: list them after this, so that none is missed.
 *
 * Parameters:
 *   ret  where the monitor goes
 *
 * Returns: 0, or a negative errno. -ENOENT: there is no registry. -EINVAL: ret is NULL.
 *
 * Memory: machine_monitor_free() the monitor. One thread at a time may use it.
 */
int machine_monitor_new(struct machine_monitor **ret);

/**
 * Ends a monitor.
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
int machine_monitor_fd(const struct machine_monitor *m);

/**
 * Tells the next change, and does not wait for one. Call it until it returns 0, then wait for the descriptor. No machine
 * that came or went is missed: where more happens than the kernel keeps, they are found by comparing, and all others are told
 * as MACHINE_CHANGED.
 *
 * Parameters:
 *   m      the monitor
 *   event  where the change goes
 *
 * Returns: 1; 0 if there is none at the moment; or a negative errno. -ESTALE: the registry was removed, and a new monitor
 * is needed. -EINVAL: an argument is NULL.
 */
int machine_monitor_next(struct machine_monitor *m, struct machine_event *event);

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
 *   suggestion  where the name goes: MACHINE_NAME_MAX + 1 bytes
 *
 * Returns: 0. -EINVAL: an argument is NULL.
 */
int machine_name_suggest(const char *name, char *suggestion);

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
 * machine_list() has them.
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
 * Lists all machines of the host, in no order: those too that sd_get_machine_names() takes for backups. One that has just
 * died may be among them, and one that is listed may be gone by the time it is opened: machine_is_alive() and -ENXIO of
 * machine_open() tell.
 *
 * Parameters:
 *   machines  where the list goes, which ends in NULL; may be NULL. Where there is no registry, or nothing in it, the list
 *             itself is NULL, and the result 0.
 *
 * Returns: how many there are, or a negative errno.
 *
 * Memory: free(3) each name, and then the list.
 */
int machine_list(char ***machines);

/**
 * Tells the class of a machine: "container" or "vm", or whatever its record says; "host" for ".host".
 *
 * Parameters:
 *   machine  its name
 *   class    where the class goes; may be NULL
 *
 * Returns: 0, or a negative errno. -EINVAL: no valid name. -ENXIO: no such machine. -EIO: its record has no class.
 *
 * Memory: free(3) the class.
 */
int sd_machine_get_class(const char *machine, char **class_);

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
 *   name  its name
 *   ret   where the machine goes
 *
 * Returns: 0, or a negative errno. -EINVAL: no valid name, or ret is NULL. -ENXIO: no such machine. -EBADMSG: its record is
 * damaged, or something that is no file is in its place.
 *
 * Memory: machine_free() the machine.
 */
int machine_open(const char *name, struct machine **ret);

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
const char *machine_name(const struct machine *m);

/**
 * Whether a machine may still be alive: the process that leads it is not provably gone. The answer is that of now, not of
 * when the record was read.
 *
 * Parameters:
 *   m  the machine
 *
 * Returns: 1, 0, or -EINVAL if m is NULL.
 */
int machine_is_alive(const struct machine *m);

/**
 * The network interfaces of the host that lead to a machine, by their indexes.
 *
 * Parameters:
 *   m    the machine
 *   ret  where the address of the first goes, NULL if there are none; may be NULL
 *
 * Returns: how many there are, or a negative errno. -EINVAL: m is NULL.
 *
 * Memory: the machine's.
 */
int machine_ifindices(const struct machine *m, const int **ret);

/**
 * What the name of a machine resolves to, the best first.
 *
 * Parameters:
 *   m    the machine
 *   ret  where the address of the first goes, NULL if there are none; may be NULL
 *
 * Returns: how many there are, or a negative errno. -ENOSYS: the machine shares the host's network. -ENODATA: not known, as where
 * another registry wrote the record. -EINVAL: m is NULL.
 *
 * Memory: the machine's.
 */
int machine_addresses(const struct machine *m, const struct machine_address **ret);

/**
 * The class of a machine: "container" or "vm", or what else its record says.
 *
 * Parameters:
 *   m  the machine
 *
 * Returns: the text; NULL if it is not known, or if m is NULL.
 *
 * Memory: the machine's.
 */
const char *machine_class(const struct machine *m);

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
const char *machine_service(const struct machine *m);

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
const char *machine_unit(const struct machine *m);

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
const char *machine_subgroup(const struct machine *m);

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
const char *machine_root(const struct machine *m);

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
const char *machine_ssh_address(const struct machine *m);

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
const char *machine_ssh_private_key(const struct machine *m);

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
const char *machine_control_address(const struct machine *m);

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
const char *machine_control_group(const struct machine *m);

/**
 * The id that the system inside a machine has, machine-id(5).
 *
 * Parameters:
 *   m   the machine
 *   id  where its 16 bytes go
 *
 * Returns: 0, or a negative errno. -ENODATA: it is not known. -EINVAL: an argument is NULL.
 */
int machine_id(const struct machine *m, uint8_t *id);

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
int machine_leader(const struct machine *m, pid_t *pid);

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
int machine_supervisor(const struct machine *m, pid_t *pid);

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
int machine_owner(const struct machine *m, uid_t *uid);

/**
 * The context id of a machine, vsock(7).
 *
 * Parameters:
 *   m    the machine
 *   cid  where the id goes
 *
 * Returns: 0, or a negative errno. -ENODATA: it is not known. -EINVAL: an argument is NULL.
 */
int machine_vsock_cid(const struct machine *m, uint32_t *cid);

/**
 * The id of the control group of a machine: the inode number of its directory.
 *
 * Parameters:
 *   m   the machine
 *   id  where the id goes
 *
 * Returns: 0, or a negative errno. -ENODATA: it is not known. -EINVAL: an argument is NULL.
 */
int machine_control_group_id(const struct machine *m, uint64_t *id);

/**
 * When a machine was registered, by the clock on the wall.
 *
 * Parameters:
 *   m     the machine
 *   usec  where the time goes, in microseconds of CLOCK_REALTIME
 *
 * Returns: 0, or a negative errno. -ENODATA: it is not known. -EINVAL: an argument is NULL.
 */
int machine_realtime(const struct machine *m, uint64_t *usec);

/**
 * When a machine was registered, counted from when the host started.
 *
 * Parameters:
 *   m     the machine
 *   usec  where the time goes, in microseconds of CLOCK_MONOTONIC
 *
 * Returns: 0, or a negative errno. -ENODATA: it is not known. -EINVAL: an argument is NULL.
 */
int machine_monotonic(const struct machine *m, uint64_t *usec);

/**
 * The uids of a machine and what they are on the host; none if the machine has no user namespace.
 *
 * Parameters:
 *   m    the machine
 *   ret  where the address of the first goes, NULL if there are none; may be NULL
 *
 * Returns: how many there are, or a negative errno. -EINVAL: m is NULL.
 *
 * Memory: the machine's.
 */
int machine_uid_map(const struct machine *m, const struct machine_id_range **ret);

/**
 * The gids of a machine and what they are on the host; none if the machine has no user namespace.
 *
 * Parameters:
 *   m    the machine
 *   ret  where the address of the first goes, NULL if there are none; may be NULL
 *
 * Returns: how many there are, or a negative errno. -EINVAL: m is NULL.
 *
 * Memory: the machine's.
 */
int machine_gid_map(const struct machine *m, const struct machine_id_range **ret);

/**
 * Translates a uid of a machine to that of the host.
 *
 * Parameters:
 *   m     the machine
 *   uid   the id inside the machine
 *   host  where the id on the host goes
 *
 * Returns: 0, or a negative errno. -ENXIO: the machine does not have this id. -ENODATA: its map is not known, or it has
 * none. -EINVAL: an argument is NULL.
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
 * Returns: 0, or a negative errno. -ENXIO: the id is none of the machine's. -ENODATA: its map is not known, or it has
 * none. -EINVAL: an argument is NULL.
 */
int machine_uid_from_host(const struct machine *m, uid_t uid, uid_t *inside);

/**
 * Translates a gid of a machine to that of the host.
 *
 * Parameters:
 *   m     the machine
 *   gid   the id inside the machine
 *   host  where the id on the host goes
 *
 * Returns: 0, or a negative errno. -ENXIO: the machine does not have this id. -ENODATA: its map is not known, or it has
 * none. -EINVAL: an argument is NULL.
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
 * Returns: 0, or a negative errno. -ENXIO: the id is none of the machine's. -ENODATA: its map is not known, or it has
 * none. -EINVAL: an argument is NULL.
 */
int machine_gid_from_host(const struct machine *m, gid_t gid, gid_t *inside);

#ifdef __cplusplus
} /* extern "C" */
#endif /* __cplusplus */

#endif  /* MACHINE_H */
