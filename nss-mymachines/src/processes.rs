//! The kernel's answers to the questions of [`Processes`], by way of the C library.
//!
//! open, read, close and poll of the C library are cancellation points, pthreads(7): a thread that is cancelled in one
//! of them would leave a descriptor open for good. So the kernel is called by syscall(2), which is none.
//!
//! # Safety
//! Plain system calls on values of this module; a descriptor lives as long as its [`Descriptor`].

#![allow(unsafe_code, reason = "system calls")]

use core::ffi::{CStr, c_int};
use core::mem::zeroed;
use core::ptr;

use registry::{OpenError, Path, Processes, start_time_of_stat};

use crate::answer::errno;

/// An open file, closed when it is dropped.
pub struct Descriptor(c_int);

impl Drop for Descriptor {
    fn drop(&mut self) {
        // SAFETY: it is ours.
        unsafe { libc::syscall(libc::SYS_close, self.0) };
    }
}

impl Descriptor {
    /// Opens a file to read from it: no symlink, no terminal, no wait for the other end of a FIFO.
    pub fn open(path: &CStr, flags: c_int) -> Result<Self, c_int> {
        let flags = flags | libc::O_RDONLY | libc::O_CLOEXEC | libc::O_NONBLOCK | libc::O_NOCTTY;
        // SAFETY: the path ends in a zero byte.
        let fd = unsafe { libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path.as_ptr(), flags) };
        match c_int::try_from(fd) {
            Ok(fd) if fd >= 0 => Ok(Self(fd)),
            _ => Err(errno()),
        }
    }

    /// Reads the next piece of the file; an empty one at its end.
    pub fn read<'a>(&self, buffer: &'a mut [u8]) -> Result<&'a [u8], c_int> {
        // SAFETY: the kernel writes into the buffer, not beyond its end.
        let length = unsafe { libc::syscall(libc::SYS_read, self.0, buffer.as_mut_ptr(), buffer.len()) };
        match usize::try_from(length) {
            Ok(length) => Ok(buffer.get(..length).unwrap_or_default()),
            Err(_) => Err(errno()),
        }
    }
}

/// The processes that the calling process sees.
pub struct KernelProcesses;

impl Processes for KernelProcesses {
    type Handle = Descriptor;

    fn open(&self, pid: i32) -> Result<Descriptor, OpenError> {
        // SAFETY: pidfd_open(2) takes two integers.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
        match c_int::try_from(fd) {
            Ok(fd) if fd >= 0 => Ok(Descriptor(fd)),
            _ if errno() == libc::ESRCH => Err(OpenError::Gone),
            _ => Err(OpenError::Unknown),
        }
    }

    fn inode(&self, process: &Descriptor) -> Option<u64> {
        // SAFETY: a stat of zeros is a stat, and the kernel fills it in.
        unsafe {
            let mut stat: libc::stat = zeroed();
            (libc::fstat(process.0, &raw mut stat) == 0).then_some(stat.st_ino)
        }
    }

    fn has_exited(&self, process: &Descriptor) -> bool {
        let mut poll = libc::pollfd { fd: process.0, events: libc::POLLIN, revents: 0 };
        let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let no_mask = ptr::null::<libc::sigset_t>();
        // SAFETY: one entry, no wait, and signals stay blocked as they are.
        unsafe { libc::syscall(libc::SYS_ppoll, &raw mut poll, 1, &raw const now, no_mask, 0) > 0 }
    }

    fn start_time(&self, pid: i32) -> Option<u64> {
        let mut path = Path::new();
        path.push(b"/proc/");
        // The digits of the pid, the last one first.
        let mut digits = [0_u8; 10];
        let mut rest = u32::try_from(pid).ok()?;
        let mut first = digits.len();
        for (position, digit) in digits.iter_mut().enumerate().rev() {
            *digit = b'0' | u8::try_from(rest % 10).ok()?;
            rest /= 10;
            first = position;
            if rest == 0 {
                break;
            }
        }
        path.push(digits.get(first..)?);
        path.push(b"/stat");
        let file = Descriptor::open(path.as_c_str(), 0).ok()?;
        let mut buffer = [0; 1024];
        start_time_of_stat(file.read(&mut buffer).ok()?)
    }

    fn pid_namespace(&self) -> Option<u64> {
        // SAFETY: as for `inode`; the path ends in a zero byte.
        unsafe {
            let mut stat: libc::stat = zeroed();
            (libc::stat(c"/proc/self/ns/pid".as_ptr(), &raw mut stat) == 0).then_some(stat.st_ino)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_start_time_of_a_process_is_found_by_its_pid() {
        let pid = i32::try_from(std::process::id()).unwrap();
        let expected = start_time_of_stat(&std::fs::read("/proc/self/stat").unwrap());
        assert!(expected.is_some());
        assert_eq!(KernelProcesses.start_time(pid), expected);
        assert_eq!(KernelProcesses.start_time(0x7fff_ffff), None);
        assert!(KernelProcesses.start_time(1).is_some());
    }
}
