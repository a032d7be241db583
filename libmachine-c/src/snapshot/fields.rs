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
use crate::answer::{put, status, tell, wanted};

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
/// Returns: the text; NULL if it is not known, or if m is NULL.
///
/// Memory: the machine's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_class(m: *const machine) -> *const c_char {
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
pub unsafe extern "C" fn machine_service(m: *const machine) -> *const c_char {
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
pub unsafe extern "C" fn machine_unit(m: *const machine) -> *const c_char {
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
pub unsafe extern "C" fn machine_subgroup(m: *const machine) -> *const c_char {
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
pub unsafe extern "C" fn machine_root(m: *const machine) -> *const c_char {
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
pub unsafe extern "C" fn machine_ssh_address(m: *const machine) -> *const c_char {
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
pub unsafe extern "C" fn machine_ssh_private_key(m: *const machine) -> *const c_char {
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
pub unsafe extern "C" fn machine_control_address(m: *const machine) -> *const c_char {
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
pub unsafe extern "C" fn machine_control_group(m: *const machine) -> *const c_char {
    // SAFETY: as demanded.
    unsafe { text(m, Field::ControlGroup) }
}

/// The id that the system inside a machine has, machine-id(5).
///
/// Parameters:
///   m   the machine
///   id  where its 16 bytes go
///
/// Returns: 0, or a negative errno. -ENODATA: it is not known. -EINVAL: an argument is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_id(m: *const machine, id: *mut u8) -> c_int {
    // SAFETY: as demanded.
    let found = wanted(id).and_then(|_| unsafe { known(m) }?.snapshot.id().ok_or(Errno::NODATA));
    tell(found, |found| {
        // SAFETY: as demanded: there is room for so many bytes.
        unsafe { put(id.cast::<[u8; 16]>(), found.bytes()) };
        Ok(0)
    })
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
pub unsafe extern "C" fn machine_leader(m: *const machine, pid: *mut pid_t) -> c_int {
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
pub unsafe extern "C" fn machine_supervisor(m: *const machine, pid: *mut pid_t) -> c_int {
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
pub unsafe extern "C" fn machine_owner(m: *const machine, uid: *mut uid_t) -> c_int {
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
pub unsafe extern "C" fn machine_vsock_cid(m: *const machine, cid: *mut u32) -> c_int {
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
pub unsafe extern "C" fn machine_control_group_id(m: *const machine, id: *mut u64) -> c_int {
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
pub unsafe extern "C" fn machine_realtime(m: *const machine, usec: *mut u64) -> c_int {
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
pub unsafe extern "C" fn machine_monotonic(m: *const machine, usec: *mut u64) -> c_int {
    // SAFETY: as demanded.
    unsafe { answer(m, usec, |machine| small(machine, Number::Monotonic)) }
}
