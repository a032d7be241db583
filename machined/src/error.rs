//! Why an operation on a machine failed, and what each front end calls it.

use std::fmt;

use registry::MachineName;
use rustix::io::Errno;

/// Why an operation failed.
#[non_exhaustive]
#[derive(Debug)]
pub enum Error {
    /// No machine of that name, or none that the process is in.
    NoSuchMachine,
    /// The name is taken by a machine that lives.
    MachineExists(MachineName),
    /// The machine shares the host's network.
    NoPrivateNetworking,
    /// The user namespace of the machine is not a plain shift of ids.
    NoUidShift,
    /// There is no such thing to be told of a machine of this class.
    NotAvailable,
    /// That cannot be done to a machine of this class.
    NotSupported,
    /// The caller may not.
    PermissionDenied,
    /// The kernel, or the service manager, refused.
    System {
        /// What was tried.
        action: &'static str,
        /// Why it was refused.
        errno: Errno,
    },
    /// The registry could not be written.
    Registry(registry::Error),
}

impl Error {
    /// What the kernel said to something.
    pub fn system(action: &'static str, error: &std::io::Error) -> Self {
        Self::System { action, errno: Errno::from_io_error(error).unwrap_or(Errno::IO) }
    }

    /// The errno that comes nearest.
    pub fn errno(&self) -> Errno {
        match self {
            Self::NoSuchMachine => Errno::NXIO,
            Self::MachineExists(_) => Errno::EXIST,
            Self::NoPrivateNetworking => Errno::NOSYS,
            Self::NoUidShift => Errno::NXIO,
            Self::NotAvailable | Self::NotSupported => Errno::OPNOTSUPP,
            Self::PermissionDenied => Errno::ACCESS,
            Self::System { errno, .. } => *errno,
            Self::Registry(error) => std::error::Error::source(error)
                .and_then(|source| source.downcast_ref::<std::io::Error>())
                .and_then(Errno::from_io_error)
                .unwrap_or(Errno::IO),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchMachine => f.write_str("no such machine"),
            Self::MachineExists(name) => write!(f, "machine '{name}' exists already"),
            Self::NoPrivateNetworking => f.write_str("the machine shares the host's network"),
            Self::NoUidShift => f.write_str("the machine's ids are not mapped by one shift"),
            Self::NotAvailable => f.write_str("not available for a machine of this class"),
            Self::NotSupported => f.write_str("not supported for a machine of this class"),
            Self::PermissionDenied => f.write_str("permission denied"),
            Self::System { action, errno } => write!(f, "cannot {action}: {errno}"),
            Self::Registry(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Registry(error) => error.source(),
            _ => None,
        }
    }
}

impl From<registry::Error> for Error {
    fn from(error: registry::Error) -> Self {
        Self::Registry(error)
    }
}

impl From<crate::authorization::Denied> for Error {
    fn from(_: crate::authorization::Denied) -> Self {
        Self::PermissionDenied
    }
}
