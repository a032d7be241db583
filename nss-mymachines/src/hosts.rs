//! The entry points that resolve a name: `gethostbyname_r`, `2_r`, `3_r` and `4_r`.
//!
//! # Safety
//! The entry points trust glibc for what it promises its modules: names end in a zero byte, buffers have the size
//! given, out-parameters are valid or, where that is allowed, null. Names are read no further than a machine name
//! can be long; everything written goes through the [`Arena`] or to an out-parameter, and only on success.

#![allow(unsafe_code, reason = "the C interface")]

use core::ffi::{c_char, c_int, c_ulong};
use core::net::IpAddr;
use core::ptr;

use libc::{hostent, size_t};
use registry::calls::RegistryFiles;
use registry::{Address, HOST_NAME, Item, MachineName, RecordSink, asked_name, machine_in_any_case};

use crate::answer::{Errors, Failure, NssStatus};
use crate::arena::Arena;
use crate::lookup::look_up;
use crate::question::text_at;

/// `struct gaih_addrtuple`, nss.h.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct AddressTuple {
    next: *mut AddressTuple,
    name: *mut c_char,
    family: c_int,
    address: [u8; 16],
    scope_id: u32,
}

/// The start of `struct __res_state`, resolv.h.
#[repr(C)]
struct ResolverState {
    _retransmission: c_int,
    _retries: c_int,
    options: c_ulong,
}

const RES_USE_INET6: c_ulong = 0x2000;

unsafe extern "C" {
    fn __res_state() -> *mut ResolverState;
}

/// The machine name at a C string, which may end in a dot.
///
/// # Safety
/// The string ends in a zero byte.
unsafe fn machine_name(name: *const c_char) -> Result<MachineName, Failure> {
    // The longest name, a dot, and one byte more.
    // SAFETY: as demanded.
    let name = unsafe { text_at(name, 66) };
    if name == HOST_NAME.as_bytes() {
        // The host is a machine, of its own class and without a record.
        return Err(Failure::of_errno(libc::ENOTTY));
    }
    asked_name(name).map_err(|_| Failure::of_errno(libc::EINVAL))
}

/// Looks for the machine that has exactly the name at a C string, or else for the one that has it but for the case of its
/// letters: among the system's, and then among those of the caller's own.
///
/// # Safety
/// The string ends in a zero byte.
unsafe fn find(name: *const c_char, look: &mut Look<'_>) -> Result<(), Failure> {
    // SAFETY: as demanded.
    let name = unsafe { machine_name(name) }?;
    match find_in(&RegistryFiles::SYSTEM, &name, look) {
        Err(Failure::NO_MACHINE) => match RegistryFiles::own() {
            Some(own) => find_in(&own, &name, look),
            None => Err(Failure::NO_MACHINE),
        },
        outcome => outcome,
    }
}

/// Looks a machine up in a registry.
type Look<'a> = dyn FnMut(&RegistryFiles, &MachineName) -> Result<(), Failure> + 'a;

#[inline(never)]
fn find_in(files: &RegistryFiles, name: &MachineName, look: &mut Look<'_>) -> Result<(), Failure> {
    match look(files, name) {
        Err(Failure::NO_MACHINE) => match machine_in_any_case(files, name) {
            Ok(Some(other)) => look(files, &other),
            Ok(None) => Err(Failure::NO_MACHINE),
            Err(errno) => Err(Failure::of_errno(errno)),
        },
        outcome => outcome,
    }
}

/// A list of [`AddressTuple`]s in the buffer, behind the name.
struct Tuples {
    arena: Arena,
    start: usize,
    name: *mut c_char,
    first: *mut AddressTuple,
    last: *mut AddressTuple,
    any: bool,
}

impl RecordSink for Tuples {
    fn take(&mut self, item: Item) {
        match item {
            Item::Addresses => {
                self.arena.rewind(self.start);
                (self.first, self.last, self.any) = (ptr::null_mut(), ptr::null_mut(), false);
            }
            Item::Address(address) => self.push(address),
            _ => {}
        }
    }
}

