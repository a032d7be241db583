//! What an operation is about.

use crate::machines::Key;

/// What an operation is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// The host itself.
    Host,
    /// A machine.
    Machine(Key),
}
