//! How an answer reaches the caller: 0 or more, or a negative errno; what was found goes to where the caller wants it.
//!
//! # Safety
//! Pointers of the caller's are null, which is checked, or valid for a write of their type, as the header demands.

#![allow(unsafe_code, reason = "the C interface")]

use core::ffi::c_int;

use libmachine::Errno;

/// The return value of a call that found something, or did not.
pub fn tell<T>(found: Result<T, Errno>, write: impl FnOnce(T) -> Result<c_int, Errno>) -> c_int {
    match found.and_then(write) {
        Ok(number) => number,
        Err(Errno(errno)) => errno.wrapping_neg(),
    }
}

/// The return value of a call that has nothing to write.
pub fn status(done: Result<c_int, Errno>) -> c_int {
    tell(done, Ok)
}

/// Writes to where the caller wants it.
///
/// # Safety
/// The place is null or valid for a write.
pub unsafe fn put<T>(place: *mut T, value: T) {
    if !place.is_null() {
        // SAFETY: as demanded.
        unsafe { place.write(value) };
    }
}

/// A place that has to be there.
///
/// # Errors
/// `EINVAL`: it is null.
pub fn wanted<T>(place: *mut T) -> Result<*mut T, Errno> {
    if place.is_null() { Err(Errno::INVAL) } else { Ok(place) }
}

/// A count as a return value.
///
/// # Errors
/// `E2BIG`: there are more than fit into it.
pub fn count(length: usize) -> Result<c_int, Errno> {
    c_int::try_from(length).map_err(|_| Errno::TOOBIG)
}
