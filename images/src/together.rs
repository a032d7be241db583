//! What happens to an image and to the files that belong to it, together: a rename, a removal, a copy that gets its name.
//!
//! What is to happen is written down first, in a file `.#mymachines-moves.N` beside the image, which is locked meanwhile and
//! goes with the last step. A kill leaves it, and whoever tidies up goes on or goes back, by whether the image has moved. A
//! file is known again by its inode and the time when it was made: what has come to a name meanwhile is somebody else's.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Write as _};
use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    AtFlags, CWD, FileType, FlockOperation, Mode, OFlags, RenameFlags, StatxFlags, flock, fstat, fsync,
    linkat, openat, renameat_with, statx, unlink, unlinkat,
};
use rustix::io::Errno;

use crate::pick::VERSIONS;
use crate::places::Places;
use crate::protection::set_immutable;
use crate::staged::hold;

/// What the names of the files begin with in which it is written down.
pub(crate) const PREFIX: &str = ".#mymachines-moves.";
const HEAD: &str = "moves 1";
const END: &str = "end";
/// The longest such file, in bytes.
const LONGEST: u64 = 256 * 1024;
const TRIES: u32 = 1000;

/// A file, wherever it is: its inode, and when it was made.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Identity {
    inode: u64,
    made: (i64, u32),
}

impl Identity {
    fn of(path: &str) -> Option<Self> {
        let wanted = StatxFlags::INO | StatxFlags::BTIME;
        let stat = statx(CWD, path, AtFlags::SYMLINK_NOFOLLOW, wanted).ok()?;
        Some(Self { inode: stat.stx_ino, made: (stat.stx_btime.tv_sec, stat.stx_btime.tv_nsec) })
    }

    fn is_at(self, path: Option<&String>) -> bool {
        path.is_some_and(|path| Self::of(path) == Some(self))
    }
}

/// A file that moves. Without a place that it comes from it is new, without one that it goes to it is removed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Move {
    from: Option<String>,
    to: Option<String>,
    identity: Identity,
}

impl Move {
    /// Of a file that is at its place; `None`: there is none.
    pub(crate) fn of(from: String, to: Option<String>) -> Option<Self> {
        Some(Self { identity: Identity::of(&from)?, from: Some(from), to })
    }

    /// Of a new file, which is somewhere else until then.
    pub(crate) fn of_new(now: &str, to: String) -> Option<Self> {
        Some(Self { from: None, to: Some(to), identity: Identity::of(now)? })
    }

    fn go_on(&self) {
        match (&self.from, &self.to) {
            (Some(from), _) if !self.identity.is_at(Some(from)) => {}
            (Some(from), Some(to)) if !self.identity.is_at(Some(to)) => {
                let _ = renameat_with(CWD, from.as_str(), CWD, to.as_str(), RenameFlags::NOREPLACE);
            }
            (Some(from), _) => {
                let _ = unlink(from.as_str());
            }
            (None, _) => {}
        }
    }

    fn go_back(&self) {
        match (&self.from, &self.to) {
            (_, Some(to)) if !self.identity.is_at(Some(to)) => {}
            (Some(from), Some(to)) if !self.identity.is_at(Some(from)) => {
                let _ = renameat_with(CWD, to.as_str(), CWD, from.as_str(), RenameFlags::NOREPLACE);
            }
            (_, Some(to)) => {
                let _ = unlink(to.as_str());
            }
            (_, None) => {}
        }
    }
}

/// An image and its files.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Moves {
    image: Move,
    /// Whether the image cannot be changed, but for the moment of the move.
    is_immutable: bool,
    files: Vec<Move>,
}

impl Moves {
    pub(crate) fn new(image: Move, is_immutable: bool, files: impl IntoIterator<Item = Move>) -> Self {
        Self { image, is_immutable, files: files.into_iter().collect() }
    }

