//! Trees of files: removed and copied, without leaving them and without following a link.

use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, IFlags, Mode, OFlags, RenameFlags, ResolveFlags, Stat, Timespec,
    Timestamps, Uid, XattrFlags, chmodat, chownat, fchmod, fchown, fgetxattr, flistxattr, fsetxattr, fstat,
    futimens, ioctl_getflags, ioctl_setflags, linkat, mkdirat, mknodat, openat, openat2, readlinkat,
    renameat_with, statat, symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use crate::btrfs;
use crate::data::FileData;
use crate::progress::{Teller, size_of};

type Result<T> = std::result::Result<T, Errno>;

/// An entry of a directory.
#[derive(Clone, Copy)]
pub(crate) struct Entry<'a> {
    pub(crate) directory: BorrowedFd<'a>,
    pub(crate) name: &'a str,
}

/// From this depth on, what is deeper is moved up before it is removed, so that no depth takes all descriptors.
const DEEP: usize = 128;

/// What is mounted in a tree is somebody else's, and no link is followed.
pub(crate) const IN_THE_TREE: ResolveFlags = ResolveFlags::NO_XDEV.union(ResolveFlags::NO_SYMLINKS);

fn open_directory(directory: impl AsFd, name: &[u8]) -> Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    openat2(directory, name, flags, Mode::empty(), IN_THE_TREE)
}

/// Opens a regular file; `None` if it has gone, or is something else: opening a device may do something.
fn open_file(directory: impl AsFd, name: &[u8]) -> Result<Option<OwnedFd>> {
    let place =
        match openat(directory, name, OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            place => place?,
        };
    if FileType::from_raw_mode(fstat(&place)?.st_mode) != FileType::RegularFile {
        return Ok(None);
    }
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    openat(CWD, format!("/proc/self/fd/{}", place.as_raw_fd()), flags, Mode::empty()).map(Some)
}

fn duplicate(file: BorrowedFd<'_>) -> Result<OwnedFd> {
    rustix::io::fcntl_dupfd_cloexec(file, 3)
}

/// The names in a directory, and what is called that, as far as the file system says it with the name.
fn names(directory: impl AsFd) -> Result<Vec<(Vec<u8>, FileType)>> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if name != b"." && name != b".." {
            names.push((name.to_vec(), entry.file_type()));
        }
    }
    Ok(names)
}

/// Takes the flags away that keep a file from being changed.
fn unlock(file: impl AsFd) -> bool {
    let locked = IFlags::IMMUTABLE | IFlags::APPEND;
    ioctl_getflags(file.as_fd())
        .is_ok_and(|flags| flags.intersects(locked) && ioctl_setflags(file.as_fd(), flags - locked).is_ok())
}

