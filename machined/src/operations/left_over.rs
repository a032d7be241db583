//! What is left over of a machine whose leader has ended: its unit, which may have to go before a new one can be made.

use std::os::unix::fs::MetadataExt;
use std::rc::Rc;
use std::time::Duration;

use registry::Record;
use rustix::process::Signal;
use tokio::time::{sleep, timeout};
use tracing::{info, warn};

use super::services::Operations;
use crate::error::Error;
use crate::group::directory_of;
use crate::log::with_causes;
use crate::machines::Key;
use crate::stuck::withdraw;
use crate::systemd::{Expected, control_group, is_active, kill_unit, scope_name, stop_unit};

/// How long our processes in a group have to end, once they are killed: those that are there later hang.
const MOMENT: Duration = Duration::from_millis(100);
/// How long a unit has to be gone when its processes are killed.
const KILLED: Duration = Duration::from_secs(5);

impl Operations {
    /// Has a machine removed when its unit is empty, by the service manager's word: where its control group is not known, or
    /// the kernel does not tell (cgroup v1). Without a bus it stays until it is unregistered.
    pub(super) fn follow_unit(self: &Rc<Self>, key: Key) {
        let unit = self.daemon.machines(|machines| machines.get(key)?.unit.clone());
        let Some(unit) = unit else { return };
        let mut expected = self.systemd.jobs.expect(&unit);
        let operations = self.clone();
        let task = tokio::task::spawn_local(async move {
            while !operations.is_settled(key, &unit).await && expected.changed().await {}
        });
        self.units_followed.start(key, &task);
    }

    /// Takes those of our processes out of the group of a machine whose leader has ended that hang in its file system, and that
    /// the kernel counts as long as that does not answer.
    pub(super) fn withdraw_from(self: &Rc<Self>, key: Key) {
        let operations = self.clone();
        tokio::task::spawn_local(async move {
            sleep(MOMENT).await;
            let group = operations.daemon.control_group(key);
            // Not those in a group that is the daemon's as well.
            if let Some(group) = group.filter(|group| directory_of(group).is_some()) {
                withdraw(&group).await;
            }
        });
    }

    /// Whether a machine is gone with its unit, or its group is watched now.
    async fn is_settled(&self, key: Key, unit: &str) -> bool {
        if let Ok(Some(group)) = control_group(&self.bus, unit).await
            && self.daemon.watch_group(key, &group)
        {
            return true;
        }
        let is_gone = matches!(is_active(&self.bus, unit).await, Ok(false));
        if is_gone {
            self.daemon.vacated(key);
        }
        is_gone
    }

    /// Drops a machine whose leader has ended, for another one that takes its place. A group that was made for it is ended.
    /// Returns whether its scope is to be ended, too: it was made for it, and has the name that a new one would have.
    pub(super) fn replace(&self, key: Key, record: &Record) -> bool {
        let Some(old) = self.daemon.record(key) else { return false };
        info!("Machine {} takes the place of what is left over of machine {}.", record.name, old.name);
        self.daemon.vacated(key);
        old.name == record.name && old.unit.is_some_and(|unit| unit == scope_name(&record.name))
    }

    /// Whether a scope with the name of a machine's was made for a user's, who may have unregistered that machine: its group
    /// is the user's then. No user can have such a one made but by this daemon, nor keep a name from everybody by it.
    pub(super) async fn is_users_scope(&self, unit: &str) -> bool {
        let group = control_group(&self.bus, unit).await.ok().flatten();
        let metadata = group.and_then(|group| directory_of(&group)).map(std::fs::metadata);
        let owner = metadata.and_then(Result::ok).map(|metadata| metadata.uid());
        owner.is_some_and(|uid| uid != 0 && uid != self.daemon.surroundings.uid)
    }

    /// Ends the scope of a machine whose leader has ended, or whose name was taken.
    pub(super) async fn end_scope(&self, unit: &str, expected: &mut Expected) {
        // Whoever starts the next one is told that it is still there.
        if let Err(error) = self.try_to_end_scope(unit, expected).await {
            warn!("What is left over in {unit} cannot be ended: {}", with_causes(&error));
        }
    }

    async fn try_to_end_scope(&self, unit: &str, expected: &mut Expected) -> Result<(), Error> {
        let Some(job) = stop_unit(&self.bus, unit).await? else { return Ok(()) };
        if timeout(self.daemon.surroundings.grace, expected.result(&job)).await.is_err() {
            kill_unit(&self.bus, unit, Signal::KILL).await?;
            let _ = timeout(KILLED, expected.result(&job)).await;
        }
        Ok(())
    }
}
