//! What can go wrong in a query.

use std::fmt;
use std::io;

/// An error of this crate.
#[non_exhaustive]
#[derive(Debug)]
pub enum Error {
    /// The number is no process id.
    InvalidPid(i64),
    /// There is no such process, or it has exited.
    NoSuchProcess(i32),
    /// The kernel refused to tell something about a process.
    Process {
        /// The process.
        pid: i32,
        /// What was asked for.
        action: &'static str,
        /// Why it was refused.
        source: io::Error,
    },
    /// The process is in no control group that this process can see.
    NoControlGroup(i32),
}

impl Error {
    /// The errno that a C caller gets.
    pub fn errno(&self) -> i32 {
        let errno = match self {
            Self::InvalidPid(_) => rustix::io::Errno::INVAL,
            Self::NoSuchProcess(_) => rustix::io::Errno::SRCH,
            Self::NoControlGroup(_) => rustix::io::Errno::NODATA,
            Self::Process { source, .. } => {
                return source.raw_os_error().unwrap_or(rustix::io::Errno::IO.raw_os_error());
            }
        };
        errno.raw_os_error()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidPid(pid) => write!(f, "{pid} is no process id"),
            Self::NoSuchProcess(pid) => write!(f, "no process {pid}"),
            Self::Process { pid, action, .. } => write!(f, "cannot {action} of process {pid}"),
            Self::NoControlGroup(pid) => write!(f, "process {pid} is in no control group of this namespace"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Process { source, .. } => Some(source),
            _ => None,
        }
    }
}
