//! Subvolumes of btrfs, by the ioctls of linux/btrfs.h.
//!
//! # Safety
//! Each ioctl gets the structure that its number stands for, which is as large as the kernel's: asserted below. All of
//! them are plain integers and bytes, of which every pattern is valid.
#![allow(unsafe_code, reason = "ioctls")]

use std::os::fd::{AsFd, AsRawFd};

use rustix::fs::fstatfs;
use rustix::io::Errno;
use rustix::ioctl::{Getter, Opcode, Setter, Updater, ioctl, opcode};

/// The magic number of a btrfs, linux/magic.h.
#[allow(overflowing_literals, reason = "32 bits hold it as a negative number")]
const MAGIC: rustix::fs::FsWord = 0x9123_683E;
/// The inode number of every subvolume's root.
pub(crate) const ROOT_INODE: u64 = 256;
const TYPE: u8 = 0x94;
/// `BTRFS_ROOT_SUBVOL_RDONLY`.
const IS_READ_ONLY: u64 = 1;

const SUBVOL_CREATE: Opcode = opcode::write::<Named>(TYPE, 14);
const SNAP_DESTROY: Opcode = opcode::write::<Named>(TYPE, 15);
const TREE_SEARCH: Opcode = opcode::read_write::<Search>(TYPE, 17);
const INO_LOOKUP: Opcode = opcode::read_write::<Lookup>(TYPE, 18);
const SNAP_CREATE: Opcode = opcode::write::<Snapshot>(TYPE, 23);
const SUBVOL_GETFLAGS: Opcode = opcode::read::<u64>(TYPE, 25);
const SUBVOL_SETFLAGS: Opcode = opcode::write::<u64>(TYPE, 26);
const QUOTA_CTL: Opcode = opcode::read_write::<[u64; 2]>(TYPE, 40);
const QGROUP_ASSIGN: Opcode = opcode::write::<[u64; 3]>(TYPE, 41);
const QGROUP_CREATE: Opcode = opcode::write::<[u64; 2]>(TYPE, 42);
const QGROUP_LIMIT_SET: Opcode = opcode::read::<[u64; 6]>(TYPE, 43);
const GET_SUBVOL_INFO: Opcode = opcode::read::<SubvolumeInfo>(TYPE, 60);

const _: () = {
    assert!(size_of::<Named>() == 4096);
    assert!(size_of::<Search>() == 4096);
    assert!(size_of::<Lookup>() == 4096);
    assert!(size_of::<Snapshot>() == 4096);
    // On i386 its four times are not aligned, in the kernel's structure neither.
    assert!(size_of::<SubvolumeInfo>() == if align_of::<u64>() == 8 { 504 } else { 488 });
};

/// `struct btrfs_ioctl_vol_args`.
#[repr(C)]
struct Named {
    file: i64,
    name: [u8; 4088],
}

/// `struct btrfs_ioctl_vol_args_v2`.
#[repr(C)]
struct Snapshot {
    source: i64,
    transaction: u64,
    flags: u64,
    unused: [u64; 4],
    name: [u8; 4040],
}

/// `struct btrfs_ioctl_ino_lookup_args`.
#[repr(C)]
struct Lookup {
    tree: u64,
    object: u64,
    name: [u8; 4080],
}

/// `struct btrfs_ioctl_timespec`.
#[repr(C)]
#[derive(Clone, Copy)]
struct Time {
    seconds: u64,
    nanoseconds: u32,
}

/// `struct btrfs_ioctl_get_subvol_info_args`.
#[repr(C)]
#[derive(Clone, Copy)]
struct SubvolumeInfo {
    id: u64,
    name: [u8; 256],
    parent: u64,
    directory: u64,
    generation: u64,
    flags: u64,
    uuids: [[u8; 16]; 3],
    transactions: [u64; 4],
    changed: Time,
    made: Time,
    sent: Time,
    received: Time,
    reserved: [u64; 8],
}

/// `struct btrfs_ioctl_search_key`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
struct SearchKey {
    tree: u64,
    min_object: u64,
    max_object: u64,
    min_offset: u64,
    max_offset: u64,
    min_transaction: u64,
    max_transaction: u64,
    min_kind: u32,
    max_kind: u32,
    count: u32,
    unused: u32,
    unused64: [u64; 4],
}