impl Tuples {
    fn push(&mut self, address: Address) {
        self.any = true;
        let mut octets = [0; 16];
        let family = match address.ip {
            IpAddr::V4(ip) => {
                if let Some(first) = octets.first_chunk_mut() {
                    *first = ip.octets();
                }
                libc::AF_INET
            }
            IpAddr::V6(ip) => {
                octets = ip.octets();
                libc::AF_INET6
            }
        };
        let tuple = self.arena.place(AddressTuple {
            next: ptr::null_mut(),
            name: self.name,
            family,
            address: octets,
            scope_id: address.scope_id,
        });
        if tuple.is_null() {
            return;
        }
        if self.last.is_null() {
            self.first = tuple;
        } else {
            // SAFETY: the last tuple was placed in the arena.
            unsafe { (*self.last).next = tuple };
        }
        self.last = tuple;
    }
}

/// All addresses of a machine, for getaddrinfo(3).
///
/// Parameters: the name; `pat`, which points to null or to a tuple that takes the first address; the buffer; where
/// errno and h_errno go; `ttlp`, which may be null.
///
/// # Safety
/// As in the module's description.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _nss_mymachines_gethostbyname4_r(
    name: *const c_char,
    pat: *mut *mut AddressTuple,
    buffer: *mut c_char,
    buflen: size_t,
    errnop: *mut c_int,
    h_errnop: *mut c_int,
    ttlp: *mut i32,
) -> NssStatus {
    // SAFETY: glibc's promises, see the module.
    unsafe {
        let errors = Errors::new(errnop, h_errnop);
        let outcome = find(name, &mut |files, machine| {
            let mut arena = Arena::new(buffer, buflen);
            let name = arena.text(machine.as_bytes());
            let start = arena.mark();
            let none = ptr::null_mut();
            let mut tuples = Tuples { arena, start, name, first: none, last: none, any: false };
            look_up(files, machine, &mut tuples)?;
            if !tuples.any {
                return Err(Failure::NOT_FOUND);
            }
            if tuples.arena.is_too_small() {
                return Err(Failure::BUFFER_TOO_SMALL);
            }
            if (*pat).is_null() {
                *pat = tuples.first;
            } else {
                **pat = *tuples.first;
            }
            if !ttlp.is_null() {
                *ttlp = 0;
            }
            Ok(())
        });
        errors.tell(outcome)
    }
}

/// The addresses of one family in the buffer, one in each slot, behind the name and the list of aliases.
struct Addresses {
    arena: Arena,
    start: usize,
    family: c_int,
    first: *mut c_char,
    count: usize,
    any: bool,
}

impl RecordSink for Addresses {
    fn take(&mut self, item: Item) {
        match item {
            Item::Addresses => {
                self.arena.rewind(self.start);
                (self.first, self.count, self.any) = (ptr::null_mut(), 0, false);
            }
            Item::Address(address) => self.push(address),
            _ => {}
        }
    }
}

impl Addresses {
    fn push(&mut self, address: Address) {
        let slot = match address.ip {
            IpAddr::V4(ip) if self.family == libc::AF_INET => self.arena.place(ip.octets()).cast(),
            IpAddr::V6(ip) if self.family == libc::AF_INET6 => self.arena.place(ip.octets()).cast(),
            _ => return,
        };
        self.any = true;
        if self.first.is_null() {
            self.first = slot;
        }
        self.count = self.count.saturating_add(1);
    }
}

/// Fills a `hostent` with a machine's addresses of one family.
///
/// # Safety
/// `buffer` has `buflen` bytes, `host` is valid.
unsafe fn fill(
    files: &RegistryFiles,
    machine: &MachineName,
    family: c_int,
    host: *mut hostent,
    buffer: *mut c_char,
    buflen: size_t,
) -> Result<(), Failure> {
    // SAFETY: as demanded.
    let mut arena = unsafe { Arena::new(buffer, buflen) };
    let name = arena.text(machine.as_bytes());
    let aliases = arena.place::<*mut c_char>(ptr::null_mut());
    let start = arena.mark();
    let mut answer = Addresses { arena, start, family, first: ptr::null_mut(), count: 0, any: false };
    look_up(files, machine, &mut answer)?;
    if !answer.any {
        return Err(Failure::NOT_FOUND);
    }
    // IPv4 addresses lie in slots of eight bytes, as everything in the buffer does.
    let (length, slot) = if family == libc::AF_INET6 { (16, 16) } else { (4, 8) };
    let mut list: *mut *mut c_char = ptr::null_mut();
    let mut address = answer.first;
    for _ in 0..answer.count {
        let entry = answer.arena.place(address);
        if entry.is_null() {
            break;
        }
        if list.is_null() {
            list = entry;
        }
        address = address.wrapping_add(slot);
    }
    answer.arena.place::<*mut c_char>(ptr::null_mut());
    if answer.arena.is_too_small() {
        return Err(Failure::BUFFER_TOO_SMALL);
    }
    // SAFETY: as demanded.
    unsafe {
        *host = hostent {
            h_name: name,
            h_aliases: aliases,
            h_addrtype: family,
            h_length: length,
            h_addr_list: list,
        };
    }
    Ok(())
}