/// Does something to an entry, and once more without the flags that were in the way.
fn insist(directory: BorrowedFd<'_>, name: &[u8], act: impl Fn() -> Result<()>) -> Result<()> {
    match act() {
        Err(Errno::PERM | Errno::ACCESS) => {}
        done => return done,
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let found = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let is_changed = match FileType::from_raw_mode(found.st_mode) {
        FileType::RegularFile | FileType::Directory => {
            openat(directory, name, flags, Mode::empty()).is_ok_and(unlock)
        }
        _ => false,
    };
    // Both may be in the way.
    if unlock(directory) || is_changed { act() } else { Err(Errno::PERM) }
}

/// Removes an entry, with all that is below it. What is mounted there is left, and an error: `EBUSY`.
pub(crate) fn remove_entry(entry: &Entry<'_>, teller: &mut Teller<'_>) -> Result<()> {
    let name = entry.name.as_bytes();
    if remove_simple(entry.directory, name, FileType::Unknown, teller)? {
        return Ok(());
    }
    // The directories that lead to where it is removed: each open, with its name in the one before and what is left in it.
    let mut path: Vec<Level> = vec![Level::enter(entry.directory, name)?];
    let mut moved: u64 = 0;
    while let Some(level) = path.last_mut() {
        let Some((child, file_type)) = level.left.pop() else {
            let Some(done) = path.pop() else { break };
            let parent = path.last().map_or(entry.directory, |level| level.directory.as_fd());
            done.leave(parent)?;
            continue;
        };
        if remove_simple(level.directory.as_fd(), &child, file_type, teller)? {
            continue;
        }
        if path.len() < DEEP {
            let level = path.last().map_or(entry.directory, |level| level.directory.as_fd());
            let deeper = Level::enter(level, &child)?;
            path.push(deeper);
            continue;
        }
        // It becomes a child of the first one.
        let (Some(first), Some(last)) = (path.first(), path.last()) else { break };
        let name = format!(".#mymachines.deep.{moved}").into_bytes();
        moved = moved.saturating_add(1);
        match renameat_with(&last.directory, &*child, &first.directory, &*name, RenameFlags::NOREPLACE) {
            Ok(()) => {
                if let Some(first) = path.first_mut() {
                    first.left.push((name, FileType::Directory));
                }
            }
            // There is a file of this name, or it is in another subvolume.
            Err(_) => {
                let deeper = Level::enter(last.directory.as_fd(), &child)?;
                path.push(deeper);
            }
        }
    }
    Ok(())
}

/// A directory that is being emptied.
struct Level {
    name: Vec<u8>,
    directory: OwnedFd,
    left: Vec<(Vec<u8>, FileType)>,
}

impl Level {
    fn enter(parent: BorrowedFd<'_>, name: &[u8]) -> Result<Self> {
        let directory = open_directory(parent, name).map_err(|errno| match errno {
            Errno::XDEV => Errno::BUSY,
            errno => errno,
        })?;
        // Nothing can be removed from a subvolume that is read-only.
        if is_subvolume(&directory)? {
            let _ = btrfs::set_read_only(&directory, false);
        }
        let left = names(&directory)?;
        Ok(Self { name: name.to_vec(), directory, left })
    }

    fn leave(self, parent: BorrowedFd<'_>) -> Result<()> {
        let is_subvolume = is_subvolume(&self.directory)?;
        drop(self.directory);
        insist(parent, &self.name, || match std::str::from_utf8(&self.name) {
            Ok(name) if is_subvolume => btrfs::destroy(parent, name),
            _ => unlinkat(parent, &*self.name, AtFlags::REMOVEDIR),
        })
    }
}

pub(crate) fn is_subvolume(directory: impl AsFd) -> Result<bool> {
    Ok(fstat(directory.as_fd())?.st_ino == btrfs::ROOT_INODE && btrfs::is_btrfs(directory)?)
}

/// Removes an entry that is no directory, or a subvolume with no others below it. Returns whether it is gone.
fn remove_simple(
    directory: BorrowedFd<'_>,
    name: &[u8],
    file_type: FileType,
    teller: &mut Teller<'_>,
) -> Result<bool> {
    // Nobody wants to know how large it was.
    let is_file = !matches!(file_type, FileType::Directory | FileType::Unknown);
    if is_file && !teller.counts() && unlinkat(directory, name, AtFlags::empty()).is_ok() {
        teller.file(teller.done(), 0);
        return Ok(true);
    }
    let found = match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Err(Errno::NOENT) => return Ok(true),
        found => found?,
    };
    if FileType::from_raw_mode(found.st_mode) != FileType::Directory {
        insist(directory, name, || unlinkat(directory, name, AtFlags::empty()))?;
        teller.file(teller.done(), size_of(&found));
        return Ok(true);
    }
    if found.st_ino == btrfs::ROOT_INODE
        && let Ok(name) = std::str::from_utf8(name)
        && btrfs::is_btrfs(directory)?
    {
        return Ok(btrfs::destroy(directory, name).is_ok());
    }
    Ok(false)
}

/// How a tree is copied.
pub(crate) struct Copy<'a, 'b> {
    /// Hard links: what was copied, by device and inode, as the directory's descriptor and the name there.
    links: HashMap<(u64, u64), String>,
    data: FileData,
    teller: &'a mut Teller<'b>,
    /// What is not copied: the copy itself, where it is made below what is copied.
    target: (u64, u64),
}

impl<'a, 'b> Copy<'a, 'b> {
    /// Copies what is in a directory into another one, which is empty. Owners, modes, times, extended attributes, holes and
    /// hard links are kept, and blocks shared where the file system can. Nothing that is mounted below is copied.
    pub(crate) fn tree(source: impl AsFd, target: impl AsFd, teller: &'a mut Teller<'b>) -> Result<()> {
        teller.count(source.as_fd(), b".", IN_THE_TREE);
        let (data, stat) = (FileData::new(), fstat(target.as_fd())?);
        let mut copy = Self { links: HashMap::new(), data, teller, target: (stat.st_dev, stat.st_ino) };
        copy.directory(source.as_fd(), target.as_fd())
    }

    fn directory(&mut self, source: BorrowedFd<'_>, root: BorrowedFd<'_>) -> Result<()> {
        let mut path = vec![Pair::of(duplicate(source)?, duplicate(root)?, String::new())?];
        while let Some(pair) = path.last_mut() {
            let Some((name, _)) = pair.left.pop() else {
                if let Some(done) = path.pop() {
                    finish(&done.source, &done.target)?;
                }
                continue;
            };
            if let Some(deeper) = self.entry(pair, &name, root)? {
                path.push(deeper);
            }
        }
        Ok(())
    }

