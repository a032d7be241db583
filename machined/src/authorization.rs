//! Who may do what, as a type: what changes a machine or tells its secrets takes an [`Authorized`] of that action,
//! and only this module makes one.
//!
//! Root may do all, and so may whom the daemon runs as. Who registered a machine may end it. All else is polkit's to
//! judge; where there is no polkit, or no bus, it is refused. That goes for the owner, too, who wants something read out
//! of his machine: it is read as root, and its mounts and links are his to arrange.

use std::marker::PhantomData;
use std::rc::Rc;

use crate::daemon::Daemon;
use crate::error::Error;
use crate::operations::{Registration, Target};

mod polkit;

pub use polkit::Polkit;
use polkit::{Authority, Question, Verdict};

/// Something that not everybody may do.
pub trait Action {
    /// Whether who registered a machine may do it without being asked.
    const IS_THE_OWNERS: bool;
}

/// To register a machine.
#[derive(Debug)]
pub struct Register;
/// To unregister, terminate or kill a machine.
#[derive(Debug)]
pub struct Manage;
/// To be told what is inside a machine: its OS, its addresses.
#[derive(Debug)]
pub struct Inspect;
/// To open the root directory of a machine.
#[derive(Debug)]
pub struct Enter;

impl Action for Register {
    const IS_THE_OWNERS: bool = false;
}

impl Action for Manage {
    const IS_THE_OWNERS: bool = true;
}

impl Action for Inspect {
    const IS_THE_OWNERS: bool = false;
}

impl Action for Enter {
    const IS_THE_OWNERS: bool = false;
}

/// Polkit's names of actions, org.freedesktop.machine1.policy.
mod id {
    pub(super) const CREATE: &str = "org.freedesktop.machine1.create-machine";
    pub(super) const REGISTER: &str = "org.freedesktop.machine1.register-machine";
    pub(super) const MANAGE: &str = "org.freedesktop.machine1.manage-machines";
    pub(super) const INSPECT: &str = "org.freedesktop.machine1.inspect-machines";
    /// Who may do the second may do the first.
    pub(super) const IMPLIED: [(&str, &str); 2] = [(INSPECT, MANAGE), (REGISTER, CREATE)];
}

/// The proof that somebody may do this.
#[derive(Debug)]
pub struct Authorized<A>(PhantomData<A>);

/// How polkit knows somebody.
#[derive(Clone, Debug)]
pub enum Subject {
    /// By his unique name on the system bus.
    BusName(String),
    /// By his process, that of a peer of a socket.
    Process(Rc<varlink_server::Peer>),
}

/// Who asks.
#[derive(Clone, Debug)]
pub struct Caller {
    /// His effective uid, which the kernel or the bus vouches for.
    pub uid: u32,
    /// How polkit knows him.
    pub subject: Subject,
    /// Whether he may be asked for a password.
    pub is_interactive: bool,
}

/// What polkit's rules are told beyond the action: `machine`, `verb`, ...
pub type Details<'a> = &'a [(&'static str, &'a str)];

impl Daemon {
    /// Whether somebody may end a machine, or the host.
    ///
    /// # Errors
    /// [`Error::PermissionDenied`]. [`Error::AuthenticationRequired`]: he may if he is asked for a password, and that is
    /// not allowed. [`Error::NoSuchMachine`]: it went while polkit was asked.
    pub async fn may_manage(
        &self,
        caller: &Caller,
        target: Target,
        details: Details<'_>,
    ) -> Result<Authorized<Manage>, Error> {
        self.may(caller, Some(target), id::MANAGE, details).await
    }

    /// Whether somebody may open the root directory of a machine, or of the host.
    ///
    /// # Errors
    /// As [`Daemon::may_manage`].
    pub async fn may_enter(
        &self,
        caller: &Caller,
        target: Target,
        details: Details<'_>,
    ) -> Result<Authorized<Enter>, Error> {
        self.may(caller, Some(target), id::MANAGE, details).await
    }