/// `struct btrfs_ioctl_search_args`.
#[repr(C)]
struct Search {
    key: SearchKey,
    found: [u8; 4096 - size_of::<SearchKey>()],
}

/// A subvolume.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Subvolume {
    /// Its number in the file system.
    pub(crate) id: u64,
    /// That of the one that it is in.
    pub(crate) parent: u64,
    /// When it was made, in microseconds since 1970.
    pub(crate) made: u64,
    pub(crate) is_read_only: bool,
}

/// Whether a file is on a btrfs.
pub(crate) fn is_btrfs(file: impl AsFd) -> Result<bool, Errno> {
    Ok(fstatfs(file)?.f_type == MAGIC)
}

/// Describes the subvolume that a directory is the root of.
pub(crate) fn describe(root: impl AsFd) -> Result<Subvolume, Errno> {
    // SAFETY: see the head of the file.
    let info: SubvolumeInfo = unsafe { ioctl(root, Getter::<GET_SUBVOL_INFO, SubvolumeInfo>::new()) }?;
    let made = info.made.seconds.saturating_mul(1_000_000);
    Ok(Subvolume {
        id: info.id,
        parent: info.parent,
        made: made.saturating_add(u64::from(info.made.nanoseconds / 1000)),
        is_read_only: info.flags & IS_READ_ONLY != 0,
    })
}

/// A name with zeros behind it.
fn padded<const N: usize>(name: &str) -> Result<[u8; N], Errno> {
    let mut padded = [0; N];
    let place = padded.get_mut(..name.len()).filter(|place| place.len() < N).ok_or(Errno::NAMETOOLONG)?;
    place.copy_from_slice(name.as_bytes());
    Ok(padded)
}

/// Makes an empty subvolume in a directory.
pub(crate) fn create(directory: impl AsFd, name: &str) -> Result<(), Errno> {
    let named = Named { file: 0, name: padded(name)? };
    // SAFETY: see the head of the file.
    unsafe { ioctl(directory, Setter::<SUBVOL_CREATE, Named>::new(named)) }
}

/// Makes a snapshot of a subvolume in a directory. Subvolumes below it are empty directories there.
pub(crate) fn snapshot(
    source: impl AsFd,
    directory: impl AsFd,
    name: &str,
    read_only: bool,
) -> Result<(), Errno> {
    // BTRFS_SUBVOL_RDONLY
    let flags = if read_only { 2 } else { 0 };
    let source = source.as_fd();
    let snapshot = Snapshot {
        source: i64::from(source.as_raw_fd()),
        transaction: 0,
        flags,
        unused: [0; 4],
        name: padded(name)?,
    };
    // SAFETY: see the head of the file; the source's descriptor is held until this returns.
    unsafe { ioctl(directory, Setter::<SNAP_CREATE, Snapshot>::new(snapshot)) }
}

/// Removes a subvolume in a directory, with all that is in it. `ENOTEMPTY`: there are others below it.
pub(crate) fn destroy(directory: impl AsFd, name: &str) -> Result<(), Errno> {
    let named = Named { file: 0, name: padded(name)? };
    // SAFETY: see the head of the file.
    unsafe { ioctl(directory, Setter::<SNAP_DESTROY, Named>::new(named)) }
}

/// Makes a subvolume read-only or not.
pub(crate) fn set_read_only(root: impl AsFd, read_only: bool) -> Result<(), Errno> {
    // SAFETY: see the head of the file.
    let flags: u64 = unsafe { ioctl(root.as_fd(), Getter::<SUBVOL_GETFLAGS, u64>::new()) }?;
    let wanted = if read_only { flags | 2 } else { flags & !2 };
    if wanted == flags {
        return Ok(());
    }
    // SAFETY: see the head of the file.
    unsafe { ioctl(root, Setter::<SUBVOL_SETFLAGS, u64>::new(wanted)) }
}

