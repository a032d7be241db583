//! The interfaces and addresses of a machine.
//!
//! # Safety
//! As in [`super`].

#![allow(
    unsafe_code,
    clippy::missing_safety_doc,
    reason = "the C interface: the header says what is demanded"
)]

use core::ffi::{c_int, c_void};
use core::net::IpAddr;

use libc::size_t;
use registry::Address;

use super::{at, machine};
use crate::answer::put;

/// An address as C wants it.
#[derive(Clone, Copy)]
pub(super) struct RawAddress {
    family: c_int,
    scope_id: u32,
    /// In network byte order; of IPv4, the first four.
    bytes: [u8; 16],
}

pub(super) fn raw(address: &Address) -> RawAddress {
    let mut bytes = [0; 16];
    let family = match address.ip {
        IpAddr::V4(ip) => {
            bytes.iter_mut().zip(ip.octets()).for_each(|(to, from)| *to = from);
            libc::AF_INET
        }
        IpAddr::V6(ip) => {
            bytes = ip.octets();
            libc::AF_INET6
        }
    };
    RawAddress { family, scope_id: address.scope_id, bytes }
}

/// The network interfaces of the host that lead to a machine, by their indexes, one after the other.
///
/// Parameters:
///   m        the machine
///   i        which one, from 0 on
///   ifindex  where its index goes; may be NULL
///
/// Returns: 1; 0 if there are not so many; or a negative errno. -EINVAL: m is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_get_ifindex(m: *const machine, i: size_t, ifindex: *mut c_int) -> c_int {
    let write = |index: &c_int| {
        // SAFETY: as demanded.
        unsafe { put(ifindex, *index) };
    };
    // SAFETY: as demanded.
    unsafe { at(m, i, |machine| Ok(machine.snapshot.interfaces()), write) }
}

/// What the name of a machine resolves to, one address after the other, the best first.
///
/// Parameters:
///   m         the machine
///   i         which one, from 0 on
///   family    where AF_INET or AF_INET6 goes; may be NULL
///   address   where a pointer to a struct in_addr or a struct in6_addr goes, as inet_ntop(3) takes it; may be NULL
///   scope_id  where the host's interface goes that an IPv6 link-local address is reached through, 0 where none is needed
///             or known; may be NULL
///
/// Returns: 1; 0 if there are not so many; or a negative errno. -ENODATA: the record does not tell, as that of a virtual
/// machine, or one of systemd-machined's. -ENONET: the machine has no network of its own, but the host's. -EINVAL: m is
/// NULL.
///
/// Memory: the machine's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_get_address(
    m: *const machine,
    i: size_t,
    family: *mut c_int,
    address: *mut *const c_void,
    scope_id: *mut u32,
) -> c_int {
    let write = |found: &RawAddress| {
        // SAFETY: as demanded.
        unsafe {
            put(family, found.family);
            put(address, found.bytes.as_ptr().cast());
            put(scope_id, found.scope_id);
        }
    };
    // SAFETY: as demanded.
    unsafe { at(m, i, |machine| machine.snapshot.addresses().map(|_| &*machine.addresses), write) }
}
