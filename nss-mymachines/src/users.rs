//! The entry points for users and groups, which find none: the users of machines are `io.systemd.Machine`'s to name
//! (nss-systemd(8)).
//!
//! They exist because they do in the original: an action such as `[NOTFOUND=return]` behind `mymachines` in a `passwd:`
//! or `group:` line would otherwise be passed over.
//!
//! # Safety
//! Nothing that is passed is looked at or written to.

#![allow(unsafe_code, reason = "the C interface")]

use core::ffi::{c_char, c_int};

use libc::{gid_t, group, passwd, size_t, uid_t};

use crate::answer::{NOTFOUND, NssStatus};

/// Finds no user of this name, and writes nothing.
#[unsafe(no_mangle)]
pub extern "C" fn _nss_mymachines_getpwnam_r(
    _: *const c_char,
    _: *mut passwd,
    _: *mut c_char,
    _: size_t,
    _: *mut c_int,
) -> NssStatus {
    NOTFOUND
}

/// Finds no user of this id, and writes nothing.
#[unsafe(no_mangle)]
pub extern "C" fn _nss_mymachines_getpwuid_r(
    _: uid_t,
    _: *mut passwd,
    _: *mut c_char,
    _: size_t,
    _: *mut c_int,
) -> NssStatus {
    NOTFOUND
}

/// Finds no group of this name, and writes nothing.
#[unsafe(no_mangle)]
pub extern "C" fn _nss_mymachines_getgrnam_r(
    _: *const c_char,
    _: *mut group,
    _: *mut c_char,
    _: size_t,
    _: *mut c_int,
) -> NssStatus {
    NOTFOUND
}

/// Finds no group of this id, and writes nothing.
#[unsafe(no_mangle)]
pub extern "C" fn _nss_mymachines_getgrgid_r(
    _: gid_t,
    _: *mut group,
    _: *mut c_char,
    _: size_t,
    _: *mut c_int,
) -> NssStatus {
    NOTFOUND
}
