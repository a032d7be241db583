//! What the name service switch is told: a status, an errno and a host error.
//!
//! # Safety
//! The pointers in [`Errors`] are those glibc passed to the entry point, valid for its duration (info libc,
//! "NSS Module Function Internals").

#![allow(unsafe_code, reason = "glibc's out-parameters")]

use core::ffi::c_int;

use registry::calls;

/// `enum nss_status`.
pub type NssStatus = c_int;

const TRYAGAIN: NssStatus = -2;
const UNAVAIL: NssStatus = -1;
const NOTFOUND: NssStatus = 0;
const SUCCESS: NssStatus = 1;

const NETDB_INTERNAL: c_int = -1;
const NETDB_SUCCESS: c_int = 0;
const HOST_NOT_FOUND: c_int = 1;
const TRY_AGAIN: c_int = 2;
const NO_RECOVERY: c_int = 3;

/// How a lookup ends when it does not succeed: with the errno that says why this module cannot answer, or with one of two
/// numbers that are no errno.
// Not an enum with an errno in it, which takes two registers: the module has to be small.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Failure(c_int);

impl Failure {
    /// There is no such name, address or id, or it has no address of the family asked for.
    pub const NOT_FOUND: Self = Self(0);
    /// The caller's buffer is too small; it asks again with a larger one.
    pub const BUFFER_TOO_SMALL: Self = Self(-1);
    /// There is no machine of this name.
    pub const NO_MACHINE: Self = Self(libc::ENXIO);
    /// The record that decides is damaged.
    pub const DAMAGED: Self = Self(libc::EBADMSG);

    /// This module cannot answer, with the reason.
    pub const fn of_errno(errno: c_int) -> Self {
        Self(errno)
    }
}

/// Where the caller wants to be told what went wrong.
pub struct Errors {
    errnop: *mut c_int,
    h_errnop: *mut c_int,
    errno: c_int,
}

unsafe extern "C" {
    // netdb.h: h_errno is *__h_errno_location().
    fn __h_errno_location() -> *mut c_int;
}

impl Errors {
    /// # Safety
    /// Both point to integers, for as long as the value is used; the second may be null.
    pub unsafe fn new(errnop: *mut c_int, h_errnop: *mut c_int) -> Self {
        Self { errnop, h_errnop, errno: calls::errno() }
    }

    /// Tells how the lookup ended, and gives `errno` back as it was on entry.
    pub fn tell(self, outcome: Result<(), Failure>) -> NssStatus {
        let (status, errno, h_errno) = match outcome {
            Ok(()) => (SUCCESS, None, NETDB_SUCCESS),
            Err(Failure::NOT_FOUND) => (NOTFOUND, None, HOST_NOT_FOUND),
            Err(Failure::BUFFER_TOO_SMALL) => (TRYAGAIN, Some(libc::ERANGE), NETDB_INTERNAL),
            // No descriptor or memory is free: it is not known whether there is such a name.
            Err(Failure(errno @ (libc::EMFILE | libc::ENFILE | libc::ENOMEM))) => {
                (TRYAGAIN, Some(errno), TRY_AGAIN)
            }
            Err(Failure(errno)) => (UNAVAIL, Some(errno), NO_RECOVERY),
        };
        // SAFETY: errno and h_errno always exist; the two pointers are as `new` demands.
        unsafe {
            *libc::__errno_location() = self.errno;
            if let Some(errno) = errno {
                *self.errnop = errno;
            }
            if !self.h_errnop.is_null() {
                if status == SUCCESS {
                    *__h_errno_location() = 0;
                }
                *self.h_errnop = h_errno;
            }
        }
        status
    }
}
