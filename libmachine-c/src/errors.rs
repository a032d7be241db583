//! What an error means, in words.

#![allow(unsafe_code, reason = "the C interface: the header says what is demanded")]

use core::ffi::{c_char, c_int};

use libmachine::Errno;

/// Says in words what an error of a machine_ function means, in English: "no machine is, or has, what was asked for" for
/// -ENXIO, where strerror(3) has "No such device or address".
///
/// Parameters:
///   error  what the function returned
///
/// Returns: the words; those of strerror(3) for an error that is the system's alone, such as -EACCES.
///
/// Memory: the library's, or as strerror(3) has it.
#[unsafe(no_mangle)]
pub extern "C" fn machine_strerror(error: c_int) -> *const c_char {
    let errno = if error < 0 { error.wrapping_neg() } else { error };
    match Errno(errno).sentence() {
        Some(sentence) => sentence.as_ptr(),
        // SAFETY: it takes any integer.
        None => unsafe { libc::strerror(errno) },
    }
}