/// The addresses of one family, with the canonical name and the time to live.
///
/// Parameters: the name; `AF_INET`, `AF_INET6` or `AF_UNSPEC` (which is `AF_INET`); the result; the buffer; where
/// errno and h_errno go; `ttlp` and `canonp`, which may be null.
///
/// # Safety
/// As in the module's description.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _nss_mymachines_gethostbyname3_r(
    name: *const c_char,
    family: c_int,
    host: *mut hostent,
    buffer: *mut c_char,
    buflen: size_t,
    errnop: *mut c_int,
    h_errnop: *mut c_int,
    ttlp: *mut i32,
    canonp: *mut *mut c_char,
) -> NssStatus {
    let family = match family {
        libc::AF_UNSPEC => Ok(libc::AF_INET),
        libc::AF_INET | libc::AF_INET6 => Ok(family),
        _ => Err(Failure::of_errno(libc::EAFNOSUPPORT)),
    };
    // SAFETY: glibc's promises, see the module.
    unsafe {
        let errors = Errors::new(errnop, h_errnop);
        let outcome = family.and_then(|family| {
            find(name, &mut |files, machine| fill(files, machine, family, host, buffer, buflen))
        });
        if outcome.is_ok() {
            if !ttlp.is_null() {
                *ttlp = 0;
            }
            if !canonp.is_null() {
                *canonp = (*host).h_name;
            }
        }
        errors.tell(outcome)
    }
}

/// The addresses of one family: as `gethostbyname3_r`, without canonical name and time to live.
///
/// # Safety
/// As in the module's description.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _nss_mymachines_gethostbyname2_r(
    name: *const c_char,
    family: c_int,
    host: *mut hostent,
    buffer: *mut c_char,
    buflen: size_t,
    errnop: *mut c_int,
    h_errnop: *mut c_int,
) -> NssStatus {
    let null = ptr::null_mut();
    // SAFETY: as this function demands.
    unsafe {
        _nss_mymachines_gethostbyname3_r(
            name,
            family,
            host,
            buffer,
            buflen,
            errnop,
            h_errnop,
            null,
            ptr::null_mut(),
        )
    }
}

/// The IPv4 addresses; where the resolver's option RES_USE_INET6 is set, the IPv6 addresses if there are any.
///
/// # Safety
/// As in the module's description.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn _nss_mymachines_gethostbyname_r(
    name: *const c_char,
    host: *mut hostent,
    buffer: *mut c_char,
    buflen: size_t,
    errnop: *mut c_int,
    h_errnop: *mut c_int,
) -> NssStatus {
    // SAFETY: as this function demands; the resolver's state always exists.
    unsafe {
        let errors = Errors::new(errnop, h_errnop);
        let outcome = find(name, &mut |files, machine| {
            if (*__res_state()).options & RES_USE_INET6 != 0 {
                match fill(files, machine, libc::AF_INET6, host, buffer, buflen) {
                    Err(Failure::NOT_FOUND) => {}
                    outcome => return outcome,
                }
            }
            fill(files, machine, libc::AF_INET, host, buffer, buflen)
        });
        errors.tell(outcome)
    }
}

/// What the proof of the link must refuse: an index that nobody checked.
///
/// # Safety
/// None: it exists to not be linked.
#[cfg(feature = "may-panic")]
#[unsafe(no_mangle)]
#[allow(clippy::indexing_slicing, reason = "the counter-test of the proof")]
pub unsafe extern "C" fn _nss_mymachines_may_panic(index: size_t) -> u8 {
    const TABLE: [u8; 3] = [1, 2, 3];
    TABLE[index]
}
