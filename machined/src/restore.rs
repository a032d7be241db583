//! Reads the published records when the daemon starts: what lives is taken in again, what is dead is removed.
//!
//! What an earlier run of this daemon wrote down is believed, as a run that goes on believes it; the networks, which may
//! have changed since, are looked at when others are served already.

use libmachine::ProcessHandle;
use registry::{Class, KernelProcesses, MachineName, OpenError, Processes, Record, is_alive};
use rustix::io::Errno;
use tokio::task::yield_now;
use tracing::{info, warn};

use crate::addresses::Keeper;
use crate::daemon::{Daemon, outlasts_leader};
use crate::error::Error;
use crate::group::Group;
use crate::journal::Note;
use crate::log::with_causes;
use crate::machines::Key;
use crate::unit_part::UnitPart;

/// So many machines are read, or taken in, before others get their turn.
const TURN: usize = 32;

/// What came of the records.
#[derive(Debug)]
pub struct Restored {
    /// What is to be noted in the journal.
    pub started: Vec<Note>,
    /// Whether all machines are there, as an earlier run of this daemon left them when it ended, links and lists too.
    pub is_as_left: bool,
}

/// What came of a record.
struct Taken {
    note: Note,
    /// Whether the record stays as it was found, and with it whatever leads to it.
    is_as_left: bool,
}

/// Takes in the machines whose records were written by an earlier run, of this daemon or of another one.
///
/// A record that cannot be read is left alone, and so is its file: it concerns its machine only. Others get their turn
/// meanwhile.
///
/// # Errors
/// Where the directory cannot be listed, or a record or a process not be opened for want of descriptors and the like: a
/// daemon that cannot tell the living from the dead must not begin.
pub async fn restore(daemon: &Daemon, keeper: &Keeper<Key>) -> Result<Restored, Error> {
    let names = daemon.publisher().records().names()?;
    let mut is_as_left = daemon.publisher().was_left_in_order(names.machines.len());
    for temporary in &names.temporary {
        if let Err(error) = daemon.publisher().records().remove_temporary(temporary) {
            warn!("{}", with_causes(&error));
        }
    }
    let mut records = Vec::with_capacity(names.machines.len());
    for (turn, name) in names.machines.into_iter().enumerate() {
        give_turn(turn).await;
        match daemon.publisher().records().read_with_text(&name) {
            Ok(record) => records.push(record),
            Err(error) if is_shortage(&error) => return Err(error.into()),
            Err(error) => {
                is_as_left = false;
                warn!("{}", with_causes(&error));
            }
        }
    }
    // In the order in which they were registered.
    records.sort_unstable_by_key(|(record, _)| (record.monotonic, record.name));
    let mut started = Vec::new();
    for (turn, (record, text)) in records.into_iter().enumerate() {
        give_turn(turn).await;
        let taken = take_in(daemon, keeper, record, &text)?;
        is_as_left &= taken.as_ref().is_some_and(|taken| taken.is_as_left);
        started.extend(taken.map(|taken| taken.note));
    }
    daemon.publisher().complete();
    let is_in_use = |group: &str| daemon.machines(|machines| machines.by_group(group).is_some());
    Group::sweep(is_in_use, daemon.surroundings.grace);
    Ok(Restored { started, is_as_left })
}

/// Whether it says nothing of the record that it could not be read.
fn is_shortage(error: &registry::Error) -> bool {
    let registry::Error::Io { source, .. } = error else { return false };
    let shortages = [Errno::MFILE, Errno::NFILE, Errno::NOMEM].map(Errno::raw_os_error);
    source.raw_os_error().is_some_and(|errno| shortages.contains(&errno))
}

async fn give_turn(turn: usize) {
    if turn.is_multiple_of(TURN) {
        yield_now().await;
    }
}

/// The original writes down no PID namespace.
const fn is_ours(record: &Record) -> bool {
    record.pid_namespace.is_some()
}

