//! Waiting for changes as sd_login_monitor_new(3) does: that something happened is all that is known.

use core::ffi::CStr;

use crate::errno::Errno;
use crate::system::{Borrowed, Descriptor, read, watch, watch_path};

/// What sd-login's monitor can wait for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Category {
    /// `seat`.
    Seat,
    /// `session`.
    Session,
    /// `uid`.
    User,
    /// `machine`.
    Machine,
}

impl Category {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Session, Self::Seat, Self::User, Self::Machine];

    /// The category with this name.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        match name {
            b"seat" => Some(Self::Seat),
            b"session" => Some(Self::Session),
            b"uid" => Some(Self::User),
            b"machine" => Some(Self::Machine),
            _ => None,
        }
    }

    const fn directory(self) -> &'static CStr {
        match self {
            Self::Seat => c"/run/systemd/seats/",
            Self::Session => c"/run/systemd/sessions/",
            Self::User => c"/run/systemd/users/",
            Self::Machine => c"/run/systemd/machines/",
        }
    }
}

/// A file that is renamed to its place is new or changed; everything the daemon writes is.
const EVENTS: u32 = libc::IN_MOVED_TO | libc::IN_DELETE;

/// Watches as sd_login_monitor_new(3) does: that something happened is all that is known.
///
/// # Errors
/// `ENOENT`: there is no such directory. Others: inotify(7) fails.
pub fn watch_categories(categories: &[Category]) -> Result<Descriptor, Errno> {
    let descriptor = watch()?;
    for category in categories {
        watch_path(&descriptor, category.directory(), EVENTS)?;
    }
    Ok(descriptor)
}

/// Reads away what a watch has noticed.
///
/// # Errors
/// Why it cannot be read.
pub fn drain(descriptor: Borrowed<'_>) -> Result<(), Errno> {
    let mut buffer = [0_u8; 4096];
    loop {
        match read(descriptor, &mut buffer) {
            Ok([]) | Err(Errno::AGAIN) => return Ok(()),
            Ok(_) | Err(Errno(libc::EINTR)) => {}
            Err(errno) => return Err(errno),
        }
    }
}
