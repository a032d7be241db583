//! A tree of files that is merged into another place, entry by entry.

use std::cell::Cell;
use std::collections::HashMap;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use images::{FileData, Teller, size_of};
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Gid, Mode, OFlags, ResolveFlags, Stat, Timespec, Timestamps, Uid, chmodat,
    chownat, fchmod, fchown, fstat, futimens, linkat, mkdirat, mknodat, openat, openat2, readlinkat, statat,
    symlinkat, unlinkat, utimensat,
};
use rustix::io::Errno;

use super::copied_attributes::{Lists, copy_attributes};
use super::path::reopen;
use super::staged::{Entry, Way, own_name, place, remove_left_over};

/// How deep a tree may be; as for the original.
const DEPTH: usize = 2048;
/// How many files with further links are remembered. The links of others become files of their own.
const LINKS: usize = 1 << 18;
/// How long their paths may be together, in bytes.
const LINKS_LENGTH: usize = 16 << 20;

/// Why a copy failed, and at which file if it is about one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Failure {
    /// Why.
    pub errno: Errno,
    /// The file.
    pub path: Option<String>,
}

impl Failure {
    /// Of the whole.
    pub(super) const fn whole(errno: Errno) -> Self {
        Self { errno, path: None }
    }

    /// At a file.
    pub(super) fn at(errno: Errno, path: &str) -> Self {
        Self { errno, path: Some(path.to_owned()) }
    }
}

/// A copy of a tree.
pub(super) struct Tree<'a, 'b> {
    /// Who owns all of it; otherwise everything keeps its owner.
    owner: Option<u32>,
    /// Whether files that are there already are replaced. Directories are merged anyway.
    replaces: bool,
    teller: &'a mut Teller<'b>,
    data: FileData,
    /// What has been copied and has further links, by device and inode.
    links: HashMap<(u64, u64), Link>,
    /// How long their paths are together.
    links_length: usize,
    /// Where the copy begins, if it is a directory.
    top: Option<(OwnedFd, Inode)>,
    lost_lists: u64,
    /// What is called so is not whole yet.
    staged: Vec<u8>,
}

type Inode = (u64, u64);

/// A copy that may be linked to.
struct Link {
    /// Where it is, from where the copy begins.
    path: Vec<u8>,
    inode: Inode,
}

/// A directory and its copy.
struct Level {
    name: Vec<u8>,
    source: Dir,
    target: OwnedFd,
    /// Whether the copy was made, and did not exist already.
    is_new: bool,
    /// Whether nothing of an earlier copy is left over in it.
    is_tidy: Cell<bool>,
}

impl<'a, 'b> Tree<'a, 'b> {
    /// A copy that is to begin.
    pub(super) fn new(owner: Option<u32>, replaces: bool, teller: &'a mut Teller<'b>) -> Self {
        let (data, links) = (FileData::new(), HashMap::new());
        let staged = own_name().into_bytes();
        Self { owner, replaces, teller, data, links, links_length: 0, top: None, lost_lists: 0, staged }
    }

    /// How many access control lists were left out, whose ids mean nothing where the copy is.
    pub(super) const fn lost_lists(&self) -> u64 {
        self.lost_lists
    }

