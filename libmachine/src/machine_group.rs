//! The control group that has all processes of a machine, and what can be done with it.

use crate::buffer::Buffer;
use crate::errno::Errno;
use crate::group::{Group, below, unit_of};
use crate::hierarchy::{Hierarchy, each_process};
use crate::pid::machine_of_unit;
use crate::record::Field;
use crate::snapshot::Snapshot;
use crate::system::Descriptor;

/// Where a machine's processes are.
#[derive(Debug)]
pub enum MachineGroup {
    /// In the group with this path and those below.
    At(Buffer<u8>),
    /// Nowhere that could be found by a process: it has no group, or none here.
    Nowhere,
    /// It has a group, but which is not known.
    Unknown,
}

impl MachineGroup {
    /// The group of a machine; root is that which systemd runs in.
    ///
    /// # Errors
    /// A shortage of descriptors or memory.
    pub fn of(hierarchy: &Hierarchy, machine: &Snapshot, root: &[u8]) -> Result<Self, Errno> {
        let unit = machine.text(Field::Unit);
        // Asked where it matters alone, as it takes a system call.
        let owns_unit = || match unit.map(|unit| machine_of_unit(machine.registry(), unit)) {
            Some(Ok(owner)) => Ok(*owner == *machine.name().as_bytes()),
            Some(Err(errno)) if errno.is_shortage() => Err(errno),
            _ => Ok(false),
        };
        let mut place = Buffer::new();
        if let Some(group) = machine.text(Field::ControlGroup) {
            if !hierarchy.is_of(machine, group)? {
                return Ok(Self::Nowhere);
            }
            // All of the unit is the machine's, not only the group below.
            let subgroup = machine.text(Field::Subgroup);
            let above = subgroup.and_then(|subgroup| group.strip_suffix(subgroup)?.strip_suffix(b"/"));
            place.extend(match above {
                Some(above) if owns_unit()? => above,
                _ => group,
            })?;
            return Ok(Self::At(place));
        }
        let (Some(unit), Some(leader)) = (unit, machine.leader()) else {
            return Ok(Self::Nowhere);
        };
        if !owns_unit()? {
            return Ok(Self::Nowhere);
        }
        let Ok(group) = Group::of(u32::try_from(leader).unwrap_or_default()) else {
            return Ok(Self::Unknown);
        };
        match unit_of(below(group.path(), root)) {
            Some((found, rest)) if found == unit => {
                let length = group.path().len().saturating_sub(rest.len());
                let path = group.path().get(..length).unwrap_or_default();
                place.extend(path.strip_suffix(b"/").unwrap_or(path))?;
                Ok(if hierarchy.is_of(machine, &place)? { Self::At(place) } else { Self::Nowhere })
            }
            _ => Ok(Self::Unknown),
        }
    }
}

impl Snapshot {
    /// Opens the directory of the machine's control group, which is certainly that group, whatever it is called from here.
    ///
    /// # Errors
    /// `ENODATA`: the record does not tell the group and its id. `EUNATCH`: no such group is to be seen from here.
    pub fn open_control_group(&self) -> Result<Descriptor, Errno> {
        let path = self.text(Field::ControlGroup).ok_or(Errno::NODATA)?;
        Hierarchy::checked()?.open(self, path)
    }

    /// All processes of the machine, in one pass over its control groups, each once, in no order. Those of machines that are
    /// nested in it, or share its group, are among them; those that the caller's PID namespace does not see are not.
    ///
    /// # Errors
    /// `ENODATA`: its control group is not known, as of a machine that has none. `EUNATCH`: that is not to be seen from
    /// here.
    pub fn processes(&self) -> Result<Buffer<i32>, Errno> {
        let hierarchy = Hierarchy::checked()?;
        let mount = hierarchy.mount().ok_or(Errno::UNATCH)?;
        let group = match MachineGroup::of(&hierarchy, self, &Group::visible_root()?)? {
            MachineGroup::At(path) => path,
            MachineGroup::Nowhere if self.text(Field::ControlGroup).is_some() => return Err(Errno::UNATCH),
            MachineGroup::Nowhere | MachineGroup::Unknown => return Err(Errno::NODATA),
        };
        let mut pids = Buffer::new();
        let is_complete =
            each_process(mount, &group, &mut |pid| if pid > 0 { pids.push(pid) } else { Ok(()) })?;
        if is_complete { Ok(pids) } else { Err(Errno(libc::EACCES)) }
    }
}
