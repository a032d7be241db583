//! What a record says of its machine, a value each.
//!
//! # Safety
//! As in [`super`].

#![allow(
    unsafe_code,
    clippy::missing_safety_doc,
    reason = "the C interface: the header says what is demanded"
)]

use core::ffi::{c_char, c_int};
use core::ptr;

use libc::{pid_t, uid_t};
use libmachine::{Descriptor, Errno, Field, Number, Snapshot};

use super::{known, machine};
use crate::answer::{count, no_flags, put, status, tell, wanted};

/// # Safety
/// As the module says.
unsafe fn text(m: *const machine, field: Field) -> *const c_char {
    // SAFETY: as demanded.
    let text = unsafe { known(m) }.ok().and_then(|machine| machine.snapshot.text_with_zero(field));
    text.map_or(ptr::null(), |text| text.as_ptr().cast())
}

/// The class of a machine: "container" or "vm", or what else its record says.
///
/// Parameters:
///   m  the machine
///
/// Returns: the text, without which no record is whole; NULL if m is.
///
/// Memory: the machine's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_get_class(m: *const machine) -> *const c_char {
    // SAFETY: as demanded.
    unsafe { text(m, Field::Class) }
}

/// What started a machine, "systemd-nspawn" for example.
///
/// Parameters:
///   m  the machine
///
/// Returns: the text; NULL if it is not known, or if m is NULL.
///
/// Memory: the machine's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_get_service(m: *const machine) -> *const c_char {
    // SAFETY: as demanded.
    unsafe { text(m, Field::Service) }
}

/// The systemd unit that a machine runs in.
///
/// Parameters:
///   m  the machine
///
/// Returns: the text; NULL if it is not known, or if m is NULL.
///
/// Memory: the machine's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_get_unit(m: *const machine) -> *const c_char {
    // SAFETY: as demanded.
    unsafe { text(m, Field::Unit) }
}

/// The control group below the unit, of a machine that is not all of it.
///
/// Parameters:
///   m  the machine
///
/// Returns: the text; NULL if it is not known, or if m is NULL.
///
/// Memory: the machine's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_get_subgroup(m: *const machine) -> *const c_char {
    // SAFETY: as demanded.
    unsafe { text(m, Field::Subgroup) }
}

/// The root directory of a machine on the host, as its registrar said.
///
/// Parameters:
///   m  the machine
///
/// Returns: the text; NULL if it is not known, or if m is NULL.
///
/// Memory: the machine's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_get_root(m: *const machine) -> *const c_char {
    // SAFETY: as demanded.
    unsafe { text(m, Field::Root) }
}

/// Where the SSH server of a machine is reached, "vsock/3" for example.
///
/// Parameters:
///   m  the machine
///
/// Returns: the text; NULL if it is not known, or if m is NULL.
///
/// Memory: the machine's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_get_ssh_address(m: *const machine) -> *const c_char {
    // SAFETY: as demanded.
    unsafe { text(m, Field::SshAddress) }
}

/// The file with the private key for the SSH server of a machine.
///
/// Parameters:
///   m  the machine
///
/// Returns: the text; NULL if it is not known, or if m is NULL.
///
/// Memory: the machine's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_get_ssh_private_key_path(m: *const machine) -> *const c_char {
    // SAFETY: as demanded.
    unsafe { text(m, Field::SshPrivateKeyPath) }
}

/// The Varlink address of the manager of a machine.
///
/// Parameters:
///   m  the machine
///
/// Returns: the text; NULL if it is not known, or if m is NULL.
///
/// Memory: the machine's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_get_control_address(m: *const machine) -> *const c_char {
    // SAFETY: as demanded.
    unsafe { text(m, Field::ControlAddress) }
}

/// The control group of a machine, as its registry sees it.
///
/// Parameters:
///   m  the machine
///
/// Returns: the text; NULL if it is not known, or if m is NULL.
///
/// Memory: the machine's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_get_control_group(m: *const machine) -> *const c_char {
    // SAFETY: as demanded.
    unsafe { text(m, Field::ControlGroup) }
}