    /// Writes down what is to happen, and gives each file its new name beside the one that it has: the image has its files
    /// all the time. Where that cannot be written, as on a full disk, it happens all the same.
    pub(crate) fn begin<'a>(&self, directory: &'a OwnedFd) -> Option<Journal<'a>> {
        let is_one_step = self.files.is_empty() && !self.is_immutable;
        let journal = if is_one_step { None } else { Journal::write(directory, &self.text()).ok() };
        for file in &self.files {
            if let (Some(from), Some(to)) = (&file.from, &file.to) {
                let _ = linkat(CWD, from.as_str(), CWD, to.as_str(), AtFlags::empty());
            }
        }
        journal
    }

    /// The image has moved: so do its files.
    ///
    /// # Errors
    /// The image cannot be protected again.
    pub(crate) fn go_on(&self) -> Result<(), Errno> {
        self.files.iter().for_each(Move::go_on);
        self.protect(self.image.to.as_ref())
    }

    /// The image has not moved: its files are where they were.
    ///
    /// # Errors
    /// The image cannot be protected again.
    pub(crate) fn go_back(&self) -> Result<(), Errno> {
        self.files.iter().for_each(Move::go_back);
        self.protect(self.image.from.as_ref())
    }

    fn protect(&self, path: Option<&String>) -> Result<(), Errno> {
        match path.filter(|_| self.is_immutable) {
            Some(path) => set_immutable(path, true).map(drop),
            None => Ok(()),
        }
    }

    /// Goes on or back after somebody was killed.
    fn settle(&self) {
        let Move { from, to, identity } = &self.image;
        let _ = if identity.is_at(to.as_ref()) {
            self.go_on()
        } else if identity.is_at(from.as_ref()) {
            self.go_back()
        } else if to.is_none() {
            self.go_on()
        } else if from.is_none() {
            self.go_back()
        } else {
            // Somebody has moved it on.
            Ok(())
        };
    }

    fn text(&self) -> String {
        let mut text = format!("{HEAD}\n{}\n", u8::from(self.is_immutable));
        for Move { from, to, identity: Identity { inode, made } } in
            std::iter::once(&self.image).chain(&self.files)
        {
            let (from, to) = (from.as_deref().unwrap_or_default(), to.as_deref().unwrap_or_default());
            let _ = write!(text, "{inode} {} {}\n{from}\n{to}\n", made.0, made.1);
        }
        text + END + "\n"
    }

    /// What a file says; `None` if it is not whole.
    fn of_text(text: &str) -> Option<Self> {
        let lines: Vec<&str> = text.strip_suffix('\n')?.split('\n').collect();
        let [HEAD, is_immutable, lines @ .., END] = lines.as_slice() else { return None };
        let place = |path: &str| Some(path.to_owned()).filter(|path| !path.is_empty());
        let moves = lines.chunks(3).map(|lines| {
            let [identity, from, to] = lines else { return None };
            let mut numbers = identity.splitn(3, ' ');
            let inode = numbers.next()?.parse().ok()?;
            let made = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
            Some(Move { from: place(from), to: place(to), identity: Identity { inode, made } })
        });
        let mut moves = moves.collect::<Option<Vec<_>>>()?.into_iter();
        Some(Self { image: moves.next()?, is_immutable: *is_immutable == "1", files: moves.collect() })
    }

    /// Whether all of it is where images and their files are, or in a directory of versions there.
    fn is_within(&self, directories: &[String]) -> bool {
        let is_in_one = |path: &str| {
            let parts = path.rsplit_once('/');
            parts.is_some_and(|(parent, _)| directories.iter().any(|known| known == parent))
        };
        let is_known = |path: &String| {
            let versions = path.rsplit_once('/').filter(|(parent, _)| parent.ends_with(VERSIONS));
            is_in_one(path) || versions.is_some_and(|(parent, _)| is_in_one(parent))
        };
        let moves = std::iter::once(&self.image).chain(&self.files);
        moves.flat_map(|it| it.from.iter().chain(&it.to)).all(is_known)
    }
}

/// What is written down. It is gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Journal<'a> {
    directory: &'a OwnedFd,
    name: String,
    _file: OwnedFd,
}

impl<'a> Journal<'a> {
    fn write(directory: &'a OwnedFd, text: &str) -> Result<Self, Errno> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        for number in 0..TRIES {
            let name = format!("{PREFIX}{}-{number}", std::process::id());
            let file = match openat(directory, &name, flags, Mode::RUSR | Mode::WUSR) {
                Err(Errno::EXIST) => continue,
                made => made?,
            };
            // Whoever tidies up may have come in between; then it is made again.
            let Some(held) = hold(directory, &name)? else { continue };
            let journal = Self { directory, name, _file: held };
            let mut file = File::from(file);
            let written = file.write_all(text.as_bytes());
            written.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            fsync(&file)?;
            return Ok(journal);
        }
        Err(Errno::EXIST)
    }
}

impl Drop for Journal<'_> {
    fn drop(&mut self) {
        let _ = unlinkat(self.directory, self.name.as_str(), AtFlags::empty());
    }
}

/// Goes on or back with what such a file of a directory says, unless somebody is at it. Returns whether there was anything.
pub(crate) fn settle(places: &Places, directory: &OwnedFd, name: &str) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let Ok(file) = openat(directory, name, flags, Mode::empty()) else { return false };
    // Whoever held it may have done it all meanwhile: then it is gone.
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() || !is_ours(&file) {
        return false;
    }
    let (file, mut text) = (File::from(file), String::new());
    let moves = match (&file).take(LONGEST).read_to_string(&mut text) {
        Ok(_) => Moves::of_text(&text),
        Err(_) => None,
    };
    let mut known = places.directories();
    known.extend(places.settings());
    let moves = moves.filter(|moves| moves.is_within(&known));
    if let Some(moves) = &moves {
        moves.settle();
    }
    let _ = unlinkat(directory, name, AtFlags::empty());
    moves.is_some()
}

/// Whether nobody else can have written a file, nor given it this name: it has no other.
fn is_ours(file: impl AsFd) -> bool {
    fstat(file).is_ok_and(|found| {
        let is_file = FileType::from_raw_mode(found.st_mode) == FileType::RegularFile;
        let is_own = found.st_uid == rustix::process::geteuid().as_raw() && found.st_mode & 0o022 == 0;
        is_file && is_own && found.st_nlink == 1
    })
}

#[cfg(test)]
mod tests;
