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

use libc::{gid_t, uid_t};
use libmachine::{Errno, Snapshot, id_inside, id_on_host};
use registry::{IdKind, IdRange};

use super::{known, list, machine};
use crate::answer::{put, tell, wanted};

/// A range of uids or gids of a machine, which are others on the host.
#[repr(C)]
#[allow(non_camel_case_types, reason = "as C has it")]
#[derive(Clone, Copy)]
pub struct machine_id_range {
    /// The first id inside the machine.
    pub inside: u32,
    /// The first id on the host.
    pub outside: u32,
    /// How many ids, at least one.
    pub count: u32,
}

pub(super) const fn range_of(range: IdRange) -> machine_id_range {
    machine_id_range { inside: range.inside, outside: range.outside, count: range.count }
}

/// The uids of a machine and what they are on the host; none if the machine has no user namespace.
///
/// Parameters:
///   m    the machine
///   ret  where the address of the first goes, NULL if there are none; may be NULL
///
/// Returns: how many there are, or a negative errno. -EINVAL: m is NULL.
///
/// Memory: the machine's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_uid_map(m: *const machine, ret: *mut *const machine_id_range) -> c_int {
    // SAFETY: as demanded.
    unsafe { list(m, ret, |machine| Ok(&*machine.uid_map)) }
}

/// The gids of a machine and what they are on the host; none if the machine has no user namespace.
///
/// Parameters:
///   m    the machine
///   ret  where the address of the first goes, NULL if there are none; may be NULL
///
/// Returns: how many there are, or a negative errno. -EINVAL: m is NULL.
///
/// Memory: the machine's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_gid_map(m: *const machine, ret: *mut *const machine_id_range) -> c_int {
    // SAFETY: as demanded.
    unsafe { list(m, ret, |machine| Ok(&*machine.gid_map)) }
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

/// Translates a uid of a machine to that of the host.
///
/// Parameters:
///   m     the machine
///   uid   the id inside the machine
///   host  where the id on the host goes
///
/// Returns: 0, or a negative errno. -ENXIO: the machine does not have this id. -ENODATA: its map is not known, or it has
/// none. -EINVAL: an argument is NULL.
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
/// Returns: 0, or a negative errno. -ENXIO: the id is none of the machine's. -ENODATA: its map is not known, or it has
/// none. -EINVAL: an argument is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_uid_from_host(m: *const machine, uid: uid_t, inside: *mut uid_t) -> c_int {
    // SAFETY: as demanded.
    unsafe { id(m, inside, |machine| id_inside(machine, IdKind::User, uid)) }
}

/// Translates a gid of a machine to that of the host.
///
/// Parameters:
///   m     the machine
///   gid   the id inside the machine
///   host  where the id on the host goes
///
/// Returns: 0, or a negative errno. -ENXIO: the machine does not have this id. -ENODATA: its map is not known, or it has
/// none. -EINVAL: an argument is NULL.
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
/// Returns: 0, or a negative errno. -ENXIO: the id is none of the machine's. -ENODATA: its map is not known, or it has
/// none. -EINVAL: an argument is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_gid_from_host(m: *const machine, gid: gid_t, inside: *mut gid_t) -> c_int {
    // SAFETY: as demanded.
    unsafe { id(m, inside, |machine| id_inside(machine, IdKind::Group, gid)) }
}
