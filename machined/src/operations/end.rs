//! Ending a machine: unregister, terminate, kill.

use std::io::{self, ErrorKind};
use std::pin::pin;
use std::rc::Rc;
use std::time::Duration;

use libmachine::ProcessHandle;
use registry::{Process, Record};
use rustix::io::Errno;
use rustix::process::Signal;
use tokio::time::{Instant, sleep, timeout_at};

use super::services::Operations;
use super::state::Job;
use super::target::Target;
use crate::authorization::{Authorized, Manage};
use crate::error::Error;
use crate::group::{Group, is_all_of, signal_such};
use crate::machines::{Key, own_unit};
use crate::systemd;
use crate::unit_part::PAYLOAD;

/// How long the answer to a call may be put off so that it finds the machine ended.
const MOMENT: Duration = Duration::from_millis(100);
/// So many processes are looked at to see whose a unit is.
const MANY: usize = 4096;

/// Which processes of a machine get a signal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum KillWhom {
    /// Its leader.
    Leader,
    /// The process that looks after it, from outside; nobody where the kernel does not tell it for certain.
    Supervisor,
    /// All of its control group; the leader alone where it has none of its own.
    All,
}

impl Operations {
    /// Drops a machine from the registry. What runs in it goes on. For the host this does nothing.
    ///
    /// # Errors
    /// [`Error::Registry`]: its record cannot be removed, so that the next run of the daemon would know it again. Nothing is
    /// changed then.
    pub fn unregister(&self, _: &Authorized<Manage>, target: Target) -> Result<(), Error> {
        if let Target::Machine(key) = target {
            self.daemon.withdraw(key)?;
            self.daemon.forget_and_tell(key);
        }
        Ok(())
    }

    /// Ends a machine. A unit of its own is stopped; a group that was made for it, or the leader where there is
    /// neither, gets SIGTERM, and SIGKILL when the grace is over. Waits for that no longer than a moment.
    ///
    /// # Errors
    /// [`Error::IsHost`]: it is the host. What the service manager says.
    pub async fn terminate(self: &Rc<Self>, _: &Authorized<Manage>, target: Target) -> Result<(), Error> {
        let (key, record, leader) = self.known(target)?;
        let grace = self.daemon.surroundings.grace;
        match Processes::of(&record, self.daemon.surroundings.uid).await {
            Processes::Unit(unit) => {
                // A daemon that was killed may have written the unit down, and never asked for it.
                if !self.stop(key, unit).await? {
                    end(leader, grace)?;
                }
            }
            Processes::Group(group) => {
                group.doom();
                drop(tokio::task::spawn_local(group.end(grace)));
            }
            Processes::Users(..) => match own_unit(&record) {
                Some(unit) if self.stop(key, unit).await? => {}
                _ => end(leader, grace)?,
            },
            Processes::Subgroup(..) | Processes::Leader => end(leader, grace)?,
        }
        self.daemon.is_told_to_end(key);
        self.wait_for_end(key).await;
        Ok(())
    }

    /// Waits a moment for a machine to end: one that ends at once is unknown to whoever asks right after it was terminated.
    async fn wait_for_end(&self, key: Key) {
        let deadline = Instant::now() + MOMENT;
        loop {
            let mut settled = pin!(self.daemon.settled());
            settled.as_mut().enable();
            if !self.daemon.is_there(key) || timeout_at(deadline, settled).await.is_err() {
                return;
            }
        }
    }

    /// Stops the unit of a machine. Returns when the job is queued; false: there is no such unit.
    async fn stop(self: &Rc<Self>, key: Key, unit: &str) -> Result<bool, Error> {
        // A job to stop it would be refused while there is one to start it.
        let deadline = Instant::now() + systemd::DEADLINE;
        loop {
            let mut settled = pin!(self.daemon.settled());
            settled.as_mut().enable();
            if !self.daemon.is_opening(key) || timeout_at(deadline, settled).await.is_err() {
                break;
            }
        }
        if self.daemon.record(key).is_none() {
            return Ok(true);
        }
        let expected = self.systemd.jobs.expect(unit);
        let Some(path) = systemd::stop_unit(&self.bus, unit).await? else {
            return Ok(self.daemon.record(key).is_none());
        };
        if self.daemon.record(key).is_some() {
            drop(self.follow(key, Job { path, unit: unit.to_owned(), is_start: false }, expected));
        }
        Ok(true)
    }

