//! Which registries are looked into: the system's, and then the caller's own, that of `machined --user`.
//!
//! A name that the system's registry has is that machine's, unless it is another user's alone there.

use registry::calls::RegistryFiles;
use registry::{MachineName, record_path};

use crate::errno::Errno;
use crate::system::{Descriptor, open, status};

/// A registry.
pub type Registry = RegistryFiles;

/// Opens the directory of the records.
///
/// # Errors
/// Why it cannot be opened.
pub fn open_directory(registry: Registry) -> Result<Descriptor, Errno> {
    let flags = libc::O_DIRECTORY | if registry.user().is_some() { libc::O_NOFOLLOW } else { 0 };
    open(None, registry.directory().as_c_str(), flags)
}

/// Opens the record of a machine.
///
/// # Errors
/// `ENXIO`: there is none; what is another user's in a registry of a user's is as good as missing. `EBADMSG`: what is there
/// is no file. Others: why it cannot be opened.
#[inline(never)]
pub fn open_record(registry: Registry, name: &MachineName) -> Result<Descriptor, Errno> {
    let opened = registry.at(&record_path(name), |path| open(None, path, libc::O_NOFOLLOW));
    let file = opened.map_err(|errno| match errno.0 {
        libc::ENOENT | libc::ELOOP | libc::ENOTDIR => Errno::NXIO,
        // A socket.
        libc::ENXIO => Errno::BADMSG,
        _ => errno,
    })?;
    let status = status(file.borrow())?;
    if registry.user().is_some_and(|user| status.owner != user) {
        return Err(Errno::NXIO);
    }
    // No FIFO, whose other end might write for ever.
    if status.is_regular() { Ok(file) } else { Err(Errno::BADMSG) }
}

/// The registries that there are, the system's first.
#[derive(Clone, Copy, Debug)]
pub struct Registries {
    own: Option<Registry>,
}

impl Registries {
    /// Looks whether the caller has one.
    pub fn look() -> Self {
        Self { own: Registry::own() }
    }

    /// Each of them, the system's first; whether the caller has one is looked at only where the first did not do.
    pub fn one_by_one() -> impl Iterator<Item = Registry> {
        core::iter::once(Registry::SYSTEM).chain(core::iter::once_with(Registry::own).flatten())
    }

    /// Each of them, the system's first.
    pub fn iter(self) -> impl Iterator<Item = Registry> {
        core::iter::once(Registry::SYSTEM).chain(self.own)
    }
}
