//! Whether a caller may do what it asks for.

use super::register::Registration;
use super::services::Operations;
use super::target::Target;
use crate::authorization::{Action, Authorized, Caller, Create, Details, Register, decide};
use crate::error::Error;

impl Operations {
    /// Whether somebody may do something to a machine or the host; `None` stands for all of them.
    ///
    /// # Errors
    /// [`Error::PermissionDenied`]. [`Error::AuthenticationRequired`]: the caller may once a password is given, and does
    /// not allow that anybody is asked. [`Error::NoSuchMachine`]: it went while polkit was asked.
    pub async fn may<A: Action>(
        &self,
        caller: &Caller,
        target: Option<Target>,
        details: Details<'_>,
    ) -> Result<Authorized<A>, Error> {
        let owner = match target {
            Some(Target::Machine(key)) => self.daemon.record(key).ok_or(Error::NoSuchMachine)?.uid,
            Some(Target::Host) | None => None,
        };
        let authorized = self.decide(caller, || owner == Some(caller.uid), details).await?;
        match target {
            Some(Target::Machine(key)) if self.daemon.record(key).is_none() => Err(Error::NoSuchMachine),
            _ => Ok(authorized),
        }
    }

    /// Whether somebody may register this machine.
    ///
    /// # Errors
    /// As [`Operations::may`]; and [`Error::NotCallersProcess`].
    pub async fn may_register(
        &self,
        caller: &Caller,
        registration: &Registration,
    ) -> Result<Authorized<Register>, Error> {
        let details = [("name", registration.name.as_str()), ("class", registration.class.name())];
        let is_own = || registration.leader.is_owned_by(caller.uid).unwrap_or(false);
        if registration.allocate_unit {
            self.decide::<Create>(caller, is_own, &details).await.map(Into::into)
        } else {
            self.decide(caller, is_own, &details).await
        }
    }

    async fn decide<A: Action>(
        &self,
        caller: &Caller,
        is_own: impl Fn() -> bool,
        details: Details<'_>,
    ) -> Result<Authorized<A>, Error> {
        // Polkit knows nothing of a user's own daemon, and root has one of its own.
        if self.daemon.surroundings.is_users && caller.uid != self.daemon.surroundings.uid {
            return Err(Error::PermissionDenied);
        }
        decide(&self.polkit.on(&self.bus), self.daemon.surroundings.uid, caller, is_own, details).await
    }
}
