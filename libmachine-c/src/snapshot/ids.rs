//! The uids and gids of a machine, and what they are on the host.
//!
//! # Safety
//! As in [`super`].

#![allow(
    unsafe_code,
    clippy::missing_safety_doc,
    reason = "the C interface: the header says what is demanded"
)]

use core::ffi::c_int;

use libc::{gid_t, size_t, uid_t};
use libmachine::{Errno, Snapshot, id_inside, id_on_host};
use registry::{IdKind, IdRange};

use super::{at, known, machine};
use crate::answer::{put, tell, wanted};

/// The uids of a machine and what they are on the host, one range after the other; none if the machine has no user
/// namespace, so that its uids are the host's.
///
/// Parameters:
///   m        the machine
///   i        which range, from 0 on
///   inside   where its first uid inside the machine goes; may be NULL
///   outside  where its first uid on the host goes; may be NULL
///   number   where the number of uids goes, which is at least 1; may be NULL
///
/// Returns: 1; 0 if there are not so many; or a negative errno. -ENODATA: the record does not tell. -ENXIO: it is a virtual
/// machine, whose uids are not on the host. -EINVAL: m is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_get_uid_range(
    m: *const machine,
    i: size_t,
    inside: *mut uid_t,
    outside: *mut uid_t,
    number: *mut u32,
) -> c_int {
    // SAFETY: as demanded.
    unsafe { at(m, i, |machine| machine.snapshot.id_map(IdKind::User), range(inside, outside, number)) }
}

/// The gids of a machine and what they are on the host, one range after the other; none if the machine has no user
/// namespace, so that its gids are the host's.
///
/// Parameters:
///   m        the machine
///   i        which range, from 0 on
///   inside   where its first gid inside the machine goes; may be NULL
///   outside  where its first gid on the host goes; may be NULL
///   number   where the number of gids goes, which is at least 1; may be NULL
///
/// Returns: 1; 0 if there are not so many; or a negative errno. -ENODATA: the record does not tell. -ENXIO: it is a virtual
/// machine, whose gids are not on the host. -EINVAL: m is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_get_gid_range(
    m: *const machine,
    i: size_t,
    inside: *mut gid_t,
    outside: *mut gid_t,
    number: *mut u32,
) -> c_int {
    // SAFETY: as demanded.
    unsafe { at(m, i, |machine| machine.snapshot.id_map(IdKind::Group), range(inside, outside, number)) }
}

/// Writes a range, if it is wanted.
fn range(inside: *mut u32, outside: *mut u32, number: *mut u32) -> impl FnOnce(&IdRange) {
    move |range| {
        // SAFETY: as the callers were promised.
        unsafe {
            put(inside, range.inside);
            put(outside, range.outside);
            put(number, range.count);
        }
    }
}

/// # Safety
/// As the module says; the place is null or valid for a write.
unsafe fn id(
    m: *const machine,
    place: *mut u32,
    find: impl FnOnce(&Snapshot) -> Result<u32, Errno>,
) -> c_int {
    // SAFETY: as demanded.
    let found = wanted(place).and_then(|_| find(&unsafe { known(m) }?.snapshot));
    tell(found, |found| {
        // SAFETY: as demanded.
        unsafe { put(place, found) };
        Ok(0)
    })
}

/// Translates a uid of a machine to that of the host; where the machine has no user namespace it is the same.
///
/// Parameters:
///   m     the machine
///   uid   the id inside the machine
///   host  where the id on the host goes
///
/// Returns: 0, or a negative errno. -ENXIO: the machine does not have this id, or is a virtual machine, whose ids are not on
/// the host. -ENODATA: the record does not tell. -EINVAL: host is NULL, or m.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_uid_to_host(m: *const machine, uid: uid_t, host: *mut uid_t) -> c_int {
    // SAFETY: as demanded.
    unsafe { id(m, host, |machine| id_on_host(machine, IdKind::User, uid)) }
}

/// Translates a uid of the host to that of a machine.
///
/// Parameters:
///   m       the machine
///   uid     the id on the host
///   inside  where the id inside the machine goes
///
/// Returns: 0, or a negative errno. -ENXIO: the id is none of the machine's. -ENODATA: the record does not tell. -EINVAL:
/// an argument is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_uid_from_host(m: *const machine, uid: uid_t, inside: *mut uid_t) -> c_int {
    // SAFETY: as demanded.
    unsafe { id(m, inside, |machine| id_inside(machine, IdKind::User, uid)) }
}

/// Translates a gid of a machine to that of the host; where the machine has no user namespace it is the same.
///
/// Parameters:
///   m     the machine
///   gid   the id inside the machine
///   host  where the id on the host goes
///
/// Returns: 0, or a negative errno. -ENXIO: the machine does not have this id, or is a virtual machine, whose ids are not on
/// the host. -ENODATA: the record does not tell. -EINVAL: host is NULL, or m.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_gid_to_host(m: *const machine, gid: gid_t, host: *mut gid_t) -> c_int {
    // SAFETY: as demanded.
    unsafe { id(m, host, |machine| id_on_host(machine, IdKind::Group, gid)) }
}

/// Translates a gid of the host to that of a machine.
///
/// Parameters:
///   m       the machine
///   gid     the id on the host
///   inside  where the id inside the machine goes
///
/// Returns: 0, or a negative errno. -ENXIO: the id is none of the machine's. -ENODATA: the record does not tell. -EINVAL:
/// an argument is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_gid_from_host(m: *const machine, gid: gid_t, inside: *mut gid_t) -> c_int {
    // SAFETY: as demanded.
    unsafe { id(m, inside, |machine| id_inside(machine, IdKind::Group, gid)) }
}
