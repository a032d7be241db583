//! Copies of images, in the pool: snapshots of btrfs, files that share their blocks, or plain copies.

use std::os::fd::{AsFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, fchmod, fstat, mkdirat, open, stat};
use rustix::io::Errno;

use crate::btrfs;
use crate::change::{free_name, open_pool};
use crate::data::FileData;
use crate::error::{Error, Result};
use crate::image::{Image, Kind};
use crate::name::ImageName;
use crate::places::Places;
use crate::progress::{Teller, size_of};
use crate::protection::DIRECTORY;
use crate::side_files::{Copies, Targets};
use crate::staged::Staged;
use crate::together::{Move, Moves};
use crate::tree::{Copy, is_subvolume};

/// Copies an image to the pool, and the files that belong to it, and tells how far it is. It has no name until it is whole.
///
/// # Errors
/// [`Error::NameTaken`], [`Error::InUse`]: the name is. [`Error::NotSupported`]: it is a device, or of layers.
pub fn clone(
    places: &Places,
    image: &Image,
    name: &ImageName,
    read_only: bool,
    teller: &mut Teller<'_>,
) -> Result<()> {
    let (suffix, file_type) = match image.kind {
        Kind::Raw => (".raw", FileType::RegularFile),
        _ => ("", FileType::Directory),
    };
    let file = format!("{name}{suffix}");
    let _name = free_name(places, name, &file, file_type)?;
    let pool = open_pool(places)?;
    let fail = Error::of("copy", &image.path);
    let source = |flags| open(image.path.as_str(), flags, Mode::empty()).map_err(&fail);
    let new = NewImage { pool: &pool, name, read_only };
    let copy = match image.kind {
        Kind::Directory | Kind::Subvolume => {
            let source = source(DIRECTORY)?;
            let snapshot = (image.kind == Kind::Subvolume).then(|| new.snapshot(&source));
            let copy = match snapshot {
                // It is in another file system, or nobody may do that here.
                None | Some(Err(Errno::XDEV | Errno::OPNOTSUPP | Errno::NOTTY | Errno::PERM)) => {
                    new.copy_tree(&source, teller)
                }
                Some(done) => done,
            };
            // Whoever removes it puts it aside first; what has been copied since then is not whole.
            if !is_at(&image.path, &source) {
                return Err(Error::NoSuchImage(image.name.clone()));
            }
            copy
        }
        Kind::Raw => new.copy_file(&source(FILE)?, teller),
        Kind::Block => return Err(Error::NotSupported("block devices are not copied".into())),
        Kind::Mstack => return Err(Error::NotSupported("images of layers are not copied".into())),
    };
    let targets = Targets::open(places);
    let named = copy.and_then(|copy| {
        let files = targets.copy(places, image, name.as_str());
        new.finish(copy, files, &places.pool(), &file)
    });
    named.map_err(|errno| match errno {
        Errno::EXIST => Error::NameTaken(name.to_string()),
        errno => fail(errno),
    })?;
    teller.tell();
    Ok(())
}

/// Whether what was opened at a path is still there.
fn is_at(path: &str, opened: &OwnedFd) -> bool {
    match (stat(path), fstat(opened)) {
        (Ok(there), Ok(own)) => (there.st_dev, there.st_ino) == (own.st_dev, own.st_ino),
        _ => false,
    }
}

/// How a file is opened that is copied: without waiting for anybody.
const FILE: OFlags = OFlags::RDONLY.union(OFlags::CLOEXEC).union(OFlags::NONBLOCK).union(OFlags::NOCTTY);

/// What a copy is to be.
struct NewImage<'a> {
    pool: &'a OwnedFd,
    name: &'a ImageName,
    read_only: bool,
}

