//! Ending a machine: unregister, terminate, kill.

use std::io::ErrorKind;
use std::rc::Rc;

use libmachine::ProcessHandle;
use registry::{Process, Record};
use rustix::io::Errno;
use rustix::process::Signal;

use crate::authorization::{Authorized, Manage};
use crate::daemon::Daemon;
use crate::error::Error;
use crate::group::Group;
use crate::machines::Key;

/// What an operation is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Target {
    /// The host itself.
    Host,
    /// A machine.
    Machine(Key),
}

/// Which processes of a machine get a signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KillWhom {
    /// Its leader.
    Leader,
    /// The process that looks after it, from outside.
    Supervisor,
    /// All of its control group; the leader alone where it has none of its own.
    All,
}

impl Daemon {
    /// Drops a machine from the registry. What runs in it goes on. For the host this does nothing.
    pub fn unregister(&self, _: &Authorized<Manage>, target: Target) {
        if let Target::Machine(key) = target
            && let Some(record) = self.forget(key)
        {
            self.tell_stopped(&record);
        }
    }

    /// Ends a machine: SIGTERM to all of it, SIGKILL to what is left when the grace is over. Does not wait for
    /// that; the machine is registered until its leader is gone.
    ///
    /// # Errors
    /// [`Error::NotSupported`]: it is the host, or its unit is the service manager's to stop.
    pub fn terminate(self: &Rc<Self>, _: &Authorized<Manage>, target: Target) -> Result<(), Error> {
        let (record, leader) = self.running(target)?;
        let grace = self.surroundings.grace;
        match group(&record)? {
            Some(group) => drop(tokio::task::spawn_local(group.end(grace))),
            None => {
                leader.signal(Signal::TERM).map_err(|error| system("terminate the leader", &error))?;
                tokio::task::spawn_local(async move {
                    tokio::time::sleep(grace).await;
                    // Gone by now, as it should be: the pidfd knows no other process.
                    let _ = leader.signal(Signal::KILL);
                });
            }
        }
        Ok(())
    }

    /// Sends a signal to processes of a machine.
    ///
    /// # Errors
    /// [`Error::NotSupported`]: it is the host, or its unit is the service manager's. `ESRCH`: there is no such
    /// process any more.
    pub fn kill(
        &self,
        _: &Authorized<Manage>,
        target: Target,
        whom: KillWhom,
        signal: Signal,
    ) -> Result<(), Error> {
        let (record, leader) = self.running(target)?;
        let to_leader = || leader.signal(signal).map_err(|error| system("signal the leader", &error));
        match whom {
            KillWhom::Leader => to_leader(),
            KillWhom::Supervisor => {
                let nobody = Error::System { action: "find the supervisor", errno: Errno::SRCH };
                let supervisor = open(record.supervisor.ok_or(nobody)?)?;
                supervisor.signal(signal).map_err(|error| system("signal the supervisor", &error))
            }
            KillWhom::All => match group(&record)? {
                Some(group) => group.signal(signal).map_err(|error| match error.kind() {
                    ErrorKind::NotFound => Error::System { action: "signal the group", errno: Errno::SRCH },
                    _ => Error::system("signal the group", &error),
                }),
                None => to_leader(),
            },
        }
    }

    fn running(&self, target: Target) -> Result<(Record, Rc<ProcessHandle>), Error> {
        let Target::Machine(key) = target else { return Err(Error::NotSupported) };
        self.record(key).zip(self.leader(key)).ok_or(Error::NoSuchMachine)
    }
}

/// The group that was made for a machine; `None` if none was.
fn group(record: &Record) -> Result<Option<Group>, Error> {
    if record.unit.is_some() {
        return Err(Error::NotSupported);
    }
    Ok(record.cgroup.as_deref().and_then(Group::of_record))
}

/// Opens a process that was known before, if it is still the same.
fn open(process: Process) -> Result<ProcessHandle, Error> {
    let handle = ProcessHandle::open(process.pid).map_err(|error| system("find the supervisor", &error))?;
    match process.pidfd_id {
        Some(id) if handle.pidfd_id() != Some(id) => {
            Err(Error::System { action: "find the supervisor", errno: Errno::SRCH })
        }
        _ => Ok(handle),
    }
}

fn system(action: &'static str, error: &libmachine::Error) -> Error {
    Error::System { action, errno: Errno::from_raw_os_error(error.errno()) }
}
