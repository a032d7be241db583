//! Locks of images and of names, which systemd-nspawn and systemd-importd take too.
//!
//! An image has two: `.#NAME.lck` beside it, for whoever shares the directory, and one of the host's, by the device and
//! the inode, for whoever comes by another path. They are locks of open file descriptions, fcntl_locking(2). A lock file goes
//! with the last who holds it.
//!
//! # Safety
//! One fcntl(2), with a descriptor that is held and a structure that lives until it returns.
#![allow(unsafe_code, reason = "rustix has no locks of open file descriptions")]

use std::os::fd::{AsRawFd, OwnedFd};

use rustix::fs::{FileType, Mode as Permissions, OFlags, fstat, major, minor, mkdir, open, stat, unlink};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::image::HOST_NAME;
use crate::name::ImageName;
use crate::places::Places;

/// Who else may hold a lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// Whoever shares it.
    Shared,
    /// Nobody.
    Exclusive,
}

/// A file that is locked.
#[derive(Debug)]
struct LockFile {
    file: OwnedFd,
    path: String,
}

impl LockFile {
    fn take(path: String, mode: Mode) -> std::result::Result<Self, Errno> {
        let flags = OFlags::CREATE | OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NOCTTY;
        loop {
            let file = open(path.as_str(), flags, Permissions::RUSR | Permissions::WUSR)?;
            set(&file, mode)?;
            // Whoever held it before may have removed it meanwhile.
            if fstat(&file)?.st_nlink > 0 {
                return Ok(Self { file, path });
            }
        }
    }
}

impl Drop for LockFile {
    fn drop(&mut self) {
        // Others hold it still, unless it can be had alone.
        if set(&self.file, Mode::Exclusive).is_ok() {
            let _ = unlink(self.path.as_str());
        }
    }
}

/// Locks a whole file, or says at once that somebody else has.
fn set(file: &OwnedFd, mode: Mode) -> std::result::Result<(), Errno> {
    let kind = match mode {
        Mode::Shared => libc::F_RDLCK,
        Mode::Exclusive => libc::F_WRLCK,
    };
    let lock = libc::flock {
        l_type: i16::try_from(kind).map_err(|_| Errno::INVAL)?,
        l_whence: 0,
        l_start: 0,
        l_len: 0,
        l_pid: 0,
    };
    // SAFETY: see the head of the file.
    let done = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw const lock) };
    if done == 0 {
        return Ok(());
    }
    match Errno::from_io_error(&std::io::Error::last_os_error()) {
        Some(Errno::AGAIN | Errno::ACCESS) | None => Err(Errno::BUSY),
        Some(errno) => Err(errno),
    }
}

/// What says `$SYSTEMD_NSPAWN_LOCK`.
fn are_wanted() -> bool {
    !matches!(std::env::var("SYSTEMD_NSPAWN_LOCK").as_deref(), Ok("0" | "no" | "n" | "false" | "f" | "off"))
}

fn busy(name: &str) -> impl Fn(Errno) -> Error + '_ {
    move |errno| match errno {
        Errno::BUSY => Error::InUse(name.to_owned()),
        errno => Error::of("lock", name)(errno),
    }
}

/// The lock of what is at a path.
#[derive(Debug)]
pub(crate) struct PathLock {
    _beside: Option<LockFile>,
    _of_host: Option<LockFile>,
}

impl PathLock {
    /// Takes the lock, at once or not at all.
    ///
    /// # Errors
    /// [`Error::InUse`]: somebody else has it; the host's own root is always in use.
    pub(crate) fn take(places: &Places, path: &str, mode: Mode) -> Result<Self> {
        let nothing = Self { _beside: None, _of_host: None };
        if !are_wanted() {
            return Ok(nothing);
        }
        if places.host().is_some_and(|host| path == host) {
            return if mode == Mode::Shared { Ok(nothing) } else { Err(Error::InUse(path.to_owned())) };
        }
        let found = stat(path).map_err(Error::of("look at", path))?;
        let (what, beside) = match FileType::from_raw_mode(found.st_mode) {
            FileType::BlockDevice => {
                (Some(format!("block-{}:{}", major(found.st_rdev), minor(found.st_rdev))), None)
            }
            FileType::Directory | FileType::RegularFile => {
                (Some(format!("inode-{}:{}", found.st_dev, found.st_ino)), beside(path))
            }
            _ => (None, beside(path)),
        };
        let beside = match beside.map(|path| LockFile::take(path, mode)).transpose() {
            // Nobody changes what nobody can change.
            Err(Errno::ROFS) if mode == Mode::Shared => None,
            beside => beside.map_err(busy(path))?,
        };
        let of_host = what.map(|what| of_host(places, &what, mode)).transpose().map_err(busy(path))?;
        Ok(Self { _beside: beside, _of_host: of_host })
    }
}