/// The paths of the subvolumes right below another one, from its root.
pub(crate) fn children(root: impl AsFd, subvolume: u64) -> Result<Vec<String>, Errno> {
    let mut paths = Vec::new();
    let mut from = 0;
    loop {
        let found = items(root.as_fd(), ROOT_TREE, subvolume, ROOT_REF, (from, u64::MAX))?;
        let Some(last) = found.last() else { return Ok(paths) };
        from = last.offset.saturating_add(1);
        for item in found {
            // struct btrfs_root_ref: the directory that it is in, a sequence, the length of its name, the name.
            let directory = integer(&item.bytes, 0).ok_or(Errno::IO)?;
            let name = std::str::from_utf8(item.bytes.get(18..).ok_or(Errno::IO)?);
            let mut lookup = Lookup { tree: subvolume, object: directory, name: [0; 4080] };
            // SAFETY: see the head of the file.
            unsafe { ioctl(root.as_fd(), Updater::<INO_LOOKUP, Lookup>::new(&mut lookup)) }?;
            let parent =
                lookup.name.split(|&byte| byte == 0).next().and_then(|path| std::str::from_utf8(path).ok());
            // Names that are no text cannot be followed here, as elsewhere in this crate.
            let (Ok(name), Some(parent)) = (name, parent) else { return Err(Errno::ILSEQ) };
            paths.push(format!("{parent}{name}"));
        }
    }
}

/// Has space counted on a file system from now on.
pub(crate) fn enable_quota(file: impl AsFd) -> Result<(), Errno> {
    // BTRFS_QUOTA_CTL_ENABLE
    let mut arguments = [1, 0];
    // SAFETY: struct btrfs_ioctl_quota_ctl_args is two integers.
    unsafe { ioctl(file, Updater::<QUOTA_CTL, [u64; 2]>::new(&mut arguments)) }
}

/// Limits what a group of subvolumes may take; `None` takes the limit away.
pub(crate) fn limit(file: impl AsFd, group: u64, limit: Option<u64>) -> Result<(), Errno> {
    let arguments = [group, LIMITS_ALL, limit.unwrap_or(u64::MAX), 0, 0, 0];
    // SAFETY: struct btrfs_ioctl_qgroup_limit_args is six integers.
    unsafe { ioctl(file, Setter::<QGROUP_LIMIT_SET, [u64; 6]>::new(arguments)) }
}

