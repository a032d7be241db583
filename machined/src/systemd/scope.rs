//! Transient scopes, systemd.scope(5): the unit of a machine that asks for one of its own.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use registry::{Class, MachineName};
use tokio::time::{Instant, timeout_at};
use tracing::warn;
use zbus::{Fd, OwnedObjectPath, Variant};

use super::jobs::Expected;
use super::{DEADLINE, MANAGER, is, refused};
use crate::bus::{Bus, CallError};
use crate::error::Error;

/// How many tasks a machine may have, as the original sets it.
const TASKS_MAX: u64 = 16_384;
/// What systemd says of properties that it does not know yet.
const UNKNOWN: [&str; 2] =
    ["org.freedesktop.DBus.Error.UnknownProperty", "org.freedesktop.DBus.Error.PropertyReadOnly"];

const UNIT_EXISTS: &str = "org.freedesktop.systemd1.UnitExists";
/// How long the scope of a predecessor is waited for, whose leader has just ended: it takes systemd a moment to see that it
/// is empty.
const PATIENCE: Duration = Duration::from_millis(500);

/// A property of a unit.
pub type ScopeProperty = (String, Variant<'static>);

/// The name of the scope of a machine: its own is escaped as systemd-escape(1) does.
pub fn scope_name(machine: &MachineName) -> String {
    format!("machine-{}.scope", machine.as_str().replace('-', "\\x2d"))
}

/// The scope of a machine that is to be.
#[derive(Debug)]
pub struct Scope {
    /// The machine.
    pub machine: MachineName,
    /// The slice that it is in, if the registrar does not say otherwise.
    pub slice: &'static str,
    /// What it is.
    pub class: Class,
    /// The pidfd of its leader.
    pub leader: OwnedFd,
    /// The process id of its leader.
    pub pid: i32,
    /// Whose the unit is, if that is not the service manager's own user.
    pub uid: Option<u32>,
    /// What the registrar wants beyond; it comes last, and so decides.
    pub properties: Vec<ScopeProperty>,
}

impl Scope {
    /// Starts the scope around the leader. `expected` hears of the unit, and so of the end of the one before it. Returns the
    /// path of the job.
    ///
    /// # Errors
    /// What systemd says, in its own words: that there is such a unit, for example.
    pub async fn start(&mut self, bus: &Bus, expected: &mut Expected) -> Result<String, Error> {
        let failed = |cause| refused("start the scope", cause);
        let deadline = Instant::now() + PATIENCE;
        let mut answer = self.start_with_all(bus).await?;
        while matches!(&answer, Err(cause) if is(cause, &[UNIT_EXISTS]))
            && timeout_at(deadline, expected.changed()).await.is_ok_and(|is_heard| is_heard)
        {
            answer = self.start_with_all(bus).await?;
        }
        match answer {
            Err(cause) if is(&cause, &UNKNOWN) && !self.properties.is_empty() => {
                // A registrar may know more than this systemd: the original drops what it asked for, too.
                warn!("systemd does not know a property of the scope of {}: {cause}", self.machine);
                self.properties.clear();
                self.start_with_all(bus).await?.map_err(failed)
            }
            answer => answer.map_err(failed),
        }
    }

    async fn start_with_all(&self, bus: &Bus) -> Result<Result<String, CallError>, Error> {
        let pidfd = self.leader.try_clone();
        let pidfd = pidfd.map_err(|error| Error::system("duplicate the pidfd", &error))?;
        let pidfds = ("PIDFDs", Variant::from(vec![Fd::from(pidfd)]));
        Ok(match self.ask(bus, pidfds).await {
            // Before 254. The pidfd is kept meanwhile: the number means the leader as long as that has not ended.
            Err(cause) if is(&cause, &UNKNOWN) && !self.has_ended() => {
                let pid = u32::try_from(self.pid).unwrap_or_default();
                self.ask(bus, ("PIDs", Variant::from(vec![pid]))).await
            }
            answer => answer,
        })
    }

    fn has_ended(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let pidfd = self.leader.as_fd();
        poll(&mut [PollFd::new(&pidfd, PollFlags::IN)], Some(&Timespec::default())).is_ok_and(|n| n > 0)
    }

    async fn ask(&self, bus: &Bus, leader: (&'static str, Variant<'static>)) -> Result<String, CallError> {
        let auxiliary: Vec<(String, Vec<ScopeProperty>)> = Vec::new();
        let arguments = (scope_name(&self.machine), "fail", self.all_properties(leader)?, auxiliary);
        let answer = bus.call(MANAGER, "StartTransientUnit", arguments, DEADLINE).await?;
        Ok(answer.body().deserialize::<OwnedObjectPath>()?.to_string())
    }

    /// The original's, in its order, but for AddRef: a reference keeps a unit that has ended, and the name of the next
    /// machine's scope taken, until somebody gives it back. Nobody here asks a unit that has ended.
    fn all_properties(&self, leader: (&'static str, Variant<'static>)) -> zbus::Result<Vec<ScopeProperty>> {
        let description = match self.class {
            Class::Vm => format!("Virtual Machine {}", self.machine),
            Class::Container => format!("Container {}", self.machine),
        };
        let mut properties = vec![
            ("Slice", Variant::from(self.slice)),
            ("Description", Variant::from(description)),
            leader,
            ("Delegate", Variant::from(true)),
            ("CollectMode", Variant::from("inactive-or-failed")),
            ("TasksMax", Variant::from(TASKS_MAX)),
        ];
        if let Some(uid) = self.uid {
            properties.push(("User", Variant::from(uid.to_string())));
        }
        let mut all: Vec<ScopeProperty> =
            properties.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        for (name, value) in &self.properties {
            all.push((name.clone(), value.try_clone()?));
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(uid: Option<u32>, properties: Vec<ScopeProperty>) -> Scope {
        let machine = MachineName::new(b"my-vm").unwrap();
        let leader = OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        Scope { machine, slice: "machine.slice", class: Class::Vm, leader, pid: 42, uid, properties }
    }

    fn names(scope: &Scope) -> Vec<String> {
        let leader = ("PIDs", Variant::from(vec![42_u32]));
        scope.all_properties(leader).unwrap().into_iter().map(|(name, _)| name).collect()
    }

    #[test]
    fn the_name_of_a_scope_is_escaped() {
        let name = |text: &str| scope_name(&MachineName::new(text.as_bytes()).unwrap());
        assert_eq!(name("web"), "machine-web.scope");
        assert_eq!(name("my-vm.example"), "machine-my\\x2dvm.example.scope");
    }

    #[test]
    fn what_the_registrar_wants_comes_last_even_if_it_repeats() {
        let own = vec![("Slice".to_owned(), Variant::from("other.slice"))];
        let of_root = ["Slice", "Description", "PIDs", "Delegate", "CollectMode", "TasksMax", "Slice"];
        assert_eq!(names(&scope(None, own)), of_root);
    }

    #[test]
    fn the_scope_of_a_users_machine_is_the_users() {
        let leader = ("PIDs", Variant::from(vec![42_u32]));
        let properties = scope(Some(1000), Vec::new()).all_properties(leader).unwrap();
        assert_eq!(properties.last(), Some(&("User".to_owned(), Variant::from("1000"))));
    }
}
