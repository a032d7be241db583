//! Changes of images: what may be changed, and how.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{
    FileType, Mode, OFlags, RenameFlags, chmod, fstat, lstat, open, renameat_with, stat, unlink,
};
use rustix::io::Errno;

use crate::block;
use crate::btrfs;
use crate::discover::{find, list, stands_for};
use crate::error::{Error, Result};
use crate::image::{Image, Kind};
use crate::lock::{Mode as Sharing, NameLock, PathLock};
use crate::name::ImageName;
use crate::places::Places;
use crate::progress::{Teller, size_of};
use crate::protection::{DIRECTORY, is_immutable, set_immutable};
use crate::side_files;
use crate::staged::Staged;
use crate::together::{Move, Moves};
use crate::tree::IN_THE_TREE;

/// Refuses what belongs to the host.
fn may_change(image: &Image) -> Result<()> {
    if image.vendor || image.is_host() { Err(Error::Immutable(image.name.clone())) } else { Ok(()) }
}

/// The lock of a name that nothing has, for a file that is to stand for an image of that name.
pub(crate) fn free_name(
    places: &Places,
    name: &ImageName,
    file: &str,
    file_type: FileType,
) -> Result<NameLock> {
    // A directory of that name would be something else, and no image would be found by it.
    if !stands_for(file, file_type, name.as_str()) {
        return Err(Error::BadName(name.to_string()));
    }
    let lock = NameLock::take(places, name)?;
    match find(places, name) {
        Ok(_) => Err(Error::NameTaken(name.to_string())),
        Err(Error::NoSuchImage(_)) => Ok(lock),
        Err(error) => Err(error),
    }
}

fn is_in_dev(path: &str) -> bool {
    path.starts_with("/dev/")
}

/// Removes an image, and the files that belong to it, and tells how far it is.
///
/// # Errors
/// [`Error::Immutable`], [`Error::InUse`]; and [`Error::System`], when it may be gone in part, and is no image any more.
pub fn remove(places: &Places, image: &Image, teller: &mut Teller<'_>) -> Result<()> {
    may_change(image)?;
    let _lock = PathLock::take(places, &image.path, Sharing::Exclusive)?;
    let fail = Error::of("remove", &image.path);
    let is_link = lstat(image.path.as_str())
        .map(|found| FileType::from_raw_mode(found.st_mode) == FileType::Symlink)
        .map_err(&fail)?;
    let is_tree = !is_link && matches!(image.kind, Kind::Directory | Kind::Subvolume | Kind::Mstack);
    let (parent, file) = image.place();
    let directory = open(parent, DIRECTORY, Mode::empty()).map_err(&fail)?;
    let was_immutable = is_tree && is_immutable(&image.path).map_err(&fail)?;
    let gone = Move::of(image.path.clone(), None).ok_or_else(|| fail(Errno::NOENT))?;
    let moves = Moves::new(gone, was_immutable, side_files::removed(places, image));
    let journal = moves.begin(&directory);
    if is_tree {
        let aside = put_aside(&directory, image, file, was_immutable);
        if aside.is_err() {
            let _ = moves.go_back();
        }
        let aside = aside.map_err(|errno| match errno {
            Errno::BUSY => Error::InUse(image.name.clone()),
            errno => fail(errno),
        })?;
        // It is no image any more.
        let _ = moves.go_on();
        drop(journal);
        if image.kind != Kind::Subvolume {
            teller.count(aside.as_fd(), b".", IN_THE_TREE);
        }
        aside.remove(teller).map_err(&fail)?;
    } else {
        // What is in /dev is a device, and not ours to remove.
        if image.kind != Kind::Block || !is_in_dev(&image.path) {
            let size = lstat(image.path.as_str()).map(|found| size_of(&found)).map_err(&fail)?;
            teller.expect(size, 1);
            unlink(image.path.as_str()).map_err(&fail)?;
            teller.file(0, size);
        }
        let _ = moves.go_on();
    }
    teller.tell();
    Ok(())
}

fn put_aside<'a>(
    directory: &'a OwnedFd,
    image: &Image,
    file: &str,
    was_immutable: bool,
) -> std::result::Result<Staged<'a>, Errno> {
    if was_immutable {
        set_immutable(&image.path, false)?;
    }
    Staged::put_aside(directory, &image.name, file)
}

/// Gives an image another name, and the files that belong to it.
///
/// # Errors
/// [`Error::Immutable`], [`Error::InUse`], [`Error::NameTaken`], [`Error::NotSupported`]; nothing has changed.
pub fn rename(places: &Places, image: &Image, name: &ImageName) -> Result<()> {
    may_change(image)?;
    if image.is_version() {
        return Err(Error::NotSupported("a version in a directory of versions cannot be renamed".into()));
    }
    let _lock = PathLock::take(places, &image.path, Sharing::Exclusive)?;
    let renamed = format!("{name}{}", image.suffix());
    let file_type = match image.kind {
        Kind::Directory | Kind::Subvolume | Kind::Mstack => FileType::Directory,
        Kind::Raw => FileType::RegularFile,
        Kind::Block => FileType::BlockDevice,
    };
    let _name = free_name(places, name, &renamed, file_type)?;
    if image.kind == Kind::Block && is_in_dev(&image.path) {
        return Err(Error::Immutable(image.name.clone()));
    }
    let fail = Error::of("rename", &image.path);
    let (parent, file) = image.place();
    let directory = open(parent, DIRECTORY, Mode::empty()).map_err(&fail)?;
    let was_immutable = image.kind == Kind::Directory && is_immutable(&image.path).map_err(&fail)?;
    let moved = Move::of(image.path.clone(), Some(format!("{parent}/{renamed}")));
    let moved = moved.ok_or_else(|| fail(Errno::NOENT))?;
    let moves = Moves::new(moved, was_immutable, side_files::renamed(places, image, name.as_str()));
    let _journal = moves.begin(&directory);
    let released = if was_immutable { set_immutable(&image.path, false).map(drop) } else { Ok(()) };
    let done = released
        .and_then(|()| renameat_with(&directory, file, &directory, renamed.as_str(), RenameFlags::NOREPLACE));
    match done {
        Ok(()) => moves.go_on().map_err(fail),
        Err(errno) => {
            let _ = moves.go_back();
            Err(if errno == Errno::EXIST { Error::NameTaken(name.to_string()) } else { fail(errno) })
        }
    }
}

