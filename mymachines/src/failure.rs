//! Why a command failed, and the exit status that says so.

use std::fmt;
use std::io;

/// It could not be done, or the command line is wrong.
pub const FAILED: u8 = 1;
/// It was asked about something that is not there, as getent(1) has it.
pub const NOT_FOUND: u8 = 2;

/// Why a command ended without what it was to do.
#[derive(Debug)]
pub enum Failure {
    /// There is no such thing; this says so.
    NotFound(String),
    /// It could not be done: why, and what to do about it.
    Failed {
        /// Why.
        text: String,
        /// A command or a hint, where there is one.
        hint: Option<String>,
    },
    /// What it has to say cannot be written.
    Output(io::Error),
}

impl Failure {
    /// It could not be done.
    pub fn new(text: impl Into<String>) -> Self {
        Self::Failed { text: text.into(), hint: None }
    }

    /// It could not be done, and this may help.
    pub fn with_hint(text: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Failed { text: text.into(), hint: Some(hint.into()) }
    }

    /// The exit status.
    pub const fn code(&self) -> u8 {
        match self {
            Self::NotFound(_) => NOT_FOUND,
            _ => FAILED,
        }
    }

    /// Says it on standard error.
    pub fn print(&self) {
        eprintln!("mymachines: {self}");
        if let Self::Failed { hint: Some(hint), .. } = self {
            eprintln!("            {hint}");
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound(text) | Self::Failed { text, .. } => f.write_str(text),
            Self::Output(error) => write!(f, "cannot write the output: {error}"),
        }
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Output(error)
    }
}
