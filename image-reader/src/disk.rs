//! An image as a whole: which file system has the operating system, and what that says of itself.

use crate::gpt::{self, Partition};
use crate::tree::Tree;
use crate::{btrfs, erofs, ext4, squashfs};

/// The files of an operating system that say what it is, where there are such.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Found(Vec<(&'static str, Vec<u8>)>);

/// What is looked for: a name, and where it may be, the most important first.
const WANTED: [(&str, &[&str]); 4] = [
    ("hostname", &["/etc/hostname"]),
    ("machine-id", &["/etc/machine-id"]),
    ("machine-info", &["/etc/machine-info"]),
    ("os-release", &["/etc/os-release", "/usr/lib/os-release"]),
];
const WANTED_OF_USR: [(&str, &[&str]); 1] = [("os-release", &["/lib/os-release"])];

impl Found {
    /// The files: `hostname`, `machine-id`, `machine-info`, `os-release`, as far as they are there.
    pub fn files(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        self.0.iter().map(|(name, bytes)| (*name, bytes.as_slice()))
    }
}

/// What is there and cannot be read: its name, where its magic number is, and that.
const KNOWN: [(&str, usize, &[u8]); 4] = [
    ("an xfs", 0, b"XFSB"),
    ("an f2fs", 1024, &[0x10, 0x20, 0xf5, 0xf2]),
    ("encrypted, by LUKS", 0, b"LUKS\xba\xbe"),
    ("a disk with a DOS partition table", 510, &[0x55, 0xaa]),
];

/// Reads an image.
///
/// # Errors
/// Why it cannot be read, in words.
pub fn read(image: &'static [u8]) -> Result<Found, String> {
    let partition = match gpt::find(image) {
        Some(found) => found?,
        None => Partition { bytes: image, is_usr: false },
    };
    let mut tree = open(partition.bytes)?;
    let wanted: &[(&str, &[&str])] = if partition.is_usr { &WANTED_OF_USR } else { &WANTED };
    let file = |(name, paths): &(&'static str, &[&str])| {
        let bytes = paths.iter().find_map(|path| tree.file(path))?;
        Some((*name, bytes))
    };
    Ok(Found(wanted.iter().filter_map(file).collect()))
}

fn open(bytes: &'static [u8]) -> Result<Box<dyn Tree>, String> {
    if ext4::is_there(bytes) {
        return ext4::open(bytes);
    }
    if btrfs::is_there(bytes) {
        return btrfs::open(bytes);
    }
    if erofs::is_there(bytes) {
        return erofs::open(bytes);
    }
    if squashfs::is_there(bytes) {
        return squashfs::open(bytes);
    }
    let known = KNOWN.into_iter().find(|(_, at, magic)| {
        at.checked_add(magic.len()).and_then(|end| bytes.get(*at..end)) == Some(*magic)
    });
    let what = known.map_or("of a kind that nobody here knows", |(what, ..)| what);
    Err(format!("it is {what}, which cannot be read without mounting it"))
}

#[cfg(test)]
mod tests;
