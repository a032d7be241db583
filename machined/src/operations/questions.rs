//! What anybody may be told of machines: what was registered.

use std::rc::Rc;

use libmachine::ProcessHandle;
use registry::{HOST_NAME, MachineName, Record};

use super::services::Operations;
use super::target::Target;
use crate::error::Error;
use crate::host::Host;
use crate::machines::{Key, Machines};

impl Operations {
    /// Asks the table of machines something.
    pub fn machines<T>(&self, question: impl FnOnce(&Machines) -> T) -> T {
        self.daemon.machines(question)
    }

    /// A copy of a machine's record.
    pub fn record(&self, key: Key) -> Option<Record> {
        self.daemon.record(key)
    }

    /// The machine of this name; one that has ended this very moment is none any more.
    pub fn by_name(&self, name: &MachineName) -> Option<Key> {
        self.daemon.by_name(name)
    }

    /// Whether a machine has this name that is not just what is left over of one whose leader has ended.
    pub fn is_taken(&self, name: &MachineName) -> bool {
        let key = self.daemon.by_name(name);
        key.is_some_and(|key| self.daemon.machines(|machines| !machines.has_ended(key)))
    }

    /// The machine that a process belongs to: as its leader, by its unit or control group, or through a parent.
    pub fn by_process(&self, process: &ProcessHandle) -> Option<Key> {
        self.daemon.by_process(process)
    }

    /// The leader of a machine.
    ///
    /// # Errors
    /// [`Error::NoSuchMachine`]. `ESRCH`: it has ended, and something is left over of the machine.
    pub(super) fn leader(&self, key: Key) -> Result<Rc<ProcessHandle>, Error> {
        let is_known = || self.machines(|machines| machines.get(key).is_some());
        self.daemon
            .leader(key)
            .ok_or_else(|| if is_known() { Error::LEADER_IS_GONE } else { Error::NoSuchMachine })
    }

    /// Whether a machine is there still; one that has ended this very moment is not.
    pub fn is_there(&self, key: Key) -> bool {
        self.daemon.is_there(key)
    }

    /// The machines that clients were told of, or are about to be.
    pub fn announced(&self) -> Vec<MachineName> {
        self.daemon.machines(|machines| {
            let known = machines.iter().filter(|(key, _)| !self.daemon.is_unannounced(*key));
            known.map(|(_, record)| record.name).collect()
        })
    }

    /// Leaves out from now on what has ended by this very moment.
    pub fn remove_ended(&self) {
        self.daemon.remove_ended();
    }

    /// What something is called.
    ///
    /// # Errors
    /// [`Error::NoSuchMachine`]: it is there no more.
    pub fn name_of(&self, target: Target) -> Result<String, Error> {
        match target {
            Target::Host => Ok(HOST_NAME.to_owned()),
            Target::Machine(key) => {
                let name = self.machines(|machines| machines.get(key).map(|record| record.name.to_string()));
                name.ok_or(Error::NoSuchMachine)
            }
        }
    }

    /// The host, which is no machine of a user's.
    ///
    /// # Errors
    /// [`Error::NoSuchMachine`].
    pub fn host_target(&self) -> Result<Target, Error> {
        if self.daemon.surroundings.is_users { Err(Error::NoSuchMachine) } else { Ok(Target::Host) }
    }

    /// The host, as clients see it.
    pub fn host(&self) -> Host {
        Host::look(self.daemon.surroundings.systemd.is_some())
    }

    /// The id of this boot.
    pub fn boot_id(&self) -> &str {
        &self.daemon.surroundings.boot_id
    }

    /// The id of this run of the daemon.
    pub fn run_id(&self) -> &str {
        &self.daemon.surroundings.run_id
    }
}
