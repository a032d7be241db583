//! Paths below the root directory of a container, whose every part is the container's.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, Stat, fstat, openat2};
use rustix::io::Errno;

/// How often a path is resolved again that something on the host was renamed under.
const RENAMED: usize = 1024;

/// Opens the root directory of a process, to look things up below it.
///
/// # Errors
/// As openat(2).
pub(super) fn root_of(pid: i32) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::openat(CWD, format!("/proc/{pid}/root"), flags, Mode::empty())
}

/// The same, and whether it was this process's: its number is another's only once it has ended.
///
/// # Errors
/// As openat(2). `ESRCH`: it has ended.
pub(super) fn root_of_leader(pid: i32, pidfd: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let root = root_of(pid)?;
    let mut watched = [PollFd::new(&pidfd, PollFlags::IN)];
    let ended = rustix::io::retry_on_intr(|| poll(&mut watched, Some(&Timespec::default())))?;
    if ended == 0 { Ok(root) } else { Err(Errno::SRCH) }
}

/// Opens what a path leads to, never out of the root directory and never through a magic link.
///
/// # Errors
/// As openat2(2), but for `EAGAIN`: that is said of a path with `..` in it whenever anything on the host is renamed or
/// mounted meanwhile.
pub(super) fn open(root: BorrowedFd<'_>, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    for _ in 0..RENAMED {
        match openat2(root, path, flags | OFlags::CLOEXEC, Mode::empty(), resolve) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            opened => return opened,
        }
    }
    Err(Errno::AGAIN)
}

/// Looks at what a path leads to before it is opened: to open a device or a FIFO may do something.
///
/// # Errors
/// As [`open`]; and what `check` says.
pub(super) fn look_and_open(
    root: BorrowedFd<'_>,
    path: &str,
    flags: OFlags,
    check: impl FnOnce(&Stat) -> Result<(), Errno>,
) -> Result<OwnedFd, Errno> {
    let seen = open(root, path, OFlags::PATH)?;
    check(&fstat(&seen)?)?;
    reopen(seen.as_fd(), flags)
}

/// Opens what an `O_PATH` descriptor stands for.
///
/// # Errors
/// As openat(2).
pub(super) fn reopen(seen: BorrowedFd<'_>, flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = format!("/proc/self/fd/{}", seen.as_raw_fd());
    rustix::fs::openat(CWD, path, flags | OFlags::CLOEXEC, Mode::empty())
}

/// Whether it is a regular file; `EINVAL` if not.
pub(super) fn is_regular(stat: &Stat) -> Result<(), Errno> {
    let is_regular = FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile;
    if is_regular { Ok(()) } else { Err(Errno::INVAL) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{PidfdFlags, pidfd_open};

    #[test]
    fn the_root_of_a_number_is_not_that_of_whoever_had_it_before() {
        let mut gone = std::process::Command::new("true").spawn().unwrap();
        let pidfd = pidfd_open(rustix::process::Pid::from_child(&gone), PidfdFlags::empty()).unwrap();
        gone.wait().unwrap();
        // Another process has the number now: this one.
        let number = i32::try_from(std::process::id()).unwrap();
        assert_eq!(root_of_leader(number, pidfd.as_fd()).unwrap_err(), Errno::SRCH);
        let pidfd = pidfd_open(rustix::process::getpid(), PidfdFlags::empty()).unwrap();
        root_of_leader(number, pidfd.as_fd()).unwrap();
    }
}
