//! What is being made or removed: a file or directory in the pool under a name that is no image's, `.#mymachines.NAME.N`, and
//! held by a lock of its own. A kill at any moment leaves such a one, which nobody holds then, and no half image.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    AtFlags, FlockOperation, Mode, OFlags, RenameFlags, flock, fstat, openat, openat2, renameat_with, statat,
};
use rustix::io::Errno;

use crate::progress::Teller;
use crate::tree::{Entry, IN_THE_TREE, remove_entry};

/// What the names begin with. Those of others, as systemd-importd's, begin with `.#` only.
pub(crate) const PREFIX: &str = ".#mymachines.";
/// How many names are tried.
const TRIES: u32 = 1000;

/// Something that is being made, or removed, in a directory. When this is dropped it is removed.
#[derive(Debug)]
pub(crate) struct Staged<'a> {
    directory: &'a OwnedFd,
    name: String,
    /// Locked, and open for reading.
    file: OwnedFd,
    is_kept: bool,
}

impl<'a> Staged<'a> {
    /// Makes something new, by a function that is given a name for it and says `EEXIST` where that is taken.
    pub(crate) fn make(
        directory: &'a OwnedFd,
        image: &str,
        make: impl Fn(&str) -> std::result::Result<(), Errno>,
    ) -> std::result::Result<Self, Errno> {
        for number in 0..TRIES {
            let name = named(image, number);
            match make(&name) {
                Err(Errno::EXIST) => continue,
                made => made?,
            }
            // Whoever tidies up may have come in between; then it is made again.
            if let Some(file) = hold(directory, &name)? {
                return Ok(Self { directory, name, file, is_kept: false });
            }
        }
        Err(Errno::EXIST)
    }

    /// Makes a new file, which is returned open for writing, too. Nobody else may open it, and so lock it, as long as it is
    /// being made.
    pub(crate) fn make_file(
        directory: &'a OwnedFd,
        image: &str,
    ) -> std::result::Result<(Self, OwnedFd), Errno> {
        let new = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let staged = Self::make(directory, image, |name| {
            openat(directory, name, new, Mode::RUSR | Mode::WUSR).map(drop)
        })?;
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = openat(directory, staged.name(), flags, Mode::empty())?;
        Ok((staged, file))
    }

    /// Puts an entry of the directory aside, so that it is no image any more, and is removed.
    pub(crate) fn put_aside(
        directory: &'a OwnedFd,
        image: &str,
        entry: &str,
    ) -> std::result::Result<Self, Errno> {
        let file = open(directory, entry)?;
        flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| Errno::BUSY)?;
        for number in 0..TRIES {
            let name = named(image, number);
            match renameat_with(directory, entry, directory, &name, RenameFlags::NOREPLACE) {
                Err(Errno::EXIST) => {}
                renamed => {
                    renamed?;
                    return Ok(Self { directory, name, file, is_kept: false });
                }
            }
        }
        Err(Errno::EXIST)
    }

    /// What it is called until it is done.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Gives it its name, which nothing else has.
    pub(crate) fn finish(mut self, name: &str) -> std::result::Result<(), Errno> {
        renameat_with(self.directory, self.name.as_str(), self.directory, name, RenameFlags::NOREPLACE)?;
        self.is_kept = true;
        Ok(())
    }

    /// Removes it, and says if that fails.
    pub(crate) fn remove(mut self, teller: &mut Teller<'_>) -> std::result::Result<(), Errno> {
        self.is_kept = true;
        remove_entry(&Entry { directory: self.directory.as_fd(), name: &self.name }, teller)
    }
}

impl AsFd for Staged<'_> {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl Drop for Staged<'_> {
    fn drop(&mut self) {
        if !self.is_kept {
            // What stays is removed at the next start.
            let _ = remove_quietly(self.directory, &self.name);
        }
    }
}

pub(crate) fn remove_quietly(directory: &OwnedFd, name: &str) -> std::result::Result<(), Errno> {
    remove_entry(&Entry { directory: directory.as_fd(), name }, &mut Teller::new(false, &mut |_| {}))
}

fn named(image: &str, number: u32) -> String {
    let number = format!("{}-{number}", std::process::id());
    // A name has 255 bytes at the most.
    let room = 255_usize.saturating_sub(PREFIX.len()).saturating_sub(number.len()).saturating_sub(1);
    let end = (0..=room.min(image.len())).rev().find(|&end| image.is_char_boundary(end)).unwrap_or_default();
    format!("{PREFIX}{}.{number}", image.get(..end).unwrap_or_default())
}

fn open(directory: &OwnedFd, name: &str) -> std::result::Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    // What is mounted there is somebody else's.
    match openat2(directory, name, flags, Mode::empty(), IN_THE_TREE) {
        Err(Errno::XDEV) => Err(Errno::BUSY),
        opened => opened,
    }
}

/// Opens and locks an entry; `None` if it has gone meanwhile, or somebody else has it, as whoever tidies up.
pub(crate) fn hold(directory: &OwnedFd, name: &str) -> std::result::Result<Option<OwnedFd>, Errno> {
    let file = match open(directory, name) {
        Err(Errno::NOENT) => return Ok(None),
        opened => opened?,
    };
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => return Ok(None),
        locked => locked?,
    }
    let held = fstat(&file)?;
    match statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(found) if (found.st_dev, found.st_ino) == (held.st_dev, held.st_ino) => Ok(Some(file)),
        Ok(_) | Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(errno),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::protection::DIRECTORY;
    use crate::scratch::Scratch;

    #[test]
    fn whoever_has_locked_what_is_being_made_is_not_waited_for() {
        let scratch = Scratch::new("staged-locked");
        scratch.file("pool/.#mymachines.web.1-0", "");
        let directory = rustix::fs::open(scratch.path("pool"), DIRECTORY, Mode::empty()).unwrap();
        let other = open(&directory, ".#mymachines.web.1-0").unwrap();
        flock(&other, FlockOperation::NonBlockingLockExclusive).unwrap();
        let (told, answer) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            told.send(hold(&directory, ".#mymachines.web.1-0").map(|held| held.is_some()))
        });
        let limit = std::time::Duration::from_secs(10);
        let answered = answer.recv_timeout(limit);
        drop(other);
        assert_eq!(answered, Ok(Ok(false)));
    }

    #[test]
    fn nobody_else_opens_a_file_while_it_is_made() {
        let scratch = Scratch::new("staged-file");
        scratch.directory("pool");
        let directory = rustix::fs::open(scratch.path("pool"), DIRECTORY, Mode::empty()).unwrap();
        let (staged, _file) = Staged::make_file(&directory, "web").unwrap();
        let made = std::fs::metadata(scratch.path("pool").join(staged.name())).unwrap();
        assert_eq!(made.permissions().mode() & 0o777, 0o600);
    }
}
