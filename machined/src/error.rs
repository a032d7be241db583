//! Why an operation on a machine failed, and what each front end calls it.

use std::fmt;

use registry::{Address, MachineName};
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
    /// An address cannot be a machine's: the host itself has it, or sends to many by it.
    AddressOfHost(Address),
    /// An address is another machine's.
    AddressTaken(Address),
    /// The host is neither ended nor signalled; the original has no word of its own for that.
    IsHost,
    /// The caller may not.
    PermissionDenied,
    /// The caller may once a password is given, and does not allow that anybody is asked for one.
    AuthenticationRequired,
    /// The caller may register machines, but not of somebody else's processes.
    NotCallersProcess,
    /// The machine has no system bus.
    NoIpc,
    /// There is no such program in the machine.
    NoProgram {
        /// Its path.
        path: String,
    },
    /// A terminal of the machine could not be opened.
    Terminal {
        /// Why.
        errno: Errno,
    },
    /// The machine has a system bus, and it could not be joined.
    MachineBus {
        /// Why.
        errno: Errno,
    },
    /// The machine has a user namespace, and this cannot be done with one.
    UserNamespace,
    /// A user registered the machine, and its root is the host's.
    RootNamespace,
    /// The user has registered as many machines as one may.
    TooMany {
        /// The user.
        uid: u32,
    },
    /// The leader is in no unit, or it cannot be told in which.
    NoUnit {
        /// Why.
        errno: Errno,
    },
    /// The kernel refused.
    System {
        /// What was tried.
        action: &'static str,
        /// Why it was refused.
        errno: Errno,
    },
    /// The service manager refused, or could not be asked.
    ServiceManager {
        /// What was tried.
        action: &'static str,
        /// The errno that comes nearest to what it said.
        errno: Errno,
        /// The D-Bus name of its error, if it answered with one.
        name: Option<String>,
        /// What it said; or else why there is no answer.
        message: String,
    },
    /// The job that starts the machine's unit came to another end than it should.
    JobFailed {
        /// The unit.
        unit: String,
        /// How the job ended, in the service manager's word: `failed`, `timeout`, `canceled`, ...
        result: String,
    },
    /// No image of that name.
    NoSuchImage,
    /// An image, or what it is in, is not as it would have to be.
    Image {
        /// The errno that comes nearest.
        errno: Errno,
        /// What is the matter.
        text: String,
        /// Which of many images it is.
        image: Option<String>,
    },
    /// As many copies go on as may at a time.
    TooManyCopies,
    /// A copy between the host and a machine failed.
    Copy {
        /// Why.
        errno: Errno,
        /// At which file, if it is about one.
        path: Option<String>,
    },
    /// As many images are being changed as may be at a time.
    TooManyOperations,
    /// The registry could not be written.
    Registry(registry::Error),
}

/// What each front end calls an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Names<'a> {
    /// The errno that comes nearest.
    pub errno: Errno,
    /// The D-Bus name; where there is none, the errno's.
    pub bus: Option<&'a str>,
    /// The Varlink id; where there is none, io.systemd.System with the errno.
    pub varlink: Option<&'static str>,
}

impl Error {
    /// Of a machine that is there because of what else runs in its unit.
    pub const LEADER_IS_GONE: Self = Self::System { action: "find the leader", errno: Errno::SRCH };

    /// What the kernel said to something.
    pub fn system(action: &'static str, error: &std::io::Error) -> Self {
        Self::System { action, errno: Errno::from_io_error(error).unwrap_or(Errno::IO) }
    }