    /// Copies an entry of a directory to another directory. What is below a directory is copied as far as it can be.
    ///
    /// # Errors
    /// What failed first. `EEXIST`: it is there already, and is neither replaced nor merged.
    pub(super) fn copy(
        &mut self,
        from: BorrowedFd<'_>,
        name: &[u8],
        to: BorrowedFd<'_>,
        new: &[u8],
    ) -> Result<(), Failure> {
        let (source, target) = (Entry { directory: from, name }, Entry { directory: to, name: new });
        let entered = self.entry(source, target, &[]);
        let Some(first) = entered.map_err(|errno| Failure { errno, path: Some(shown(&[], name)) })? else {
            return Ok(());
        };
        let top = fstat(&first.target).and_then(|stat| {
            Ok((rustix::io::fcntl_dupfd_cloexec(&first.target, 3)?, (stat.st_dev, stat.st_ino)))
        });
        self.top = Some(top.map_err(Failure::whole)?);
        let mut failed = None;
        let mut path = vec![first];
        while let Some(level) = path.last_mut() {
            let (name, outcome) = match level.source.read() {
                None => {
                    let Some(level) = path.pop() else { break };
                    let finished = self.finish_directory(&level);
                    (level.name, finished.map(|()| None))
                }
                Some(Err(errno)) => {
                    let Some(level) = path.pop() else { break };
                    (level.name, Err(errno))
                }
                Some(Ok(entry)) => {
                    let name = entry.file_name().to_bytes().to_vec();
                    if name == b"." || name == b".." {
                        continue;
                    }
                    let outcome = self.below(&path, &name);
                    (name, outcome)
                }
            };
            match outcome {
                Ok(Some(_)) if path.len() >= DEPTH => {
                    keep_first(&mut failed, Errno::LOOP, &path, &name);
                }
                Ok(deeper) => path.extend(deeper),
                // As the original has it: what is there already is left, and that is no failure.
                Err(Errno::EXIST) => {}
                Err(errno) => {
                    keep_first(&mut failed, errno, &path, &name);
                    if is_for_all(errno) {
                        break;
                    }
                }
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Copies an entry of the directory that this path leads to.
    fn below(&mut self, path: &[Level], name: &[u8]) -> Result<Option<Level>, Errno> {
        let level = path.last().ok_or(Errno::INVAL)?;
        if name.contains(&b'/') {
            return Err(Errno::IO);
        }
        let source = Entry { directory: level.source.fd()?, name };
        self.entry(source, Entry { directory: level.target.as_fd(), name }, path)
    }

    /// Copies an entry. A directory is made, and to be filled then.
    fn entry(
        &mut self,
        source: Entry<'_>,
        target: Entry<'_>,
        path: &[Level],
    ) -> Result<Option<Level>, Errno> {
        // It is looked at before it is opened, which does something to a device or a FIFO.
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let seen = openat(source.directory, source.name, flags, Mode::empty())?;
        let stat = fstat(&seen)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Directory {
            return self.enter(&seen, &stat, target);
        }
        let began = self.teller.done();
        if stat.st_nlink > 1 && self.link(&stat, target)? {
            self.teller.file(began, size_of(&stat));
            return Ok(None);
        }
        let (replaces, ids) = (self.replaces, owner(self.owner, &stat));
        let way = if kind == FileType::RegularFile { Way::Staged } else { Way::Direct };
        if (replaces || way == Way::Staged) && !path.last().is_some_and(|level| level.is_tidy.replace(true)) {
            remove_left_over(target.directory);
        }
        let staged = std::mem::take(&mut self.staged);
        let placed = place(
            target,
            &staged,
            replaces,
            way,
            |name| match kind {
                FileType::RegularFile => self.file(&seen, &stat, Entry { name, ..target }),
                FileType::Symlink => {
                    let link = readlinkat(&seen, "", Vec::new())?;
                    symlinkat(link, target.directory, name)
                }
                kind => {
                    let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
                    mknodat(target.directory, name, kind, mode, stat.st_rdev)
                }
            },
            |name| match kind {
                FileType::RegularFile => Ok(()),
                kind => finish_special(Entry { name, ..target }, kind, ids, &stat),
            },
        );
        self.staged = staged;
        placed?;
        if stat.st_nlink > 1 && self.top.is_some() {
            self.remember(&stat, target, path);
        }
        self.teller.file(began, size_of(&stat));
        Ok(None)
    }

    /// Makes a file with the data and all else of this one.
    fn file(&mut self, seen: &OwnedFd, stat: &Stat, target: Entry<'_>) -> Result<(), Errno> {
        let source = reopen(seen.as_fd(), OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY)?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let made = openat(target.directory, target.name, flags, Mode::RUSR | Mode::WUSR)?;
        let teller = &mut *self.teller;
        let copied = self.data.copy(&source, &made, &mut |more| teller.bytes(more));
        let done = copied.and_then(|()| self.finish(&source, &made, stat));
        if done.is_err() {
            // Half of a file is of no use.
            let _ = unlinkat(target.directory, target.name, AtFlags::empty());
        }
        done
    }

    /// Gives a copy what the original has beyond its data.
    fn finish(&mut self, source: &OwnedFd, made: &OwnedFd, stat: &Stat) -> Result<(), Errno> {
        let (uid, gid) = owner(self.owner, stat);
        fchown(made, Some(uid), Some(gid))?;
        fchmod(made, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
        if copy_attributes(source, made, self.owner.is_none())? == Lists::Lost {
            self.lost_lists = self.lost_lists.saturating_add(1);
        }
        futimens(made, &times(stat))
    }

    fn finish_directory(&mut self, level: &Level) -> Result<(), Errno> {
        if !level.is_new {
            return Ok(());
        }
        let source = rustix::io::fcntl_dupfd_cloexec(level.source.fd()?, 3)?;
        let stat = fstat(&source)?;
        self.finish(&source, &level.target, &stat)
    }

    fn enter(&self, seen: &OwnedFd, stat: &Stat, target: Entry<'_>) -> Result<Option<Level>, Errno> {
        // The copy itself, where it is made below what is copied.
        if self.top.as_ref().is_some_and(|(_, top)| *top == (stat.st_dev, stat.st_ino)) {
            return Ok(None);
        }
        let flags =
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let source = Dir::new(openat(seen, ".", flags, Mode::empty())?)?;
        let is_new = match mkdirat(target.directory, target.name, Mode::RWXU) {
            Err(Errno::EXIST) => false,
            made => made.map(|()| true)?,
        };
        let opened = openat(target.directory, target.name, flags, Mode::empty())?;
        let is_tidy = Cell::new(is_new);
        Ok(Some(Level { name: target.name.to_vec(), source, target: opened, is_new, is_tidy }))
    }

    /// Makes a link to what was copied from the same file; `false` if nothing was.
    fn link(&self, stat: &Stat, target: Entry<'_>) -> Result<bool, Errno> {
        let Some(link) = self.links.get(&(stat.st_dev, stat.st_ino)) else { return Ok(false) };
        let Some((top, _)) = &self.top else { return Ok(false) };
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        // Somebody may have put something else there.
        let Ok(first) = openat2(top, link.path.as_slice(), flags, Mode::empty(), resolve) else {
            return Ok(false);
        };
        let found = fstat(&first)?;
        // A number may have come to be another file's; of another kind, it is of no use.
        let is_alike = FileType::from_raw_mode(found.st_mode) == FileType::from_raw_mode(stat.st_mode);
        if (found.st_dev, found.st_ino) != link.inode || !is_alike {
            return Ok(false);
        }
        let way = format!("/proc/self/fd/{}", first.as_raw_fd());
        let make = |name: &[u8]| linkat(CWD, way.as_str(), target.directory, name, AtFlags::SYMLINK_FOLLOW);
        match place(target, &self.staged, self.replaces, Way::Direct, make, |_| Ok(())) {
            Ok(()) => Ok(true),
            Err(Errno::EXIST) => Err(Errno::EXIST),
            // On another file system, or with too many links.
            Err(_) => Ok(false),
        }
    }

    fn remember(&mut self, stat: &Stat, target: Entry<'_>, path: &[Level]) {
        let Ok(made) = statat(target.directory, target.name, AtFlags::SYMLINK_NOFOLLOW) else { return };
        let names = path.iter().skip(1).map(|level| level.name.as_slice());
        let path = names.chain([target.name]).collect::<Vec<_>>().join(&b'/');
        let length = self.links_length.saturating_add(path.len());
        if path.len() < 4096 && self.links.len() < LINKS && length <= LINKS_LENGTH {
            self.links_length = length;
            let link = Link { path, inode: (made.st_dev, made.st_ino) };
            self.links.insert((stat.st_dev, stat.st_ino), link);
        }
    }
}

/// Gives what is neither a file nor a directory its owner, mode and times. Whoever has the directory may have put something
/// else there, which is left as it is.
fn finish_special(made: Entry<'_>, kind: FileType, (uid, gid): (Uid, Gid), stat: &Stat) -> Result<(), Errno> {
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let seen = openat(made.directory, made.name, flags, Mode::empty())?;
    let found = fstat(&seen)?;
    if FileType::from_raw_mode(found.st_mode) != kind || found.st_nlink != 1 {
        return Err(Errno::STALE);
    }
    chownat(&seen, "", Some(uid), Some(gid), AtFlags::EMPTY_PATH)?;
    if kind == FileType::Symlink {
        return utimensat(made.directory, made.name, &times(stat), AtFlags::SYMLINK_NOFOLLOW);
    }
    let way = format!("/proc/self/fd/{}", seen.as_raw_fd());
    chmodat(CWD, &way, Mode::from_raw_mode(stat.st_mode & 0o7777), AtFlags::empty())?;
    utimensat(CWD, &way, &times(stat), AtFlags::empty())
}

fn owner(all: Option<u32>, stat: &Stat) -> (Uid, Gid) {
    let (uid, gid) = all.map_or((stat.st_uid, stat.st_gid), |id| (id, id));
    (Uid::from_raw(uid), Gid::from_raw(gid))
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

/// Whether what failed with this will fail for the rest too.
const fn is_for_all(errno: Errno) -> bool {
    matches!(
        errno,
        Errno::NOSPC
            | Errno::DQUOT
            | Errno::ROFS
            | Errno::NOMEM
            | Errno::MFILE
            | Errno::NFILE
            | Errno::NOTCONN
    )
}

fn keep_first(failed: &mut Option<Failure>, errno: Errno, path: &[Level], name: &[u8]) {
    failed.get_or_insert_with(|| Failure { errno, path: Some(shown(path, name)) });
}

/// How a path is shown: as text, of a bounded length.
fn shown(path: &[Level], name: &[u8]) -> String {
    let names = path.iter().map(|level| level.name.as_slice()).chain([name]);
    let path = names.collect::<Vec<_>>().join(&b'/');
    let text = String::from_utf8_lossy(&path);
    text.chars().map(|letter| if letter.is_control() { '?' } else { letter }).take(1024).collect()
}

#[cfg(test)]
mod tests;
