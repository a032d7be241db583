//! The entry points that find the name of an address: `gethostbyaddr_r` and `gethostbyaddr2_r`.
//!
//! # Safety
//! As in [`crate::hosts`]; the address is read no further than its length says.

#![allow(unsafe_code, reason = "the C interface")]

use core::ffi::{c_char, c_int, c_void};
use core::net::IpAddr;
use core::ptr;

use libc::{hostent, size_t, socklen_t};
use registry::calls::RegistryFiles;
use registry::{Item, MachineName, RecordSink, address_link, linked_machine};

use crate::answer::{Errors, Failure, NssStatus};
use crate::arena::Arena;
use crate::lookup::look_up;

/// Whether an address is among those of a record.
struct Search {
    ip: IpAddr,
    found: bool,
}

impl RecordSink for Search {
    fn take(&mut self, item: Item) {
        match item {
            Item::Addresses => self.found = false,
            Item::Address(address) => self.found |= address.ip == self.ip,
            _ => {}
        }
    }
}

/// Finds the machine that has an address: among the system's, and then among those of the caller's own. It counts only if the
/// search succeeds.
// Into a place of the caller's, and not as a result that is copied from one to the next: the module has to be small.
fn find(ip: IpAddr, machine: &mut Option<MachineName>) -> Result<(), Failure> {
    match find_in(&RegistryFiles::SYSTEM, ip, machine) {
        Err(Failure::NOT_FOUND) => {}
        outcome => return outcome,
    }
    let own = RegistryFiles::own().ok_or(Failure::NOT_FOUND)?;
    find_in(&own, ip, machine)?;
    // A name that leads elsewhere is not this one's.
    match confirm(&RegistryFiles::SYSTEM, machine.as_ref(), ip) {
        Ok(()) | Err(Failure::NO_MACHINE) => Ok(()),
        _ => Err(Failure::NOT_FOUND),
    }
}

/// Finds the machine that the address index of a registry names, if its record confirms it.
#[inline(never)]
fn find_in(files: &RegistryFiles, ip: IpAddr, machine: &mut Option<MachineName>) -> Result<(), Failure> {
    *machine = linked_machine(files, &address_link(ip)).map_err(Failure::of_errno)?;
    match confirm(files, machine.as_ref(), ip) {
        // The machine is gone.
        Err(Failure::NO_MACHINE) => Err(Failure::NOT_FOUND),
        outcome => outcome,
    }
}

/// Whether the record of a machine lists the address: the index may be behind it.
#[inline(never)]
fn confirm(files: &RegistryFiles, machine: Option<&MachineName>, ip: IpAddr) -> Result<(), Failure> {
    let mut search = Search { ip, found: false };
    look_up(files, machine.ok_or(Failure::NOT_FOUND)?, &mut search)?;
    if search.found { Ok(()) } else { Err(Failure::NOT_FOUND) }
}

/// The name of the machine that has an address: as `gethostbyaddr2_r`, without the time to live.
///
/// # Safety
/// As in the module's description.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _nss_mymachines_gethostbyaddr_r(
    address: *const c_void,
    length: socklen_t,
    family: c_int,
    host: *mut hostent,
    buffer: *mut c_char,
    buflen: size_t,
    errnop: *mut c_int,
    h_errnop: *mut c_int,
) -> NssStatus {
    let no_ttl = ptr::null_mut();
    // SAFETY: as this function demands.
    unsafe {
        _nss_mymachines_gethostbyaddr2_r(
            address, length, family, host, buffer, buflen, errnop, h_errnop, no_ttl,
        )
    }
}

/// The name of the machine that has an address, and how long to keep it: not at all. Without this one nscd(8) keeps what it
/// is told for an hour.
///
/// Parameters: the address, its length, its family; the result; the buffer; where errno and h_errno go; `ttlp`, which may
/// be null.
///
/// # Safety
/// As in the module's description.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _nss_mymachines_gethostbyaddr2_r(
    address: *const c_void,
    length: socklen_t,
    family: c_int,
    host: *mut hostent,
    buffer: *mut c_char,
    buflen: size_t,
    errnop: *mut c_int,
    h_errnop: *mut c_int,
    ttlp: *mut i32,
) -> NssStatus {
    // SAFETY: glibc's promises, see the module.
    unsafe {
        let errors = Errors::new(errnop, h_errnop);
        let ip = match (family, length) {
            (libc::AF_INET, 4) => Ok(IpAddr::from(address.cast::<[u8; 4]>().read_unaligned())),
            (libc::AF_INET6, 16) => Ok(IpAddr::from(address.cast::<[u8; 16]>().read_unaligned())),
            (libc::AF_INET | libc::AF_INET6, _) => Err(Failure::of_errno(libc::EINVAL)),
            _ => Err(Failure::of_errno(libc::EAFNOSUPPORT)),
        };
        let outcome = ip.and_then(|ip| {
            let mut machine = None;
            find(ip, &mut machine)?;
            let mut arena = Arena::new(buffer, buflen);
            let name = arena.text(machine.as_ref().map(MachineName::as_bytes).unwrap_or_default());
            let aliases = arena.place::<*mut c_char>(ptr::null_mut());
            let (octets, length): (*mut c_char, _) = match ip {
                IpAddr::V4(ip) => (arena.place(ip.octets()).cast(), 4),
                IpAddr::V6(ip) => (arena.place(ip.octets()).cast(), 16),
            };
            let list = arena.place([octets, ptr::null_mut()]).cast();
            if arena.is_too_small() {
                return Err(Failure::BUFFER_TOO_SMALL);
            }
            *host = hostent {
                h_name: name,
                h_aliases: aliases,
                h_addrtype: family,
                h_length: length,
                h_addr_list: list,
            };
            if !ttlp.is_null() {
                *ttlp = 0;
            }
            Ok(())
        });
        errors.tell(outcome)
    }
}
