//! Why a call brought no reply.

use std::fmt;
use std::io;
use std::path::PathBuf;

use serde_json::Value;

/// Why a call brought no reply.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// Nobody listens, or whoever does lets nobody in.
    Connect {
        /// Where.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The service closed the connection.
    HungUp,
    /// The service did not answer in time.
    TooLate,
    /// The service's own answer is an error.
    Refused {
        /// Its full name, as in `io.systemd.Machine.NoSuchMachine`.
        id: String,
        /// Its fields, an object.
        parameters: Value,
    },
    /// A message is no JSON, or not of the type that was expected.
    Nonsense(serde_json::Error),
    /// The service sends what cannot be there now.
    Unexpected(&'static str),
    /// The socket does not work.
    Io(io::Error),
}

impl Error {
    /// The name of the service's own error, if it is one.
    pub fn id(&self) -> Option<&str> {
        match self {
            Self::Refused { id, .. } => Some(id),
            _ => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connect { path, .. } => write!(f, "cannot connect to {}", path.display()),
            Self::HungUp => f.write_str("the service closed the connection"),
            Self::TooLate => f.write_str("the service did not answer in time"),
            Self::Refused { id, parameters } => match parameters.as_object() {
                Some(fields) if !fields.is_empty() => write!(f, "{id} {parameters}"),
                _ => f.write_str(id),
            },
            Self::Nonsense(_) => f.write_str("a message makes no sense"),
            Self::Unexpected(what) => write!(f, "the connection has {what}"),
            Self::Io(_) => f.write_str("cannot talk to the service"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Connect { source, .. } | Self::Io(source) => Some(source),
            Self::Nonsense(error) => Some(error),
            _ => None,
        }
    }
}
