//! Control groups as this process sees them: where they are mounted, which processes they have, and whether one is the
//! group that a record means.
//!
//! A path means something in one cgroup namespace alone: in another, the same text may be that of another group. What
//! decides is the id of the group, which is the inode number of its directory. Where that cannot be seen, the leader has to
//! be where the record says, or the caller in the first namespace, whose paths are everybody's.

use core::ffi::CStr;

use crate::buffer::Buffer;
use crate::errno::Errno;
use crate::group::Group;
use crate::names::each_entry;
use crate::record::Number;
use crate::snapshot::Snapshot;
use crate::system::{
    Descriptor, inode_at, is_control_groups, open, own_group_id, own_pid, read, status, status_at,
};

/// Where cgroup v2 is mounted: alone, and beside version 1.
const MOUNTS: [(&CStr, &CStr); 2] = [
    (c"/sys/fs/cgroup", c"/sys/fs/cgroup/cgroup.controllers"),
    (c"/sys/fs/cgroup/unified", c"/sys/fs/cgroup/unified/cgroup.controllers"),
];
/// The inode number of the first cgroup namespace, `PROC_CGROUP_INIT_INO` of linux/proc_ns.h.
const FIRST_NAMESPACE: u64 = 0xefff_fffb;
/// A file of the kernel's that is written line by line is read a page at a time: less than this is all of it.
const PIECE: usize = 4096;
const LAST_PIECE: usize = 3072;

/// The hierarchy of control groups, as far as this process sees it.
#[derive(Debug)]
pub struct Hierarchy {
    /// Whether paths of groups count from the root of the host.
    is_first: bool,
    /// Where groups are certainly to be found by their paths; `None` where that is not known.
    mount: Option<Descriptor>,
}

impl Hierarchy {
    /// Looks where this process is. In the first namespace the mount is not checked: [`Hierarchy::checked`] does that.
    ///
    /// # Errors
    /// A shortage of descriptors or memory.
    pub fn look() -> Result<Self, Errno> {
        if inode_at(None, c"/proc/self/ns/cgroup").is_ok_and(|inode| inode != FIRST_NAMESPACE) {
            return Self::checked();
        }
        Ok(Self { is_first: true, mount: None })
    }

    /// The hierarchy with its mount, if paths of groups lead to the right ones there: this process's own group has it.
    ///
    /// # Errors
    /// A shortage of descriptors or memory. `ESRCH`: there is no /proc.
    #[inline(never)]
    pub fn checked() -> Result<Self, Errno> {
        let is_first = inode_at(None, c"/proc/self/ns/cgroup").is_ok_and(|inode| inode == FIRST_NAMESPACE);
        let mount = match own_group()? {
            Some(own) => mount(&own)?,
            None => None,
        };
        Ok(Self { is_first, mount })
    }

    /// The mount, if it was [checked](Self::checked).
    pub const fn mount(&self) -> Option<&Descriptor> {
        self.mount.as_ref()
    }

    /// Whether the group with this path is the one that a machine's record means by it.
    ///
    /// # Errors
    /// A shortage of descriptors or memory.
    #[inline(never)]
    pub fn is_of(&self, machine: &Snapshot, path: &[u8]) -> Result<bool, Errno> {
        if let Some(id) = machine.number(Number::ControlGroupId)
            && let Some(seen) = self.id_of(path)?
        {
            return Ok(seen == id);
        }
        if self.is_first {
            return Ok(true);
        }
        let leader = machine.leader().and_then(|pid| u32::try_from(pid).ok());
        let Some(leader) = leader.filter(|_| machine.is_numbered_here()) else { return Ok(false) };
        match Group::of(leader) {
            Ok(group) => Ok(group.is_within(path)),
            Err(errno) if errno.is_shortage() => Err(errno),
            Err(_) => Ok(false),
        }
    }

