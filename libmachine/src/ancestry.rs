//! From a process to the machines that it is in: those that its control group tells, and those of the leader index.
//!
//! A machine that has neither a unit nor a control group is its leader and who descends from that. Of one that shares its group
//! with others, or that may not say whose that is, the leader alone is certain.

use registry::{
    ANCESTORS_MAX, Decimal, LEADER_DIRECTORY, Path, leader_link, leader_only_link, linked_machine,
};

use crate::buffer::Buffer;
use crate::errno::Errno;
use crate::names::first_entry;
use crate::nearest::machines_by_group;
use crate::pid::pid_of;
use crate::record::Field;
use crate::registries::{Registries, Registry};
use crate::snapshot::Snapshot;
use crate::system::{Borrowed, Descriptor, entries, open, own_pid, read};
use crate::zero_ended::ZeroEnded;

/// So much of the index is looked at: mostly it is empty. Where less room is left than an entry may need there may be more.
const PIECE: usize = 512;
const ENTRY_MAX: usize = 64;

/// The machines that a process is in, the outermost first; none if it is in none that lives. 0 is the caller.
///
/// # Errors
/// `ESRCH`: no such process. `EUNATCH`: its group is outside of the caller's cgroup namespace.
#[inline(never)]
pub fn machines_of_pid(pid: u32) -> Result<Buffer<Snapshot>, Errno> {
    let registries = Registries::look();
    let mut machines = machines_by_group(registries, pid)?;
    let leaders = Leaders::look(registries)?;
    if leaders.are_any {
        add_by_leaders(registries, pid, leaders, &mut machines)?;
    }
    Ok(machines)
}

/// The machines that an open process is in. It is the same process afterwards as before.
///
/// # Errors
/// Those of [`machines_of_pid`] and of [`pid_of`].
pub fn machines_of_pidfd(pidfd: Borrowed<'_>) -> Result<Buffer<Snapshot>, Errno> {
    let machines = machines_of_pid(pid_of(pidfd)?);
    pid_of(pidfd)?;
    machines
}

/// What is in the leader index.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Leaders {
    /// Whether anything is.
    pub are_any: bool,
    /// Whether descendants of one of them may belong to its machine.
    pub have_descendants: bool,
}

impl Leaders {
    /// Looks at the indexes: mostly they are empty, and nobody's ancestors have to be looked for.
    ///
    /// # Errors
    /// A shortage of descriptors or memory.
    pub fn look(registries: Registries) -> Result<Self, Errno> {
        let mut leaders = Self { are_any: false, have_descendants: false };
        for registry in registries.iter() {
            let Some(directory) = open_index(registry)? else { continue };
            let mut buffer = [0_u8; PIECE];
            let mut rest = entries(&directory, &mut buffer).unwrap_or_default();
            leaders.have_descendants |= rest.len() > PIECE - ENTRY_MAX;
            while let Some((length, entry)) = first_entry(rest) {
                rest = rest.get(length..).unwrap_or_default();
                leaders.are_any |= !entry.name.starts_with(b".");
                leaders.have_descendants |= entry.name.first().is_some_and(u8::is_ascii_digit);
            }
        }
        Ok(leaders)
    }
}

/// The index of leaders of a registry; `None` where there is none.
///
/// # Errors
/// A shortage of descriptors or memory.
pub fn open_index(registry: Registry) -> Result<Option<Descriptor>, Errno> {
    let mut path = Path::new();
    path.push(LEADER_DIRECTORY.as_bytes());
    match registry.at(&path, |path| open(None, path, libc::O_DIRECTORY)) {
        Err(errno) if errno.is_shortage() => Err(errno),
        directory => Ok(directory.ok()),
    }
}

/// The process that an entry of the index is of; 0 if it is of none.
pub fn leader_of_entry(name: &[u8]) -> i32 {
    let number = name.strip_prefix(b"only-").unwrap_or(name);
    registry::parse_decimal(number).and_then(|pid| i32::try_from(pid).ok()).unwrap_or_default()
}

/// Adds to the machines that the control group of a process tells, the outermost first, those that the leader index tells.
///
/// # Errors
/// Those of reading a record, but for those that say that there is none.
fn add_by_leaders(
    registries: Registries,
    pid: u32,
    leaders: Leaders,
    machines: &mut Buffer<Snapshot>,
) -> Result<(), Errno> {
    let pid = if pid == 0 { u32::try_from(own_pid()).unwrap_or_default() } else { pid };
    // What is further out than the ancestors looked at so far: so many of the machines.
    let mut around = machines.len();
    let is_known = |machine: &Snapshot| machines.iter().any(|known| known.name() == machine.name());
    if let Some(machine) =
        led_by(registries, pid, &leader_only_link(pid))?.filter(|machine| !is_known(machine))
    {
        machines.push(machine)?;
    }
    let mut next = Some(pid).filter(|_| leaders.have_descendants);
    for _ in 0..=ANCESTORS_MAX {
        let Some(process) = next else { break };
        if let Some(machine) = led_by(registries, process, &leader_link(process))?.filter(is_alone) {
            // Two machines are nested in each other as their leaders are: one that the ancestor is in, too, is further out.
            if process != pid {
                around = around.min(common(&groups_of(registries, process)?, machines));
            }
            machines.insert(around, machine)?;
        }
        // Nobody's ancestors are in a machine that it leads.
        let outer = around.checked_sub(1).and_then(|place| machines.get(place));
        if outer.is_some_and(|machine| leads(process, machine)) {
            around = around.saturating_sub(1);
        }
        next = parent_of(process)?;
    }
    Ok(())
}

/// The machines that the group of an ancestor tells; none if it has gone.
fn groups_of(registries: Registries, process: u32) -> Result<Buffer<Snapshot>, Errno> {
    match machines_by_group(registries, process) {
        Err(errno) if !errno.is_shortage() => Ok(Buffer::new()),
        machines => machines,
    }
}

/// How many machines two lists have in common at their start.
fn common(one: &[Snapshot], other: &[Snapshot]) -> usize {
    one.iter().zip(other).take_while(|(one, other)| one.name() == other.name()).count()
}

fn leads(process: u32, machine: &Snapshot) -> bool {
    machine.leader().is_some_and(|leader| u32::try_from(leader) == Ok(process))
}

/// Whether a machine has neither a unit nor a group.
fn is_alone(machine: &Snapshot) -> bool {
    machine.text(Field::Unit).is_none() && machine.text(Field::ControlGroup).is_none()
}

/// The living machine that an index has for a process, if the process leads it.
fn led_by(registries: Registries, process: u32, link: &Path) -> Result<Option<Snapshot>, Errno> {
    let is_led =
        |machine: &Snapshot| leads(process, machine) && machine.is_numbered_here() && machine.is_alive();
    for registry in registries.iter() {
        let Some(name) = linked_machine(&registry, link).map_err(Errno)? else { continue };
        let found = Snapshot::if_there_in(registry, &name)?.filter(is_led);
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

/// The parent of a process; `None` where it has none here, or /proc does not tell.
pub fn parent_of(pid: u32) -> Result<Option<u32>, Errno> {
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
