//! Processes by fork(2) and clone3(2).
//!
//! # Safety
//! A child of a process with several threads may do nothing that takes a lock, as the thread that holds it is not there.
//! So nobody forks here but who has one thread: the daemon at its very start, before anything else, and the doorman and
//! its children, which never start a thread. The child goes on with a copy of all memory, on the same stack.
//! clone3(2) gets a structure that lives until it returns, and of the size that is told. What it returns as a pidfd is a
//! new descriptor that nothing else owns. close_range(2) gets no range in which a descriptor of a Rust value lies.
#![allow(unsafe_code, reason = "no safe interface to fork, clone3 and close_range")]

use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// `CLONE_PIDFD` and `CLONE_INTO_CGROUP`, linux/sched.h.
const CLONE_PIDFD: u64 = 0x1000;
const CLONE_INTO_CGROUP: u64 = 0x2_0000_0000;

/// In which of two processes one is.
#[derive(Debug)]
pub(super) enum Side {
    /// In the new one.
    Child,
    /// In the old one, with the number of the new one and its pidfd; without that if the new one has ended already.
    Parent(Pid, Option<OwnedFd>),
}

/// The errno of the last call.
fn last() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}

/// `struct clone_args`, clone3(2), which the crate libc has for some processors alone.
#[derive(Default)]
#[repr(C, align(8))]
#[allow(dead_code, reason = "the kernel reads them")]
struct CloneArguments {
    flags: u64,
    pidfd: u64,
    child_tid: u64,
    parent_tid: u64,
    exit_signal: u64,
    stack: u64,
    stack_size: u64,
    tls: u64,
    set_tid: u64,
    set_tid_size: u64,
    cgroup: u64,
}

/// Starts a process that goes on here, in a control group from its beginning if one is given. Only for a process of one
/// thread.
///
/// # Errors
/// As clone3(2): `EBUSY`: the group may hold no processes.
pub(super) fn fork(group: Option<BorrowedFd<'_>>) -> Result<Side, Errno> {
    let mut pidfd: libc::c_int = -1;
    let mut arguments = CloneArguments {
        flags: CLONE_PIDFD,
        pidfd: u64::try_from((&raw mut pidfd).expose_provenance()).unwrap_or_default(),
        exit_signal: u64::from(libc::SIGCHLD.cast_unsigned()),
        ..CloneArguments::default()
    };
    if let Some(group) = group {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = u64::from(group.as_raw_fd().cast_unsigned());
    }
    let size = size_of_val(&arguments);
    // SAFETY: see above.
    match unsafe { libc::syscall(libc::SYS_clone3, &raw mut arguments, size) } {
        0 => Ok(Side::Child),
        // A filter that does not know it.
        ..0 if group.is_none() && last() == Errno::NOSYS => fork_as_ever(),
        ..0 => Err(last()),
        child => {
            // SAFETY: the kernel has made it, for us.
            let pidfd = unsafe { OwnedFd::from_raw_fd(pidfd) };
            let child = i32::try_from(child).ok().and_then(Pid::from_raw).ok_or(Errno::IO)?;
            Ok(Side::Parent(child, Some(pidfd)))
        }
    }
}

fn fork_as_ever() -> Result<Side, Errno> {
    // SAFETY: see above.
    match unsafe { libc::fork() } {
        0 => Ok(Side::Child),
        ..0 => Err(last()),
        child => {
            let child = Pid::from_raw(child).ok_or(Errno::IO)?;
            match pidfd_open(child, PidfdFlags::empty()) {
                Ok(pidfd) => Ok(Side::Parent(child, Some(pidfd))),
                Err(Errno::SRCH) => Ok(Side::Parent(child, None)),
                Err(errno) => Err(errno),
            }
        }
    }
}

/// Closes every descriptor but the first three and this one.
pub(super) fn close_all_but(kept: BorrowedFd<'_>) {
    let kept = kept.as_raw_fd().cast_unsigned();
    let close = |first: u32, last: u32| {
        if first <= last {
            // SAFETY: called before anything else is opened.
            unsafe { libc::syscall(libc::SYS_close_range, first, last, 0_u32) };
        }
    };
    close(3, kept.saturating_sub(1));
    close(kept.saturating_add(1).max(3), u32::MAX);
}

/// Has the kernel reap this process's children.
pub(super) fn ignore_children() {
    // SAFETY: no handler is installed.
    unsafe { libc::signal(libc::SIGCHLD, libc::SIG_IGN) };
}

/// Ends this process at once, with nothing that its memory says to be done at the end.
pub(super) fn leave() -> ! {
    // SAFETY: it does not return.
    unsafe { libc::_exit(0) }
}
