//! A machine as it was at one moment: `struct machine`.
//!
//! # Safety
//! As in [`crate::answer`] and [`crate::text`]. A machine of the caller's is null, or was made by [`machine_open`] and not
//! yet freed; nothing writes to it, so that threads may share it.

#![allow(
    unsafe_code,
    clippy::missing_safety_doc,
    reason = "the C interface: the header says what is demanded"
)]

use core::ffi::{c_char, c_int};
use core::mem::size_of;
use core::ptr;

use libmachine::{Buffer, Errno, Snapshot};
use registry::IdKind;

use crate::answer::{count, put, status, tell, wanted};
use crate::text::given;

mod addresses;
mod fields;
mod ids;

use addresses::{address_of, machine_address};
use ids::{machine_id_range, range_of};

/// A machine, as its record had it when machine_open() read it.
#[allow(non_camel_case_types, reason = "as C has it")]
pub struct machine {
    snapshot: Snapshot,
    /// With the zero byte that C wants.
    name: [u8; 65],
    addresses: Buffer<machine_address>,
    uid_map: Buffer<machine_id_range>,
    gid_map: Buffer<machine_id_range>,
}

impl machine {
    fn new(snapshot: Snapshot) -> Result<Self, Errno> {
        let mut machine = Self {
            name: [0; 65],
            addresses: Buffer::new(),
            uid_map: Buffer::new(),
            gid_map: Buffer::new(),
            snapshot,
        };
        for (to, from) in machine.name.iter_mut().zip(machine.snapshot.name().as_bytes()) {
            *to = *from;
        }
        for address in machine.snapshot.addresses().unwrap_or_default() {
            machine.addresses.push(address_of(address))?;
        }
        for range in machine.snapshot.id_map(IdKind::User) {
            machine.uid_map.push(range_of(*range))?;
        }
        for range in machine.snapshot.id_map(IdKind::Group) {
            machine.gid_map.push(range_of(*range))?;
        }
        Ok(machine)
    }
}

/// The machine of a caller.
///
/// # Safety
/// As the module says.
unsafe fn known<'a>(m: *const machine) -> Result<&'a machine, Errno> {
    // SAFETY: as demanded.
    unsafe { m.as_ref() }.ok_or(Errno::INVAL)
}

/// # Safety
/// As the module says; the place is null or valid for a write.
unsafe fn list<T>(
    m: *const machine,
    place: *mut *const T,
    find: impl FnOnce(&machine) -> Result<&[T], Errno>,
) -> c_int {
    // SAFETY: as demanded.
    tell(unsafe { known(m) }.and_then(find), |items| {
        let number = count(items.len())?;
        let start = if items.is_empty() { ptr::null() } else { items.as_ptr() };
        // SAFETY: as demanded.
        unsafe { put(place, start) };
        Ok(number)
    })
}

/// Reads the record of a machine. What is read then stays as it is, whatever becomes of the machine.
///
/// Parameters:
///   name  its name
///   ret   where the machine goes
///
/// Returns: 0, or a negative errno. -EINVAL: no valid name, or ret is NULL. -ENXIO: no such machine. -EBADMSG: its record is
/// damaged, or something that is no file is in its place.
///
/// Memory: machine_free() the machine.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_open(name: *const c_char, ret: *mut *mut machine) -> c_int {
    // SAFETY: as demanded.
    let name = wanted(ret).and_then(|_| unsafe { given(name) }.ok_or(Errno::INVAL));
    tell(name.and_then(Snapshot::read).and_then(machine::new), |machine| {
        // SAFETY: as large as it must be, and malloc(3) aligns for everything.
        let place: *mut self::machine = unsafe { libc::malloc(size_of::<self::machine>()) }.cast();
        if place.is_null() {
            return Err(Errno::NOMEM);
        }
        // SAFETY: it is ours; and as demanded.
        unsafe {
            place.write(machine);
            put(ret, place);
        }
        Ok(0)
    })
}

/// Frees a machine, and everything that was got from it by pointer.
///
/// Parameters:
///   m  the machine; may be NULL
///
/// Returns: NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_free(m: *mut machine) -> *mut machine {
    if !m.is_null() {
        // SAFETY: made by machine_open, and not freed yet.
        unsafe {
            m.drop_in_place();
            libc::free(m.cast());
        }
    }
    ptr::null_mut()
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
pub unsafe extern "C" fn machine_name(m: *const machine) -> *const c_char {
    // SAFETY: as demanded.
    unsafe { known(m) }.map_or(ptr::null(), |machine| machine.name.as_ptr().cast())
}

/// Whether a machine may still be alive: the process that leads it is not provably gone. The answer is that of now, not of
/// when the record was read.
///
/// Parameters:
///   m  the machine
///
/// Returns: 1, 0, or -EINVAL if m is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_is_alive(m: *const machine) -> c_int {
    // SAFETY: as demanded.
    status(unsafe { known(m) }.map(|machine| c_int::from(machine.snapshot.is_alive())))
}
