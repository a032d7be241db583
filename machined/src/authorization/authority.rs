//! Whoever judges what a caller may do, as a trait: polkit, or one that the tests make.

use super::caller::{Caller, Details};

/// May the caller?
#[derive(Debug)]
pub struct Question<'a> {
    /// Who asks.
    pub caller: &'a Caller,
    /// What for, by polkit's name.
    pub action: &'static str,
    /// What else the rules are told.
    pub details: Details<'a>,
}

/// What is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The caller may.
    Authorized {
        /// An administrator's password was given for it.
        is_admin: bool,
    },
    /// The caller may, once a password is given.
    Challenge,
    /// The caller may not.
    Denied,
}

/// Who judges.
pub trait Authority {
    /// Asks, and waits for the verdict.
    async fn ask(&self, question: Question<'_>) -> Verdict;
}
