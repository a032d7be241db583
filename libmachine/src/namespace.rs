//! The namespaces of a process: asked of its pidfd where the kernel can be (Linux 6.11, ioctl_pidfs in linux/pidfd.h), and
//! of /proc elsewhere. The pidfd is certainly the process's, and no entries of /proc come into being for one question.
//!
//! # Safety
//! ioctl(2) on borrowed descriptors: without an argument, where what is returned is a descriptor that the kernel has just
//! made for this process, and nobody else knows of; and with a pointer to a uid that outlives the call.
#![allow(unsafe_code, reason = "see Safety")]

use std::format;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

use crate::error::Error;
use crate::process::ProcessHandle;

/// A kind of namespace, namespaces(7).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Namespace {
    /// Its network.
    Network,
    /// Its users and groups.
    User,
}

impl Namespace {
    /// `PIDFD_GET_NET_NAMESPACE` and its like.
    const fn request(self) -> libc::Ioctl {
        match self {
            Self::Network => 0xff04,
            Self::User => 0xff09,
        }
    }

    const fn file(self) -> &'static str {
        match self {
            Self::Network => "net",
            Self::User => "user",
        }
    }
}

impl ProcessHandle {
    /// Opens the file of a namespace that the process is in.
    ///
    /// # Errors
    /// [`Error::NoSuchProcess`]: it has exited. [`Error::Process`]: no descriptor is free, or the caller may not look into
    /// the process.
    pub fn namespace(&self, kind: Namespace) -> Result<OwnedFd, Error> {
        // That it cannot be had by the pidfd has many reasons; /proc tells which, or has it.
        self.namespace_by_pidfd(kind).map_or_else(|| self.namespace_by_proc(kind), Ok)
    }

    /// The inode number of its user namespace; `None` where that cannot be had, or the process has exited.
    pub fn user_namespace(&self) -> Option<u64> {
        let namespace = self.namespace(Namespace::User).ok()?;
        rustix::fs::fstat(namespace).ok().map(|stat| stat.st_ino)
    }

    fn namespace_by_pidfd(&self, kind: Namespace) -> Option<OwnedFd> {
        // SAFETY: the descriptor is borrowed for the length of the call, and the request takes no argument.
        let opened = unsafe { libc::ioctl(self.pidfd().as_raw_fd(), kind.request(), 0) };
        // SAFETY: the kernel has just installed this descriptor for us.
        (opened >= 0).then(|| unsafe { OwnedFd::from_raw_fd(opened) })
    }

    fn namespace_by_proc(&self, kind: Namespace) -> Result<OwnedFd, Error> {
        let file = format!("/proc/{}/ns/{}", self.pid(), kind.file());
        let opened = open(file, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
        // What was opened may have been another process's if this one is gone.
        if self.has_exited() {
            return Err(Error::NoSuchProcess(self.pid()));
        }
        opened.map_err(|errno| match errno {
            Errno::SRCH => Error::NoSuchProcess(self.pid()),
            errno => Error::Process { pid: self.pid(), action: "open a namespace", source: errno.into() },
        })
    }
}

/// The uid that made a user namespace, and the one above it; `None` where the kernel does not tell, as for what is not
/// below the caller's own. ioctl_ns(2).
pub(crate) fn owner(user_namespace: &OwnedFd) -> Option<u32> {
    let mut uid: libc::uid_t = 0;
    // SAFETY: the descriptor is borrowed for the length of the call, and `uid` is where the kernel may write a uid to.
    let result = unsafe { libc::ioctl(user_namespace.as_raw_fd(), libc::NS_GET_OWNER_UID, &raw mut uid) };
    (result == 0).then_some(uid)
}

pub(crate) fn parent(user_namespace: &OwnedFd) -> Option<OwnedFd> {
    // SAFETY: the descriptor is borrowed for the length of the call, and the request takes no argument.
    let opened = unsafe { libc::ioctl(user_namespace.as_raw_fd(), libc::NS_GET_PARENT, 0) };
    // SAFETY: the kernel has just installed this descriptor for us.
    (opened >= 0).then(|| unsafe { OwnedFd::from_raw_fd(opened) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{fstat, stat};

    #[test]
    fn a_namespace_is_the_one_that_proc_shows() {
        let own = ProcessHandle::open(i32::try_from(std::process::id()).unwrap()).unwrap();
        let identity = |opened| fstat(opened).map(|stat| (stat.st_dev, stat.st_ino)).unwrap();
        for kind in [Namespace::Network, Namespace::User] {
            let shown = stat(format!("/proc/self/ns/{}", kind.file())).unwrap();
            let shown = (shown.st_dev, shown.st_ino);
            assert_eq!(identity(own.namespace(kind).unwrap()), shown, "{kind:?}");
            assert_eq!(identity(own.namespace_by_proc(kind).unwrap()), shown, "{kind:?}");
            // Before Linux 6.11 there is nothing to compare.
            assert!(own.namespace_by_pidfd(kind).is_none_or(|opened| identity(opened) == shown), "{kind:?}");
        }
    }

    #[test]
    fn the_namespaces_of_a_dead_process_are_gone() {
        let mut child = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let process = ProcessHandle::open(i32::try_from(child.id()).unwrap()).unwrap();
        assert!(process.namespace(Namespace::User).is_ok());
        child.kill().unwrap();
        child.wait().unwrap();
        for kind in [Namespace::Network, Namespace::User] {
            assert!(matches!(process.namespace(kind), Err(Error::NoSuchProcess(_))), "{kind:?}");
            assert!(process.namespace_by_pidfd(kind).is_none(), "{kind:?}");
        }
    }
}
