//! Many processes at once, for tools that show all of them.
//!
//! Where there are more processes than machines, the machines are asked which processes they have, `cgroup.procs` of
//! each of their groups, instead of the other way round: a read for every group, none for every process.

use registry::{ANCESTORS_MAX, MachineName, group_link, linked_machine};

use crate::ancestry::{Leaders, leader_of_entry, machines_of_pid, open_index, parent_of};
use crate::buffer::Buffer;
use crate::errno::Errno;
use crate::group::Group;
use crate::hierarchy::{Hierarchy, each_process};
use crate::machine_group::MachineGroup;
use crate::names::{all_names, each_entry};
use crate::nearest::{machines_of_group, path_of};
use crate::pid::machine_of_unit;
use crate::pid_table::PidTable;
use crate::record::Field;
use crate::registries::Registries;
use crate::snapshot::Snapshot;
use crate::sort::sort;
use crate::system::Descriptor;

/// So many paths of groups are remembered with the machines that they are in.
const REMEMBERED: usize = 64;

/// Of so many processes it is remembered whether they descend from the leader of a machine.
const FAMILIES: usize = 256;

/// The machines of many processes.
#[derive(Debug, Default)]
pub struct Batch {
    texts: Buffer<u8>,
    /// For each process where its text begins, plus one; 0 for none.
    places: Buffer<usize>,
}

impl Batch {
    /// Looks for the machines of these processes, as [`machines_of_pid`](crate::machines_of_pid) does for one.
    ///
    /// # Errors
    /// `ENOMEM`, `EMFILE` and the like. `ESRCH`: there is no /proc. That a process is in no machine, gone or hidden is none,
    /// nor that a record cannot be read.
    pub fn of(pids: &[i32]) -> Result<Self, Errno> {
        let mut batch = Self::default();
        batch.places.fill(0, pids.len())?;
        let registries = Registries::look();
        let machines = all_names(registries)?;
        if machines.is_empty() {
            return Ok(batch);
        }
        let root = Group::visible_root()?;
        let hierarchy = Hierarchy::checked()?;
        let is_complete = match hierarchy.mount().filter(|_| pids.len() >= machines.len()) {
            Some(mount) => batch.ask_machines(&hierarchy, mount, pids, &machines, &root)?,
            None => false,
        };
        if !is_complete {
            batch.ask_processes(registries, pids, &root)?;
        }
        if Leaders::look(registries)?.are_any {
            batch.ask_leaders(registries, pids)?;
        }
        Ok(batch)
    }

    /// The machines that the process at this place is in, as `outer/inner`, with the zero byte that ends the text.
    pub fn path_with_zero(&self, index: usize) -> Option<&[u8]> {
        let rest = self.texts.get(self.places.get(index)?.checked_sub(1)?..)?;
        let length = rest.iter().position(|&byte| byte == 0)?;
        rest.get(..length.wrapping_add(1))
    }

    /// The machines that the process at this place is in, as `outer/inner`; `None` if it is in none.
    pub fn path(&self, index: usize) -> Option<&str> {
        let text = self.path_with_zero(index)?.strip_suffix(&[0])?;
        core::str::from_utf8(text).ok()
    }

    /// How many processes were asked for, in a machine or not.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether no process was asked for.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// How many of the processes are in a machine.
    pub fn found(&self) -> usize {
        self.places.iter().fold(0, |number, &place| number.wrapping_add(usize::from(place != 0)))
    }

    /// Takes in a text; the place is where it begins, plus one.
    fn text(&mut self, pieces: &[&[u8]]) -> Result<usize, Errno> {
        let place = self.texts.len().wrapping_add(1);
        pieces.iter().try_for_each(|piece| self.texts.extend(piece))?;
        self.texts.push(0)?;
        Ok(place)
    }

