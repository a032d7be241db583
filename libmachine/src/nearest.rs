//! From a process to the machines around it: the nearest one, and those that it is nested in.
//!
//! A machine is where its control group is (`CGROUP=` and `CGROUPID=` of its record), or, where the record does not tell,
//! where its unit is; one that has neither is its leader and who descends from that. Of one that shares its group with
//! others the leader is known. The registry decides, never the name
//! of a group alone: what a container calls its groups means nothing, and what another namespace calls them neither.

use registry::{MachineName, group_link, linked_machine};

use crate::buffer::Buffer;
use crate::errno::Errno;
use crate::group::{Group, below, depends_on_root, unit_of};
use crate::hierarchy::Hierarchy;
use crate::pid::machine_of_unit;
use crate::record::Field;
use crate::registries::{Registries, Registry};
use crate::snapshot::Snapshot;
use crate::unit_name::{is_slice, is_unit, unescape};

/// The machines that the control group of a process tells, the outermost first.
///
/// # Errors
/// Those of [`machines_of_pid`](crate::machines_of_pid).
pub(crate) fn machines_by_group(registries: Registries, pid: u32) -> Result<Buffer<Snapshot>, Errno> {
    let group = Group::of(pid)?;
    let root = if depends_on_root(group.path()) { Group::visible_root()? } else { Buffer::new() };
    machines_of_group(registries, group.path(), &root)
}

/// The names of machines, the outermost first, with slashes between them: `outer/inner`.
///
/// # Errors
/// `ENOMEM`.
#[inline(never)]
pub fn path_of(machines: &[Snapshot]) -> Result<Buffer<u8>, Errno> {
    let mut path = Buffer::new();
    for machine in machines {
        if !path.is_empty() {
            path.push(b'/')?;
        }
        path.extend(machine.name().as_bytes())?;
    }
    Ok(path)
}

/// The machines that a control group is in.
pub(crate) fn machines_of_group(
    registries: Registries,
    group: &[u8],
    root: &[u8],
) -> Result<Buffer<Snapshot>, Errno> {
    let outermost = unit_of(below(group, root)).map(|(_, rest)| end_before(group, rest));
    let mut search = Search { registries, hierarchy: None, machines: Buffer::new() };
    let mut end = 0_usize;
    for component in group.split(|&byte| byte == b'/').skip(1) {
        end = end.saturating_add(component.len()).saturating_add(1);
        let Some(prefix) = group.get(..end) else { break };
        search.visit(prefix, component, Some(end) == outermost)?;
    }
    Ok(search.machines)
}

/// Where a path ends before what follows below it.
fn end_before(path: &[u8], rest: &[u8]) -> usize {
    let slash = usize::from(!rest.is_empty());
    path.len().saturating_sub(rest.len()).saturating_sub(slash)
}

struct Search {
    registries: Registries,
    /// Looked at when it is needed: most groups are no machine's.
    hierarchy: Option<Hierarchy>,
    machines: Buffer<Snapshot>,
}

impl Search {
    /// Takes in the living machine whose place is this group, if there is one.
    fn visit(&mut self, group: &[u8], component: &[u8], is_outermost: bool) -> Result<(), Errno> {
        let mut found = None;
        for registry in self.registries.iter() {
            found = self.machine_at(registry, group, component, is_outermost)?;
            if found.is_some() {
                break;
            }
        }
        // A machine whose group lies below its unit is met twice.
        let is_known =
            |machine: &Snapshot| self.machines.last().is_some_and(|last| last.name() == machine.name());
        match found.filter(|machine| !is_known(machine)) {
            Some(machine) => self.machines.push(machine),
            None => Ok(()),
        }
    }

    /// A record that does not tell its group is believed only where sd-login believes it: at the outermost unit.
    fn machine_at(
        &mut self,
        registry: Registry,
        group: &[u8],
        component: &[u8],
        is_outermost: bool,
    ) -> Result<Option<Snapshot>, Errno> {
        if let Some(machine) = indexed(registry, group)?
            && machine.text(Field::ControlGroup) == Some(group)
            && self.is_of(&machine, group)?
            && machine.is_alive()
        {
            return Ok(Some(machine));
        }
        let unit = unescape(component);
        if is_slice(component) || !is_unit(unit) {
            return Ok(None);
        }
        let name = match machine_of_unit(registry, unit) {
            Ok(name) => name,
            // A unit may have a name that is too long for a link.
            Err(Errno::NOENT | Errno::INVAL | Errno::NAMETOOLONG) => return Ok(None),
            Err(errno) => return Err(errno),
        };
        let Ok(name) = MachineName::new(&name) else { return Ok(None) };
        let Some(machine) = Snapshot::if_there_in(registry, &name)? else { return Ok(None) };
        let place = match machine.text(Field::ControlGroup) {
            Some(own) => Some(own).filter(|own| {
                own.strip_prefix(group).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
            }),
            None => Some(group).filter(|_| is_outermost),
        };
        let is_here = match place {
            Some(place) => self.is_of(&machine, place)? && machine.is_alive(),
            None => false,
        };
        Ok(Some(machine).filter(|_| is_here))
    }

    fn is_of(&mut self, machine: &Snapshot, path: &[u8]) -> Result<bool, Errno> {
        let hierarchy = match self.hierarchy.take() {
            Some(hierarchy) => hierarchy,
            None => Hierarchy::look()?,
        };
        self.hierarchy.insert(hierarchy).is_of(machine, path)
    }
}

/// The machine that the index of a registry has for a group.
fn indexed(registry: Registry, group: &[u8]) -> Result<Option<Snapshot>, Errno> {
    match linked_machine(&registry, &group_link(group)).map_err(Errno)? {
        Some(name) => Snapshot::if_there_in(registry, &name),
        None => Ok(None),
    }
}