/// cbindgen:ptrs-as-arrays=[[id;16]]
/// The id that the system inside a machine has, machine-id(5).
///
/// Parameters:
///   m   the machine
///   id  where its 16 bytes go
///
/// Returns: 0, or a negative errno. -ENODATA: it is not known. -EINVAL: an argument is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_get_id(m: *const machine, id: *mut u8) -> c_int {
    // SAFETY: as demanded.
    let found = wanted(id).and_then(|_| unsafe { known(m) }?.snapshot.id().ok_or(Errno::NODATA));
    tell(found, |found| {
        // SAFETY: as demanded: there is room for so many bytes.
        unsafe { put(id.cast::<[u8; 16]>(), found.bytes()) };
        Ok(0)
    })
}

/// What tells the leader of a machine from every other that this host has had since it started, of whatever machine: two
/// snapshots of one name are of the same machine if theirs is equal. It is the inode number of the leader's pidfd, or
/// before Linux 6.9 a number made of its process id and when it started.
///
/// Parameters:
///   m            the machine
///   incarnation  where the number goes
///
/// Returns: 0, or a negative errno. -ENODATA: the record does not tell. -EINVAL: an argument is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_get_incarnation(m: *const machine, incarnation: *mut u64) -> c_int {
    // SAFETY: as demanded.
    unsafe { answer(m, incarnation, Snapshot::incarnation) }
}

/// The process that leads a machine, as the PID namespace of its registry numbers it. machine_leader_pidfd() is safe from
/// the number becoming another process's.
///
/// Parameters:
///   m    the machine
///   pid  where the process id goes
///
/// Returns: 0, or a negative errno. -ENODATA: it is not known. -EINVAL: an argument is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_get_leader(m: *const machine, pid: *mut pid_t) -> c_int {
    // SAFETY: as demanded.
    unsafe { answer(m, pid, |machine| machine.leader()) }
}

/// # Safety
/// As the module says; the place is null or valid for a write.
unsafe fn answer<T>(m: *const machine, place: *mut T, find: impl FnOnce(&Snapshot) -> Option<T>) -> c_int {
    // SAFETY: as demanded.
    let found = wanted(place).and_then(|_| find(&unsafe { known(m) }?.snapshot).ok_or(Errno::NODATA));
    tell(found, |found| {
        // SAFETY: as demanded.
        unsafe { put(place, found) };
        Ok(0)
    })
}

fn small<T: TryFrom<u64>>(machine: &Snapshot, number: Number) -> Option<T> {
    machine.number(number).and_then(|number| T::try_from(number).ok())
}

/// Opens the process that leads a machine: a pidfd, which is certainly of that process. (But for a record that has no more of
/// it than its number, as systemd-machined's before 257 or Linux 6.9.)
///
/// Parameters:
///   m  the machine
///
/// Returns: a descriptor, which is closed on exec, or a negative errno. -ENODATA: it is not known, or not to be told from
/// another process, as where /proc hides it before Linux 6.9. -ESRCH: it has gone. -EREMOTE: its number means nothing in
/// the caller's PID namespace. -EINVAL: m is NULL.
///
/// Memory: close(2) the descriptor.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_leader_pidfd(m: *const machine) -> c_int {
    // SAFETY: as demanded.
    status(unsafe { known(m) }.and_then(|machine| machine.snapshot.open_leader()).map(Descriptor::into_raw))
}

/// The process that looks after a machine, as the PID namespace of its registry numbers it.
///
/// Parameters:
///   m    the machine
///   pid  where the process id goes
///
/// Returns: 0, or a negative errno. -ENODATA: it is not known. -EINVAL: an argument is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_get_supervisor(m: *const machine, pid: *mut pid_t) -> c_int {
    // SAFETY: as demanded.
    unsafe { answer(m, pid, |machine| small(machine, Number::Supervisor).filter(|&pid| pid > 0)) }
}

/// Opens the process that looks after a machine. Before Linux 6.9 the record has no more of it than its number, which may have
/// become another process's.
///
/// Parameters:
///   m  the machine
///
/// Returns: a descriptor, which is closed on exec, or a negative errno. -ENODATA: it is not known. -ESRCH: it has gone.
/// -EREMOTE: its number means nothing in the caller's PID namespace. -EINVAL: m is NULL.
///
/// Memory: close(2) the descriptor.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_supervisor_pidfd(m: *const machine) -> c_int {
    // SAFETY: as demanded.
    status(
        unsafe { known(m) }.and_then(|machine| machine.snapshot.open_supervisor()).map(Descriptor::into_raw),
    )
}