    /// Asks each machine for its processes; `false` if one could not be asked.
    fn ask_machines(
        &mut self,
        hierarchy: &Hierarchy,
        mount: &Descriptor,
        pids: &[i32],
        names: &[MachineName],
        root: &[u8],
    ) -> Result<bool, Errno> {
        let table = PidTable::of(pids)?;
        let (mut paths, mut homes) = (Buffer::new(), Buffer::new());
        let mut is_complete = true;
        for name in names {
            match group_of(hierarchy, name, root) {
                Ok(MachineGroup::At(path)) => {
                    homes.push((path.len(), paths.len(), *name))?;
                    paths.extend(&path)?;
                }
                Ok(MachineGroup::Nowhere) => {}
                Ok(MachineGroup::Unknown) => is_complete = false,
                Err(errno) if errno.is_shortage() => return Err(errno),
                // It cannot be read, and may be nested in a machine that can: that one would claim its processes.
                Err(_) => return Ok(false),
            }
        }
        // From the outside to the inside: who is found in a second machine is found in one that is nested in the first.
        sort(&mut homes, |(one, ..), (other, ..)| one < other);
        for &(length, start, name) in homes.iter() {
            let path = paths.get(start..start.saturating_add(length)).unwrap_or_default();
            is_complete &= self.ask_machine(mount, path, &name, &table)?;
        }
        Ok(is_complete)
    }

    /// Asks one machine; `false` if it could not be asked.
    fn ask_machine(
        &mut self,
        mount: &Descriptor,
        path: &[u8],
        name: &MachineName,
        table: &PidTable,
    ) -> Result<bool, Errno> {
        // The text of those that are in no other machine, or in the one with this text.
        let mut known = None;
        each_process(mount, path, &mut |pid| {
            for index in table.places(pid) {
                let around = self.places.get(index).copied().unwrap_or_default();
                let place = match known {
                    Some((same, place)) if same == around => place,
                    _ => {
                        let place = self.text_within(index, name)?;
                        known = Some((around, place));
                        place
                    }
                };
                if let Some(slot) = self.places.get_mut(index) {
                    *slot = place;
                }
            }
            Ok(())
        })
    }

    /// Asks each process that nothing is known of.
    fn ask_processes(&mut self, registries: Registries, pids: &[i32], root: &[u8]) -> Result<(), Errno> {
        let mut seen = Memory::default();
        let mut next = 0_usize;
        for &pid in pids {
            let index = next;
            next = next.wrapping_add(1);
            let is_known = self.places.get(index).is_none_or(|&place| place != 0);
            let Some(pid) = u32::try_from(pid).ok().filter(|&pid| pid > 0 && !is_known) else { continue };
            let group = match Group::of(pid) {
                Ok(group) => group,
                Err(errno) if errno.is_shortage() => return Err(errno),
                // Gone, or hidden from the caller.
                Err(_) => continue,
            };
            let place = match seen.find(group.path()) {
                Some(place) => place,
                None => {
                    let path = match machines_of_group(registries, group.path(), root) {
                        Err(errno) if !errno.is_shortage() => Buffer::new(),
                        machines => path_of(&machines?)?,
                    };
                    let place = if path.is_empty() { 0 } else { self.text(&[&path])? };
                    seen.add(group.path(), place)?;
                    place
                }
            };
            if let Some(slot) = self.places.get_mut(index) {
                *slot = place;
            }
        }
        Ok(())
    }
}

impl Batch {
    /// Asks anew for each process that leads a machine of the leader index, or descends from one that does.
    fn ask_leaders(&mut self, registries: Registries, pids: &[i32]) -> Result<(), Errno> {
        let mut leaders = Buffer::new();
        for registry in registries.iter() {
            if let Some(index) = open_index(registry)? {
                each_entry(&index, &mut |entry| leaders.push(leader_of_entry(entry.name)))?;
            }
        }
        let mut families = Families { leaders: PidTable::of(&leaders)?, met: [(0, false); FAMILIES] };
        let mut next = 0_usize;
        for &pid in pids {
            let index = next;
            next = next.wrapping_add(1);
            let Some(pid) = u32::try_from(pid).ok().filter(|&pid| pid > 0) else { continue };
            if !families.have(pid)? {
                continue;
            }
            let path = match machines_of_pid(pid) {
                Err(errno) if !errno.is_shortage() => continue,
                machines => path_of(&machines?)?,
            };
            let place = if path.is_empty() { 0 } else { self.text(&[&path])? };
            if let Some(slot) = self.places.get_mut(index) {
                *slot = place;
            }
        }
        Ok(())
    }