    /// Its row in the table of errors.
    pub fn names(&self) -> Names<'_> {
        let (errno, bus, varlink) = match self {
            Self::NoSuchMachine => (
                Errno::NXIO,
                Some("org.freedesktop.machine1.NoSuchMachine"),
                Some("io.systemd.Machine.NoSuchMachine"),
            ),
            Self::MachineExists(_) => (
                Errno::EXIST,
                Some("org.freedesktop.machine1.MachineExists"),
                Some("io.systemd.Machine.MachineExists"),
            ),
            Self::NoPrivateNetworking => (
                Errno::NOSYS,
                Some("org.freedesktop.machine1.NoPrivateNetworking"),
                Some("io.systemd.Machine.NoPrivateNetworking"),
            ),
            Self::NoUidShift => (Errno::NXIO, None, Some("io.systemd.Machine.NoUIDShift")),
            Self::NotAvailable => (Errno::OPNOTSUPP, None, Some("io.systemd.Machine.NotAvailable")),
            Self::NotSupported => (Errno::OPNOTSUPP, None, Some("io.systemd.Machine.NotSupported")),
            Self::UserNamespace => (Errno::OPNOTSUPP, None, Some("io.systemd.Machine.NotSupported")),
            Self::AddressOfHost(_) => {
                (Errno::ADDRNOTAVAIL, None, Some("io.mymachines.Registry.AddressOfHost"))
            }
            Self::AddressTaken(_) => (Errno::ADDRINUSE, None, Some("io.mymachines.Registry.AddressTaken")),
            Self::IsHost => (Errno::OPNOTSUPP, None, None),
            Self::NoIpc => (Errno::NOENT, None, Some("io.systemd.Machine.NoIPC")),
            Self::NoProgram { .. } => (Errno::NOENT, None, None),
            Self::Terminal { errno } | Self::MachineBus { errno } => (*errno, None, None),
            Self::RootNamespace => (Errno::ACCESS, None, Some("org.varlink.service.PermissionDenied")),
            Self::PermissionDenied => (
                Errno::ACCESS,
                Some("org.freedesktop.DBus.Error.AccessDenied"),
                Some("org.varlink.service.PermissionDenied"),
            ),
            Self::NotCallersProcess => (
                Errno::ACCESS,
                Some("org.freedesktop.DBus.Error.AccessDenied"),
                Some("org.varlink.service.PermissionDenied"),
            ),
            Self::AuthenticationRequired => (
                Errno::ACCESS,
                Some("org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"),
                Some("io.systemd.InteractiveAuthenticationRequired"),
            ),
            Self::TooManyOperations => (
                Errno::BUSY,
                Some("org.freedesktop.DBus.Error.LimitsExceeded"),
                Some("io.systemd.MachineImage.TooManyOperations"),
            ),
            Self::TooManyCopies => (
                Errno::BUSY,
                Some("org.freedesktop.DBus.Error.LimitsExceeded"),
                Some("io.systemd.Machine.TooManyOperations"),
            ),
            Self::Copy { errno: Errno::PERM | Errno::ACCESS, .. } => {
                (Errno::ACCESS, None, Some("org.varlink.service.PermissionDenied"))
            }
            Self::Copy { errno, .. } => (*errno, None, None),
            Self::NoSuchImage => (
                Errno::NOENT,
                Some("org.freedesktop.machine1.NoSuchImage"),
                Some("io.systemd.MachineImage.NoSuchImage"),
            ),
            Self::TooMany { .. } => (Errno::NOBUFS, Some("org.freedesktop.DBus.Error.LimitsExceeded"), None),
            Self::NoUnit { errno } | Self::System { errno, .. } | Self::Image { errno, .. } => {
                (*errno, None, None)
            }
            Self::ServiceManager { errno, name, .. } => (*errno, name.as_deref(), None),
            Self::JobFailed { .. } => (Errno::REMOTEIO, Some("org.freedesktop.systemd1.JobFailed"), None),
            Self::Registry(error) => {
                let errno = std::error::Error::source(error)
                    .and_then(|source| source.downcast_ref::<std::io::Error>())
                    .and_then(Errno::from_io_error);
                (errno.unwrap_or(Errno::IO), None, None)
            }
        };
        Names { errno, bus, varlink }
    }

    /// The errno that comes nearest.
    pub fn errno(&self) -> Errno {
        self.names().errno
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
            Self::NotSupported | Self::IsHost => f.write_str("not supported for a machine of this class"),
            Self::AddressOfHost(address) => write!(f, "address {address} is the host's own, or that of many"),
            Self::AddressTaken(address) => write!(f, "address {address} is another machine's"),
            Self::UserNamespace => f.write_str("not supported for a machine with a user namespace"),
            Self::NoIpc => f.write_str("there is no system bus in the machine"),
            Self::NoProgram { path } => write!(f, "there is no program '{path}' in the machine"),
            Self::Terminal { errno } => write!(f, "cannot open a terminal: {errno}"),
            Self::MachineBus { errno } => write!(f, "cannot join the machine's bus: {errno}"),
            Self::RootNamespace => f.write_str("only root may open a terminal in the root user namespace"),
            Self::PermissionDenied => f.write_str("permission denied"),
            Self::AuthenticationRequired => f.write_str("interactive authentication required"),
            Self::NotCallersProcess => {
                f.write_str("only privileged users may register machines for other users")
            }
            Self::TooMany { uid } => write!(f, "user {uid} has registered too many machines"),
            Self::NoUnit { errno } => write!(f, "cannot find the leader's unit: {errno}"),
            Self::System { action, errno } => write!(f, "cannot {action}: {errno}"),
            Self::ServiceManager { name: Some(_), message, .. } => f.write_str(message),
            Self::ServiceManager { action, message, .. } => write!(f, "cannot {action}: {message}"),
            Self::JobFailed { unit, result } => write!(f, "Start job for unit {unit} failed with '{result}'"),
            Self::TooManyCopies => f.write_str("too many ongoing copies"),
            Self::Copy { errno, path: Some(path) } => write!(f, "cannot copy '{path}': {errno}"),
            Self::Copy { errno, path: None } => write!(f, "cannot copy: {errno}"),
            Self::TooManyOperations => f.write_str("too many ongoing operations"),
            Self::NoSuchImage => f.write_str("no such image"),
            Self::Image { text, .. } => f.write_str(text),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// What Varlink clients are told of the interface.
    const INTERFACE: &str = include_str!("varlink/idl/io.systemd.Machine.varlink");

    #[test]
    fn every_varlink_error_of_the_interface_is_declared_in_it() {
        let name = MachineName::new(b"web").unwrap();
        let ids = [
            Error::NoSuchMachine,
            Error::MachineExists(name),
            Error::NoPrivateNetworking,
            Error::NoUidShift,
            Error::NotAvailable,
        ]
        .map(|error| error.names().varlink.unwrap());
        for id in ids {
            let name = id.strip_prefix("io.systemd.Machine.").unwrap();
            assert!(INTERFACE.contains(&format!("\nerror {name}(")), "{id}");
        }
    }
}
