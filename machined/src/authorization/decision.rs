//! The decision whether a caller may do something, and its proof.

use std::marker::PhantomData;

use super::action::{Action, Create, OwnersPart, Register, Row};
use super::authority::{Authority, Question, Verdict};
use super::caller::{Caller, Details};
use crate::error::Error;

/// The proof that somebody may do this. Only [`decide`] makes one.
#[derive(Debug)]
pub struct Authorized<A> {
    is_privileged: bool,
    action: PhantomData<A>,
}

impl<A> Authorized<A> {
    const fn new(is_privileged: bool) -> Self {
        Self { is_privileged, action: PhantomData }
    }

    /// Whether that is root, whom the daemon runs as, or somebody who has given an administrator's password for it.
    pub const fn is_privileged(&self) -> bool {
        self.is_privileged
    }
}

/// To have a unit made for a machine is more than to register one.
impl From<Authorized<Create>> for Authorized<Register> {
    fn from(authorized: Authorized<Create>) -> Self {
        Self::new(authorized.is_privileged)
    }
}

/// Decides whether a caller may do something. Root may do all, and so may whom the daemon runs as. `is_own` says whether
/// what it is about is the caller's; it is asked only where that counts.
///
/// # Errors
/// [`Error::PermissionDenied`]. [`Error::AuthenticationRequired`]: the caller may once a password is given, and does not
/// allow that anybody is asked. [`Error::NotCallersProcess`]: the caller may, but not with this process.
pub async fn decide<A: Action>(
    authority: &impl Authority,
    daemon_uid: u32,
    caller: &Caller,
    is_own: impl Fn() -> bool,
    details: Details<'_>,
) -> Result<Authorized<A>, Error> {
    if caller.uid == 0 || caller.uid == daemon_uid {
        return Ok(Authorized::new(true));
    }
    if A::ROW.owner == OwnersPart::Enough && is_own() {
        return Ok(Authorized::new(false));
    }
    match ask(authority, caller, A::ROW, details).await {
        // Who has given an administrator's password could be root.
        Verdict::Authorized { is_admin: true } => Ok(Authorized::new(true)),
        // Looked at now: it may have been another's while polkit was asked.
        Verdict::Authorized { .. } if A::ROW.owner != OwnersPart::Demanded || is_own() => {
            Ok(Authorized::new(false))
        }
        Verdict::Authorized { .. } => Err(Error::NotCallersProcess),
        Verdict::Challenge => Err(Error::AuthenticationRequired),
        Verdict::Denied => Err(Error::PermissionDenied),
    }
}

/// Asks polkit, and whether another permission implies this one.
async fn ask(authority: &impl Authority, caller: &Caller, row: Row, details: Details<'_>) -> Verdict {
    let action = row.polkit;
    let Some(implying) = row.implied_by else {
        return authority.ask(Question { caller, action, details }).await;
    };
    // A password is asked for last, and for no more than what is wanted.
    let silent = Caller { is_interactive: false, ..caller.clone() };
    let verdict = authority.ask(Question { caller: &silent, action, details }).await;
    if matches!(verdict, Verdict::Authorized { .. }) {
        return verdict;
    }
    let implied = authority.ask(Question { caller: &silent, action: implying, details }).await;
    if matches!(implied, Verdict::Authorized { .. }) {
        return implied;
    }
    match verdict {
        Verdict::Challenge if caller.is_interactive => {
            authority.ask(Question { caller, action, details }).await
        }
        verdict => verdict,
    }
}

#[cfg(test)]
mod tests;
