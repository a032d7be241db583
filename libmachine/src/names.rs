//! The names of all machines, as sd_get_machine_names(3) lists them.

use registry::{MachineName, record_path};

use crate::buffer::Buffer;
use crate::errno::Errno;
use crate::registries::{Registries, Registry, open_directory};
use crate::system::{Descriptor, entries, status_of_itself};

/// How much of a directory is read at a time.
const PIECE: usize = 16 * 1024;
/// `d_reclen` and `d_type` of a `struct linux_dirent64`, getdents64(2), then its name.
const LENGTH_AT: usize = 16;
const TYPE_AT: usize = 18;
const NAME_AT: usize = 19;

/// An entry of a directory.
#[derive(Clone, Copy, Debug)]
pub struct Entry<'a> {
    /// Its name.
    pub name: &'a [u8],
    kind: u8,
}

impl Entry<'_> {
    /// Whether it may be a file: a regular one, a symlink, or a kind that the file system does not tell.
    pub const fn is_file(&self) -> bool {
        matches!(self.kind, libc::DT_REG | libc::DT_LNK | libc::DT_UNKNOWN)
    }

    /// Whether it is a directory, as far as the file system tells.
    pub const fn is_directory(&self) -> bool {
        self.kind == libc::DT_DIR
    }
}

/// Takes each entry of a directory in turn, until one is refused.
///
/// # Errors
/// That of the refusal, or why the directory cannot be read.
pub(crate) fn each_entry(
    directory: &Descriptor,
    take: &mut dyn FnMut(Entry<'_>) -> Result<(), Errno>,
) -> Result<(), Errno> {
    // Not on the stack, of which the smallest thread has as much in all.
    let mut buffer = Buffer::new();
    buffer.fill(0_u8, PIECE)?;
    loop {
        let mut rest = entries(directory, &mut buffer)?;
        if rest.is_empty() {
            return Ok(());
        }
        while let Some((length, entry)) = first_entry(rest) {
            take(entry)?;
            rest = rest.get(length..).unwrap_or_default();
        }
    }
}

/// The first of the entries that getdents64(2) has written, and how long it is.
pub(crate) fn first_entry(entries: &[u8]) -> Option<(usize, Entry<'_>)> {
    let [low, high] = *entries.get(LENGTH_AT..)?.first_chunk::<2>()?;
    let length = usize::from(u16::from_ne_bytes([low, high]));
    let name = entries.get(..length).unwrap_or(entries).get(NAME_AT..)?.split(|&byte| byte == 0).next()?;
    Some((length, Entry { name, kind: *entries.get(TYPE_AT)? }))
}

/// What was seen in the directory of the records.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Seen {
    /// No file at all, or no directory.
    Nothing,
    /// Files, machines or not.
    Files,
}

/// Which names are listed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Listing {
    /// All.
    All,
    /// Those that sd_get_machine_names(3) does not take for hidden files and backups, as it takes `web.old`.
    AsStock,
}

/// The names of all machines of these registries, each once, in the order of the directories.
///
/// # Errors
/// Why a directory cannot be read. That there is none is no error.
pub(crate) fn all_names(registries: Registries) -> Result<Buffer<MachineName>, Errno> {
    let mut names = Buffer::new();
    for registry in registries.iter() {
        each_name_in(registry, Listing::All, &mut |name| {
            let is_listed = registry != Registry::SYSTEM
                && Registry::SYSTEM.at(&record_path(&name), status_of_itself).is_ok();
            if is_listed { Ok(()) } else { names.push(name) }
        })?;
    }
    Ok(names)
}

/// Takes the name of each machine of the system's registry in turn, in the order of the directory.
///
/// # Errors
/// That of a refusal, or why the directory cannot be read. That there is none is no error.
#[inline(never)]
pub fn each_name(
    listing: Listing,
    take: &mut dyn FnMut(MachineName) -> Result<(), Errno>,
) -> Result<Seen, Errno> {
    each_name_in(Registry::SYSTEM, listing, take)
}

