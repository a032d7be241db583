//! The directory of the records: reading, listing, and writing so that a reader sees all of a record or nothing.

use std::format;
use std::io::{Error as IoError, Read, Write};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::string::{String, ToString};
use std::vec::Vec;

use rustix::fs::{
    AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, flock, mkdirat, openat, readlinkat, renameat,
    symlinkat, unlinkat,
};
use rustix::io::{Errno, pread, pwrite};

use crate::addresses_line::{Change, keep};
use crate::id_index::LIST_LINK_MAX;
use crate::{Address, Addresses, Error, MachineName, RECORD_MAX, Record};

/// An open directory of records.
#[derive(Debug)]
pub struct Directory {
    fd: OwnedFd,
    path: PathBuf,
}

/// What stands in a directory of records.
#[derive(Debug, Default)]
pub struct Names {
    /// The machines.
    pub machines: Vec<MachineName>,
    /// Left over from an interrupted write.
    pub temporary: Vec<String>,
}

const TEMPORARY_PREFIX: &str = ".#";
/// What a symlink is called before it takes the place of another one, whose own name may leave no room for a prefix.
const NEW_LINK: &str = ".#link";
const UNIT_PREFIX: &str = "unit:";
/// How long the name of a unit is that can have a link, as that of a file is 255 bytes long at most (NAME_MAX, limits.h).
/// A unit's may be as long itself.
const UNIT_MAX: usize = 250;