    /// Takes in the text of a process that is also in this machine, within those that are known.
    fn text_within(&mut self, index: usize, name: &MachineName) -> Result<usize, Errno> {
        let mut outer = Buffer::new();
        if let Some(text) = self.path_with_zero(index).and_then(|text| text.strip_suffix(&[0])) {
            outer.extend(text)?;
            outer.push(b'/')?;
        }
        self.text(&[&outer, name.as_bytes()])
    }
}

/// The leaders of some machines, and who descends from them.
struct Families {
    leaders: PidTable,
    /// What was found of processes met before: mostly the parents of those that are asked for.
    met: [(u32, bool); FAMILIES],
}

impl Families {
    /// Whether a process leads one of the machines, or descends from one that does.
    fn have(&mut self, pid: u32) -> Result<bool, Errno> {
        let mut next = Some(pid);
        let mut has = false;
        for _ in 0..=ANCESTORS_MAX {
            let Some(process) = next else { break };
            if let Some(&mut (_, known)) = self.met_at(process).filter(|(met, _)| *met == process) {
                has = known;
                break;
            }
            let number = i32::try_from(process).unwrap_or_default();
            has = self.leaders.places(number).next().is_some();
            next = if has { None } else { parent_of(process)? };
        }
        if let Some(slot) = self.met_at(pid) {
            *slot = (pid, has);
        }
        Ok(has)
    }

    fn met_at(&mut self, pid: u32) -> Option<&mut (u32, bool)> {
        self.met.get_mut(usize::try_from(pid).unwrap_or_default() % FAMILIES)
    }
}

/// The groups that were met last, and what is known of them.
#[derive(Default)]
struct Memory {
    paths: Buffer<u8>,
    entries: Buffer<(usize, usize, usize)>,
}

impl Memory {
    fn find(&self, path: &[u8]) -> Option<usize> {
        let text = |start: usize, length| self.paths.get(start..start.saturating_add(length));
        self.entries
            .iter()
            .rev()
            .find(|&&(start, length, _)| text(start, length) == Some(path))
            .map(|entry| entry.2)
    }

    fn add(&mut self, path: &[u8], place: usize) -> Result<(), Errno> {
        if self.entries.len() >= REMEMBERED {
            self.entries.truncate(0);
            self.paths.truncate(0);
        }
        self.entries.push((self.paths.len(), path.len(), place))?;
        self.paths.extend(path)
    }
}

/// The group of a machine by its name; one that is gone, or whose record is damaged, has none.
fn group_of(hierarchy: &Hierarchy, name: &MachineName, root: &[u8]) -> Result<MachineGroup, Errno> {
    match Snapshot::of(name) {
        Ok(machine) if machine.is_alive() && leads_here(&machine)? => {
            MachineGroup::of(hierarchy, &machine, root)
        }
        Ok(_) | Err(Errno::NXIO | Errno::BADMSG) => Ok(MachineGroup::Nowhere),
        Err(errno) => Err(errno),
    }
}

/// Whether the registry leads from the group that a record tells, or from its unit, to the machine: a group that it shares with
/// others, or that it may not claim, does not.
fn leads_here(machine: &Snapshot) -> Result<bool, Errno> {
    let Some(group) = machine.text(Field::ControlGroup) else { return Ok(true) };
    // Mostly it is the group of a unit, which is asked about first.
    match machine.text(Field::Unit).map(|unit| machine_of_unit(machine.registry(), unit)) {
        Some(Ok(owner)) if *owner == *machine.name().as_bytes() => return Ok(true),
        Some(Err(errno)) if errno.is_shortage() => return Err(errno),
        _ => {}
    }
    let owner = linked_machine(&machine.registry(), &group_link(group)).map_err(Errno)?;
    Ok(owner.as_ref() == Some(machine.name()))
}
