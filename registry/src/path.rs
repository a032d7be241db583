//! Where the registry lies, and paths built without allocation.
//!
//! # Safety
//! The last byte of a [`Path`] is zero: nothing writes to it, and a path is its own copy of all bytes.

#![allow(
    unsafe_code,
    reason = "to look for the end of a path with a check makes the module of the name service switch longer"
)]

use core::ffi::{CStr, c_char};

use crate::MachineName;
use crate::decimal::Decimal;

/// The directory of the records, one file per machine.
pub const MACHINE_DIRECTORY: &str = "/run/systemd/machines";
/// The directory of what is derived from the records and can be rebuilt from them at any time.
pub const DERIVED_DIRECTORY: &str = "/run/machined";
/// The address index: one symlink per address, whose target is the name of the machine that has it.
pub const ADDRESS_DIRECTORY: &str = "/run/machined/addresses";
/// The uid index: lists of which machine has which uids.
pub const UID_DIRECTORY: &str = "/run/machined/uids";
/// The gid index: lists of which machine has which gids.
pub const GID_DIRECTORY: &str = "/run/machined/gids";
/// The group index: one symlink per control group that is a machine, whose target is the name of the machine.
pub const GROUP_DIRECTORY: &str = "/run/machined/cgroups";
/// The leader index: one symlink per machine that has neither a unit nor a control group of its own, named by the process id
/// of its leader, whose target is the name of the machine.
pub const LEADER_DIRECTORY: &str = "/run/machined/leaders";
/// The aliases: one symlink per machine whose own name makes no user name, to the name of the machine.
pub const ALIAS_DIRECTORY: &str = "/run/machined/aliases";

/// The case index: one symlink per name in lower case that one machine alone has in any case, whose target is the name of that.
pub const NAME_DIRECTORY: &str = "/run/machined/names";

/// What the system's registry has below this directory, a user's own has below that user's runtime directory.
const RUNTIME: &str = "/run";
/// The runtime directories of users, by their uids: file-hierarchy(7).
const USERS: &str = "/run/user";

/// A path of at most 127 bytes that ends in a zero byte, as system calls want it.
pub struct Path {
    bytes: [u8; 128],
    length: usize,
}

impl Path {
    /// An empty path.
    pub const fn new() -> Self {
        Self { bytes: [0; 128], length: 0 }
    }

    /// Appends bytes; what does not fit, and a zero byte, make the path empty for good.
    // Once, and not in each place: the module of the name service switch has to be small.
    #[inline(never)]
    pub fn push(&mut self, bytes: &[u8]) {
        let end = self.length.saturating_add(bytes.len());
        match self.bytes.get_mut(self.length..end) {
            // The last byte stays zero.
            Some(free) if end < 128 && bytes.iter().all(|&byte| byte != 0) => {
                for (slot, &byte) in free.iter_mut().zip(bytes) {
                    *slot = byte;
                }
                self.length = end;
            }
            _ => *self = Self { bytes: [0; 128], length: 127 },
        }
    }

    /// Appends bytes as lower-case hexadecimal digits.
    pub fn push_hex(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.push(&[hex_digit(byte >> 4), hex_digit(byte & 15)]);
        }
    }

    /// Where the registry of a user's own, `machined --user`, has what that of the system has here; empty for a path outside
    /// of /run.
    #[must_use]
    #[inline(never)]
    pub fn of_user(&self, uid: u32) -> Self {
        let mut path = entry_path(USERS, Decimal::new(uid).as_bytes());
        // What is not below /run has a zero byte here, and so no path.
        let used = self.bytes.get(..self.length).unwrap_or_default();
        path.push(used.strip_prefix(RUNTIME.as_bytes()).unwrap_or(&[0]));
        path
    }

    /// Makes all its letters small ones.
    pub(crate) fn make_lower_case(&mut self) {
        if let Some(used) = self.bytes.get_mut(..self.length) {
            used.make_ascii_lowercase();
        }
    }

    /// The path.
    pub fn as_c_str(&self) -> &CStr {
        // Not from_bytes_until_nul, which the compiler does not leave out where only the start of the path is wanted.
        // SAFETY: the last of the bytes is zero, so that a zero byte is among them; they live as long as the path.
        unsafe { CStr::from_ptr(self.bytes.as_ptr().cast::<c_char>()) }
    }
}

/// The lower-case hexadecimal digit of a number below 16.
pub(crate) const fn hex_digit(nibble: u8) -> u8 {
    if nibble < 10 { b'0' | nibble } else { b'a'.wrapping_add(nibble.wrapping_sub(10)) }
}

impl Default for Path {
    fn default() -> Self {
        Self::new()
    }
}

/// The path of an entry of a directory.
// Once, and not in each place, as `push`.
#[inline(never)]
pub(crate) fn entry_path(directory: &str, entry: &[u8]) -> Path {
    let mut path = Path::new();
    for piece in [directory.as_bytes(), b"/", entry] {
        path.push(piece);
    }
    path
}

/// The path of a machine's record.
pub fn record_path(name: &MachineName) -> Path {
    entry_path(MACHINE_DIRECTORY, name.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_lies_under_the_name_of_its_machine() {
        let name = MachineName::new(b"web-1").unwrap();
        assert_eq!(record_path(&name).as_c_str(), c"/run/systemd/machines/web-1");
    }

    #[test]
    fn a_users_own_registry_lies_below_the_users_runtime_directory() {
        let of_user = |path: &str, uid| {
            let mut system = Path::new();
            system.push(path.as_bytes());
            std::string::String::from(system.of_user(uid).as_c_str().to_str().unwrap())
        };
        assert_eq!(of_user("/run/systemd/machines/web", 1000), "/run/user/1000/systemd/machines/web");
        assert_eq!(of_user("/run/machined/names/web", 0), "/run/user/0/machined/names/web");
        assert_eq!(of_user("/proc/1/stat", 1000), "");
        assert_eq!(of_user(&"x".repeat(128), 1000), "");
        let longest = record_path(&MachineName::new(&[b'x'; 64]).unwrap()).of_user(u32::MAX);
        assert_eq!(longest.as_c_str().count_bytes(), "/run/user/4294967295/systemd/machines/".len() + 64);
    }

    #[test]
    fn a_path_that_does_not_fit_names_nothing() {
        let mut path = Path::new();
        path.push(&[b'x'; 127]);
        assert_eq!(path.as_c_str().count_bytes(), 127);
        path.push(b"x");
        assert_eq!(path.as_c_str(), c"");
        path.push(b"y");
        assert_eq!(path.as_c_str(), c"");
        let mut path = Path::new();
        path.push(b"a\0b");
        assert_eq!(path.as_c_str(), c"");
    }
}
