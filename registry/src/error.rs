//! What can go wrong with the registry's files.

use core::fmt;
use std::io;
use std::string::String;

use crate::{MachineName, NameRule};

/// An error of this crate.
#[non_exhaustive]
#[derive(Debug)]
pub enum Error {
    /// The text is no machine name.
    InvalidName {
        /// The text.
        name: String,
        /// The rule it breaks.
        rule: NameRule,
    },
    /// There is no record of this machine.
    NoSuchMachine(MachineName),
    /// The record cannot be understood.
    Damaged {
        /// The machine.
        name: MachineName,
        /// What is wrong with it.
        reason: String,
    },
    /// A file of the registry could not be read or written.
    Io {
        /// What was tried: "read", "write", "list" and the like.
        action: &'static str,
        /// The file.
        path: String,
        /// Why it failed.
        source: io::Error,
    },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::InvalidName { name, rule } => write!(f, "machine name '{}': {rule}", name.escape_debug()),
            Self::NoSuchMachine(name) => write!(f, "no machine '{name}' known"),
            Self::Damaged { name, reason } => write!(f, "record of machine '{name}' is damaged: {reason}"),
            Self::Io { action, path, .. } => write!(f, "cannot {action} '{path}'"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::InvalidName { rule, .. } => Some(rule),
            Self::Io { source, .. } => Some(source),
            _ => None,
        }
    }
}