    /// Whether somebody may look into a machine; `None` stands for all of them.
    ///
    /// # Errors
    /// As [`Daemon::may_manage`].
    pub async fn may_inspect(
        &self,
        caller: &Caller,
        target: Option<Target>,
        details: Details<'_>,
    ) -> Result<Authorized<Inspect>, Error> {
        self.may(caller, target, id::INSPECT, details).await
    }

    /// Whether somebody may register this machine. A name that resolves is not anybody's to take, and a process not
    /// anybody's to make a machine of.
    ///
    /// # Errors
    /// As [`Daemon::may_manage`]; and [`Error::NotHisProcess`].
    pub async fn may_register(
        &self,
        caller: &Caller,
        registration: &Registration,
    ) -> Result<Authorized<Register>, Error> {
        let action = if registration.allocate_unit { id::CREATE } else { id::REGISTER };
        let details = [("name", registration.name.as_str()), ("class", registration.class.name())];
        let leader = &registration.leader;
        let is_his = || leader.is_owned_by(caller.uid).unwrap_or(false);
        let daemon = self.surroundings.uid;
        register(&self.polkit.on(&self.bus), daemon, caller, action, &details, is_his).await
    }

    async fn may<A: Action>(
        &self,
        caller: &Caller,
        target: Option<Target>,
        action: &'static str,
        details: Details<'_>,
    ) -> Result<Authorized<A>, Error> {
        let owner = match target {
            Some(Target::Machine(key)) => self.record(key).ok_or(Error::NoSuchMachine)?.uid,
            Some(Target::Host) | None => None,
        };
        let authority = self.polkit.on(&self.bus);
        let (authorized, _) =
            decide(&authority, self.surroundings.uid, caller, owner, action, details).await?;
        match target {
            Some(Target::Machine(key)) if self.record(key).is_none() => Err(Error::NoSuchMachine),
            _ => Ok(authorized),
        }
    }
}

/// What somebody was let in for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Ground {
    /// He is root, or whom the daemon runs as, or has shown that he could be.
    Privileged,
    /// The machine is his, or polkit let him.
    Allowed,
}

async fn decide<A: Action>(
    authority: &impl Authority,
    daemon_uid: u32,
    caller: &Caller,
    owner: Option<u32>,
    action: &'static str,
    details: Details<'_>,
) -> Result<(Authorized<A>, Ground), Error> {
    let authorized = Authorized(PhantomData);
    if caller.uid == 0 || caller.uid == daemon_uid {
        return Ok((authorized, Ground::Privileged));
    }
    if A::IS_THE_OWNERS && owner == Some(caller.uid) {
        return Ok((authorized, Ground::Allowed));
    }
    match ask(authority, caller, action, details).await {
        Verdict::Authorized { is_admin: true } => Ok((authorized, Ground::Privileged)),
        Verdict::Authorized { is_admin: false } => Ok((authorized, Ground::Allowed)),
        Verdict::Challenge => Err(Error::AuthenticationRequired),
        Verdict::Denied => Err(Error::PermissionDenied),
    }
}

/// Asks polkit, and whether one permission implies another: the policy files of systemd 257 do not say so yet.
async fn ask(
    authority: &impl Authority,
    caller: &Caller,
    action: &'static str,
    details: Details<'_>,
) -> Verdict {
    let Some((_, implying)) = id::IMPLIED.into_iter().find(|(implied, _)| *implied == action) else {
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

async fn register(
    authority: &impl Authority,
    daemon_uid: u32,
    caller: &Caller,
    action: &'static str,
    details: Details<'_>,
    is_his: impl FnOnce() -> bool,
) -> Result<Authorized<Register>, Error> {
    let (authorized, ground) = decide(authority, daemon_uid, caller, None, action, details).await?;
    if ground == Ground::Privileged || is_his() { Ok(authorized) } else { Err(Error::NotHisProcess) }
}

#[cfg(test)]
mod tests;
