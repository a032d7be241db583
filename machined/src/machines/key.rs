//! How a machine is told from others.

/// A machine of this run of the daemon; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Key(u64);

impl Key {
    /// No key is less.
    pub(super) const FIRST: Self = Self(0);
    /// No key is greater.
    pub(super) const LAST: Self = Self(u64::MAX);

    /// The key as a number, for tables outside this process (epoll).
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The key with this number.
    pub const fn of_number(number: u64) -> Self {
        Self(number)
    }
}
