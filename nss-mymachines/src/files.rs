//! The kernel's answers to the questions of [`Files`], by way of the C library.
//!
//! open, read and close of the C library are cancellation points, pthreads(7): a thread that is cancelled in one of them
//! would leave a descriptor open for good. So the kernel is called by syscall(2), which is none.
//!
//! # Safety
//! Plain system calls on values of this module; a descriptor lives as long as its [`Descriptor`].

#![allow(unsafe_code, reason = "system calls")]

use core::ffi::{c_int, c_long};
use core::mem::zeroed;

use registry::{FileError, Files, MACHINE_DIRECTORY, NOBODY, Path};

use crate::answer::errno;
use crate::caller::sole_user;

/// An open file, closed when it is dropped.
pub struct Descriptor(pub c_int);

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: it is ours.
        unsafe { libc::syscall(libc::SYS_close, self.0) };
    }
}

/// The files of a registry, as the calling process sees them.
pub struct KernelFiles {
    /// Whose own registry it is; `None`: the system's.
    user: Option<u32>,
}

impl KernelFiles {
    /// Those of the system's registry, and of the kernel.
    pub const SYSTEM: Self = Self { user: None };

    /// Those of the registry of the user as whom the calling process acts, if it acts as nobody else and the directory of
    /// the records is that user's. Who has no name, as in a user namespace, has no registry.
    pub fn own() -> Option<Self> {
        let user = sole_user().filter(|&user| user != NOBODY)?;
        let mut path = Path::new();
        path.push(MACHINE_DIRECTORY.as_bytes());
        let path = path.of_user(user);
        // SAFETY: a stat of zeros is a stat, and the kernel fills it in; the path ends in a zero byte.
        let directory = unsafe {
            let mut stat: libc::stat64 = zeroed();
            let flags = libc::AT_SYMLINK_NOFOLLOW;
            (libc::fstatat64(libc::AT_FDCWD, path.as_ptr(), &raw mut stat, flags) == 0).then_some(stat)?
        };
        is_of(&directory, libc::S_IFDIR, user).then_some(Self { user: Some(user) })
    }
}

/// Whether this is what a file of this kind and this user's is.
const fn is_of(stat: &libc::stat64, kind: libc::mode_t, user: u32) -> bool {
    stat.st_mode & libc::S_IFMT == kind && stat.st_uid == user
}

impl Files for KernelFiles {
    type File = Descriptor;

    /// No symlink, no terminal, no wait for the other end of a FIFO. In a registry of a user's, what is not that user's is as
    /// good as missing.
    fn open(&self, path: &Path) -> Result<Descriptor, FileError> {
        let Some(user) = self.user else { return open(path) };
        let file = open(&path.of_user(user))?;
        // SAFETY: a stat of zeros is a stat, and the kernel fills it in.
        let is_the_users = unsafe {
            let mut stat: libc::stat64 = zeroed();
            libc::fstat64(file.0, &raw mut stat) == 0 && is_of(&stat, libc::S_IFREG, user)
        };
        if is_the_users { Ok(file) } else { Err(FileError::Absent) }
    }

    fn read<'a>(&self, file: &Descriptor, buffer: &'a mut [u8]) -> Result<&'a [u8], FileError> {
        // SAFETY: the kernel writes into the buffer, not beyond its end.
        let length = unsafe { libc::syscall(libc::SYS_read, file.0, buffer.as_mut_ptr(), buffer.len()) };
        filled(buffer, length)
    }

    fn read_link<'a>(&self, path: &Path, buffer: &'a mut [u8]) -> Result<&'a [u8], FileError> {
        let own = self.user.map(|user| path.of_user(user));
        let (path, at) = (own.as_ref().unwrap_or(path).as_ptr(), libc::AT_FDCWD);
        // SAFETY: the path ends in a zero byte, and the kernel writes into the buffer, not beyond its end.
        let length =
            unsafe { libc::syscall(libc::SYS_readlinkat, at, path, buffer.as_mut_ptr(), buffer.len()) };
        filled(buffer, length)
    }
}

// Once, and not in each place: the module has to be small.
#[inline(never)]
fn open(path: &Path) -> Result<Descriptor, FileError> {
    let flags = libc::O_RDONLY | libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY;
    // SAFETY: the path ends in a zero byte.
    let fd = unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags) };
    match c_int::try_from(fd) {
        Ok(fd) if fd >= 0 => Ok(Descriptor(fd)),
        _ => Err(last_error()),
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
