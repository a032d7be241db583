//! How an answer reaches the caller: 0 or more, or a negative errno; what was found goes to where the caller wants it.
//!
//! # Safety
//! Pointers of the caller's are null, which is checked, or valid for a write of their type, as the header demands.

#![allow(unsafe_code, reason = "the C interface")]

use core::ffi::c_int;
use core::mem::size_of;

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

/// For a function that knows no flags yet.
///
/// # Errors
/// `EINVAL`: there are flags.
pub fn no_flags(flags: u64) -> Result<(), Errno> {
    only_flags(flags, 0)
}

/// For a function that knows these flags.
///
/// # Errors
/// `EINVAL`: there are others.
pub fn only_flags(flags: u64, known: u64) -> Result<(), Errno> {
    if flags & !known == 0 { Ok(()) } else { Err(Errno::INVAL) }
}

/// An object for the caller, in memory of malloc(3).
///
/// # Errors
/// `ENOMEM`; the object is no more then.
pub fn boxed<T>(object: T) -> Result<*mut T, Errno> {
    // SAFETY: as large as it must be, and malloc(3) aligns for everything.
    let place: *mut T = unsafe { libc::malloc(size_of::<T>()) }.cast();
    if place.is_null() {
        return Err(Errno::NOMEM);
    }
    // SAFETY: it is ours.
    unsafe { place.write(object) };
    Ok(place)
}

/// Ends an object.
///
/// # Safety
/// It is null, or was made by [`boxed`] and not ended yet.
pub unsafe fn ended<T>(object: *mut T) -> *mut T {
    if !object.is_null() {
        // SAFETY: as demanded.
        unsafe {
            object.drop_in_place();
            libc::free(object.cast());
        }
    }
    core::ptr::null_mut()
}
