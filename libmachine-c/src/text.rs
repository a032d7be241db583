//! Text of the caller's, and text for the caller.
//!
//! # Safety
//! Strings of the caller's end in a zero byte, as the header demands. What is given away was allocated by malloc(3).

#![allow(unsafe_code, reason = "the C interface")]

use core::ffi::{CStr, c_char};

use libmachine::{Buffer, Errno};

/// The text of a string; `None` for a null pointer.
///
/// # Safety
/// The string is null, or ends in a zero byte and lives as long as `'a`.
pub unsafe fn given<'a>(string: *const c_char) -> Option<&'a [u8]> {
    if string.is_null() {
        return None;
    }
    // SAFETY: as demanded.
    Some(unsafe { CStr::from_ptr(string) }.to_bytes())
}

/// A string of the caller's own, to be freed by free(3).
///
/// # Errors
/// `ENOMEM`.
pub fn owned(text: Buffer<u8>) -> Result<*mut c_char, Errno> {
    let mut text = text;
    text.push(0)?;
    Ok(text.into_raw().cast())
}

/// A copy of a text, to be freed by free(3).
///
/// # Errors
/// `ENOMEM`.
pub fn copied(text: &[u8]) -> Result<*mut c_char, Errno> {
    let mut copy = Buffer::new();
    copy.reserve(text.len().saturating_add(1))?;
    copy.extend(text)?;
    owned(copy)
}

/// A list of strings that ends in a null pointer, each of which and the list itself are freed by free(3).
#[derive(Default)]
pub struct StringList(Buffer<*mut c_char>);

impl StringList {
    /// Appends a copy of a text.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn push(&mut self, text: &[u8]) -> Result<(), Errno> {
        // First the room for it, so that it is never without an owner.
        self.0.reserve(2)?;
        self.0.push(copied(text)?)
    }

    /// The list, for the caller.
    ///
    /// # Errors
    /// `ENOMEM`.
    pub fn into_raw(mut self) -> Result<*mut *mut c_char, Errno> {
        self.0.push(core::ptr::null_mut())?;
        Ok(core::mem::take(&mut self.0).into_raw())
    }
}

impl Drop for StringList {
    fn drop(&mut self) {
        for &string in self.0.iter() {
            // SAFETY: allocated by `copied`, and given to nobody.
            unsafe { libc::free(string.cast()) };
        }
    }
}
