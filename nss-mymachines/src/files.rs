//! The kernel's answers to the questions of [`Files`], by way of the C library.
//!
//! open, read and close of the C library are cancellation points, pthreads(7): a thread that is cancelled in one of them
//! would leave a descriptor open for good. So the kernel is called by syscall(2), which is none.
//!
//! # Safety
//! Plain system calls on values of this module; a descriptor lives as long as its [`Descriptor`].

#![allow(unsafe_code, reason = "system calls")]

use core::ffi::{c_int, c_long};

use registry::{FileError, Files, Path};

use crate::answer::errno;

/// An open file, closed when it is dropped.
pub struct Descriptor(pub c_int);

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: it is ours.
        unsafe { libc::syscall(libc::SYS_close, self.0) };
    }
}

/// The files that the calling process sees.
pub struct KernelFiles;

impl Files for KernelFiles {
    type File = Descriptor;

    /// No symlink, no terminal, no wait for the other end of a FIFO.
    fn open(&self, path: &Path) -> Result<Descriptor, FileError> {
        let flags = libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY;
        // SAFETY: the path ends in a zero byte.
        let fd = unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags) };
        match c_int::try_from(fd) {
            Ok(fd) if fd >= 0 => Ok(Descriptor(fd)),
            _ => Err(last_error()),
        }
    }

    fn read<'a>(&self, file: &Descriptor, buffer: &'a mut [u8]) -> Result<&'a [u8], FileError> {
        // SAFETY: the kernel writes into the buffer, not beyond its end.
        let length = unsafe { libc::syscall(libc::SYS_read, file.0, buffer.as_mut_ptr(), buffer.len()) };
        filled(buffer, length)
    }

    fn read_link<'a>(&self, path: &Path, buffer: &'a mut [u8]) -> Result<&'a [u8], FileError> {
        let (path, at) = (path.as_ptr(), libc::AT_FDCWD);
        // SAFETY: the path ends in a zero byte, and the kernel writes into the buffer, not beyond its end.
        let length =
            unsafe { libc::syscall(libc::SYS_readlinkat, at, path, buffer.as_mut_ptr(), buffer.len()) };
        filled(buffer, length)
    }
}

fn filled(buffer: &[u8], length: c_long) -> Result<&[u8], FileError> {
    match usize::try_from(length) {
        Ok(length) => Ok(buffer.get(..length).unwrap_or_default()),
        Err(_) => Err(last_error()),
    }
}

fn last_error() -> FileError {
    match errno() {
        libc::ENOENT | libc::ENOTDIR | libc::ELOOP => FileError::Absent,
        libc::EINVAL | libc::EISDIR | libc::EAGAIN => FileError::OtherKind,
        errno => FileError::Errno(errno),
    }
}
