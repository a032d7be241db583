//! Reads the published records when the daemon starts: what lives is taken in again, what is dead is removed.

use std::rc::Rc;

use libmachine::ProcessHandle;
use registry::{Addresses, Class, KernelProcesses, MachineName, Record, is_alive};
use tracing::{info, warn};

use crate::daemon::Daemon;
use crate::error::Error;
use crate::group::Group;
use crate::log::with_causes;

/// Takes in the machines whose records were written by an earlier run, of this daemon or of another one.
///
/// A record that cannot be read is left alone, and so is its file: it concerns its machine only.
///
/// # Errors
/// Where the directory cannot be listed.
pub fn restore(daemon: &Rc<Daemon>) -> Result<(), Error> {
    let mut records = Vec::new();
    for name in daemon.publisher().records().names()?.machines {
        match daemon.publisher().records().read(&name) {
            Ok(record) => records.push(record),
            Err(error) => warn!("{}", with_causes(&error)),
        }
    }
    // In the order in which they were registered.
    records.sort_by_key(|record| (record.monotonic, record.name));
    for record in records {
        let name = record.name;
        if let Err(error) = take_in(daemon, record) {
            warn!("Machine {name} is not taken in again: {}", with_causes(&error));
        }
    }
    daemon.machines(|machines| daemon.publisher().tidy(machines))?;
    Group::sweep(|group| daemon.machines(|machines| machines.by_group(group).is_some()));
    Ok(())
}

fn take_in(daemon: &Rc<Daemon>, mut record: Record) -> Result<(), Error> {
    let Some(leader) = living_leader(&record) else {
        info!("Machine {} ended while nobody watched.", record.name);
        return remove_dead(daemon, &record.name);
    };
    if daemon.machines(|machines| machines.conflict(&record)).is_some() {
        warn!("Machine {} claims what another one has; its record is removed.", record.name);
        return remove_dead(daemon, &record.name);
    }
    // What another daemon's record does not say, or what has changed since.
    record.leader = Some(leader.identity());
    record.leader_start_time = leader.start_time();
    record.pid_namespace = daemon.surroundings.pid_namespace;
    record.uid_map = leader.id_map("uid_map").unwrap_or(record.uid_map);
    record.gid_map = leader.id_map("gid_map").unwrap_or(record.gid_map);
    if daemon.surroundings.systemd.is_some() {
        complete_unit(&mut record, &leader, daemon);
    }
    let found = match record.class {
        Class::Container => Some(daemon.keeper.look_at(&leader, &record.interfaces)?),
        Class::Vm => None,
    };
    record.addresses = found.as_ref().map_or(Addresses::Unknown, |found| found.resolved.clone());
    daemon.tell_started(&record);
    let key = daemon.admit(record, leader)?;
    if let Some(found) = found {
        daemon.keeper.joined(key, found);
    }
    Ok(())
}

/// The subgroup, which the original does not write down: without it a machine would seem to have all of a unit
/// that it shares.
fn complete_unit(record: &mut Record, leader: &ProcessHandle, daemon: &Daemon) {
    let (Some(init), Ok(group)) = (&daemon.surroundings.systemd, leader.control_group()) else { return };
    let Some(place) = group.unit(init) else { return };
    if record.unit.is_none() || record.unit.as_ref() == Some(&place.unit) {
        record.unit = Some(place.unit);
        record.subgroup =
            record.subgroup.take().or(Some(place.subgroup)).filter(|subgroup| !subgroup.is_empty());
        record.cgroup = Some(group.path().to_owned());
    }
}

fn living_leader(record: &Record) -> Option<ProcessHandle> {
    let identity = record.leader_identity();
    let handle = ProcessHandle::open(record.leader?.pid).ok()?;
    // The process is pinned now, so that what is found of it holds.
    is_alive(&identity, &KernelProcesses).then_some(handle)
}

fn remove_dead(daemon: &Daemon, name: &MachineName) -> Result<(), Error> {
    Ok(daemon.publisher().records().remove(name)?)
}
