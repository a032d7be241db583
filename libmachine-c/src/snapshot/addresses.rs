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
use libmachine::{AddressSource, Errno};
use registry::Address;

use super::{at, known, machine};
use crate::answer::{put, tell};

/// An interface of the machine's own has the address, by the kernel.
pub const MACHINE_ADDRESS_INTERFACE: c_int = 1;
/// Whoever registered the machine has given the address.
pub const MACHINE_ADDRESS_GIVEN: c_int = 2;
/// A DHCP server of the host has leased the address to the machine.
pub const MACHINE_ADDRESS_LEASE: c_int = 3;
/// The kernel has met the address on the way to the machine, in its table of neighbours: the least sure of all.
pub const MACHINE_ADDRESS_NEIGHBOUR: c_int = 4;

/// An address as C wants it.
#[derive(Clone, Copy)]
pub(super) struct RawAddress {
    family: c_int,
    scope_id: u32,
    /// In network byte order; of IPv4, the first four.
    bytes: [u8; 16],
    /// 0 where it is not known.
    source: c_int,
}

pub(super) fn raw(address: &Address, source: Option<AddressSource>) -> RawAddress {
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
    let source = match source {
        Some(AddressSource::Interface) => MACHINE_ADDRESS_INTERFACE,
        Some(AddressSource::Given) => MACHINE_ADDRESS_GIVEN,
        Some(AddressSource::Lease) => MACHINE_ADDRESS_LEASE,
        Some(AddressSource::Neighbour) => MACHINE_ADDRESS_NEIGHBOUR,
        _ => 0,
    };
    RawAddress { family, scope_id: address.scope_id, bytes, source }
}

/// The network interfaces of the host that lead to a machine, by their indexes, one after the other: first those that its
/// registrar said, then those that the registry found.
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
/// Returns: 1; 0 if there are not so many; or a negative errno. -ENODATA: the record does not tell, as one of
/// systemd-machined's, or of a virtual machine of which no address is known. -ENONET: the machine has no network of its own,
/// but the host's. -EINVAL: m is NULL.
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

/// Where an address of a machine is known from.
///
/// Parameters:
///   m       the machine
///   i       which address, as of machine_get_address()
///   source  where MACHINE_ADDRESS_INTERFACE, MACHINE_ADDRESS_GIVEN, MACHINE_ADDRESS_LEASE or MACHINE_ADDRESS_NEIGHBOUR goes;
///           may be NULL. There may be others in later versions.
///
/// Returns: 1; 0 if there are not so many addresses; or a negative errno: those of machine_get_address(), and -ENODATA also
/// where the record has the address, and does not tell where it is from.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_get_address_source(
    m: *const machine,
    i: size_t,
    source: *mut c_int,
) -> c_int {
    // SAFETY: as demanded.
    let machine = unsafe { known(m) };
    let addresses = machine.and_then(|machine| machine.snapshot.addresses().map(|_| &*machine.addresses));
    tell(addresses, |addresses| match addresses.get(i) {
        None => Ok(0),
        Some(RawAddress { source: 0, .. }) => Err(Errno::NODATA),
        Some(found) => {
            // SAFETY: as demanded.
            unsafe { put(source, found.source) };
            Ok(1)
        }
    })
}
