//! Reads the published records when the daemon starts: what lives is taken in again, what is dead is removed.

use std::rc::Rc;

use libmachine::ProcessHandle;
use registry::{Addresses, Class, KernelProcesses, MachineName, Record, is_alive};
use rustix::io::Errno;
use tracing::{info, warn};

use crate::daemon::Daemon;
use crate::error::Error;
use crate::group::Group;
use crate::log::with_causes;
use crate::place::Place;

/// Takes in the machines whose records were written by an earlier run, of this daemon or of another one.
///
/// A record that cannot be read is left alone, and so is its file: it concerns its machine only.
///
/// # Errors
/// Where the directory cannot be listed, or a process not be opened for want of descriptors and the like: a daemon that
/// cannot tell the living from the dead must not begin.
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
        take_in(daemon, record)?;
    }
    daemon.machines(|machines| daemon.publisher().tidy(machines))?;
    Group::sweep(|group| daemon.machines(|machines| machines.by_group(group).is_some()));
    Ok(())
}

fn take_in(daemon: &Rc<Daemon>, mut record: Record) -> Result<(), Error> {
    let own = daemon.surroundings.pid_namespace;
    if record.pid_namespace.is_some() && own.is_some() && record.pid_namespace != own {
        warn!("Machine {} is not taken in: its leader is in another PID namespace.", record.name);
        return Ok(());
    }
    let Some(leader) = living_leader(&record)? else { return ended(daemon, &record) };
    // What another daemon's record does not say, or what has changed since.
    if daemon.surroundings.systemd.is_some() {
        complete_unit(&mut record, &leader, daemon);
    }
    if daemon.machines(|machines| machines.conflict(&record)).is_some() {
        warn!("Machine {} claims what another one has; its record is removed.", record.name);
        return remove_dead(daemon, &record.name);
    }
    record.leader = Some(leader.identity());
    record.leader_start_time = leader.identifying_start_time();
    record.pid_namespace = daemon.surroundings.pid_namespace;
    if let Ok(maps) = daemon.id_maps(&leader) {
        (record.uid_map, record.gid_map) = maps;
    }
    let found = match record.class {
        // The only error there is: the leader has ended.
        Class::Container => match daemon.keeper.look_at(&leader, &record.interfaces, true) {
            Ok(found) => Some(found),
            Err(_) => return ended(daemon, &record),
        },
        Class::Vm => None,
    };
    record.addresses = found.as_ref().map_or(Addresses::Unknown, |found| found.resolved.clone());
    daemon.tell_started(&record);
    let key = daemon.admit_again(record, leader)?;
    if let Some(found) = found {
        daemon.keeper.joined(key, found);
    }
    Ok(())
}

/// The subgroup, which the original does not write down: without it a machine would seem to have all of a unit
/// that it shares. Ours does (and a namespace of PIDs, by which a record of ours is known): where there is none, the
/// machine was given all of its unit.
fn complete_unit(record: &mut Record, leader: &ProcessHandle, daemon: &Daemon) {
    let (Some(init), Ok(group)) = (&daemon.surroundings.systemd, leader.control_group()) else { return };
    let Some(place) = Place::of(&group, init) else { return };
    if record.unit.is_none() || record.unit.as_ref() == Some(&place.unit) {
        record.unit = Some(place.unit);
        if record.pid_namespace.is_none() {
            record.subgroup = record.subgroup.take().or(place.subgroup);
        }
        record.cgroup = Some(place.cgroup);
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
    // The process is pinned now, so that what is found of it holds.
    Ok(is_alive(&record.leader_identity(), &KernelProcesses).then_some(handle))
}

/// A machine whose leader died, and nobody heard of it.
fn ended(daemon: &Daemon, record: &Record) -> Result<(), Error> {
    info!("Machine {} ended while nobody watched.", record.name);
    remove_dead(daemon, &record.name)?;
    daemon.end_rest(record);
    Ok(())
}

fn remove_dead(daemon: &Daemon, name: &MachineName) -> Result<(), Error> {
    Ok(daemon.publisher().records().remove(name)?)
}
