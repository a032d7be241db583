//! What an error means, in words.

#![allow(unsafe_code, reason = "the C interface: the header says what is demanded")]

use core::ffi::{c_char, c_int};

use libmachine::Errno;

/// Says in words what an error of a machine_ function means: "no machine is, or has, what was asked for" for -ENXIO, where
/// strerror(3) has "No such device or address". Those errors that have a meaning of the library's own are told in English;
/// all others, such as -EACCES and -EMFILE, as strerror(3) tells them, in the language of the program.
///
/// Parameters:
///   error  what the function returned, with its sign or without
///
/// Returns: the words, which are never NULL.
///
/// Memory: the library's, which stays as it is; or that of strerror(3), which its next call in the same thread may change.
#[unsafe(no_mangle)]
pub extern "C" fn machine_strerror(error: c_int) -> *const c_char {
    let errno = if error < 0 { error.wrapping_neg() } else { error };
    match Errno(errno).sentence() {
        Some(sentence) => sentence.as_ptr(),
        // SAFETY: it takes any integer.
        None => unsafe { libc::strerror(errno) },
    }
}