    /// The id of the group with this path; `None` where it is not to be seen.
    fn id_of(&self, path: &[u8]) -> Result<Option<u64>, Errno> {
        let path = relative(path, b"")?;
        let path = CStr::from_bytes_until_nul(&path).unwrap_or_default();
        if let Some(mount) = &self.mount {
            return Ok(inode_at(Some(mount), path).ok());
        }
        if !self.is_first {
            return Ok(None);
        }
        // Another file system may be mounted there: no id of its would be a group's.
        for (place, sign) in MOUNTS {
            if inode_at(None, sign).is_ok() {
                let mount = open(None, place, libc::O_DIRECTORY | libc::O_PATH)?;
                return Ok(inode_at(Some(&mount), path).ok());
            }
        }
        Ok(None)
    }

    /// Opens the group of a machine.
    ///
    /// # Errors
    /// `ENODATA`: the record does not tell its group and the id of that. `EUNATCH`: no such group is to be seen from here.
    /// Others: why it cannot be opened.
    pub fn open(&self, machine: &Snapshot, path: &[u8]) -> Result<Descriptor, Errno> {
        let id = machine.number(Number::ControlGroupId).ok_or(Errno::NODATA)?;
        let mount = self.mount().ok_or(Errno::UNATCH)?;
        let group = match open_below(mount, &relative(path, b"")?, libc::O_DIRECTORY) {
            Err(Errno::NOENT) => return Err(Errno::UNATCH),
            group => group?,
        };
        if status(group.borrow())?.inode == id { Ok(group) } else { Err(Errno::UNATCH) }
    }
}

/// The group of this process; `None` if it is not to be seen.
fn own_group() -> Result<Option<Group>, Errno> {
    match Group::of(0) {
        Err(errno) if errno.is_shortage() || errno == Errno::SRCH => Err(errno),
        own => Ok(own.ok()),
    }
}

fn mount(own: &Group) -> Result<Option<Descriptor>, Errno> {
    let Some((place, _)) = MOUNTS.into_iter().find(|(_, sign)| inode_at(None, sign).is_ok()) else {
        return Ok(None);
    };
    let mount = match open(None, place, libc::O_DIRECTORY) {
        Err(errno) if !errno.is_shortage() => return Ok(None),
        mount => mount?,
    };
    // The list of a group of thousands of processes costs more than all else.
    // Inode numbers of another file system say nothing.
    if let Some(id) = own_group_id()
        && is_control_groups(&mount)
        && inode_at(Some(&mount), CStr::from_bytes_until_nul(&relative(own.path(), b"")?).unwrap_or_default())
            == Ok(id)
    {
        return Ok(Some(mount));
    }
    let mut is_there = false;
    let is_read = processes_of(&mount, own.path(), &mut |pid| {
        is_there |= pid == own_pid();
        Ok(())
    });
    match is_read {
        Err(errno) if errno.is_shortage() => Err(errno),
        is_read => Ok(Some(mount).filter(|_| is_there && is_read.is_ok())),
    }
}

/// Takes each process of a group and of those below it; `false` if one of them could not be read.
///
/// # Errors
/// A shortage of descriptors or memory, and that of a refusal.
#[inline(never)]
pub fn each_process(
    mount: &Descriptor,
    top: &[u8],
    take: &mut dyn FnMut(i32) -> Result<(), Errno>,
) -> Result<bool, Errno> {
    let mut path = Buffer::new();
    path.extend(top)?;
    let mut waiting = Waiting::default();
    let mut is_complete = true;
    loop {
        is_complete &= match each_in_group(mount, &path, path.len() == top.len(), take, &mut waiting) {
            // It went meanwhile.
            Ok(()) | Err(Errno::NOENT) => true,
            Err(errno) if errno.is_shortage() => return Err(errno),
            Err(_) => false,
        };
        if !waiting.next(&mut path)? {
            return Ok(is_complete);
        }
    }
}

