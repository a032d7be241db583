//! Who may do what, as a type: what changes a machine or tells its secrets takes an [`Authorized`] of that action,
//! and only this module makes one.

use std::marker::PhantomData;

use registry::Record;

/// To register a machine.
#[derive(Debug)]
pub struct Register;
/// To unregister, terminate or kill a machine.
#[derive(Debug)]
pub struct Manage;
/// To be told what is inside a machine: its OS, its addresses.
#[derive(Debug)]
pub struct Inspect;

/// The proof that somebody may do this.
#[derive(Debug)]
pub struct Authorized<Action>(PhantomData<Action>);

/// He may not.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Denied;

/// Who asks, by the credentials the kernel vouches for (unix(7), `SO_PEERCRED`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caller {
    /// The effective uid at the time of the connect.
    pub uid: u32,
    /// The uid of the daemon.
    pub daemon_uid: u32,
}

impl Caller {
    /// Root, or whom the daemon itself runs as.
    pub fn is_privileged(self) -> bool {
        self.uid == 0 || self.uid == self.daemon_uid
    }

    fn verdict<Action>(allowed: bool) -> Result<Authorized<Action>, Denied> {
        if allowed { Ok(Authorized(PhantomData)) } else { Err(Denied) }
    }

    /// A name that resolves is not anybody's to take.
    ///
    /// # Errors
    /// [`Denied`] unless he is privileged.
    pub fn may_register(self) -> Result<Authorized<Register>, Denied> {
        Self::verdict(self.is_privileged())
    }

    /// # Errors
    /// [`Denied`] unless he is privileged or registered the machine. The host is nobody's.
    pub fn may_manage(self, machine: Option<&Record>) -> Result<Authorized<Manage>, Denied> {
        Self::verdict(self.is_privileged() || self.owns(machine))
    }

    /// # Errors
    /// [`Denied`] unless he is privileged or registered the machine. `None` stands for all machines.
    pub fn may_inspect(self, machine: Option<&Record>) -> Result<Authorized<Inspect>, Denied> {
        Self::verdict(self.is_privileged() || self.owns(machine))
    }

    fn owns(self, machine: Option<&Record>) -> bool {
        machine.and_then(|record| record.uid) == Some(self.uid)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use registry::{Class, MachineName};

    #[test]
    fn the_table_of_verdicts() {
        let mut of_user = Record::new(MachineName::new(b"web").unwrap(), Class::Container);
        of_user.uid = Some(1000);
        let mut of_root = of_user.clone();
        of_root.uid = Some(0);
        let mut of_nobody = of_user.clone();
        of_nobody.uid = None;
        for (uid, daemon, machine, register, manage, inspect) in [
            (0, 0, Some(&of_root), true, true, true),
            (0, 0, Some(&of_user), true, true, true),
            (0, 0, None, true, true, true),
            (1000, 0, Some(&of_user), false, true, true),
            (1000, 0, Some(&of_root), false, false, false),
            (1000, 0, Some(&of_nobody), false, false, false),
            (1000, 0, None, false, false, false),
            (1001, 0, Some(&of_user), false, false, false),
            (1000, 1000, Some(&of_root), true, true, true),
            (0, 1000, Some(&of_user), true, true, true),
        ] {
            let caller = Caller { uid, daemon_uid: daemon };
            let row = format!("uid {uid}, daemon {daemon}, owner {:?}", machine.map(|record| record.uid));
            assert_eq!(caller.may_register().is_ok(), register, "register: {row}");
            assert_eq!(caller.may_manage(machine).is_ok(), manage, "manage: {row}");
            assert_eq!(caller.may_inspect(machine).is_ok(), inspect, "inspect: {row}");
        }
    }
}
