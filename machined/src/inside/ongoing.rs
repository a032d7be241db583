//! A copy that goes on.

use images::Progress;

use super::request::Direction;
use crate::machines::Key;

/// How many, in all.
pub(super) const COPIES: usize = 64;

/// A copy that goes on.
#[derive(Clone, Debug)]
pub struct Ongoing {
    /// Of which machine.
    pub key: Key,
    /// Its name.
    pub machine: String,
    /// From where to where.
    pub direction: Direction,
    /// What is copied.
    pub source: String,
    /// What it is to be.
    pub destination: String,
    /// How far it is.
    pub progress: Progress,
}
