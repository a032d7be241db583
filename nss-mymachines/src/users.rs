//! The entry points for the users and groups of machines, `vu-MACHINE-UID` and `vg-MACHINE-GID`: `getpwnam_r`,
//! `getpwuid_r`, `getgrnam_r` and `getgrgid_r`.
//!
//! There are no `setpwent`, `getpwent_r` and the like: glibc passes a module without them over, so that enumerations
//! list nothing of machines. Nor is there `initgroups_dyn`: without `getgrent_r` glibc asks nothing in its place.
//!
//! # Safety
//! As in [`crate::hosts`]: names are read no further than a user name can be long; everything written goes through the
//! [`Arena`] or to an out-parameter, and only on success.

#![allow(unsafe_code, reason = "the C interface")]

use core::ffi::{c_char, c_int};
use core::ptr;

use libc::{gid_t, group, passwd, size_t, uid_t};
use registry::calls::{RegistryFiles, SeenProcesses};
use registry::{
    FIRST_MACHINE_ID, HOME, IdKind, IdName, LookupError, MappedId, NO_LOGIN, NOBODY, is_valid_id,
    mapped_id_by_id, mapped_id_by_name,
};

use crate::answer::{Errors, Failure, NssStatus};
use crate::arena::Arena;
use crate::question::text_at;

/// "See the shadow file", in which there is nobody of ours.
const PASSWORD: &[u8] = b"x";

/// What is asked for.
enum Key<'a> {
    Id(u32),
    Name(&'a [u8]),
}

/// The name at a C string.
///
/// # Safety
/// As [`text_at`] demands.
unsafe fn name_at<'a>(name: *const c_char) -> Key<'a> {
    // The longest user name, and one byte more.
    // SAFETY: as demanded.
    Key::Name(unsafe { text_at(name, 32) })
}

/// The user or group of this key: among those of the system's machines, and then of those of the caller's own.
fn find(kind: IdKind, key: &Key<'_>) -> Result<MappedId, Failure> {
    match find_in(&RegistryFiles::SYSTEM, kind, key) {
        Err(Failure::NOT_FOUND) if may_be_a_machines(kind, key) => {
            let found = find_in(&RegistryFiles::own().ok_or(Failure::NOT_FOUND)?, kind, key)?;
            // A name that leads to somebody else is not this one's.
            let by_name =
                mapped_id_by_name(&RegistryFiles::SYSTEM, &SeenProcesses, kind, found.name.as_bytes());
            if by_name == Ok(None) { Ok(found) } else { Err(Failure::NOT_FOUND) }
        }
        outcome => outcome,
    }
}

/// Whether a key may be that of a user or group of a machine: most are not, and nothing is asked for them.
fn may_be_a_machines(kind: IdKind, key: &Key<'_>) -> bool {
    match key {
        Key::Id(id) => *id >= FIRST_MACHINE_ID && is_valid_id(*id),
        Key::Name(name) => IdName::parse(kind, name).is_some(),
    }
}

#[inline(never)]
fn find_in(files: &RegistryFiles, kind: IdKind, key: &Key<'_>) -> Result<MappedId, Failure> {
    let found = match key {
        Key::Id(id) => mapped_id_by_id(files, &SeenProcesses, kind, *id),
        Key::Name(name) => mapped_id_by_name(files, &SeenProcesses, kind, name),
    };
    match found {
        Ok(Some(found)) => Ok(found),
        Ok(None) | Err(LookupError::Shared) => Err(Failure::NOT_FOUND),
        Err(LookupError::Damaged) => Err(Failure::DAMAGED),
        Err(LookupError::Unreadable(errno)) => Err(Failure::of_errno(errno)),
    }
}

/// # Safety
/// `user` is valid, `buffer` has `buflen` bytes, `errnop` is valid.
unsafe fn fill_user(
    key: &Key<'_>,
    user: *mut passwd,
    buffer: *mut c_char,
    buflen: size_t,
    errnop: *mut c_int,
) -> NssStatus {
    // SAFETY: as demanded; there is no h_errno for users.
    let errors = unsafe { Errors::new(errnop, ptr::null_mut()) };
    let outcome = find(IdKind::User, key).and_then(|found| {
        let real_name = found.description(IdKind::User);
        // SAFETY: as demanded.
        unsafe {
            let mut arena = Arena::new(buffer, buflen);
            let answer = passwd {
                pw_name: arena.text(found.name.as_bytes()),
                pw_passwd: arena.text(PASSWORD),
                pw_uid: found.outside,
                pw_gid: NOBODY,
                pw_gecos: arena.text(real_name.get().unwrap_or_default()),
                pw_dir: arena.text(HOME.as_bytes()),
                pw_shell: arena.text(NO_LOGIN.as_bytes()),
            };
            if arena.is_too_small() {
                return Err(Failure::BUFFER_TOO_SMALL);
            }
            *user = answer;
        }
        Ok(())
    });
    errors.tell(outcome)
}

/// # Safety
/// `group` is valid, `buffer` has `buflen` bytes, `errnop` is valid.
unsafe fn fill_group(
    key: &Key<'_>,
    group: *mut group,
    buffer: *mut c_char,
    buflen: size_t,
    errnop: *mut c_int,
) -> NssStatus {
    // SAFETY: as demanded; there is no h_errno for groups.
    let errors = unsafe { Errors::new(errnop, ptr::null_mut()) };
    let outcome = find(IdKind::Group, key).and_then(|found| {
        // SAFETY: as demanded.
        unsafe {
            let mut arena = Arena::new(buffer, buflen);
            let answer = libc::group {
                gr_name: arena.text(found.name.as_bytes()),
                gr_passwd: arena.text(PASSWORD),
                gr_gid: found.outside,
                gr_mem: arena.place(ptr::null_mut()),
            };
            if arena.is_too_small() {
                return Err(Failure::BUFFER_TOO_SMALL);
            }
            *group = answer;
        }
        Ok(())
    });
    errors.tell(outcome)
}

/// The user of this name.
///
/// # Safety
/// As in the module's description.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _nss_mymachines_getpwnam_r(
    name: *const c_char,
    user: *mut passwd,
    buffer: *mut c_char,
    buflen: size_t,
    errnop: *mut c_int,
) -> NssStatus {
    // SAFETY: glibc's promises, see the module.
    unsafe { fill_user(&name_at(name), user, buffer, buflen, errnop) }
}

/// The user with this id.
///
/// # Safety
/// As in the module's description.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _nss_mymachines_getpwuid_r(
    uid: uid_t,
    user: *mut passwd,
    buffer: *mut c_char,
    buflen: size_t,
    errnop: *mut c_int,
) -> NssStatus {
    // SAFETY: glibc's promises, see the module.
    unsafe { fill_user(&Key::Id(uid), user, buffer, buflen, errnop) }
}

/// The group of this name.
///
/// # Safety
/// As in the module's description.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _nss_mymachines_getgrnam_r(
    name: *const c_char,
    group: *mut group,
    buffer: *mut c_char,
    buflen: size_t,
    errnop: *mut c_int,
) -> NssStatus {
    // SAFETY: glibc's promises, see the module.
    unsafe { fill_group(&name_at(name), group, buffer, buflen, errnop) }
}

/// The group with this id.
///
/// # Safety
/// As in the module's description.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _nss_mymachines_getgrgid_r(
    gid: gid_t,
    group: *mut group,
    buffer: *mut c_char,
    buflen: size_t,
    errnop: *mut c_int,
) -> NssStatus {
    // SAFETY: glibc's promises, see the module.
    unsafe { fill_group(&Key::Id(gid), group, buffer, buflen, errnop) }
}
