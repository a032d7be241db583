//! From a process to the machines around it: the nearest one, and those that it is nested in.
//!
//! A machine is where its control group is (`CGROUP=` of its record), or, where the record does not tell, where its unit
//! is. The registry decides, never the name of a group alone: what a container calls its groups means nothing.

use registry::{FileError, Files, MachineName, group_link};

use crate::buffer::Buffer;
use crate::errno::Errno;
use crate::group::{Group, below, depends_on_root, unit_of};
use crate::pid::{machine_of_unit, pid_of};
use crate::snapshot::{Field, Snapshot};
use crate::system::{Borrowed, System};
use crate::unit_name::{is_slice, is_unit, unescape};

/// The machines that a process is in, the outermost first, with slashes between them: `outer/inner`.
///
/// # Errors
/// `ESRCH`: no such process. `ENXIO`: it is in no machine that lives. `EUNATCH`: its group is outside of the caller's
/// cgroup namespace.
pub fn path_of_pid(pid: u32) -> Result<Buffer<u8>, Errno> {
    let group = Group::of(pid)?;
    let root = if depends_on_root(group.path()) { Group::visible_root()? } else { Buffer::new() };
    let path = path_of_group(group.path(), &root)?;
    if path.is_empty() { Err(Errno::NXIO) } else { Ok(path) }
}

/// The machines that an open process is in. It is the same process afterwards as before.
///
/// # Errors
/// Those of [`path_of_pid`] and of [`pid_of`].
pub fn path_of_pidfd(pidfd: Borrowed) -> Result<Buffer<u8>, Errno> {
    let path = path_of_pid(pid_of(pidfd)?);
    pid_of(pidfd)?;
    path
}

/// The machines that a control group is in; an empty path if there are none.
pub(crate) fn path_of_group(group: &[u8], root: &[u8]) -> Result<Buffer<u8>, Errno> {
    let outermost = unit_of(below(group, root)).map(|(_, rest)| end_before(group, rest));
    let mut path = Buffer::new();
    let mut last = None;
    let mut end = 0_usize;
    for component in group.split(|&byte| byte == b'/').skip(1) {
        end = end.saturating_add(component.len()).saturating_add(1);
        let Some(prefix) = group.get(..end) else { break };
        let by_unit = Some(end) == outermost;
        let Some(name) = machine_at(prefix, component, by_unit)? else { continue };
        // A machine whose group lies below its unit is met twice.
        if last != Some(name) {
            if !path.is_empty() {
                path.push(b'/')?;
            }
            path.extend(name.as_bytes())?;
            last = Some(name);
        }
    }
    Ok(path)
}

/// Where a path ends before what follows below it.
fn end_before(path: &[u8], rest: &[u8]) -> usize {
    let slash = usize::from(!rest.is_empty());
    path.len().saturating_sub(rest.len()).saturating_sub(slash)
}

/// The living machine whose place is this group. A record that does not tell its group is believed only where sd-login
/// believes it: at the outermost unit.
fn machine_at(group: &[u8], component: &[u8], is_outermost: bool) -> Result<Option<MachineName>, Errno> {
    if let Some(machine) = indexed(group)?
        && machine.text(Field::ControlGroup) == Some(group)
        && machine.is_alive()
    {
        return Ok(Some(*machine.name()));
    }
    let unit = unescape(component);
    if is_slice(component) || !is_unit(unit) {
        return Ok(None);
    }
    let name = match machine_of_unit(unit) {
        Ok(name) => name,
        // A unit may have a name that is too long for a link.
        Err(Errno::NOENT | Errno::INVAL | Errno::NAMETOOLONG) => return Ok(None),
        Err(errno) => return Err(errno),
    };
    let Ok(name) = MachineName::new(&name) else { return Ok(None) };
    let Some(machine) = if_there(&name)? else { return Ok(None) };
    let is_here = match machine.text(Field::ControlGroup) {
        Some(own) => own.strip_prefix(group).is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/")),
        None => is_outermost,
    };
    Ok(Some(name).filter(|_| is_here && machine.is_alive()))
}

/// The machine that the index has for a group.
fn indexed(group: &[u8]) -> Result<Option<Snapshot>, Errno> {
    let mut target = [0_u8; 65];
    match System.read_link(&group_link(group), &mut target) {
        Ok(name) => MachineName::new(name).map_or(Ok(None), |name| if_there(&name)),
        Err(FileError::Absent | FileError::OtherKind) => Ok(None),
        Err(FileError::Errno(errno)) => Err(Errno(errno)),
    }
}

/// What a machine's record says; a damaged one says nothing.
fn if_there(name: &MachineName) -> Result<Option<Snapshot>, Errno> {
    match Snapshot::of(name) {
        Ok(machine) => Ok(Some(machine)),
        Err(Errno::NXIO | Errno::BADMSG) => Ok(None),
        Err(errno) => Err(errno),
    }
}