    /// Sends a signal to processes of a machine.
    ///
    /// # Errors
    /// [`Error::IsHost`]: it is the host. `ESRCH`: there is no such process any more. What the service manager
    /// says.
    pub async fn kill(
        &self,
        _: &Authorized<Manage>,
        target: Target,
        whom: KillWhom,
        signal: Signal,
    ) -> Result<(), Error> {
        let (_, record, leader) = self.known(target)?;
        let to_leader = || {
            let leader = leader.as_ref().ok_or(Error::LEADER_IS_GONE)?;
            leader.signal(signal).map_err(|error| system("signal the leader", &error))
        };
        match (whom, Processes::of(&record, self.daemon.surroundings.uid).await) {
            (KillWhom::Leader, _) | (KillWhom::All, Processes::Leader) => to_leader(),
            (KillWhom::Supervisor, _) => {
                let nobody = Error::System { action: "find the supervisor", errno: Errno::SRCH };
                let supervisor = open(record.supervisor.ok_or(nobody)?)?;
                supervisor.signal(signal).map_err(|error| system("signal the supervisor", &error))
            }
            (KillWhom::All, Processes::Users(group, uid)) => {
                let told =
                    signal_such(group, signal, |process| process.is_owned_by(uid).unwrap_or(false)).await;
                told.map_err(|error| no_process(&error))
            }
            (KillWhom::All, Processes::Unit(unit)) => systemd::kill_unit(&self.bus, unit, signal).await,
            (KillWhom::All, Processes::Subgroup(unit, subgroup)) => {
                match systemd::kill_subgroup(&self.bus, unit, subgroup, signal).await? {
                    true => Ok(()),
                    false => to_leader(),
                }
            }
            (KillWhom::All, Processes::Group(group)) => {
                group.signal(signal).await.map_err(|error| no_process(&error))
            }
        }
    }

    /// The record of a machine, and its leader if that has not ended.
    fn known(&self, target: Target) -> Result<(Key, Record, Option<Rc<ProcessHandle>>), Error> {
        let Target::Machine(key) = target else { return Err(Error::IsHost) };
        let record = self.daemon.record(key).ok_or(Error::NoSuchMachine)?;
        Ok((key, record, self.daemon.leader(key)))
    }
}

/// Ends a leader, by SIGKILL if it does not end by itself.
fn end(leader: Option<Rc<ProcessHandle>>, grace: Duration) -> Result<(), Error> {
    let leader = leader.ok_or(Error::LEADER_IS_GONE)?;
    leader.signal(Signal::TERM).map_err(|error| system("terminate the leader", &error))?;
    tokio::task::spawn_local(async move {
        sleep(grace).await;
        // Gone by now, as it should be: the pidfd knows no other process.
        let _ = leader.signal(Signal::KILL);
    });
    Ok(())
}

fn no_process(error: &io::Error) -> Error {
    match error.kind() {
        ErrorKind::NotFound => Error::System { action: "signal the group", errno: Errno::SRCH },
        _ => Error::system("signal the group", error),
    }
}

/// All processes of a machine that are certainly its own.
enum Processes<'a> {
    /// Those of its unit.
    Unit(&'a str),
    /// Those of a group below a unit that it shares.
    Subgroup(&'a str, &'a str),
    /// Those of the group that was made for it.
    Group(Group),
    /// Those of a group that are a user's, as all that were seen in it are. To end the group is not to stop its unit.
    Users(&'a str, u32),
    /// The leader alone.
    Leader,
}

impl<'a> Processes<'a> {
    async fn of(record: &'a Record, daemon_uid: u32) -> Self {
        let user = record.uid.filter(|&uid| uid != 0 && uid != daemon_uid);
        match (own_unit(record), user) {
            (Some(unit), None) => Self::Unit(unit),
            (Some(unit), Some(_)) if unit == systemd::scope_name(&record.name) => Self::Unit(unit),
            (None, None) => match (&record.unit, &record.subgroup) {
                (Some(unit), Some(subgroup)) => Self::Subgroup(unit, subgroup),
                _ => Group::of_record(record).map_or(Self::Leader, Self::Group),
            },
            // Who has one process in a service, a cron job for example, cannot have all of it ended; nor what is below it.
            (_, Some(uid)) if record.unit.is_some() => {
                let group = record.cgroup.as_deref().unwrap_or_default();
                // What systemd-nspawn has beside the payload is the machine's, too, where it has all of the unit.
                let whole = own_unit(record).and_then(|_| group.strip_suffix(PAYLOAD));
                let group = whole.unwrap_or(group).trim_end_matches('/');
                let is_own = |process: &ProcessHandle| process.is_owned_by(uid).unwrap_or(false);
                if !group.is_empty() && is_all_of(group, MANY, is_own).await {
                    Self::Users(group, uid)
                } else {
                    Self::Leader
                }
            }
            (_, Some(_)) => Group::of_record(record).map_or(Self::Leader, Self::Group),
        }
    }
}

/// Opens a process that was known before, if it is still the same. One that is known by its pid alone, before Linux 6.9,
/// could be anybody by now.
fn open(process: Process) -> Result<ProcessHandle, Error> {
    let handle = ProcessHandle::open(process.pid).map_err(|error| system("find the supervisor", &error))?;
    match process.pidfd_id {
        Some(id) if handle.pidfd_id() == Some(id) => Ok(handle),
        _ => Err(Error::System { action: "find the supervisor", errno: Errno::SRCH }),
    }
}

fn system(action: &'static str, error: &libmachine::Error) -> Error {
    Error::System { action, errno: Errno::from_raw_os_error(error.errno()) }
}
