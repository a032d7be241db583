//! Which version this is, at run time: the header tells which it was at the time of compiling.

#![allow(unsafe_code, reason = "the C interface: the header says what is demanded")]

use core::ffi::{CStr, c_char};

/// The version of the library that the program runs with, "0.2.0" for example; that of the header is LIBMACHINE_VERSION.
///
/// Returns: the version.
///
/// Memory: the library's.
#[unsafe(no_mangle)]
pub extern "C" fn libmachine_version() -> *const c_char {
    const VERSION: &CStr =
        match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
            Ok(version) => version,
            Err(_) => c"",
        };
    VERSION.as_ptr()
}

/// The version of the library that the program runs with, as a number; that of the header is LIBMACHINE_VERSION_NUMBER.
///
/// Returns: major * 1000000 + minor * 1000 + patch: 2000 for 0.2.0.
#[unsafe(no_mangle)]
pub extern "C" fn libmachine_version_number() -> u32 {
    const NUMBER: u32 = number_of(env!("CARGO_PKG_VERSION").as_bytes());
    NUMBER
}

/// Of "major.minor.patch".
const fn number_of(version: &[u8]) -> u32 {
    let (mut rest, mut number, mut part) = (version, 0_u32, 0_u32);
    while let Some((&byte, behind)) = rest.split_first() {
        rest = behind;
        if byte == b'.' {
            (number, part) = (number.wrapping_add(part).wrapping_mul(1000), 0);
        } else {
            part = part.wrapping_mul(10).wrapping_add(widened(byte.wrapping_sub(b'0')));
        }
    }
    number.wrapping_add(part)
}

const fn widened(digit: u8) -> u32 {
    u32::from_le_bytes([digit, 0, 0, 0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_is_a_number() {
        assert_eq!(number_of(b"0.2.0"), 2000);
        assert_eq!(number_of(b"1.22.333"), 1_022_333);
    }
}
