//! Why something could not be done with an image.

use std::borrow::Cow;
use std::fmt;

use rustix::io::Errno;

/// Why something could not be done with an image.
#[non_exhaustive]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// No image has this name.
    NoSuchImage(String),
    /// No image could have this name.
    BadName(String),
    /// An image has this name already.
    NameTaken(String),
    /// The image is the host's or came with its operating system, and does not change.
    Immutable(String),
    /// Somebody uses the image, or the name.
    InUse(String),
    /// That cannot be done with an image of this kind, or on this file system.
    NotSupported(Cow<'static, str>),
    /// The kernel refused.
    System {
        /// What was tried.
        action: &'static str,
        /// With what.
        path: String,
        /// Why it was refused.
        errno: Errno,
    },
}

/// What comes of something done with an image.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// Makes errors of what the kernel says to one thing that is tried.
    pub(crate) fn of<'a>(action: &'static str, path: &'a str) -> impl Fn(Errno) -> Self + 'a {
        move |errno| Self::System { action, path: path.to_owned(), errno }
    }

    /// The errno that comes nearest.
    pub fn errno(&self) -> Errno {
        match self {
            Self::NoSuchImage(_) => Errno::NOENT,
            Self::BadName(_) => Errno::INVAL,
            Self::NameTaken(_) => Errno::EXIST,
            Self::Immutable(_) => Errno::ROFS,
            Self::InUse(_) => Errno::BUSY,
            Self::NotSupported(_) => Errno::OPNOTSUPP,
            Self::System { errno, .. } => *errno,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuchImage(name) => write!(f, "no image is called '{name}'"),
            Self::BadName(name) => write!(f, "'{}' cannot be the name of an image", name.escape_debug()),
            Self::NameTaken(name) => write!(f, "an image is called '{name}' already"),
            Self::Immutable(name) => write!(f, "image '{name}' belongs to the host and cannot be changed"),
            Self::InUse(name) => write!(f, "image '{name}' is in use"),
            Self::NotSupported(what) => f.write_str(what),
            Self::System { action, path, errno } => write!(f, "cannot {action} {path}: {errno}"),
        }
    }
}

impl std::error::Error for Error {}