/// The lock of a name.
#[derive(Debug)]
pub(crate) struct NameLock {
    _file: Option<LockFile>,
}

impl NameLock {
    /// Takes the lock for oneself, at once or not at all.
    ///
    /// # Errors
    /// [`Error::InUse`]: somebody else has it; the host's name is always in use.
    pub(crate) fn take(places: &Places, name: &ImageName) -> Result<Self> {
        if !are_wanted() {
            return Ok(Self { _file: None });
        }
        if name.as_str() == HOST_NAME {
            return Err(Error::InUse(name.to_string()));
        }
        let file = of_host(places, &format!("name-{name}"), Mode::Exclusive);
        Ok(Self { _file: Some(file.map_err(busy(name.as_str()))?) })
    }
}

/// The lock file beside what is at a path; none in /dev.
fn beside(path: &str) -> Option<String> {
    let (directory, file) = path.trim_end_matches('/').rsplit_once('/')?;
    let is_device = directory == "/dev" || directory.starts_with("/dev/");
    (!is_device).then(|| format!("{directory}/.#{file}.lck"))
}

fn of_host(places: &Places, what: &str, mode: Mode) -> std::result::Result<LockFile, Errno> {
    let directory = places.locks();
    let mut parents: Vec<_> =
        directory.match_indices('/').map(|(end, _)| end).filter(|&end| end > 0).collect();
    parents.push(directory.len());
    for end in parents {
        let is_last = end == directory.len();
        let permissions = Permissions::from_raw_mode(if is_last { 0o700 } else { 0o755 });
        match directory.get(..end).map(|parent| mkdir(parent, permissions)) {
            None | Some(Ok(()) | Err(Errno::EXIST)) => {}
            Some(Err(errno)) => return Err(errno),
        }
    }
    LockFile::take(format!("{directory}/{what}"), mode)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::Scratch;

    #[test]
    fn a_lock_is_shared_or_had_alone_and_leaves_no_file() {
        let scratch = Scratch::new("lock");
        scratch.directory("var/lib/machines/web");
        let (places, path) = (scratch.places(), scratch.text("var/lib/machines/web"));
        let take = |mode| PathLock::take(&places, &path, mode);
        let one = take(Mode::Shared).unwrap();
        let other = take(Mode::Shared).unwrap();
        assert_eq!(take(Mode::Exclusive).unwrap_err(), Error::InUse(path.clone()));
        drop(one);
        assert!(scratch.path("var/lib/machines/.#web.lck").exists(), "somebody holds it still");
        drop(other);
        let alone = take(Mode::Exclusive).unwrap();
        assert_eq!(take(Mode::Shared).unwrap_err(), Error::InUse(path.clone()));
        drop(alone);
        assert!(!scratch.path("var/lib/machines/.#web.lck").exists());
        let left = std::fs::read_dir(scratch.path("run/systemd/nspawn/locks")).unwrap().count();
        assert_eq!(left, 0);
    }

    #[test]
    fn an_image_is_locked_by_whatever_path_it_is_reached() {
        let scratch = Scratch::new("lock-links");
        scratch.file("var/lib/machines/disk.raw", "");
        scratch.link("run/machines/other.raw", &scratch.text("var/lib/machines/disk.raw"));
        let places = scratch.places();
        let _lock =
            PathLock::take(&places, &scratch.text("var/lib/machines/disk.raw"), Mode::Exclusive).unwrap();
        let path = scratch.text("run/machines/other.raw");
        assert_eq!(PathLock::take(&places, &path, Mode::Shared).unwrap_err(), Error::InUse(path));
    }

    #[test]
    fn a_name_is_had_by_one_and_the_hosts_by_nobody() {
        let scratch = Scratch::new("lock-name");
        let places = scratch.places();
        let name = ImageName::new("web").unwrap();
        let lock = NameLock::take(&places, &name).unwrap();
        assert_eq!(NameLock::take(&places, &name).unwrap_err(), Error::InUse("web".to_owned()));
        drop(lock);
        NameLock::take(&places, &name).unwrap();
        let host = ImageName::new(HOST_NAME).unwrap();
        assert_eq!(NameLock::take(&places, &host).unwrap_err(), Error::InUse(HOST_NAME.to_owned()));
        let root = places.host().unwrap();
        PathLock::take(&places, &root, Mode::Shared).unwrap();
        assert_eq!(PathLock::take(&places, &root, Mode::Exclusive).unwrap_err(), Error::InUse(root));
    }
}