impl Directory {
    /// Opens a directory to read from it.
    ///
    /// # Errors
    /// [`Error::Io`], also where there is no such directory.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| failed("open", path, errno))?;
        Ok(Self { fd, path: path.into() })
    }

    /// Opens a directory to write to it, and makes it with mode 0755, and those above it, where it is missing.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn create(path: &Path) -> Result<Self, Error> {
        let mut above: Vec<_> = path.ancestors().collect();
        above.reverse();
        for directory in above {
            match mkdirat(rustix::fs::CWD, directory, Mode::from_raw_mode(0o755)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(failed("make", directory, errno)),
            }
        }
        Self::open(path)
    }

    /// Takes the directory for this process alone, flock(2), until it is dropped.
    ///
    /// # Errors
    /// [`Error::Io`]; with `EAGAIN`, another one has it.
    pub fn lock(&self) -> Result<(), Error> {
        flock(&self.fd, FlockOperation::NonBlockingLockExclusive)
            .map_err(|errno| failed("lock", &self.path, errno))
    }

    /// Lists the directory. Entries that are neither machines nor links of units nor interrupted writes are left
    /// out; so is nothing else, unlike in sd_get_machine_names(3), to which a machine named `a.old` is a backup.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn names(&self) -> Result<Names, Error> {
        let io = |errno| failed("list", &self.path, errno);
        let mut names = Names::default();
        for entry in Dir::read_from(&self.fd).map_err(io)? {
            let entry = entry.map_err(io)?;
            let Ok(text) = entry.file_name().to_str() else { continue };
            if text.starts_with(TEMPORARY_PREFIX) {
                names.temporary.push(text.to_string());
            } else if matches!(entry.file_type(), FileType::RegularFile | FileType::Unknown) {
                names.machines.extend(MachineName::new(text.as_bytes()));
            }
        }
        Ok(names)
    }

    /// Reads the record of a machine.
    ///
    /// # Errors
    /// [`Error::NoSuchMachine`], [`Error::Damaged`] (also where the record is no regular file), [`Error::Io`].
    pub fn read(&self, name: &MachineName) -> Result<Record, Error> {
        self.read_with_text(name).map(|(record, _)| record)
    }

    /// Reads the record of a machine, as it is and as it is written.
    ///
    /// # Errors
    /// As [`Directory::read`].
    pub fn read_with_text(&self, name: &MachineName) -> Result<(Record, Vec<u8>), Error> {
        let path = self.path.join(name.as_str());
        // Not blocking: a FIFO in the place of a record must not hold up its reader.
        let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = match openat(&self.fd, name.as_str(), flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT | Errno::LOOP) => return Err(Error::NoSuchMachine(*name)),
            Err(errno) => return Err(failed("open", &path, errno)),
        };
        let stat = rustix::fs::fstat(&fd).map_err(|errno| failed("read", &path, errno))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Err(Error::Damaged { name: *name, reason: "it is no regular file".into() });
        }
        // With room for the end, which is read then without asking for more room first.
        let size = usize::try_from(stat.st_size).unwrap_or_default().saturating_add(1);
        let mut text = Vec::with_capacity(size.min(RECORD_MAX));
        let limit = u64::try_from(RECORD_MAX).unwrap_or(u64::MAX).saturating_add(1);
        std::fs::File::from(fd).take(limit).read_to_end(&mut text).map_err(|source| Error::Io {
            action: "read",
            path: path.display().to_string(),
            source,
        })?;
        Ok((Record::parse(name, &text)?, text))
    }

    /// Writes the record of a machine, in the place of what may be there: to a temporary file, which is then
    /// renamed. (sd_login_monitor(3) waits for the rename.)
    ///
    /// # Errors
    /// [`Error::Io`]; what was published before is then unchanged. A record longer than [`RECORD_MAX`], which no
    /// reader would take, is refused with `EFBIG`.
    pub fn write(&self, record: &Record) -> Result<(), Error> {
        let text = record.emit();
        let path = self.path.join(record.name.as_str());
        if text.len() > RECORD_MAX {
            return Err(failed("write", &path, Errno::FBIG));
        }
        // One writer, so that the name needs nothing random.
        let temporary = format!("{TEMPORARY_PREFIX}{}", record.name);
        let written = self.write_temporary(&temporary, text.as_bytes()).and_then(|()| {
            renameat(&self.fd, temporary.as_str(), &self.fd, record.name.as_str()).map_err(IoError::from)
        });
        written.map_err(|source| {
            let _ = self.remove_entry(&temporary);
            Error::Io { action: "write", path: path.display().to_string(), source }
        })
    }

    fn write_temporary(&self, name: &str, text: &[u8]) -> Result<(), IoError> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let mode = Mode::from_raw_mode(0o644);
        let fd = match openat(&self.fd, name, flags, mode) {
            Err(Errno::EXIST) => {
                self.remove_entry(name)?;
                openat(&self.fd, name, flags, mode)
            }
            other => other,
        }?;
        std::fs::File::from(fd).write_all(text)
    }

    /// Takes those addresses out of a machine's published record that it does not have any more, in place: for this there is room
    /// also where there is none for a new record. For a moment the record says nothing of addresses.
    ///
    /// # Errors
    /// [`Error::Io`], also where there is no record.
    pub fn take_addresses_away(&self, record: &Record) -> Result<(), Error> {
        let path = self.path.join(record.name.as_str());
        let io = |errno| failed("change", &path, errno);
        let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = openat(&self.fd, record.name.as_str(), flags, Mode::empty()).map_err(io)?;
        let mut text = std::vec![0; RECORD_MAX];
        let length = pread(&file, &mut text, 0).map_err(io)?;
        text.truncate(length);
        let is_kept = |address: &Address| match &record.addresses {
            Addresses::Listed(list) => list.contains(address),
            Addresses::Unknown | Addresses::SharedWithHost => false,
        };
        let Some(Change { line, sources, at, value }) = keep(&text, is_kept) else { return Ok(()) };
        if let Some(sources) = sources {
            pwrite(&file, b"#", sources).map_err(io)?;
        }
        // Nobody reads half of an address: while it is written, the line is a comment.
        for (at, bytes) in [(line, &b"#"[..]), (at, value.as_bytes()), (line, &b"A"[..])] {
            pwrite(&file, bytes, at).map_err(io)?;
        }
        Ok(())
    }

    /// Removes the record of a machine. That there is none is not an error.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn remove(&self, name: &MachineName) -> Result<(), Error> {
        self.unlink(name.as_str())
    }

    /// Removes what an interrupted write left over, one of [`Names::temporary`].
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn remove_temporary(&self, entry: &str) -> Result<(), Error> {
        self.unlink(entry)
    }

    fn remove_entry(&self, entry: &str) -> Result<(), Errno> {
        match unlinkat(&self.fd, entry, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno),
        }
    }

    /// Points the link of a unit at its machine, which is how a process is known to be in it
    /// (sd_pid_get_machine_name(3)). A unit whose name is too long for that has none.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn link_unit(&self, unit: &str, name: &MachineName) -> Result<(), Error> {
        if unit.len() > UNIT_MAX {
            return Ok(());
        }
        self.link(&format!("{UNIT_PREFIX}{unit}"), name.as_str())
    }

    /// The links of units, unit and machine.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn unit_links(&self) -> Result<Vec<(String, String)>, Error> {
        let links = self.links()?.into_iter();
        Ok(links
            .filter_map(|(link, name)| Some((link.strip_prefix(UNIT_PREFIX)?.to_string(), name)))
            .collect())
    }

    /// Removes the link of a unit. That there is none is not an error.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn unlink_unit(&self, unit: &str) -> Result<(), Error> {
        if unit.len() > UNIT_MAX {
            return Ok(());
        }
        self.unlink(&format!("{UNIT_PREFIX}{unit}"))
    }

    /// Makes a symlink, or points one that is there at another target, at once.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn link(&self, entry: &str, target: &str) -> Result<(), Error> {
        let io = |errno| failed("link", &self.path.join(entry), errno);
        match symlinkat(target, &self.fd, entry) {
            Err(Errno::EXIST) => {}
            other => return other.map_err(io),
        }
        if readlinkat(&self.fd, entry, Vec::new()).is_ok_and(|old| old.as_bytes() == target.as_bytes()) {
            return Ok(());
        }
        // One writer, so that one name is enough.
        self.remove_entry(NEW_LINK).map_err(io)?;
        symlinkat(target, &self.fd, NEW_LINK).map_err(io)?;
        renameat(&self.fd, NEW_LINK, &self.fd, entry).map_err(|errno| {
            let _ = self.remove_entry(NEW_LINK);
            io(errno)
        })
    }

    /// Makes text the target of a symlink, or where it is too long for that the content of a file, in the place of what
    /// may be there, at once.
    ///
    /// # Errors
    /// [`Error::Io`]; what was there before is then unchanged.
    pub fn put(&self, entry: &str, text: &str) -> Result<(), Error> {
        if text.len() <= LIST_LINK_MAX {
            return self.link(entry, text);
        }
        let temporary = format!("{TEMPORARY_PREFIX}{entry}");
        let written = self
            .write_temporary(&temporary, text.as_bytes())
            .and_then(|()| renameat(&self.fd, temporary.as_str(), &self.fd, entry).map_err(IoError::from));
        written.map_err(|source| {
            let _ = self.remove_entry(&temporary);
            Error::Io { action: "write", path: self.path.join(entry).display().to_string(), source }
        })
    }

    /// The names of all entries of the directory that are text.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn entries(&self) -> Result<Vec<String>, Error> {
        let io = |errno| failed("list", &self.path, errno);
        let mut entries = Vec::new();
        for entry in Dir::read_from(&self.fd).map_err(io)? {
            let entry = entry.map_err(io)?;
            entries.extend(
                entry.file_name().to_str().ok().filter(|name| !matches!(*name, "." | "..")).map(String::from),
            );
        }
        Ok(entries)
    }

    /// The symlinks of the directory, entry and target, but for those that end in nothing readable.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn links(&self) -> Result<Vec<(String, String)>, Error> {
        let io = |errno| failed("list", &self.path, errno);
        let mut links = Vec::new();
        for entry in Dir::read_from(&self.fd).map_err(io)? {
            let entry = entry.map_err(io)?;
            if entry.file_type() == FileType::RegularFile {
                continue;
            }
            let target = readlinkat(&self.fd, entry.file_name(), Vec::new());
            if let (Ok(name), Ok(Ok(target))) =
                (entry.file_name().to_str(), target.map(|target| target.into_string()))
            {
                links.push((name.to_string(), target));
            }
        }
        Ok(links)
    }

    /// Removes an entry. That there is none is not an error.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn unlink(&self, entry: &str) -> Result<(), Error> {
        self.remove_entry(entry).map_err(|errno| failed("remove", &self.path.join(entry), errno))
    }

    /// Removes a symlink, and returns its target; `None`: there is none.
    ///
    /// # Errors
    /// [`Error::Io`].
    pub fn take(&self, entry: &str) -> Result<Option<String>, Error> {
        let target =
            readlinkat(&self.fd, entry, Vec::new()).ok().and_then(|target| target.into_string().ok());
        self.unlink(entry).map(|()| target)
    }
}

fn failed(action: &'static str, path: &Path, errno: Errno) -> Error {
    Error::Io { action, path: path.display().to_string(), source: errno.into() }
}

#[cfg(test)]
mod tests;
