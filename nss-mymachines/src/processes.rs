//! The kernel's answers to the questions of [`Processes`], by way of the C library.
//!
//! As in [`crate::files`], the kernel is called by syscall(2), which is no cancellation point.
//!
//! # Safety
//! Plain system calls on values of this module.

#![allow(unsafe_code, reason = "system calls")]

use core::ffi::c_int;
use core::mem::zeroed;
use core::ptr;

use registry::{Decimal, Files, OpenError, Path, ProcessStat, Processes};

use crate::answer::errno;
use crate::files::{Descriptor, KernelFiles};

/// The processes that the calling process sees.
pub struct KernelProcesses;

/// What /proc says of a process.
#[cold]
#[inline(never)]
fn stat_of(pid: i32) -> Option<ProcessStat> {
    let mut path = Path::new();
    for piece in [b"/proc/", Decimal::new(u32::try_from(pid).ok()?).as_bytes(), b"/stat"] {
        path.push(piece);
    }
    let file = KernelFiles::SYSTEM.open(&path).ok()?;
    let mut buffer = [0; 1024];
    ProcessStat::parse(KernelFiles::SYSTEM.read(&file, &mut buffer).ok()?)
}

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
            let mut stat: libc::stat64 = zeroed();
            (libc::fstat64(process.0, &raw mut stat) == 0).then_some(stat.st_ino)
        }
    }

    fn has_exited(&self, process: &Descriptor) -> bool {
        let mut poll = libc::pollfd { fd: process.0, events: libc::POLLIN, revents: 0 };
        let now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
        let no_mask = ptr::null::<libc::sigset_t>();
        // SAFETY: one entry, no wait, and signals stay blocked as they are.
        unsafe { libc::syscall(libc::SYS_ppoll, &raw mut poll, 1, &raw const now, no_mask, 0) > 0 }
    }

    fn is_gone(&self, pid: i32) -> bool {
        // SAFETY: it takes two integers, and no signal is sent.
        if unsafe { libc::syscall(libc::SYS_kill, pid, 0) } != 0 && errno() == libc::ESRCH {
            return true;
        }
        stat_of(pid).is_some_and(|stat| stat.has_exited)
    }

    fn start_time(&self, pid: i32) -> Option<u64> {
        stat_of(pid).map(|stat| stat.start_time)
    }

    fn pid_namespace(&self) -> Option<u64> {
        // SAFETY: as for `inode`; the path ends in a zero byte.
        unsafe {
            let mut stat: libc::stat64 = zeroed();
            (libc::stat64(c"/proc/self/ns/pid".as_ptr(), &raw mut stat) == 0).then_some(stat.st_ino)
        }
    }
}

#[cfg(test)]
mod tests {
    use registry::start_time_of_stat;

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
