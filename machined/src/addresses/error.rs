//! What can go wrong between the daemon and the kernel.

use std::fmt;

use rustix::io::Errno;

/// Why the kernel's answer about addresses is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The namespace, or the process that was to lead to it, is gone. Nothing is wrong: the machine ended.
    NamespaceGone,
    /// The descriptor is not that of a network namespace.
    NotANamespace,
    /// The kernel says that the daemon may not: a capability is missing.
    NotPermitted {
        /// What was tried.
        what: &'static str,
        /// `EPERM` or `EACCES`.
        errno: Errno,
    },
    /// A system call or a netlink request failed.
    System {
        /// What was tried.
        what: &'static str,
        /// How it failed.
        errno: Errno,
    },
    /// The kernel's answer does not have the shape that its headers give it.
    Malformed {
        /// What was being read.
        what: &'static str,
    },
}

impl Error {
    /// The error for `errno`, which trying `what` gave.
    pub(super) fn system(what: &'static str, errno: Errno) -> Self {
        match errno {
            Errno::PERM | Errno::ACCESS => Self::NotPermitted { what, errno },
            _ => Self::System { what, errno },
        }
    }

    /// The errno to hand to a client.
    pub fn errno(&self) -> Errno {
        match self {
            Self::NamespaceGone => Errno::SRCH,
            Self::NotANamespace => Errno::INVAL,
            Self::NotPermitted { errno, .. } | Self::System { errno, .. } => *errno,
            Self::Malformed { .. } => Errno::BADMSG,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NamespaceGone => f.write_str("network namespace: its process is gone"),
            Self::NotANamespace => f.write_str("descriptor: not a network namespace"),
            Self::NotPermitted { what, errno } => {
                write!(f, "{what}: not permitted, a capability is missing: {errno}")
            }
            Self::System { what, errno } => write!(f, "{what}: {errno}"),
            Self::Malformed { what } => write!(f, "{what}: malformed message from the kernel"),
        }
    }
}

impl std::error::Error for Error {}
