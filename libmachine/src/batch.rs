//! Many processes at once, for tools that show all of them.
//!
//! Where there are more processes than machines, the machines are asked which processes they have, `cgroup.procs` of
//! each of their groups, instead of the other way round: a read for every group, none for every process.

use core::ffi::CStr;

use registry::MachineName;

use crate::buffer::Buffer;
use crate::errno::Errno;
use crate::group::{Group, below, unit_of};
use crate::names::{Listing, each_entry, each_name};
use crate::nearest::path_of_group;
use crate::pid::machine_of_unit;
use crate::pid_table::PidTable;
use crate::snapshot::{Field, Snapshot};
use crate::sort::sort;
use crate::system::{Descriptor, open, own_pid, read, status};

/// Where cgroup v2 is mounted: alone, and beside version 1.
const MOUNTS: [(&CStr, &CStr); 2] = [
    (c"/sys/fs/cgroup", c"/sys/fs/cgroup/cgroup.controllers"),
    (c"/sys/fs/cgroup/unified", c"/sys/fs/cgroup/unified/cgroup.controllers"),
];
/// A file of the kernel's that is written line by line is read a page at a time: less than this is all of it.
const PIECE: usize = 4096;
const LAST_PIECE: usize = 3072;
/// So many paths of groups are remembered with the machines that they are in.
const REMEMBERED: usize = 64;

/// The machines of many processes.
#[derive(Debug, Default)]
pub struct Batch {
    texts: Buffer<u8>,
    /// For each process where its text begins, plus one; 0 for none.
    places: Buffer<usize>,
}

impl Batch {
    /// Looks for the machines of these processes, as [`path_of_pid`](crate::path_of_pid) does for one.
    ///
    /// # Errors
    /// `ENOMEM`, `EMFILE` and the like. `ESRCH`: there is no /proc. That a process is in no machine, gone or hidden is none,
    /// nor that a record cannot be read.
    pub fn of(pids: &[i32]) -> Result<Self, Errno> {
        let mut batch = Self::default();
        batch.places.fill(0, pids.len())?;
        let mut machines = Buffer::new();
        each_name(Listing::All, &mut |name| machines.push(name))?;
        if machines.is_empty() {
            return Ok(batch);
        }
        let root = Group::visible_root()?;
        let own = own_group()?.filter(|_| pids.len() >= machines.len());
        let is_complete = match own.and_then(|own| mount(&own)) {
            Some(mount) => batch.ask_machines(&mount, pids, &machines, &root)?,
            None => false,
        };
        if !is_complete {
            batch.ask_processes(pids, &root)?;
        }
        Ok(batch)
    }

    /// The machines that the process at this place is in, as `outer/inner`, with the zero byte that ends the text.
    pub fn path_with_zero(&self, index: usize) -> Option<&[u8]> {
        let rest = self.texts.get(self.places.get(index)?.checked_sub(1)?..)?;
        let length = rest.iter().position(|&byte| byte == 0)?;
        rest.get(..length.wrapping_add(1))
    }

