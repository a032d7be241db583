//! A machine as it was at one moment: `struct machine`.
//!
//! # Safety
//! As in [`crate::answer`] and [`crate::text`]. A machine of the caller's is null, or was made by [`give`] and not
//! yet freed; nothing writes to it, so that threads may share it.

#![allow(
    unsafe_code,
    clippy::missing_safety_doc,
    reason = "the C interface: the header says what is demanded"
)]

use core::ffi::{c_char, c_int};
use core::ptr;

use libc::size_t;
use libmachine::{Buffer, Errno, Snapshot};
use registry::MachineName;

use crate::answer::{boxed, ended, no_flags, put, status, tell, wanted};
use crate::text::given;

mod addresses;
mod fields;
mod ids;

use addresses::{RawAddress, raw};

/// A machine, as its record had it when it was read.
#[allow(non_camel_case_types, reason = "as C has it")]
pub struct machine {
    snapshot: Snapshot,
    /// With the zero byte that C wants.
    name: [u8; 65],
    addresses: Buffer<RawAddress>,
}

impl machine {
    /// What is known of a machine, as C wants it.
    ///
    /// # Errors
    /// `ENOMEM`.
    #[inline(never)]
    pub fn new(snapshot: Snapshot) -> Result<Self, Errno> {
        let mut machine = Self { name: with_zero(snapshot.name()), addresses: Buffer::new(), snapshot };
        for (place, address) in (0..).zip(machine.snapshot.addresses().unwrap_or_default()) {
            machine.addresses.push(raw(address, machine.snapshot.address_source(place)))?;
        }
        Ok(machine)
    }

    /// What it is made of.
    pub const fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }
}

/// A name with the zero byte that C wants.
pub fn with_zero(name: &MachineName) -> [u8; 65] {
    let mut text = [0; 65];
    text.iter_mut().zip(name.as_bytes()).for_each(|(to, from)| *to = *from);
    text
}

/// Gives a machine to the caller.
///
/// # Safety
/// The place is null or valid for a write.
#[inline(never)]
pub unsafe fn give(found: Result<Snapshot, Errno>, place: *mut *mut machine) -> c_int {
    tell(wanted(place).and(found).and_then(machine::new), |machine| {
        let machine = boxed(machine)?;
        // SAFETY: as demanded.
        unsafe { put(place, machine) };
        Ok(0)
    })
}

/// The machine of a caller.
///
/// # Safety
/// As the module says.
unsafe fn known<'a>(m: *const machine) -> Result<&'a machine, Errno> {
    // SAFETY: as demanded.
    unsafe { m.as_ref() }.ok_or(Errno::INVAL)
}

/// Tells of the item at a place of a list.
///
/// # Safety
/// As the module says.
unsafe fn at<T>(
    m: *const machine,
    index: size_t,
    find: impl FnOnce(&machine) -> Result<&[T], Errno>,
    write: impl FnOnce(&T),
) -> c_int {
    // SAFETY: as demanded.
    tell(unsafe { known(m) }.and_then(find), |items| {
        Ok(items.get(index).map_or(0, |item| {
            write(item);
            1
        }))
    })
}

/// Reads the record of a machine. What is read then stays as it is, whatever becomes of the machine.
///
/// Parameters:
///   name   its name, or a path as machine_path_by_pid() gives it, "outer/inner", of which the last name counts. As a host's it
///          may end in a dot, and may be in capitals or small letters where no machine has exactly this name, and one alone
///          has it so.
///   flags  0
///   ret    where the machine goes
///
/// Returns: 0, or a negative errno. -EINVAL: no valid name, ret is NULL, or a flag is not known. -ENXIO: no such machine.
/// -EBADMSG: its record is damaged, or something that is no file is in its place.
///
/// Memory: machine_free() the machine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_open(name: *const c_char, flags: u64, ret: *mut *mut machine) -> c_int {
    // SAFETY: as demanded.
    let name = no_flags(flags).and_then(|()| unsafe { given(name) }.ok_or(Errno::INVAL));
    let found = wanted(ret).and(name).and_then(Snapshot::read);
    // SAFETY: as demanded.
    unsafe { give(found, ret) }
}

/// Frees a machine, and everything that was got from it by pointer.
///
/// Parameters:
///   m  the machine; may be NULL
///
/// Returns: NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_free(m: *mut machine) -> *mut machine {
    // SAFETY: as demanded.
    unsafe { ended(m) }
}

/// The name of a machine.
///
/// Parameters:
///   m  the machine
///
/// Returns: the name; NULL if m is.
///
/// Memory: the machine's.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_get_name(m: *const machine) -> *const c_char {
    // SAFETY: as demanded.
    unsafe { known(m) }.map_or(ptr::null(), |machine| machine.name.as_ptr().cast())
}

/// Whether the process that leads a machine runs. The answer is that of now, not of when the record was read. Where the
/// caller cannot tell for want of a right it is 1.
///
/// Parameters:
///   m  the machine
///
/// Returns: 1, 0, or a negative errno, all but 0 being true in C. -EREMOTE: its process ids mean nothing in the caller's PID
/// namespace, so that it may run or not. -EINVAL: m is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_is_alive(m: *const machine) -> c_int {
    // SAFETY: as demanded.
    status(unsafe { known(m) }.and_then(|machine| machine.snapshot.runs()).map(c_int::from))
}