/// Takes the name of each machine of a registry in turn, in the order of the directory.
///
/// # Errors
/// As [`each_name`].
#[inline(never)]
pub(crate) fn each_name_in(
    registry: Registry,
    listing: Listing,
    take: &mut dyn FnMut(MachineName) -> Result<(), Errno>,
) -> Result<Seen, Errno> {
    let directory = match open_directory(registry) {
        Ok(directory) => directory,
        Err(Errno::NOENT) => return Ok(Seen::Nothing),
        Err(errno) => return Err(errno),
    };
    let mut seen = Seen::Nothing;
    each_entry(&directory, &mut |entry| {
        let is_hidden = listing == Listing::AsStock && is_hidden_or_backup(entry.name);
        if !entry.is_file() || is_hidden {
            return Ok(());
        }
        seen = Seen::Files;
        // A name with a colon is that of a unit's link, and no machine's.
        match MachineName::new(entry.name) {
            Ok(name) => take(name),
            Err(_) => Ok(()),
        }
    })?;
    Ok(seen)
}

const BACKUP_NAMES: [&[u8]; 3] = [b"lost+found", b"aquota.user", b"aquota.group"];
const BACKUP_SUFFIXES: [&[u8]; 17] = [
    b"rpmnew",
    b"rpmsave",
    b"rpmorig",
    b"dpkg-old",
    b"dpkg-new",
    b"dpkg-tmp",
    b"dpkg-dist",
    b"dpkg-bak",
    b"dpkg-backup",
    b"dpkg-remove",
    b"ucf-new",
    b"ucf-old",
    b"ucf-dist",
    b"swp",
    b"bak",
    b"old",
    b"new",
];

/// Whether a file's name is one that package managers and editors give to what they leave behind.
pub fn is_hidden_or_backup(name: &[u8]) -> bool {
    let mut parts = name.rsplitn(2, |&byte| byte == b'.');
    let (suffix, stem) = (parts.next().unwrap_or_default(), parts.next());
    name.starts_with(b".")
        || name.ends_with(b"~")
        || BACKUP_NAMES.contains(&name)
        || (stem.is_some() && BACKUP_SUFFIXES.contains(&suffix))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::string::{String, ToString};

    #[test]
    fn backups_are_told_from_machines() {
        for name in [".x", "x~", "x.bak", "a.b.old", "lost+found", "x.dpkg-dist", ".new"] {
            assert!(is_hidden_or_backup(name.as_bytes()), "{name}");
        }
        for name in ["x", "old", "x.older", "x.old.y", "bak.x", "xbak", ""] {
            assert!(!is_hidden_or_backup(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn a_directory_is_listed_whole() {
        let path = std::env::temp_dir().join(std::format!("names-{}", std::process::id()));
        std::fs::create_dir(&path).unwrap();
        let names: BTreeSet<String> =
            (0..2000).map(|number| std::format!("machine-with-a-name-{number}")).collect();
        for name in &names {
            std::fs::write(path.join(name), "").unwrap();
        }
        std::fs::create_dir(path.join("directory")).unwrap();
        let zero_ended = std::ffi::CString::new(path.as_os_str().as_encoded_bytes()).unwrap();
        let directory = crate::system::open(None, &zero_ended, libc::O_DIRECTORY).unwrap();
        let (mut files, mut directories) = (BTreeSet::new(), 0);
        each_entry(&directory, &mut |entry| {
            if entry.is_file() {
                files.insert(std::str::from_utf8(entry.name).unwrap().to_string());
            }
            directories += u32::from(entry.is_directory());
            Ok(())
        })
        .unwrap();
        assert_eq!(files, names);
        // `.` and `..` are the others.
        assert_eq!(directories, 3);
        std::fs::remove_dir_all(&path).unwrap();
    }
}