/// Takes each process of one group, and has the groups right below it wait for their turn.
fn each_in_group(
    mount: &Descriptor,
    path: &[u8],
    is_top: bool,
    take: &mut dyn FnMut(i32) -> Result<(), Errno>,
    waiting: &mut Waiting,
) -> Result<(), Errno> {
    let is_read = match processes_of(mount, path, take) {
        Err(Errno(libc::ENODEV)) => Ok(()),
        // A threaded group, as those of a virtual machine's processors: the one above that is none has all processes of those
        // below.
        Err(Errno(libc::EOPNOTSUPP)) if !is_top => return Ok(()),
        Err(errno) if errno.is_shortage() || errno == Errno::NOENT => return Err(errno),
        is_read => is_read,
    };
    if has_groups(mount, path)? {
        let group = open_below(mount, &relative(path, b"")?, libc::O_DIRECTORY)?;
        each_entry(&group, &mut |entry| {
            let is_group = entry.is_directory() && !matches!(entry.name, b"." | b"..");
            if is_group { waiting.push(path.len(), entry.name) } else { Ok(()) }
        })?;
    }
    is_read
}

/// Groups yet to be read, the last one first: by their names alone, since a container may have many of them, deep down.
#[derive(Default)]
struct Waiting {
    names: Buffer<u8>,
    /// For each where its name begins, and how long the path of the group above is.
    groups: Buffer<(usize, usize)>,
}

impl Waiting {
    fn push(&mut self, above: usize, name: &[u8]) -> Result<(), Errno> {
        self.groups.push((self.names.len(), above))?;
        self.names.extend(name)
    }

    /// Makes the path of the group that was read last that of the next one; `false` if there is none.
    fn next(&mut self, path: &mut Buffer<u8>) -> Result<bool, Errno> {
        let Some((start, above)) = self.groups.pop() else { return Ok(false) };
        // All that was read since the group above lies below that.
        path.truncate(above);
        path.push(b'/')?;
        path.extend(self.names.get(start..).unwrap_or_default())?;
        self.names.truncate(start);
        Ok(true)
    }
}

/// A path below the mount and what follows it, with a zero byte at its end.
fn relative(path: &[u8], file: &[u8]) -> Result<Buffer<u8>, Errno> {
    let mut below = Buffer::new();
    below.reserve(path.len().saturating_add(file.len()).saturating_add(2))?;
    below.push(b'.')?;
    below.extend(path)?;
    below.extend(file)?;
    below.push(0)?;
    Ok(below)
}

fn open_below(mount: &Descriptor, path: &[u8], flags: i32) -> Result<Descriptor, Errno> {
    open(Some(mount), CStr::from_bytes_until_nul(path).unwrap_or_default(), flags)
}

/// Whether there are groups below a group: each is a link to it, beside the two that every directory has.
fn has_groups(mount: &Descriptor, path: &[u8]) -> Result<bool, Errno> {
    let path = relative(path, b"")?;
    let path = CStr::from_bytes_until_nul(&path).unwrap_or_default();
    status_at(Some(mount), path).map(|status| status.links > 2)
}

/// Takes each process of a group; one that this PID namespace does not see is 0.
fn processes_of(
    mount: &Descriptor,
    path: &[u8],
    take: &mut dyn FnMut(i32) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let file = open_below(mount, &relative(path, b"/cgroup.procs")?, 0)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_kernel_says_of_the_own_group_is_what_its_list_says() {
        let own = Group::of(0).unwrap();
        let Some((place, _)) = MOUNTS.into_iter().find(|(_, sign)| inode_at(None, sign).is_ok()) else {
            return;
        };
        let mount = open(None, place, libc::O_DIRECTORY).unwrap();
        let mut is_listed = false;
        processes_of(&mount, own.path(), &mut |pid| {
            is_listed |= pid == own_pid();
            Ok(())
        })
        .unwrap();
        let path = relative(own.path(), b"").unwrap();
        let inode = inode_at(Some(&mount), CStr::from_bytes_until_nul(&path).unwrap());
        if let Some(id) = own_group_id().filter(|_| is_listed) {
            assert_eq!(inode, Ok(id));
        }
    }
}
