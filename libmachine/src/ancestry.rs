//! Machines that have neither a unit nor a control group: their processes are the leader and its descendants, which are
//! found by the leader index.

use registry::{ANCESTORS_MAX, Decimal, LEADER_DIRECTORY, leader_link, linked_machine};

use crate::errno::Errno;
use crate::host::System;
use crate::names::head;
use crate::record::Field;
use crate::snapshot::Snapshot;
use crate::system::{entries, open, own_pid, read};
use crate::zero_ended::ZeroEnded;

/// Entries of a directory that are always there, and one more, have room in this.
const FEW_ENTRIES: usize = 512;

/// Whether there is such a machine at all: mostly there is none, and nobody's ancestors have to be looked for.
///
/// # Errors
/// A shortage of descriptors or memory.
pub fn any_lone_leader() -> Result<bool, Errno> {
    let path = ZeroEnded::<64>::new(&[LEADER_DIRECTORY.as_bytes()]);
    let directory = match open(None, path.as_c_str(), libc::O_DIRECTORY) {
        Err(errno) if errno.is_shortage() => return Err(errno),
        Err(_) => return Ok(false),
        Ok(directory) => directory,
    };
    let mut buffer = [0_u8; FEW_ENTRIES];
    let mut rest = entries(&directory, &mut buffer).unwrap_or_default();
    let mut number = 0_u32;
    while let Some((length, _)) = head(rest) {
        number = number.saturating_add(1);
        rest = rest.get(length..).unwrap_or_default();
    }
    Ok(number > 2)
}

/// The living machine without unit and group that this process leads; 0 is the caller.
///
/// # Errors
/// Those of reading its record, but for those that say that there is none.
pub fn led_by(pid: u32) -> Result<Option<Snapshot>, Errno> {
    let pid = if pid == 0 { u32::try_from(own_pid()).unwrap_or_default() } else { pid };
    let Some(name) = linked_machine(&System, &leader_link(pid)).map_err(Errno)? else { return Ok(None) };
    let is_led = |machine: &Snapshot| {
        machine.leader().is_some_and(|leader| u32::try_from(leader) == Ok(pid))
            && machine.text(Field::Unit).is_none()
            && machine.text(Field::ControlGroup).is_none()
            && machine.is_numbered_here()
            && machine.is_alive()
    };
    Ok(Snapshot::if_there(&name)?.filter(is_led))
}

/// The machine without unit and group that a process descends from the leader of.
///
/// # Errors
/// Those of [`led_by`].
pub fn by_ancestor(pid: u32) -> Result<Option<Snapshot>, Errno> {
    let mut next = pid;
    for _ in 0..ANCESTORS_MAX {
        let Some(parent) = parent_of(next)? else { return Ok(None) };
        if let Some(machine) = led_by(parent)? {
            return Ok(Some(machine));
        }
        next = parent;
    }
    Ok(None)
}

/// The parent of a process; `None` where it has none here, or /proc does not tell.
fn parent_of(pid: u32) -> Result<Option<u32>, Errno> {
    let number = Decimal::new(pid);
    let path = match pid {
        0 => ZeroEnded::<32>::new(&[b"/proc/self/stat"]),
        _ => ZeroEnded::<32>::new(&[b"/proc/", number.as_bytes(), b"/stat"]),
    };
    let file = match open(None, path.as_c_str(), 0) {
        Err(errno) if errno.is_shortage() => return Err(errno),
        Err(_) => return Ok(None),
        Ok(file) => file,
    };
    let mut buffer = [0_u8; 1024];
    let stat = read(file.borrow(), &mut buffer).unwrap_or_default();
    Ok(parent_in(stat))
}

/// Field 4 of proc_pid_stat(5).
fn parent_in(stat: &[u8]) -> Option<u32> {
    let after_command = stat.rsplitn(2, |&byte| byte == b')').next()?;
    let mut words = after_command.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
    let parent = registry::parse_decimal(words.nth(1)?)?;
    u32::try_from(parent).ok().filter(|&parent| parent > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parent_is_found_behind_any_command() {
        assert_eq!(parent_in(b"42 (a) 7 b) S 41 42 42 0 -1"), Some(41));
        assert_eq!(parent_in(b"1 (init) S 0 1 1 0 -1"), None);
        assert_eq!(parent_in(b""), None);
        assert_eq!(parent_of(0).unwrap(), Some(std::os::unix::process::parent_id()));
    }
}
