//! From what the host sees to the machine it belongs to: `machine_by_*`.
//!
//! # Safety
//! As in [`crate::answer`] and [`crate::text`].

#![allow(
    unsafe_code,
    clippy::missing_safety_doc,
    reason = "the C interface: the header says what is demanded"
)]

use core::ffi::{c_char, c_int, c_void};
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::ptr;

use libc::{gid_t, pid_t, uid_t};
use libmachine::{Borrowed, Buffer, Errno, machine_of_address, machine_of_id, path_of_pid, path_of_pidfd};
use registry::IdKind;

use crate::answer::{put, tell};
use crate::text::{copied, owned};

/// # Safety
/// The place is null or valid for a write.
unsafe fn name(found: Result<Buffer<u8>, Errno>, place: *mut *mut c_char) -> c_int {
    tell(found, |text| {
        if !place.is_null() {
            let text = owned(text)?;
            // SAFETY: as demanded.
            unsafe { put(place, text) };
        }
        Ok(0)
    })
}

/// Tells which machines a process is in: the nearest one, and those around it, as "outer/inner". Unlike
/// sd_pid_get_machine_name() it finds machines within other units, such as those of users, and leaves out those whose
/// leader has gone.
///
/// Parameters:
///   pid   the process; 0 for the caller
///   path  where the names go; may be NULL
///
/// Returns: 0, or a negative errno. -ENXIO: it is in no machine. -ESRCH: there is no such process, or none that /proc
/// shows. -EINVAL: pid is negative. -EUNATCH: its control group is outside of the caller's namespace.
///
/// Memory: free(3) the path.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_by_pid(pid: pid_t, path: *mut *mut c_char) -> c_int {
    let found = u32::try_from(pid).map_err(|_| Errno::INVAL).and_then(path_of_pid);
    // SAFETY: as demanded.
    unsafe { name(found, path) }
}

/// Tells which machines a process is in, as machine_by_pid() does, by a descriptor of it.
///
/// Parameters:
///   pidfd  a descriptor made by pidfd_open(2)
///   path   where the names go; may be NULL
///
/// Returns: 0, or a negative errno: those of machine_by_pid(). -EBADF, -ENOTTY: pidfd is no descriptor, or none of a
/// process. -EREMOTE: the process is of another PID namespace.
///
/// Memory: free(3) the path.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_by_pidfd(pidfd: c_int, path: *mut *mut c_char) -> c_int {
    let found = Borrowed::new(pidfd).ok_or(Errno::BADF).and_then(path_of_pidfd);
    // SAFETY: as demanded.
    unsafe { name(found, path) }
}

/// # Safety
/// The places are null or valid for a write.
unsafe fn owner(kind: IdKind, id: u32, place: *mut *mut c_char, inside: *mut u32) -> c_int {
    tell(machine_of_id(kind, id), |found| {
        let name = if place.is_null() { ptr::null_mut() } else { copied(found.machine.as_bytes())? };
        // SAFETY: as demanded.
        unsafe {
            put(place, name);
            put(inside, found.inside);
        }
        Ok(0)
    })
}

/// Tells which machine a uid of the host belongs to.
///
/// Parameters:
///   uid     the uid on the host
///   name    where the name of the machine goes; may be NULL
///   inside  where the uid inside the machine goes; may be NULL
///
/// Returns: 0, or a negative errno. -ENXIO: to none that lives (as the host's own), or to more than one. -EBADMSG: the record
/// that decides is damaged.
///
/// Memory: free(3) the name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_by_uid(uid: uid_t, name: *mut *mut c_char, inside: *mut uid_t) -> c_int {
    // SAFETY: as demanded.
    unsafe { owner(IdKind::User, uid, name, inside) }
}

/// Tells which machine a gid of the host belongs to.
///
/// Parameters:
///   gid     the gid on the host
///   name    where the name of the machine goes; may be NULL
///   inside  where the gid inside the machine goes; may be NULL
///
/// Returns: 0, or a negative errno. -ENXIO: to none that lives (as the host's own), or to more than one. -EBADMSG: the record
/// that decides is damaged.
///
/// Memory: free(3) the name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_by_gid(gid: gid_t, name: *mut *mut c_char, inside: *mut gid_t) -> c_int {
    // SAFETY: as demanded.
    unsafe { owner(IdKind::Group, gid, name, inside) }
}

/// Tells which machine has an address.
///
/// Parameters:
///   family   AF_INET or AF_INET6
///   address  a struct in_addr or a struct in6_addr
///   name     where the name of the machine goes; may be NULL
///
/// Returns: 0, or a negative errno. -ENXIO: none that lives, or more than one. -EAFNOSUPPORT: another family. -EINVAL:
/// address is NULL. -EBADMSG: the record that decides is damaged.
///
/// Memory: free(3) the name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_by_address(
    family: c_int,
    address: *const c_void,
    name: *mut *mut c_char,
) -> c_int {
    // SAFETY: as demanded.
    let found = unsafe { given(family, address) }.and_then(machine_of_address);
    tell(found, |found| {
        let text = if name.is_null() { ptr::null_mut() } else { copied(found.as_bytes())? };
        // SAFETY: as demanded.
        unsafe { put(name, text) };
        Ok(0)
    })
}

/// # Safety
/// The address is null, or of its family.
unsafe fn given(family: c_int, address: *const c_void) -> Result<IpAddr, Errno> {
    if address.is_null() {
        return Err(Errno::INVAL);
    }
    match family {
        // SAFETY: as demanded; it need not be aligned.
        libc::AF_INET => Ok(Ipv4Addr::from(unsafe { address.cast::<[u8; 4]>().read_unaligned() }).into()),
        // SAFETY: as demanded; it need not be aligned.
        libc::AF_INET6 => Ok(Ipv6Addr::from(unsafe { address.cast::<[u8; 16]>().read_unaligned() }).into()),
        _ => Err(Errno::AFNOSUPPORT),
    }
}