/// Makes an image read-only, or writable again.
///
/// # Errors
/// [`Error::Immutable`], [`Error::InUse`]. [`Error::NotSupported`]: it is of layers.
pub fn set_read_only(places: &Places, image: &Image, read_only: bool) -> Result<()> {
    may_change(image)?;
    let _lock = PathLock::take(places, &image.path, Sharing::Exclusive)?;
    let fail = Error::of("change", &image.path);
    match image.kind {
        Kind::Subvolume => {
            let root = open(image.path.as_str(), DIRECTORY, Mode::empty()).map_err(&fail)?;
            btrfs::set_read_only(root, read_only).map_err(&fail)
        }
        Kind::Directory => set_immutable(&image.path, read_only).map(|_| ()).map_err(&fail),
        Kind::Raw => {
            let mode = stat(image.path.as_str()).map_err(&fail)?.st_mode & 0o444;
            let mode = if read_only { mode } else { mode | 0o200 };
            chmod(image.path.as_str(), Mode::from_raw_mode(mode)).map_err(&fail)
        }
        Kind::Block => {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
            let device = open(image.path.as_str(), flags, Mode::empty()).map_err(&fail)?;
            block::set_read_only(device, read_only).map_err(&fail)
        }
        Kind::Mstack => Err(Error::NotSupported("an image of layers cannot be made read-only".into())),
    }
}

/// Limits what an image may take; `None` takes the limit away.
///
/// # Errors
/// [`Error::Immutable`]. [`Error::NotSupported`]: it is no subvolume.
pub fn set_limit(image: &Image, limit: Option<u64>) -> Result<()> {
    may_change(image)?;
    if image.kind != Kind::Subvolume {
        return Err(Error::NotSupported("only subvolumes of btrfs can be limited".into()));
    }
    let fail = Error::of("limit", &image.path);
    let root = open(image.path.as_str(), DIRECTORY, Mode::empty()).map_err(&fail)?;
    limit_subvolume(&root, limit).map_err(fail)
}

fn limit_subvolume(root: &OwnedFd, limit: Option<u64>) -> std::result::Result<(), Errno> {
    let subvolume = btrfs::describe(root)?;
    btrfs::limit(root, subvolume.id, limit)?;
    btrfs::make_subtree_group(root)?;
    btrfs::limit(root, btrfs::subtree_group(root, subvolume.id)?, limit)
}

/// Limits what all images in the pool may take together; `None` takes the limit away.
///
/// # Errors
/// [`Error::NotSupported`]: the pool is not on a btrfs, or no subvolume.
pub fn set_pool_limit(places: &Places, limit: Option<u64>) -> Result<()> {
    let pool = places.pool();
    let fail = Error::of("limit", &pool);
    let root = open_pool(places)?;
    if !btrfs::is_btrfs(&root).map_err(&fail)? {
        return Err(Error::NotSupported("Quota is only supported on btrfs.".into()));
    }
    if fstat(&root).map_err(&fail)?.st_ino != btrfs::ROOT_INODE {
        return Err(Error::NotSupported("The pool is no subvolume of its btrfs.".into()));
    }
    match btrfs::enable_quota(&root) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(fail(errno)),
    }
    limit_subvolume(&root, limit).map_err(fail)
}

/// Opens the pool, and makes it where it is missing: a subvolume where it can be one.
pub(crate) fn open_pool(places: &Places) -> Result<OwnedFd> {
    let path = places.pool();
    match open(path.as_str(), DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) => {}
        opened => return opened.map_err(Error::of("open", &path)),
    }
    let fail = Error::of("make", &path);
    let (parent, name) = path.rsplit_once('/').unwrap_or(("", &path));
    let above = open(parent, DIRECTORY, Mode::empty()).map_err(&fail)?;
    let is_made = btrfs::is_btrfs(&above).unwrap_or(false) && btrfs::create(&above, name).is_ok();
    if !is_made {
        match rustix::fs::mkdirat(&above, name, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(fail(errno)),
        }
    }
    let pool = open(path.as_str(), DIRECTORY, Mode::empty()).map_err(&fail)?;
    rustix::fs::fchmod(&pool, Mode::RWXU).map_err(&fail)?;
    Ok(pool)
}

/// Removes all images, or those that are hidden, and hands over each that is gone, with what it took for itself. Those of the
/// host stay, and so do those in use.
///
/// # Errors
/// An image cannot be removed; those before it are gone.
pub fn clean(
    places: &Places,
    only_hidden: bool,
    mut removed: impl FnMut(String, Option<u64>),
) -> std::result::Result<(), (String, Error)> {
    let mut images = Vec::new();
    list(places, |image| images.push(image)).map_err(|error| (String::new(), error))?;
    for image in images {
        if image.vendor || image.is_host() || (only_hidden && !image.is_hidden()) {
            continue;
        }
        match remove(places, &image, &mut Teller::new(false, &mut |_| {})) {
            Ok(()) => removed(image.name, image.space.usage_exclusive),
            Err(error) if error.errno() == Errno::BUSY => {}
            Err(error) => return Err((image.name, error)),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
