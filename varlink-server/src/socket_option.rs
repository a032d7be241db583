//! Socket options that rustix does not offer, getsockopt(2).
//!
//! # Safety
//! An option is read into, or taken from, a plain C value of exactly the size that is passed.
#![allow(unsafe_code, reason = "socket options that rustix does not offer soundly")]

use std::io;
use std::os::fd::{AsFd, AsRawFd};

/// Whether a socket takes descriptors, SO_PASSRIGHTS of Linux 6.16. (libc has it for SPARC alone; all others that
/// Rust runs on use this number.)
const PASS_RIGHTS: libc::c_int = if cfg!(target_arch = "sparc64") { 0x5c } else { 83 };

/// Reads option `name` at the socket level.
///
/// # Errors
/// What the kernel says, or an option of another size.
///
/// # Safety
/// Every bit pattern must be a valid `T`.
pub(super) unsafe fn option<T>(socket: &impl AsFd, name: libc::c_int, zero: T) -> io::Result<T> {
    let mut value = zero;
    let size = libc::socklen_t::try_from(size_of::<T>()).map_err(io::Error::other)?;
    let mut length = size;
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: `value` and `length` outlive the call, and the kernel writes at most `length` bytes.
    let result =
        unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, name, (&raw mut value).cast(), &raw mut length) };
    match result {
        0 if length == size => Ok(value),
        0 => Err(io::ErrorKind::InvalidData.into()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Whether descriptors may be sent to this socket, as far as the kernel could refuse them.
pub(super) fn takes_descriptors(socket: &impl AsFd) -> bool {
    // SAFETY: a c_int is an integer.
    unsafe { option::<libc::c_int>(socket, PASS_RIGHTS, 1) }.ok() != Some(0)
}

/// Has the kernel refuse descriptors that are sent to this socket, and to those that connect to it if it listens, from
/// now on. Returns whether it does: before Linux 6.16 it cannot.
pub(super) fn refuse_descriptors(socket: &impl AsFd) -> bool {
    let (fd, off): (_, libc::c_int) = (socket.as_fd().as_raw_fd(), 0);
    let Ok(size) = libc::socklen_t::try_from(size_of_val(&off)) else { return false };
    // SAFETY: the kernel reads `size` bytes of `off`, which outlives the call.
    unsafe { libc::setsockopt(fd, libc::SOL_SOCKET, PASS_RIGHTS, (&raw const off).cast(), size) == 0 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_socket_takes_descriptors_until_it_refuses_them() {
        let (one, other) = UnixStream::pair().unwrap();
        assert!(takes_descriptors(&one));
        let refuses = refuse_descriptors(&one);
        assert_eq!(takes_descriptors(&one), !refuses);
        assert!(takes_descriptors(&other));
    }
}