fn take_in(
    daemon: &Daemon,
    keeper: &Keeper<Key>,
    mut record: Record,
    text: &[u8],
) -> Result<Option<Taken>, Error> {
    let own = daemon.surroundings.pid_namespace;
    if record.pid_namespace.is_some() && own.is_some() && record.pid_namespace != own {
        warn!("Machine {} is not taken in: its leader is in another PID namespace.", record.name);
        return Ok(None);
    }
    let Some(leader) = living_leader(&record)? else { return ended(daemon, record, text) };
    let is_ours = is_ours(&record);
    if daemon.surroundings.systemd.is_some() && !(is_ours && record.cgroup.is_some()) {
        complete_unit(&mut record, &leader, daemon);
    }
    if daemon.machines(|machines| machines.conflict(&record)).is_some() {
        warn!("Machine {} claims what another one has; its record is removed.", record.name);
        return remove_dead(daemon, &record.name).map(|()| None);
    }
    record.leader = Some(leader.identity());
    record.leader_start_time = leader.identifying_start_time();
    record.pid_namespace = daemon.surroundings.pid_namespace;
    // A map is written once and for all.
    if (record.uid_map.is_empty() || record.gid_map.is_empty() || !is_ours)
        && let Ok(maps) = daemon.id_maps(&leader)
    {
        (record.uid_map, record.gid_map) = maps;
    }
    let found = match record.class {
        Class::Container if is_ours => None,
        // The only error there is: the leader has ended.
        Class::Container => match keeper.look_at(&leader, &record.interfaces, true) {
            Ok(found) => Some(found),
            Err(_) => return ended(daemon, record, text),
        },
        Class::Vm => None,
    };
    if let Some(found) = &found {
        record.resolve_to(found.resolution.clone());
    }
    let (note, is_container) = (Note::of(&record), record.class == Class::Container);
    let is_as_left = record.emit().as_bytes() == text;
    let key = daemon.admit_again(record, leader, is_as_left)?;
    match found {
        Some(found) => keeper.joined(key, found),
        None if is_container => keeper.restored(key),
        None => {}
    }
    Ok(Some(Taken { note, is_as_left }))
}

/// The subgroup, which the original does not write down: without it a machine would seem to have all of a unit
/// that it shares. Ours does (and a namespace of PIDs, by which a record of ours is known): where there is none, the
/// machine was given all of its unit.
fn complete_unit(record: &mut Record, leader: &ProcessHandle, daemon: &Daemon) {
    let (Some(init), Ok(group)) = (&daemon.surroundings.systemd, leader.control_group()) else { return };
    // A record of ours without a group is that of a machine with a scope of its own, which may be about to begin.
    let is_whole = is_ours(record) && record.subgroup.is_none();
    let part = if is_whole { UnitPart::of_unit(&group, init) } else { UnitPart::of(&group, init) };
    let Some(part) = part else { return };
    if record.unit.is_none() || record.unit.as_ref() == Some(&part.unit) {
        record.unit = Some(part.unit);
        if record.pid_namespace.is_none() {
            record.subgroup = record.subgroup.take().or(part.subgroup);
        }
        record.cgroup = Some(part.cgroup);
    }
}

fn living_leader(record: &Record) -> Result<Option<ProcessHandle>, Error> {
    let Some(leader) = record.leader else { return Ok(None) };
    let handle = match ProcessHandle::open(leader.pid) {
        Ok(handle) => handle,
        Err(libmachine::Error::NoSuchProcess(_) | libmachine::Error::InvalidPid(_)) => return Ok(None),
        Err(error) => {
            let errno = Errno::from_raw_os_error(error.errno());
            return Err(Error::System { action: "open the leader of a machine", errno });
        }
    };
    let is_leader = is_alive(&record.leader_identity(), &Pinned(&handle));
    Ok(is_leader.then_some(handle))
}

/// A process that is open already, so that what is found of it holds.
struct Pinned<'a>(&'a ProcessHandle);

impl Processes for Pinned<'_> {
    type Handle = ();

    fn open(&self, _: i32) -> Result<(), OpenError> {
        Ok(())
    }

    fn inode(&self, (): &()) -> Option<u64> {
        // Not the handle's own identity, which has no number before Linux 6.9: all pidfds share one there, no leader's.
        rustix::fs::fstat(self.0.pidfd()).ok().map(|stat| stat.st_ino)
    }

    fn has_exited(&self, (): &()) -> bool {
        self.0.has_exited()
    }

    fn is_gone(&self, pid: i32) -> bool {
        KernelProcesses.is_gone(pid)
    }
    fn start_time(&self, pid: i32) -> Option<u64> {
        KernelProcesses.start_time(pid)
    }

    fn pid_namespace(&self) -> Option<u64> {
        KernelProcesses.pid_namespace()
    }
}

/// A machine whose leader died, and nobody heard of it. What is left of it may still be there.
fn ended(daemon: &Daemon, record: Record, text: &[u8]) -> Result<Option<Taken>, Error> {
    if !outlasts_leader(&record) || daemon.machines(|machines| machines.conflict(&record)).is_some() {
        info!("Machine {} ended while nobody watched.", record.name);
        return remove_dead(daemon, &record.name).map(|()| None);
    }
    let (note, name) = (Note::of(&record), record.name);
    let is_as_left = record.emit().as_bytes() == text;
    if !daemon.admit_ended(record, is_as_left) {
        info!("Machine {name} ended while nobody watched.");
        return Ok(None);
    }
    info!("The leader of machine {name} ended while nobody watched.");
    Ok(Some(Taken { note, is_as_left }))
}

fn remove_dead(daemon: &Daemon, name: &MachineName) -> Result<(), Error> {
    Ok(daemon.publisher().records().remove(name)?)
}
