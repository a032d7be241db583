//! Files that belong to an image and are none: settings of systemd-nspawn, and what a disk is verified with. Nothing depends
//! on whether they follow: what fails is left out, as by the original.

use std::os::fd::OwnedFd;

use rustix::fs::{CWD, Mode, OFlags, RenameFlags, open, openat, renameat_with, unlink};
use rustix::io::Errno;

use crate::data::FileData;
use crate::image::Image;
use crate::places::Places;

/// What stands beside an image, by what its name ends in.
const BESIDE: [&str; 10] = [
    ".nspawn",
    ".oci-config",
    ".roothash",
    ".roothash.p7s",
    ".usrhash",
    ".usrhash.p7s",
    ".verity",
    ".raw.tpmstate",
    ".raw.efinvramstate",
    ".raw.efinvramstate.json",
];

/// The files of an image, and those of another one of this name in a directory.
fn pairs(places: &Places, image: &Image, name: &str, directory: &str) -> Vec<(String, String)> {
    let settings = places.settings();
    let settings = settings.iter().map(|at| {
        let file = |name: &str| format!("{at}/{name}.nspawn");
        (file(&image.name), file(name))
    });
    let (own, _) = image.place();
    let beside = BESIDE
        .iter()
        .map(|suffix| (format!("{own}/{}{suffix}", image.name), format!("{directory}/{name}{suffix}")));
    settings.chain(beside).collect()
}

/// Removes them.
pub(crate) fn remove(places: &Places, image: &Image) {
    for (file, _) in pairs(places, image, &image.name, "") {
        let _ = unlink(file);
    }
}

/// Renames them with their image.
pub(crate) fn rename(places: &Places, image: &Image, name: &str) {
    let (directory, _) = image.place();
    for (file, renamed) in pairs(places, image, name, directory) {
        let _ = renameat_with(CWD, file, CWD, renamed, RenameFlags::NOREPLACE);
    }
}

/// Copies them for a clone in the pool.
pub(crate) fn copy(places: &Places, image: &Image, name: &str) {
    for (file, copied) in pairs(places, image, name, &places.pool()) {
        if copy_one(&file, &copied).is_err_and(|errno| errno != Errno::NOENT && errno != Errno::EXIST) {
            // Half of one is worse than none.
            let _ = unlink(copied);
        }
    }
}

fn copy_one(from: &str, to: &str) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::NOFOLLOW;
    let source = open(from, flags, Mode::empty())?;
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let target: OwnedFd = openat(CWD, to, flags, Mode::from_raw_mode(0o644))?;
    FileData::new().copy(&source, &target, &mut |_| {})
}
