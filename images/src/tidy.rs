//! What is made good after somebody was killed in the middle of a change.

use std::os::fd::OwnedFd;

use rustix::fs::{AtFlags, Dir, FileType, FlockOperation, Mode, OFlags, flock, open, openat, statat};
use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::pick::VERSIONS;
use crate::places::Places;
use crate::protection::DIRECTORY;
use crate::{staged, together};

/// Ends or undoes what whoever was killed had begun, and removes what was left half made or half removed. Returns how much
/// that was.
///
/// # Errors
/// A directory with images cannot be read. What cannot be removed is left.
pub fn tidy(places: &Places) -> Result<usize> {
    let mut removed: usize = 0;
    let mut paths = places.directories();
    paths.extend(places.settings());
    for path in paths {
        let mut versions = Vec::new();
        match open(path.as_str(), DIRECTORY, Mode::empty()) {
            Ok(directory) => {
                let here = tidy_directory(places, &path, &directory, &mut versions)?;
                removed = removed.saturating_add(here);
            }
            Err(Errno::NOENT) => {}
            Err(errno) => return Err(Error::of("open", &path)(errno)),
        }
        for path in versions {
            // A file, or a link that leads nowhere, may be called that, too.
            let Ok(directory) = open(path.as_str(), DIRECTORY, Mode::empty()) else { continue };
            let here = tidy_directory(places, &path, &directory, &mut Vec::new()).unwrap_or_default();
            removed = removed.saturating_add(here);
        }
    }
    Ok(removed)
}

/// Tidies up one directory, and says what in it may be a directory of versions.
fn tidy_directory(
    places: &Places,
    path: &str,
    directory: &OwnedFd,
    versions: &mut Vec<String>,
) -> Result<usize> {
    let (mut moves, mut left) = (Vec::new(), Vec::new());
    for entry in Dir::read_from(directory).map_err(Error::of("read", path))? {
        let entry = entry.map_err(Error::of("read", path))?;
        let Ok(name) = entry.file_name().to_str() else { continue };
        if name.starts_with(together::PREFIX) {
            moves.push(name.to_owned());
        } else if name.starts_with(staged::PREFIX) {
            left.push(name.to_owned());
        } else if name.ends_with(VERSIONS) {
            versions.push(format!("{path}/{name}"));
        }
    }
    // What may still get its name first.
    let settled = moves.iter().filter(|name| together::settle(places, directory, name)).count();
    let is_removed =
        |name: &&String| is_ours_and_free(directory, name) && staged::remove_quietly(directory, name).is_ok();
    let gone = left.iter().filter(is_removed).count();
    Ok(settled.saturating_add(gone))
}

fn is_ours_and_free(directory: &OwnedFd, name: &str) -> bool {
    let Ok(found) = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) else { return false };
    match FileType::from_raw_mode(found.st_mode) {
        FileType::Directory | FileType::RegularFile => {}
        // Nothing of this kind is ever made here.
        _ => return false,
    }
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let Ok(file) = openat(directory, name, flags, Mode::empty()) else { return false };
    flock(&file, FlockOperation::NonBlockingLockExclusive).is_ok()
}