    /// All texts, each with a zero byte, and where in them that of each process begins, plus one.
    pub fn parts(&self) -> (&[u8], &[usize]) {
        (&self.texts, &self.places)
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
        mount: &Descriptor,
        pids: &[i32],
        names: &[MachineName],
        root: &[u8],
    ) -> Result<bool, Errno> {
        let table = PidTable::of(pids)?;
        let (mut paths, mut homes) = (Buffer::new(), Buffer::new());
        let mut is_complete = true;
        for name in names {
            match home_of(name, root) {
                Ok(Home::Group(path)) => {
                    homes.push((path.len(), paths.len(), *name))?;
                    paths.extend(&path)?;
                }
                Ok(Home::Nowhere) => {}
                Ok(Home::Unknown) => is_complete = false,
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
                        let mut outer = Buffer::new();
                        if let Some(text) =
                            self.path_with_zero(index).and_then(|text| text.strip_suffix(&[0]))
                        {
                            outer.extend(text)?;
                            outer.push(b'/')?;
                        }
                        let place = self.text(&[&outer, name.as_bytes()])?;
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
    fn ask_processes(&mut self, pids: &[i32], root: &[u8]) -> Result<(), Errno> {
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
                    let path = match path_of_group(group.path(), root) {
                        Err(errno) if !errno.is_shortage() => Buffer::new(),
                        path => path?,
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

/// Where a machine's processes are.
enum Home {
    /// In this group and those below.
    Group(Buffer<u8>),
    /// Nowhere that could be found by a process: it is gone, or has no group.
    Nowhere,
    /// It has a group, but which is not known.
    Unknown,
}

fn home_of(name: &MachineName, root: &[u8]) -> Result<Home, Errno> {
    let machine = match Snapshot::of(name) {
        Ok(machine) if machine.is_alive() => machine,
        Ok(_) | Err(Errno::NXIO | Errno::BADMSG) => return Ok(Home::Nowhere),
        Err(errno) => return Err(errno),
    };
    let unit = machine.text(Field::Unit);
    let owns_unit = match unit.map(machine_of_unit) {
        Some(Ok(owner)) => *owner == *name.as_bytes(),
        Some(Err(errno)) if errno.is_shortage() => return Err(errno),
        _ => false,
    };
    let mut home = Buffer::new();
    if let Some(group) = machine.text(Field::ControlGroup) {
        // All of the unit is the machine's, not only the group below.
        let above = machine
            .text(Field::Subgroup)
            .filter(|_| owns_unit)
            .and_then(|subgroup| group.strip_suffix(subgroup)?.strip_suffix(b"/"));
        home.extend(above.unwrap_or(group))?;
        return Ok(Home::Group(home));
    }
    let (Some(unit), Some(leader)) = (unit.filter(|_| owns_unit), machine.leader()) else {
        return Ok(Home::Nowhere);
    };
    let Ok(group) = Group::of(u32::try_from(leader).unwrap_or_default()) else { return Ok(Home::Unknown) };
    match unit_of(below(group.path(), root)) {
        Some((found, rest)) if found == unit => {
            let length = group.path().len().saturating_sub(rest.len());
            let path = group.path().get(..length).unwrap_or_default();
            home.extend(path.strip_suffix(b"/").unwrap_or(path))?;
            Ok(Home::Group(home))
        }
        _ => Ok(Home::Unknown),
    }
}

/// The group of this process; `None` if it is not to be seen.
fn own_group() -> Result<Option<Group>, Errno> {
    match Group::of(0) {
        Err(errno) if errno.is_shortage() || errno == Errno::SRCH => Err(errno),
        own => Ok(own.ok()),
    }
}

/// The mount of the hierarchy, if paths of groups lead to the right ones there: this process's own group has it.
fn mount(own: &Group) -> Option<Descriptor> {
    let (mount, _) = MOUNTS.into_iter().find(|(_, sign)| open(None, sign, 0).is_ok())?;
    let mount = open(None, mount, libc::O_DIRECTORY).ok()?;
    let mut is_there = false;
    let is_read = processes(&mount, own.path(), &mut |pid| {
        is_there |= pid == own_pid();
        Ok(())
    });
    (is_there && is_read.is_ok()).then_some(mount)
}

/// Takes each process of a group and of those below it; `false` if one of them could not be read.
fn each_process(
    mount: &Descriptor,
    path: &[u8],
    take: &mut dyn FnMut(i32) -> Result<(), Errno>,
) -> Result<bool, Errno> {
    // Paths yet to be read, each behind a zero byte.
    let mut waiting = Buffer::new();
    waiting.push(0)?;
    waiting.extend(path)?;
    let mut is_complete = true;
    while let Some(start) = waiting.iter().rposition(|&byte| byte == 0) {
        let mut path = Buffer::new();
        path.extend(waiting.get(start.wrapping_add(1)..).unwrap_or_default())?;
        waiting.truncate(start);
        let group = match relative(&path).and_then(|path| open_below(mount, &path, libc::O_DIRECTORY)) {
            Ok(group) => group,
            // It went meanwhile.
            Err(Errno::NOENT) => continue,
            Err(errno) if errno.is_shortage() => return Err(errno),
            Err(_) => {
                is_complete = false;
                continue;
            }
        };
        match processes_of(&group, take) {
            Ok(()) | Err(Errno::NOENT | Errno(libc::ENODEV)) => {}
            Err(errno) if errno.is_shortage() => return Err(errno),
            Err(_) => is_complete = false,
        }
        if status(group.borrow())?.links > 2 {
            each_entry(&group, &mut |entry| {
                if entry.is_directory() && !matches!(entry.name, b"." | b"..") {
                    waiting.push(0)?;
                    waiting.extend(&path)?;
                    waiting.push(b'/')?;
                    waiting.extend(entry.name)?;
                }
                Ok(())
            })?;
        }
    }
    Ok(is_complete)
}

/// A path below the mount, with a zero byte at its end.
fn relative(path: &[u8]) -> Result<Buffer<u8>, Errno> {
    let mut below = Buffer::new();
    below.push(b'.')?;
    below.extend(path)?;
    below.push(0)?;
    Ok(below)
}

fn open_below(mount: &Descriptor, path: &[u8], flags: i32) -> Result<Descriptor, Errno> {
    open(Some(mount), CStr::from_bytes_until_nul(path).unwrap_or_default(), flags)
}

fn processes(
    mount: &Descriptor,
    path: &[u8],
    take: &mut dyn FnMut(i32) -> Result<(), Errno>,
) -> Result<(), Errno> {
    processes_of(&open_below(mount, &relative(path)?, libc::O_DIRECTORY)?, take)
}

/// Takes each process of a group; one that this PID namespace does not see is 0.
fn processes_of(group: &Descriptor, take: &mut dyn FnMut(i32) -> Result<(), Errno>) -> Result<(), Errno> {
    let file = open(Some(group), c"cgroup.procs", 0)?;
    let mut buffer = [0_u8; PIECE];
    let mut pid = None;
    loop {
        let piece = read(file.borrow(), &mut buffer)?;
        for &byte in piece {
            match byte.checked_sub(b'0').filter(|&digit| digit <= 9) {
                Some(digit) => pid = Some(pid.unwrap_or(0_i32).wrapping_mul(10).wrapping_add(digit.into())),
                None => pid.take().map_or(Ok(()), &mut *take)?,
            }
        }
        if piece.len() < LAST_PIECE {
            return Ok(());
        }
    }
}