/// Gives a subvolume a group of its own for all that is made below it, in the groups of the subvolume that it is in; as
/// systemd does it.
pub(crate) fn make_subtree_group(file: impl AsFd) -> Result<(), Errno> {
    let root = describe(file.as_fd())?;
    if subtree_group(file.as_fd(), root.id)? != root.id {
        return Ok(());
    }
    let above = items(file.as_fd(), QUOTA_TREE, root.parent, QGROUP_RELATION, (0, u64::MAX))?;
    let above: Vec<_> = above.iter().map(|item| item.offset).filter(|&group| group > root.parent).collect();
    // One level below the lowest of them; there are 256 levels here.
    let lowest = above.iter().map(|group| group >> 48).min().unwrap_or(256);
    let level = lowest.checked_sub(1).filter(|&level| level > 0).ok_or(Errno::BUSY)?;
    let group = level << 48 | root.id;
    // SAFETY: struct btrfs_ioctl_qgroup_create_args is two integers.
    match unsafe { ioctl(file.as_fd(), Setter::<QGROUP_CREATE, [u64; 2]>::new([1, group])) } {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    for (member, of) in [(root.id, group)].into_iter().chain(above.into_iter().map(|above| (group, above))) {
        // SAFETY: struct btrfs_ioctl_qgroup_assign_args is three integers.
        match unsafe { ioctl(file.as_fd(), Setter::<QGROUP_ASSIGN, [u64; 3]>::new([1, member, of])) } {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// The tree with all subvolumes, and the kind of items that lead from one to those below.
const ROOT_TREE: u64 = 1;
const ROOT_REF: u32 = 156;
/// The tree with the groups that space is counted for, and the kinds of its items.
const QUOTA_TREE: u64 = 8;
const QGROUP_INFO: u32 = 242;
const QGROUP_LIMIT: u32 = 244;
const QGROUP_RELATION: u32 = 246;
/// `BTRFS_QGROUP_LIMIT_MAX_RFER` and `_EXCL`.
const LIMITS_ALL: u64 = 1;
const LIMITS_EXCLUSIVE: u64 = 2;

/// What is counted and allowed for a group of subvolumes, in bytes.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub(crate) struct Quota {
    pub(crate) usage: u64,
    pub(crate) usage_exclusive: u64,
    /// `None`: no limit.
    pub(crate) limit: Option<u64>,
    pub(crate) limit_exclusive: Option<u64>,
}

/// An item of a tree: its key's offset, and its bytes.
struct Item {
    offset: u64,
    bytes: Vec<u8>,
}

fn integer(bytes: &[u8], index: usize) -> Option<u64> {
    let start = index.checked_mul(8)?;
    let bytes = bytes.get(start..start.checked_add(8)?)?;
    Some(u64::from_le_bytes(bytes.try_into().ok()?))
}

/// The items of one object and kind, of which there are few. `ENOENT`: the file system has no such tree.
fn items(
    file: impl AsFd,
    tree: u64,
    object: u64,
    kind: u32,
    offsets: (u64, u64),
) -> Result<Vec<Item>, Errno> {
    let mut search = Search {
        key: SearchKey {
            tree,
            min_object: object,
            max_object: object,
            min_offset: offsets.0,
            max_offset: offsets.1,
            min_transaction: 0,
            max_transaction: u64::MAX,
            min_kind: kind,
            max_kind: kind,
            count: 64,
            unused: 0,
            unused64: [0; 4],
        },
        found: [0; 4096 - size_of::<SearchKey>()],
    };
    // SAFETY: see the head of the file.
    unsafe { ioctl(file, Updater::<TREE_SEARCH, Search>::new(&mut search)) }?;
    let (mut items, mut rest) = (Vec::new(), search.found.as_slice());
    for _ in 0..search.key.count {
        // struct btrfs_ioctl_search_header: transid, objectid, offset, and 32 bits each of type and length; in the
        // machine's own order.
        let Some((header, after)) = rest.split_at_checked(32) else { break };
        let word = |start: usize| {
            let bytes = header.get(start..start.saturating_add(8))?;
            Some(u64::from_ne_bytes(bytes.try_into().ok()?))
        };
        let length = header.get(28..32).and_then(|bytes| bytes.try_into().ok()).map(u32::from_ne_bytes);
        let length = length.and_then(|length| usize::try_from(length).ok());
        let (Some(found), Some(offset), Some(length)) = (word(8), word(16), length) else { break };
        let Some((bytes, after)) = after.split_at_checked(length) else { break };
        if found == object {
            items.push(Item { offset, bytes: bytes.to_vec() });
        }
        rest = after;
    }
    Ok(items)
}

/// The group that all below a subvolume is counted for: the highest one of its number, or its own.
pub(crate) fn subtree_group(file: impl AsFd, subvolume: u64) -> Result<u64, Errno> {
    let parents = items(file.as_fd(), QUOTA_TREE, subvolume, QGROUP_RELATION, (0, u64::MAX))?;
    // A group's number is its level in 16 bits, and which of that level in 48.
    let same = |group: &u64| group & (u64::MAX >> 16) == subvolume && *group > subvolume;
    Ok(parents.iter().map(|item| item.offset).filter(same).max().unwrap_or(subvolume))
}

/// What is counted for a group. `ENOENT`: nothing is counted.
pub(crate) fn quota(file: impl AsFd, group: u64) -> Result<Quota, Errno> {
    let info = items(file.as_fd(), QUOTA_TREE, 0, QGROUP_INFO, (group, group))?;
    let info = info.first().ok_or(Errno::NOENT)?;
    // struct btrfs_qgroup_info_item: generation, rfer, rfer_cmpr, excl, excl_cmpr.
    let mut quota = Quota {
        usage: integer(&info.bytes, 1).ok_or(Errno::IO)?,
        usage_exclusive: integer(&info.bytes, 3).ok_or(Errno::IO)?,
        ..Quota::default()
    };
    // struct btrfs_qgroup_limit_item: flags, max_rfer, max_excl, rsv_rfer, rsv_excl.
    if let Some(limit) = items(file, QUOTA_TREE, 0, QGROUP_LIMIT, (group, group))?.first() {
        let flags = integer(&limit.bytes, 0).unwrap_or_default();
        let limited = |flag, index| {
            let limit = integer(&limit.bytes, index).filter(|_| flags & flag != 0);
            limit.filter(|&limit| limit != u64::MAX)
        };
        quota.limit = limited(LIMITS_ALL, 1);
        quota.limit_exclusive = limited(LIMITS_EXCLUSIVE, 2);
    }
    Ok(quota)
}
