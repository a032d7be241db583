//! What may be the name of a machine: `machine_name_*`.
//!
//! # Safety
//! As in [`crate::answer`] and [`crate::text`].

#![allow(
    unsafe_code,
    clippy::missing_safety_doc,
    reason = "the C interface: the header says what is demanded"
)]

use core::ffi::{CStr, c_char, c_int};
use core::ptr;

use libc::size_t;
use libmachine::{Errno, suggest};
use registry::{MachineName, NameRule};

use crate::answer::{status, tell, wanted};
use crate::text::given;

/// The longest name of a machine, in bytes.
#[allow(dead_code, reason = "for the header")]
pub const MACHINE_NAME_MAX: c_int = 64;

/// The name is empty.
pub const MACHINE_RULE_EMPTY: c_int = 1;
/// The name has more than MACHINE_NAME_MAX bytes.
pub const MACHINE_RULE_TOO_LONG: c_int = 2;
/// The name has a byte that is none of A-Z, a-z, 0-9, '-' and '.'.
pub const MACHINE_RULE_BYTE: c_int = 3;
/// The name begins or ends with a dot, or has two dots in a row.
pub const MACHINE_RULE_EMPTY_LABEL: c_int = 4;
/// A part of the name between dots begins or ends with a hyphen.
pub const MACHINE_RULE_HYPHEN: c_int = 5;

/// Checks whether a text may be the name of a machine, and says which rule it breaks.
///
/// Parameters:
///   name  the text
///
/// Returns: 0 if it may; else the first rule that it breaks, MACHINE_RULE_EMPTY and so on. -EINVAL: name is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_name_check(name: *const c_char) -> c_int {
    // SAFETY: as demanded.
    let name = unsafe { given(name) }.ok_or(Errno::INVAL);
    status(name.map(|name| MachineName::new(name).map_or_else(number_of, |_| 0)))
}

fn number_of(rule: NameRule) -> c_int {
    match rule {
        NameRule::Empty => MACHINE_RULE_EMPTY,
        NameRule::TooLong => MACHINE_RULE_TOO_LONG,
        NameRule::EmptyLabel => MACHINE_RULE_EMPTY_LABEL,
        NameRule::HyphenAtEdge => MACHINE_RULE_HYPHEN,
        _ => MACHINE_RULE_BYTE,
    }
}

/// Says in words what a rule demands, in English: "a name has at least one letter or digit".
///
/// Parameters:
///   rule  what machine_name_check() returned
///
/// Returns: the words; NULL if there is no such rule.
///
/// Memory: the library's.
#[unsafe(no_mangle)]
pub extern "C" fn machine_name_rule(rule: c_int) -> *const c_char {
    let words: Option<&CStr> = match rule {
        MACHINE_RULE_EMPTY => Some(c"a name has at least one letter or digit"),
        MACHINE_RULE_TOO_LONG => Some(c"a name has at most 64 bytes"),
        MACHINE_RULE_BYTE => Some(c"a name has only the letters A to Z and a to z, digits, '-' and '.'"),
        MACHINE_RULE_EMPTY_LABEL => {
            Some(c"a name neither begins nor ends with a dot, and has no two dots in a row")
        }
        MACHINE_RULE_HYPHEN => Some(c"no part of a name between dots begins or ends with a hyphen"),
        _ => None,
    };
    words.map_or(ptr::null(), CStr::as_ptr)
}

/// Finds a name that resembles a text and may be the name of a machine. A text that may be one is its own suggestion. Whether
/// there is a machine of that name is not looked at.
///
/// Parameters:
///   name        the text
///   suggestion  where the name goes
///   size        how much room there is: MACHINE_NAME_MAX + 1 bytes are always enough
///
/// Returns: 0, or a negative errno. -ENOBUFS: there is not enough room. -EINVAL: an argument is NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn machine_name_suggest(
    name: *const c_char,
    suggestion: *mut c_char,
    size: size_t,
) -> c_int {
    // SAFETY: as demanded.
    let name = wanted(suggestion).and_then(|_| unsafe { given(name) }.ok_or(Errno::INVAL));
    tell(name.and_then(|name| suggest(name).map_err(|_| Errno::INVAL)), |found| {
        let text = found.as_bytes();
        if text.len() >= size {
            return Err(Errno::NOBUFS);
        }
        // SAFETY: as demanded: there is room for it, and for the zero byte behind it.
        unsafe {
            ptr::copy_nonoverlapping(text.as_ptr().cast(), suggestion, text.len());
            suggestion.wrapping_add(text.len()).write(0);
        }
        Ok(0)
    })
}