impl<'a> NewImage<'a> {
    fn copy_file(&self, source: &OwnedFd, teller: &mut Teller<'_>) -> std::result::Result<Staged<'a>, Errno> {
        let Self { pool, name, read_only } = *self;
        let (staged, target) = Staged::make_file(pool, name.as_str())?;
        let size = size_of(&fstat(source)?);
        teller.expect(size, 1);
        FileData::new().copy(source, &target, &mut |more| teller.bytes(more))?;
        teller.file(0, size);
        fchmod(&target, Mode::from_raw_mode(if read_only { 0o444 } else { 0o644 }))?;
        Ok(staged)
    }

    fn copy_tree(&self, source: &OwnedFd, teller: &mut Teller<'_>) -> std::result::Result<Staged<'a>, Errno> {
        let Self { pool, name, read_only } = *self;
        let on_btrfs = btrfs::is_btrfs(pool)?;
        let staged = Staged::make(pool, name.as_str(), |name| match btrfs::create(pool, name) {
            Err(Errno::NOTTY | Errno::OPNOTSUPP | Errno::PERM) => mkdirat(pool, name, Mode::RWXU),
            Err(_) if !on_btrfs => mkdirat(pool, name, Mode::RWXU),
            done => done,
        })?;
        Copy::tree(source, &staged, teller)?;
        ready(staged, read_only)
    }

    fn snapshot(&self, source: &OwnedFd) -> std::result::Result<Staged<'a>, Errno> {
        let Self { pool, name, read_only } = *self;
        let subvolume = btrfs::describe(source)?;
        let below = btrfs::children(source, subvolume.id)?;
        // Others can be put into it while it can be written to.
        let staged = Staged::make(pool, name.as_str(), |name| {
            btrfs::snapshot(source, pool, name, read_only && below.is_empty())
        })?;
        for path in &below {
            nested(source, staged.as_fd(), path, read_only)?;
        }
        ready(staged, read_only)
    }

    /// Gives a copy its name, and before that the files that belong to it theirs.
    fn finish(
        &self,
        copy: Staged<'_>,
        files: Copies<'_>,
        directory: &str,
        name: &str,
    ) -> std::result::Result<(), Errno> {
        // What is immutable cannot be renamed: that comes last.
        let is_tree = FileType::from_raw_mode(fstat(&copy)?.st_mode) == FileType::Directory;
        let is_immutable = self.read_only && is_tree && !is_subvolume(&copy)?;
        let now = format!("{directory}/{}", copy.name());
        let image = Move::of_new(&now, format!("{directory}/{name}")).ok_or(Errno::NOENT)?;
        let moves = Moves::new(image, is_immutable, files.moves.iter().cloned());
        let _journal = moves.begin(self.pool);
        files.finish();
        let done = copy.finish(name);
        if done.is_ok() {
            moves.go_on()
        } else {
            let _ = moves.go_back();
            done
        }
    }
}

/// Makes snapshots of a subvolume below another one, and of those below it.
fn nested(
    source: impl AsFd,
    target: impl AsFd,
    path: &str,
    read_only: bool,
) -> std::result::Result<(), Errno> {
    let below = |root: &dyn AsFd, path: &str| {
        let resolve = rustix::fs::ResolveFlags::BENEATH | rustix::fs::ResolveFlags::NO_SYMLINKS;
        rustix::fs::openat2(root.as_fd(), path, DIRECTORY, Mode::empty(), resolve)
    };
    let (parent, name) = path.rsplit_once('/').unwrap_or((".", path));
    let child = below(&source, path)?;
    let parent = below(&target, parent)?;
    rustix::fs::unlinkat(&parent, name, rustix::fs::AtFlags::REMOVEDIR)?;
    btrfs::snapshot(&child, &parent, name, false)?;
    let copy = below(&parent, name)?;
    for path in btrfs::children(&child, btrfs::describe(&child)?.id)? {
        nested(&child, &copy, &path, read_only)?;
    }
    if read_only { btrfs::set_read_only(&copy, true) } else { Ok(()) }
}

/// Makes a subvolume that was copied read-only, if that is wanted.
fn ready(staged: Staged<'_>, read_only: bool) -> std::result::Result<Staged<'_>, Errno> {
    if is_subvolume(&staged)? {
        // Where nothing is counted there are no groups.
        let _ = btrfs::make_subtree_group(&staged);
        if read_only {
            btrfs::set_read_only(&staged, true)?;
        }
    }
    Ok(staged)
}

#[cfg(test)]
mod tests;
