//! The watch of the directory of a registry's records, or of one above it where that is not there yet.

use registry::Path;

use crate::errno::Errno;
use crate::inotify::Notice;
use crate::registries::Registry;
use crate::system::{Descriptor, unwatch, watch_path};

/// Where the directory of the records of the system may come to be, the nearest first.
const ABOVE: [&str; 2] = ["/run/systemd", "/run"];
/// A file that is renamed to its place is new or changed; everything the daemon writes is.
const ENTRIES: u32 = libc::IN_MOVED_TO | libc::IN_DELETE | libc::IN_MOVED_FROM;
const ITSELF: u32 = libc::IN_DELETE_SELF | libc::IN_MOVE_SELF | libc::IN_ONLYDIR;
const ENDS: u32 = libc::IN_DELETE_SELF | libc::IN_MOVE_SELF | libc::IN_IGNORED | libc::IN_UNMOUNT;

/// What a notice is about.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum About {
    /// The kernel kept no more.
    Overflow,
    /// A directory above: that of the records may be there now.
    Above,
    /// The directory of the records is no more.
    End,
    /// An entry of it.
    Entry,
    /// A watch that there is no more.
    Nothing,
}

/// The numbers of the watches.
#[derive(Debug)]
pub struct RegistryWatch {
    registry: Registry,
    records: Option<i32>,
    above: Option<i32>,
}

impl RegistryWatch {
    /// Watches nothing yet.
    pub const fn of(registry: Registry) -> Self {
        Self { registry, records: None, above: None }
    }

    /// Whose records it watches.
    pub const fn registry(&self) -> Registry {
        self.registry
    }

    /// Whether the directory of the records is watched.
    pub const fn is_there(&self) -> bool {
        self.records.is_some()
    }

    /// What this notice is about.
    pub fn about(&self, notice: &Notice) -> About {
        if notice.is_any(libc::IN_Q_OVERFLOW) {
            About::Overflow
        } else if Some(notice.watch) == self.above {
            About::Above
        } else if Some(notice.watch) != self.records {
            About::Nothing
        } else if notice.is_any(ENDS) {
            About::End
        } else {
            About::Entry
        }
    }

    /// Watches the directory of the records no more.
    pub fn stop(&mut self, watch: &Descriptor) {
        if let Some(number) = self.records.take() {
            unwatch(watch, number);
        }
    }

    /// Watches the directory of the records, or a directory above where it may come to be; whether it is there.
    ///
    /// # Errors
    /// `ENOENT`: there is not even a directory above. Others: inotify(7) fails.
    pub fn start(&mut self, watch: &Descriptor, waits: bool) -> Result<bool, Errno> {
        loop {
            let records = self.registry.directory();
            match watch_path(watch, records.as_c_str(), ENTRIES | ITSELF) {
                Ok(number) => {
                    self.records = Some(number);
                    if let Some(number) = self.above.take() {
                        unwatch(watch, number);
                    }
                    return Ok(true);
                }
                Err(Errno::NOENT) if waits => {}
                Err(Errno::NOENT) => return Ok(false),
                Err(errno) => return Err(errno),
            }
            let before = self.above;
            for text in ABOVE {
                let mut system = Path::new();
                system.push(text.as_bytes());
                let events = libc::IN_CREATE | libc::IN_MOVED_TO | ITSELF;
                match self.registry.at(&system, |path| watch_path(watch, path, events)) {
                    Ok(number) => {
                        self.above = Some(number);
                        break;
                    }
                    Err(Errno::NOENT) => {}
                    Err(errno) => return Err(errno),
                }
            }
            if self.above == before {
                return if before.is_some() { Ok(false) } else { Err(Errno::NOENT) };
            }
            if let Some(before) = before {
                unwatch(watch, before);
            }
            // It may have come before it was watched for.
        }
    }
}
