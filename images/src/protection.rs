//! Directories that nobody can change: the flag of chattr(1).

use rustix::fs::{IFlags, Mode, OFlags, ioctl_getflags, ioctl_setflags, open};
use rustix::io::Errno;

pub(crate) const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NONBLOCK)
    .union(OFlags::NOCTTY);

/// Sets or clears the flag of a directory that keeps it from being changed. Returns whether it was the other way before.
pub(crate) fn set_immutable(path: &str, immutable: bool) -> Result<bool, Errno> {
    let root = open(path, DIRECTORY, Mode::empty())?;
    let flags = match ioctl_getflags(&root) {
        Ok(flags) => flags,
        // A file system without such flags.
        Err(Errno::NOTTY | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) if !immutable => return Ok(false),
        Err(Errno::NOTTY | Errno::NOSYS) => return Err(Errno::OPNOTSUPP),
        Err(errno) => return Err(errno),
    };
    if flags.contains(IFlags::IMMUTABLE) == immutable {
        return Ok(false);
    }
    let mut wanted = flags;
    wanted.set(IFlags::IMMUTABLE, immutable);
    ioctl_setflags(&root, wanted)?;
    Ok(true)
}

/// Whether a directory has that flag.
pub(crate) fn is_immutable(path: &str) -> Result<bool, Errno> {
    match ioctl_getflags(open(path, DIRECTORY, Mode::empty())?) {
        Ok(flags) => Ok(flags.contains(IFlags::IMMUTABLE)),
        // A file system without such flags.
        Err(Errno::NOTTY | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => Ok(false),
        Err(errno) => Err(errno),
    }
}
