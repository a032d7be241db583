//! Why a daemon could not start, or had to give up.

use std::error::Error;
use std::fmt;

/// What could not be done, and the cause.
#[derive(Debug)]
pub struct Failure {
    what: String,
    cause: Option<Box<dyn Error>>,
}

impl Failure {
    /// What could not be done, "cannot ..." or a sentence, and why.
    pub fn new(what: impl Into<String>, cause: impl Error + 'static) -> Self {
        Self { what: what.into(), cause: Some(Box::new(cause)) }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.cause.as_deref()
    }
}