    /// Copies one entry. A directory is made, and to be filled then.
    fn entry(&mut self, pair: &Pair, name: &[u8], root: BorrowedFd<'_>) -> Result<Option<Pair>> {
        let stat = match statat(&pair.source, name, AtFlags::SYMLINK_NOFOLLOW) {
            // It has gone meanwhile.
            Err(Errno::NOENT) => return Ok(None),
            stat => stat?,
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            return self.enter(pair, name, &stat);
        }
        let began = self.teller.done();
        let key = (stat.st_dev, stat.st_ino);
        // A path from the root, of text; a name that is none is copied for each of its links.
        let path = std::str::from_utf8(name).ok().map(|name| format!("{}{name}", pair.path));
        if stat.st_nlink > 1
            && let Some(first) = self.links.get(&key)
            && linkat(root, first.as_str(), &pair.target, name, AtFlags::empty()).is_ok()
        {
            self.teller.file(began, size_of(&stat));
            return Ok(None);
        }
        match kind {
            FileType::RegularFile => {
                let Some(source) = open_file(&pair.source, name)? else { return Ok(None) };
                self.file(&source, pair, name)?;
            }
            FileType::Symlink => {
                let link = match readlinkat(&pair.source, name, Vec::new()) {
                    // It has gone meanwhile, or is something else.
                    Err(Errno::NOENT | Errno::INVAL) => return Ok(None),
                    link => link?,
                };
                symlinkat(link, &pair.target, name)?;
                own(&pair.target, name, &stat)?;
            }
            kind => {
                mknodat(&pair.target, name, kind, Mode::from_raw_mode(stat.st_mode & 0o7777), stat.st_rdev)?;
                own(&pair.target, name, &stat)?;
                chmodat(&pair.target, name, Mode::from_raw_mode(stat.st_mode & 0o7777), AtFlags::empty())?;
            }
        }
        if kind != FileType::RegularFile {
            utimensat(&pair.target, name, &times(&stat), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        if stat.st_nlink > 1
            && let Some(path) = path.filter(|path| path.len() < 4096)
        {
            self.links.insert(key, path);
        }
        self.teller.file(began, size_of(&stat));
        Ok(None)
    }

    fn file(&mut self, source: &OwnedFd, pair: &Pair, name: &[u8]) -> Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let target = openat(&pair.target, name, flags, Mode::RUSR | Mode::WUSR)?;
        self.data.copy(source, &target, &mut |more| self.teller.bytes(more))?;
        finish(source, &target)
    }

    fn enter(&self, pair: &Pair, name: &[u8], stat: &Stat) -> Result<Option<Pair>> {
        if (stat.st_dev, stat.st_ino) == self.target {
            return Ok(None);
        }
        let source = match open_directory(&pair.source, name) {
            // It has gone meanwhile, or is something else.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            source => source,
        };
        mkdirat(&pair.target, name, Mode::RWXU)?;
        let target = open_directory(&pair.target, name)?;
        let source = match source {
            // Something is mounted there, which is not ours to copy.
            Err(Errno::XDEV) => {
                fchown(&target, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
                fchmod(&target, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
                return Ok(None);
            }
            source => source?,
        };
        let path = std::str::from_utf8(name)
            .map_or_else(|_| "\0/".to_owned(), |name| format!("{}{name}/", pair.path));
        Pair::of(source, target, path).map(Some)
    }
}

/// A directory and its copy.
struct Pair {
    source: OwnedFd,
    target: OwnedFd,
    left: Vec<(Vec<u8>, FileType)>,
    /// Where it is below the root, with a slash at the end.
    path: String,
}

impl Pair {
    fn of(source: OwnedFd, target: OwnedFd, path: String) -> Result<Self> {
        let left = names(&source)?;
        Ok(Self { source, target, left, path })
    }
}

fn times(stat: &Stat) -> Timestamps {
    // What the kernel calls nanoseconds has another type on each processor.
    let access = i64::try_from(stat.st_atime_nsec).unwrap_or_default();
    let modification = i64::try_from(stat.st_mtime_nsec).unwrap_or_default();
    Timestamps {
        last_access: Timespec { tv_sec: stat.st_atime, tv_nsec: access },
        last_modification: Timespec { tv_sec: stat.st_mtime, tv_nsec: modification },
    }
}

fn own(directory: &OwnedFd, name: &[u8], stat: &Stat) -> Result<()> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    chownat(directory, name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)
}

/// Gives a copy what the original has beyond its data: owner, mode, attributes, times.
fn finish(source: &OwnedFd, target: &OwnedFd) -> Result<()> {
    let stat = fstat(source)?;
    fchown(target, Some(Uid::from_raw(stat.st_uid)), Some(Gid::from_raw(stat.st_gid)))?;
    fchmod(target, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    copy_attributes(source, target)?;
    futimens(target, &times(&stat))
}

fn copy_attributes(source: &OwnedFd, target: &OwnedFd) -> Result<()> {
    // Most files have few or none.
    let mut list = vec![0_u8; 256];
    let length = match flistxattr(source, list.as_mut_slice()) {
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(Errno::RANGE) => {
            list.resize(64 * 1024, 0);
            flistxattr(source, list.as_mut_slice())?
        }
        length => length?,
    };
    for name in
        list.get(..length).unwrap_or_default().split(|&byte| byte == 0).filter(|name| !name.is_empty())
    {
        let mut value = vec![0; 64 * 1024];
        let length = match fgetxattr(source, name, &mut value) {
            Err(Errno::NODATA) => continue,
            length => length?,
        };
        match fsetxattr(target, name, value.get(..length).unwrap_or_default(), XattrFlags::empty()) {
            // The pool's file system has none of this kind.
            Ok(()) | Err(Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}
