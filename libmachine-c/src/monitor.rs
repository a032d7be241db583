//! Which machine came, went or changed: `struct machine_monitor`.
//!
//! # Safety
//! As in [`crate::answer`]. A monitor of the caller's is null, or was made by [`machine_monitor_new`] and not yet freed,
//! and one thread at a time uses it.

#![allow(
    unsafe_code,
    clippy::missing_safety_doc,
    reason = "the C interface: the header says what is demanded"
)]

use core::ffi::{c_char, c_int};
use core::mem::size_of;
use core::ptr;

use libmachine::{Borrowed, Change, Errno, Monitor};
use registry::MachineName;

use crate::answer::{put, status, tell, wanted};

/// A machine is there that was not.
pub const MACHINE_NEW: c_int = 1;
/// A machine is there no longer.
pub const MACHINE_REMOVED: c_int = 2;
/// The record of a machine was written anew.
pub const MACHINE_CHANGED: c_int = 3;

/// A watch over the machines of the host.
#[allow(non_camel_case_types, reason = "as C has it")]
pub struct machine_monitor(Monitor);

/// What became of a machine.
#[repr(C)]
#[allow(non_camel_case_types, reason = "as C has it")]
#[derive(Clone, Copy)]
pub struct machine_event {
    /// MACHINE_NEW, MACHINE_REMOVED or MACHINE_CHANGED.
    pub change: c_int,
    /// The name of the machine.
    pub name: [c_char; 65],
}

/// Starts to watch. Machines that are there already are not told: list them after this, so that none is missed.
///
/// Parameters:
///   ret  where the monitor goes
///
/// Returns: 0, or a negative errno. -ENOENT: there is no registry. -EINVAL: ret is NULL.
///
/// Memory: machine_monitor_free() the monitor. One thread at a time may use it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_monitor_new(ret: *mut *mut machine_monitor) -> c_int {
    tell(wanted(ret).and_then(|_| Monitor::new()), |monitor| {
        // SAFETY: as large as it must be, and malloc(3) aligns for everything.
        let place: *mut machine_monitor = unsafe { libc::malloc(size_of::<machine_monitor>()) }.cast();
        if place.is_null() {
            return Err(Errno::NOMEM);
        }
        // SAFETY: it is ours; and as demanded.
        unsafe {
            place.write(machine_monitor(monitor));
            put(ret, place);
        }
        Ok(0)
    })
}

/// Ends a monitor.
///
/// Parameters:
///   m  the monitor; may be NULL
///
/// Returns: NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_monitor_free(m: *mut machine_monitor) -> *mut machine_monitor {
    if !m.is_null() {
        // SAFETY: made by machine_monitor_new, and not freed yet.
        unsafe {
            m.drop_in_place();
            libc::free(m.cast());
        }
    }
    ptr::null_mut()
}

/// The descriptor of a monitor, for poll(2) with POLLIN; it stays the monitor's, and is closed on exec.
///
/// Parameters:
///   m  the monitor
///
/// Returns: the descriptor, or -EINVAL if m is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_monitor_fd(m: *const machine_monitor) -> c_int {
    // SAFETY: as demanded.
    status(unsafe { m.as_ref() }.ok_or(Errno::INVAL).map(|monitor| Borrowed::number(monitor.0.descriptor())))
}

/// Tells the next change, and does not wait for one. Call it until it returns 0, then wait for the descriptor. No machine
/// that came or went is missed: where more happens than the kernel keeps, they are found by comparing, and all others are told
/// as MACHINE_CHANGED.
///
/// Parameters:
///   m      the monitor
///   event  where the change goes
///
/// Returns: 1; 0 if there is none at the moment; or a negative errno. -ESTALE: the registry was removed, and a new monitor
/// is needed. -EINVAL: an argument is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_monitor_next(m: *mut machine_monitor, event: *mut machine_event) -> c_int {
    // SAFETY: as demanded.
    let next = wanted(event).and_then(|_| unsafe { m.as_mut() }.ok_or(Errno::INVAL)?.0.next_change());
    tell(next, |change| {
        let Some((change, name)) = change else { return Ok(0) };
        // SAFETY: as demanded.
        unsafe { put(event, event_of(change, &name)) };
        Ok(1)
    })
}

fn event_of(change: Change, machine: &MachineName) -> machine_event {
    let change = match change {
        Change::New => MACHINE_NEW,
        Change::Removed => MACHINE_REMOVED,
        Change::Changed => MACHINE_CHANGED,
    };
    let mut name = [0; 65];
    for (to, from) in name.iter_mut().zip(machine.as_bytes()) {
        *to = c_char::from_ne_bytes([*from]);
    }
    machine_event { change, name }
}