/// The user who registered a machine.
///
/// Parameters:
///   m    the machine
///   uid  where the uid goes
///
/// Returns: 0, or a negative errno. -ENODATA: it is not known. -EINVAL: an argument is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_get_owner(m: *const machine, uid: *mut uid_t) -> c_int {
    // SAFETY: as demanded.
    unsafe { answer(m, uid, |machine| small(machine, Number::Owner)) }
}

/// The context id of a machine, vsock(7).
///
/// Parameters:
///   m    the machine
///   cid  where the id goes
///
/// Returns: 0, or a negative errno. -ENODATA: it is not known. -EINVAL: an argument is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_get_vsock_cid(m: *const machine, cid: *mut u32) -> c_int {
    // SAFETY: as demanded.
    unsafe { answer(m, cid, |machine| small(machine, Number::VsockCid)) }
}

/// The id of the control group of a machine: the inode number of its directory.
///
/// Parameters:
///   m   the machine
///   id  where the id goes
///
/// Returns: 0, or a negative errno. -ENODATA: it is not known. -EINVAL: an argument is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_get_control_group_id(m: *const machine, id: *mut u64) -> c_int {
    // SAFETY: as demanded.
    unsafe { answer(m, id, |machine| small(machine, Number::ControlGroupId)) }
}

/// When a machine was registered, by the clock on the wall.
///
/// Parameters:
///   m     the machine
///   usec  where the time goes, in microseconds of CLOCK_REALTIME
///
/// Returns: 0, or a negative errno. -ENODATA: it is not known. -EINVAL: an argument is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_get_realtime(m: *const machine, usec: *mut u64) -> c_int {
    // SAFETY: as demanded.
    unsafe { answer(m, usec, |machine| small(machine, Number::Realtime)) }
}

/// When a machine was registered, counted from when the host started.
///
/// Parameters:
///   m     the machine
///   usec  where the time goes, in microseconds of CLOCK_MONOTONIC
///
/// Returns: 0, or a negative errno. -ENODATA: it is not known. -EINVAL: an argument is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_get_monotonic(m: *const machine, usec: *mut u64) -> c_int {
    // SAFETY: as demanded.
    unsafe { answer(m, usec, |machine| small(machine, Number::Monotonic)) }
}

/// Opens the directory of the control group of a machine, with O_DIRECTORY, for openat(2) and the like: memory.current,
/// cpu.stat and so on are files below it. It is certainly that group: its id is compared.
///
/// Parameters:
///   m  the machine
///
/// Returns: a descriptor, which is closed on exec, or a negative errno. -ENODATA: the record does not tell the group and its
/// id. -EUNATCH: no such group is to be seen from the caller's cgroup namespace. -EINVAL: m is NULL.
///
/// Memory: close(2) the descriptor.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_control_group_fd(m: *const machine) -> c_int {
    // SAFETY: as demanded.
    let group = unsafe { known(m) }.and_then(|machine| machine.snapshot.open_control_group());
    status(group.map(Descriptor::into_raw))
}

/// Finds the processes of a machine, in one pass over its control groups: each once, in no order. Those of machines that are
/// nested in it, or share its control group, are among them; those that the caller's PID namespace does not see are not.
///
/// Parameters:
///   m      the machine
///   flags  0
///   pids   where an array of as many process ids as there are goes; may be NULL
///
/// Returns: how many there are, or a negative errno. -ENODATA: its control group is not known, as of a machine that has none.
/// -EUNATCH: that is not to be seen from the caller's cgroup namespace. -EACCES: nor is a part of it. -EINVAL: m is NULL, or
/// a flag is not known.
///
/// Memory: free(3) the array.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_find_processes(
    m: *const machine,
    flags: u64,
    pids: *mut *mut pid_t,
) -> c_int {
    // SAFETY: as demanded.
    let found = no_flags(flags).and_then(|()| unsafe { known(m) }?.snapshot.processes());
    tell(found, |mut found| {
        let number = count(found.len())?;
        if !pids.is_null() {
            // Of no processes an array is made too, so that NULL means nothing.
            found.reserve(1)?;
            // SAFETY: as demanded.
            unsafe { put(pids, found.into_raw()) };
        }
        Ok(number)
    })
}
