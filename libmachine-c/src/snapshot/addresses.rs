//! The interfaces and addresses of a machine.
//!
//! # Safety
//! As in [`super`].

#![allow(
    unsafe_code,
    clippy::missing_safety_doc,
    reason = "the C interface: the header says what is demanded"
)]

use core::ffi::c_int;
use core::net::IpAddr;

use registry::Address;

use super::{list, machine};

/// An address of a machine.
#[repr(C)]
#[allow(non_camel_case_types, reason = "as C has it")]
#[derive(Clone, Copy)]
pub struct machine_address {
    /// AF_INET or AF_INET6.
    pub family: c_int,
    /// The host's interface that an IPv6 link-local address is reached through; 0 where none is needed or known.
    pub scope_id: u32,
    /// In network byte order; of IPv4, the first four.
    pub bytes: [u8; 16],
}

pub(super) fn address_of(address: &Address) -> machine_address {
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
    machine_address { family, scope_id: address.scope_id, bytes }
}

/// The network interfaces of the host that lead to a machine, by their indexes.
///
/// Parameters:
///   m    the machine
///   ret  where the address of the first goes, NULL if there are none; may be NULL
///
/// Returns: how many there are, or a negative errno. -EINVAL: m is NULL.
///
/// Memory: the machine's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_ifindices(m: *const machine, ret: *mut *const c_int) -> c_int {
    // SAFETY: as demanded.
    unsafe { list(m, ret, |machine| Ok(machine.snapshot.interfaces())) }
}

/// What the name of a machine resolves to, the best first.
///
/// Parameters:
///   m    the machine
///   ret  where the address of the first goes, NULL if there are none; may be NULL
///
/// Returns: how many there are, or a negative errno. -ENOSYS: the machine shares the host's network. -ENODATA: not known, as where
/// another registry wrote the record. -EINVAL: m is NULL.
///
/// Memory: the machine's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_addresses(m: *const machine, ret: *mut *const machine_address) -> c_int {
    // SAFETY: as demanded.
    unsafe { list(m, ret, |machine| machine.snapshot.addresses().map(|_| &*machine.addresses)) }
}
