//! The names that are asked for, as glibc passes them.
//!
//! # Safety
//! A name ends in a zero byte, and is read no further than that byte or the limit.

#![allow(unsafe_code, reason = "glibc's C strings")]

use core::ffi::c_char;
use core::slice;

/// The text at a C string, or as many bytes of it as the limit says.
///
/// # Safety
/// The string ends in a zero byte, and is there as long as the text is used.
pub unsafe fn text_at<'a>(string: *const c_char, limit: usize) -> &'a [u8] {
    let text = string.cast::<u8>();
    let mut length = 0_usize;
    // SAFETY: no byte before this one was zero, so this one belongs to the string.
    while length < limit && unsafe { text.wrapping_add(length).read() } != 0 {
        length = length.wrapping_add(1);
    }
    // SAFETY: so many bytes are the string's.
    unsafe { slice::from_raw_parts(text, length) }
}
