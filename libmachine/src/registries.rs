//! Which registries are looked into: the system's, and then the caller's own, that of `machined --user`.
//!
//! A name that the system's registry has is that machine's, unless it is another user's alone there.
//!
//! # Safety
//! getresuid(2) writes three integers of this module; getauxval(3) reads what the kernel gave the process at its start.

#![allow(unsafe_code, reason = "system calls")]

use core::ffi::CStr;

use registry::{FileError, Files, MACHINE_DIRECTORY, MachineName, NOBODY, Path, record_path};

use crate::errno::Errno;
use crate::host::file_error;
use crate::system::{Descriptor, open, read, read_link, status, status_of_itself};

/// A registry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Registry {
    /// Whose own it is; `None`: the system's.
    user: Option<u32>,
}

impl Registry {
    /// That of the system.
    pub const SYSTEM: Self = Self { user: None };

    /// The registry of the user as whom this process acts, if the directory of the records is there and that user's.
    #[inline(never)]
    pub fn own() -> Option<Self> {
        let own = Self::of_caller()?;
        let directory = status_of_itself(own.directory().as_c_str()).ok()?;
        (directory.is_directory() && Some(directory.owner) == own.user).then_some(own)
    }

    /// The registry of the user as whom this process acts, there or not. It acts as one where its real, effective and saved
    /// uid are all the same, and it was not started with the rights of another. Who has no name, as in a user namespace, has
    /// no registry.
    #[inline(never)]
    pub fn of_caller() -> Option<Self> {
        let (mut real, mut effective, mut saved) = (0, 0, 0);
        // SAFETY: the three are the kernel's to write for the length of the call.
        let asked = unsafe { libc::getresuid(&raw mut real, &raw mut effective, &raw mut saved) };
        // SAFETY: it takes a number, and has no other effect.
        let is_secure = unsafe { libc::getauxval(libc::AT_SECURE) } != 0;
        let is_one = asked == 0 && effective == real && saved == real;
        (is_one && !is_secure && real != NOBODY).then_some(Self { user: Some(real) })
    }

    /// Whose own it is; `None`: the system's.
    pub const fn user(self) -> Option<u32> {
        self.user
    }

    /// The directory of the records.
    #[inline(never)]
    pub fn directory(self) -> Path {
        let system = entry(MACHINE_DIRECTORY);
        match self.user {
            Some(user) => system.of_user(user),
            None => system,
        }
    }

    /// Does something where this registry has what that of the system has at a path.
    pub fn at<T>(self, path: &Path, act: impl FnOnce(&CStr) -> T) -> T {
        match self.user {
            Some(user) => act(path.of_user(user).as_c_str()),
            None => act(path.as_c_str()),
        }
    }

    /// Opens the directory of the records.
    ///
    /// # Errors
    /// Why it cannot be opened.
    pub fn open_directory(self) -> Result<Descriptor, Errno> {
        let flags = libc::O_DIRECTORY | if self.user.is_some() { libc::O_NOFOLLOW } else { 0 };
        open(None, self.directory().as_c_str(), flags)
    }

    /// Opens the record of a machine.
    ///
    /// # Errors
    /// `ENXIO`: there is none; what is another user's in a registry of a user's is as good as missing. `EBADMSG`: what is there
    /// is no file. Others: why it cannot be opened.
    #[inline(never)]
    pub fn open_record(self, name: &MachineName) -> Result<Descriptor, Errno> {
        let opened = self.at(&record_path(name), |path| open(None, path, libc::O_NOFOLLOW));
        let file = opened.map_err(|errno| match errno.0 {
            libc::ENOENT | libc::ELOOP | libc::ENOTDIR => Errno::NXIO,
            // A socket.
            libc::ENXIO => Errno::BADMSG,
            _ => errno,
        })?;
        let status = status(file.borrow())?;
        if self.user.is_some_and(|user| status.owner != user) {
            return Err(Errno::NXIO);
        }
        // No FIFO, whose other end might write for ever.
        if status.is_regular() { Ok(file) } else { Err(Errno::BADMSG) }
    }
}

fn entry(text: &str) -> Path {
    let mut path = Path::new();
    path.push(text.as_bytes());
    path
}

impl Files for Registry {
    type File = Descriptor;

    fn open(&self, path: &Path) -> Result<Descriptor, FileError> {
        let file = self.at(path, |path| open(None, path, libc::O_NOFOLLOW)).map_err(file_error)?;
        let Some(user) = self.user else { return Ok(file) };
        let is_the_users =
            status(file.borrow()).is_ok_and(|status| status.is_regular() && status.owner == user);
        if is_the_users { Ok(file) } else { Err(FileError::Absent) }
    }

    fn read<'a>(&self, file: &Descriptor, buffer: &'a mut [u8]) -> Result<&'a [u8], FileError> {
        read(file.borrow(), buffer).map_err(file_error)
    }

    #[inline(never)]
    fn read_link<'a>(&self, path: &Path, buffer: &'a mut [u8]) -> Result<&'a [u8], FileError> {
        self.at(path, |path| read_link(path, buffer)).map_err(file_error)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_of_the_callers_is_found_by_its_uid() {
        // SAFETY: it always succeeds.
        let uid = unsafe { libc::getuid() };
        let own = Registry::of_caller().unwrap();
        assert_eq!(own.user(), Some(uid));
        let path =
            |registry: Registry| std::string::String::from(registry.directory().as_c_str().to_str().unwrap());
        assert_eq!(path(own), std::format!("/run/user/{uid}/systemd/machines"));
        assert_eq!(path(Registry::SYSTEM), "/run/systemd/machines");
    }
}
