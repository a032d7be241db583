//! Processes that are forked, and go on with what they are given and nothing else.
//!
//! # Safety
//! `fork` is called while its process has one thread, so that no lock is held by a thread that the child does not have.
//! In the child, the descriptors that are closed or replaced are owned by values that are never used or dropped again:
//! the child calls `run`, which does not return, and exits without running destructors.
#![allow(unsafe_code, reason = "fork(2)")]

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, OwnedFd, RawFd};

use rustix::process::{
    DumpableBehavior, Pid, Signal, getppid, set_dumpable_behavior, set_parent_process_death_signal,
};

/// The first descriptor that a forked process has beside the three that every process has.
const FIRST: RawFd = 3;

/// Forks a process of this name, which does nothing but `run` with these descriptors, and ends with its parent.
///
/// # Errors
/// There is no room for one more process.
pub fn fork<const N: usize>(
    descriptors: [BorrowedFd<'_>; N],
    name: &CStr,
    run: fn([OwnedFd; N]),
) -> io::Result<Pid> {
    let parent = rustix::process::getpid();
    // SAFETY: see the top of this file.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            if let Ok(own) = settle(descriptors, parent) {
                let _ = rustix::thread::set_name(name);
                run(own);
            }
            // SAFETY: ends the process, without anything that it has from its parent being run.
            unsafe { libc::_exit(0) }
        }
        pid => Pid::from_raw(pid).ok_or_else(|| io::ErrorKind::InvalidData.into()),
    }
}

/// Awaits the parent's end, and keeps nothing of what the parent has but these descriptors.
fn settle<const N: usize>(descriptors: [BorrowedFd<'_>; N], parent: Pid) -> io::Result<[OwnedFd; N]> {
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // It may have ended before.
    if getppid() != Some(parent) {
        return Err(io::ErrorKind::NotFound.into());
    }
    // Nobody may look at it, or take what it holds.
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    for signal in [libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGQUIT] {
        // It ends with its parent, not before it.
        // SAFETY: to ignore a signal touches no memory.
        unsafe { libc::signal(signal, libc::SIG_IGN) };
    }
    // By its number alone, which is closed with all others, or taken by one of its own.
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?.into_raw_fd();
    let check = |number: libc::c_int| if number < 0 { Err(io::Error::last_os_error()) } else { Ok(number) };
    let last = FIRST.saturating_add(RawFd::try_from(N).map_err(io::Error::other)?);
    // Out of the way first, as one may be where another is to be.
    let mut aside = [0; N];
    for (aside, descriptor) in aside.iter_mut().zip(descriptors) {
        // SAFETY: makes a new descriptor.
        *aside = check(unsafe { libc::fcntl(descriptor.as_raw_fd(), libc::F_DUPFD_CLOEXEC, last) })?;
    }
    // SAFETY: makes a new descriptor.
    let null = check(unsafe { libc::fcntl(null, libc::F_DUPFD_CLOEXEC, last) })?;
    for (number, source) in (0..).zip([null; 3].into_iter().chain(aside)) {
        // SAFETY: what was there is used by nobody any more, see the top of this file.
        check(unsafe { libc::dup2(source, number) })?;
    }
    close_from(last)?;
    let mut number = FIRST;
    Ok([(); N].map(|()| {
        let own = number;
        number = number.saturating_add(1);
        // SAFETY: it was made above, and nothing else owns it.
        unsafe { OwnedFd::from_raw_fd(own) }
    }))
}

/// Closes all descriptors from this number on.
fn close_from(first: RawFd) -> io::Result<()> {
    let number = libc::c_uint::try_from(first).map_err(io::Error::other)?;
    // SAFETY: what they were is used by nobody any more, see the top of this file.
    if unsafe { libc::syscall(libc::SYS_close_range, number, libc::c_uint::MAX, 0) } == 0 {
        return Ok(());
    }
    // Where a filter does not know it.
    let entries = std::fs::read_dir("/proc/self/fd")?.collect::<Result<Vec<_>, _>>()?;
    let numbers = entries.iter().filter_map(|entry| entry.file_name().to_str()?.parse::<RawFd>().ok());
    for number in numbers.filter(|number| *number >= first) {
        // SAFETY: the same. The directory that was read is closed already, which is no harm.
        unsafe { libc::close(number) };
    }
    Ok(())
}
