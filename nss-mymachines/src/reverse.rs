//! The entry point that finds the name of an address: `gethostbyaddr_r`.
//!
//! # Safety
//! As in [`crate::hosts`]; the address is read no further than its length says.

#![allow(unsafe_code, reason = "the C interface")]

use core::ffi::{c_char, c_int, c_void};
use core::net::IpAddr;
use core::ptr;

use libc::{hostent, size_t, socklen_t};
use registry::{Address, AddressSink, MachineName, address_link};

use crate::answer::{Errors, Failure, NssStatus, errno};
use crate::arena::Arena;
use crate::lookup::look_up;

/// Whether an address is among those of a record.
struct Search {
    ip: IpAddr,
    found: bool,
}

impl AddressSink for Search {
    fn restart(&mut self) {
        self.found = false;
    }

    fn push(&mut self, address: Address) {
        self.found |= address.ip == self.ip;
    }
}

/// The machine that the address index names, if its record confirms it.
fn machine_at(ip: IpAddr) -> Result<MachineName, Failure> {
    let link = address_link(ip);
    let mut target = [0_u8; 65];
    // SAFETY: the path ends in a zero byte, and the kernel writes no further than the end of the buffer.
    let length =
        unsafe { libc::readlink(link.as_c_str().as_ptr(), target.as_mut_ptr().cast(), target.len()) };
    let Ok(length) = usize::try_from(length) else {
        return match errno() {
            // No link; or no link there, which nobody of this suite made.
            libc::ENOENT | libc::ENOTDIR | libc::EINVAL => Err(Failure::NotFound),
            errno => Err(Failure::of_errno(errno)),
        };
    };
    let machine =
        MachineName::new(target.get(..length).unwrap_or_default()).map_err(|_| Failure::NotFound)?;
    match look_up(&machine, Search { ip, found: false }) {
        Ok(Search { found: true, .. }) => Ok(machine),
        // The index is behind the record, or the machine is gone.
        Ok(_) | Err(Failure::Unavailable(libc::ENXIO)) => Err(Failure::NotFound),
        Err(failure) => Err(failure),
    }
}

/// The name of the machine that has an address.
///
/// Parameters: the address, its length, its family; the result; the buffer; where errno and h_errno go.
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
    // SAFETY: glibc's promises, see the module.
    unsafe {
        let errors = Errors::new(errnop, h_errnop);
        let ip = match (family, length) {
            (libc::AF_INET, 4) => Ok(IpAddr::from(address.cast::<[u8; 4]>().read_unaligned())),
            (libc::AF_INET6, 16) => Ok(IpAddr::from(address.cast::<[u8; 16]>().read_unaligned())),
            (libc::AF_INET | libc::AF_INET6, _) => Err(Failure::Unavailable(libc::EINVAL)),
            _ => Err(Failure::Unavailable(libc::EAFNOSUPPORT)),
        };
        let outcome = ip.and_then(|ip| {
            let machine = machine_at(ip)?;
            let mut arena = Arena::new(buffer, buflen);
            let name = arena.text(machine.as_bytes());
            let aliases = arena.place::<*mut c_char>(ptr::null_mut());
            let (octets, length): (*mut c_char, _) = match ip {
                IpAddr::V4(ip) => (arena.place(ip.octets()).cast(), 4),
                IpAddr::V6(ip) => (arena.place(ip.octets()).cast(), 16),
            };
            let list = arena.place([octets, ptr::null_mut()]).cast();
            if arena.is_too_small() {
                return Err(Failure::BufferTooSmall);
            }
            *host = hostent {
                h_name: name,
                h_aliases: aliases,
                h_addrtype: family,
                h_length: length,
                h_addr_list: list,
            };
            Ok(())
        });
        errors.tell(outcome)
    }
}
