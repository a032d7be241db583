//! Many processes at once: `machine_by_pids`.
//!
//! # Safety
//! As in [`crate::answer`]. The answer is one piece of memory: as many pointers as there are processes, and one that is
//! null, then the texts that they point to.

#![allow(
    unsafe_code,
    clippy::missing_safety_doc,
    reason = "the C interface: the header says what is demanded"
)]

use core::ffi::{c_char, c_int};
use core::mem::size_of;
use core::{ptr, slice};

use libc::{pid_t, size_t};
use libmachine::{Batch, Errno};

use crate::answer::{count, put, tell, wanted};

/// Tells which machines many processes are in, each as machine_by_pid() does, at a fraction of the price: for tools that
/// show all processes.
///
/// Parameters:
///   pids   the processes; 0 is none here
///   n      how many there are
///   paths  where an array goes that has, for each process in turn, "outer/inner", or NULL if it is in no machine, gone,
///          hidden from the caller, or in a machine whose record cannot be read
///
/// Returns: how many of the processes are in a machine, or a negative errno. -EINVAL: paths is NULL, or pids is and n is
/// not 0. -ESRCH: /proc is not mounted.
///
/// Memory: free(3) the array, and nothing else: the texts are in it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_by_pids(
    pids: *const pid_t,
    n: size_t,
    paths: *mut *mut *mut c_char,
) -> c_int {
    // SAFETY: as demanded.
    let pids = wanted(paths).and_then(|_| unsafe { given(pids, n) });
    tell(pids.and_then(Batch::of), |batch| {
        let (texts, places) = batch.parts();
        let known = places.iter().fold(0_usize, |known, &place| known.wrapping_add(usize::from(place != 0)));
        let known = count(known)?;
        // SAFETY: as demanded.
        unsafe { put(paths, pointers(texts, places)?) };
        Ok(known)
    })
}

/// # Safety
/// There are so many, or none and the pointer is null.
unsafe fn given<'a>(pids: *const pid_t, n: size_t) -> Result<&'a [pid_t], Errno> {
    match n {
        0 => Ok(&[]),
        _ if pids.is_null() || n > usize::MAX / 64 => Err(Errno::INVAL),
        // SAFETY: as demanded.
        n => Ok(unsafe { slice::from_raw_parts(pids, n) }),
    }
}

/// The pointers, and what they point to, in one piece.
fn pointers(texts: &[u8], places: &[usize]) -> Result<*mut *mut c_char, Errno> {
    let head = places.len().checked_add(1).and_then(|number| number.checked_mul(size_of::<*mut c_char>()));
    let head = head.ok_or(Errno::NOMEM)?;
    let size = head.checked_add(texts.len()).ok_or(Errno::NOMEM)?;
    // SAFETY: it takes a size.
    let start: *mut *mut c_char = unsafe { libc::malloc(size) }.cast();
    if start.is_null() {
        return Err(Errno::NOMEM);
    }
    let text: *mut c_char = start.cast::<c_char>().wrapping_add(head);
    // SAFETY: there is room for the pointers, the null behind them, and the texts.
    unsafe {
        ptr::copy_nonoverlapping(texts.as_ptr().cast(), text, texts.len());
        let mut slot = start;
        for place in places {
            slot.write(place.checked_sub(1).map_or(ptr::null_mut(), |offset| text.wrapping_add(offset)));
            slot = slot.wrapping_add(1);
        }
        slot.write(ptr::null_mut());
    }
    Ok(start)
}
