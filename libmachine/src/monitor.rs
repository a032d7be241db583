//! Waiting for machines to come, go and change.

use core::ffi::CStr;

use registry::MachineName;

use crate::buffer::Buffer;
use crate::errno::Errno;
use crate::names::{Listing, each_name};
use crate::sort::sort;
use crate::system::{Borrowed, Descriptor, read, watch, watch_path};

/// What sd-login's monitor can wait for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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
pub fn drain(descriptor: Borrowed) -> Result<(), Errno> {
    let mut buffer = [0_u8; 4096];
    loop {
        match read(descriptor, &mut buffer) {
            Ok([]) | Err(Errno::AGAIN) => return Ok(()),
            Ok(_) | Err(Errno(libc::EINTR)) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// What became of a machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// It is there now.
    New,
    /// It is there no longer.
    Removed,
    /// Its record was written anew.
    Changed,
}

/// Tells which machine came, went or changed, in the order in which it happened.
#[derive(Debug)]
pub struct Monitor {
    descriptor: Descriptor,
    /// Those that are known to be there, sorted.
    known: Buffer<MachineName>,
    /// What was read of the descriptor and not told yet.
    pending: Buffer<u8>,
    /// What is left of it begins here.
    next: usize,
    /// Found by comparing, after events were lost.
    differences: Buffer<(Change, MachineName)>,
    /// Events were lost, and nothing was compared yet.
    is_behind: bool,
    is_gone: bool,
}

/// `struct inotify_event`: the watch, the mask, a cookie, the length of the name.
const MASK_AT: usize = 4;
const LENGTH_AT: usize = 12;
const NAME_AT: usize = 16;

impl Monitor {
    /// Starts to watch. Machines that are there already are not told.
    ///
    /// # Errors
    /// `ENOENT`: there is no registry. Others: it cannot be read, or inotify(7) fails.
    pub fn new() -> Result<Self, Errno> {
        let descriptor = watch()?;
        let events = EVENTS | libc::IN_DELETE_SELF | libc::IN_ONLYDIR;
        watch_path(&descriptor, Category::Machine.directory(), events)?;
        // Listed when it is watched already, so that nothing is missed; what is noticed twice is told as a change.
        let known = sorted_names()?;
        Ok(Self {
            descriptor,
            known,
            pending: Buffer::new(),
            next: 0,
            differences: Buffer::new(),
            is_behind: false,
            is_gone: false,
        })
    }

    /// The descriptor that becomes readable when there may be something to tell.
    pub const fn descriptor(&self) -> Borrowed {
        self.descriptor.borrow()
    }

    /// The next change; `None` if there is none at the moment.
    ///
    /// # Errors
    /// `ESTALE`: the directory of the records was removed; a new monitor is needed. `ENOMEM`.
    pub fn next_change(&mut self) -> Result<Option<(Change, MachineName)>, Errno> {
        loop {
            if let Some(&difference) = self.differences.first() {
                self.differences.remove(0);
                return Ok(Some(difference));
            }
            if self.is_behind {
                self.compare()?;
                continue;
            }
            if let Some((mask, name, length)) = event(self.pending.get(self.next..).unwrap_or_default()) {
                self.next = self.next.saturating_add(length);
                if let Some(change) = self.take(mask, name)? {
                    return Ok(Some(change));
                }
                continue;
            }
            if self.is_gone {
                return Err(Errno::STALE);
            }
            if !self.fill()? {
                return Ok(None);
            }
        }
    }

    /// Reads what was noticed; `false` if there is nothing.
    fn fill(&mut self) -> Result<bool, Errno> {
        self.next = 0;
        self.pending.truncate(0);
        self.pending.fill(0, 4096)?;
        let length = match read(self.descriptor.borrow(), &mut self.pending) {
            Ok(piece) => piece.len(),
            Err(Errno::AGAIN | Errno(libc::EINTR)) => 0,
            Err(errno) => {
                self.pending.truncate(0);
                return Err(errno);
            }
        };
        self.pending.truncate(length);
        Ok(length > 0)
    }

    fn take(&mut self, mask: u32, name: Option<MachineName>) -> Result<Option<(Change, MachineName)>, Errno> {
        if mask & libc::IN_Q_OVERFLOW != 0 {
            self.is_behind = true;
            return Ok(None);
        }
        if mask & (libc::IN_IGNORED | libc::IN_DELETE_SELF) != 0 {
            self.is_gone = true;
            return Ok(None);
        }
        let Some(name) = name.filter(|_| mask & libc::IN_ISDIR == 0) else { return Ok(None) };
        let place = position(&self.known, &name);
        Ok(match (place, mask & libc::IN_DELETE != 0) {
            (Ok(place), true) => {
                self.known.remove(place);
                Some((Change::Removed, name))
            }
            (Ok(_), false) => Some((Change::Changed, name)),
            (Err(place), false) => {
                self.known.insert(place, name)?;
                Some((Change::New, name))
            }
            (Err(_), true) => None,
        })
    }

    /// Events were lost: finds out who came and went. Those that are there still may have changed.
    fn compare(&mut self) -> Result<(), Errno> {
        let now = sorted_names()?;
        let mut differences = Buffer::new();
        for name in self.known.iter().filter(|name| position(&now, name).is_err()) {
            differences.push((Change::Removed, *name))?;
        }
        for name in now.iter() {
            let change = if position(&self.known, name).is_ok() { Change::Changed } else { Change::New };
            differences.push((change, *name))?;
        }
        // All at once: where something was short, the next call compares again.
        (self.known, self.differences, self.is_behind) = (now, differences, false);
        Ok(())
    }
}

/// The mask of the first event, the machine that its name may be, and how long it is.
fn event(bytes: &[u8]) -> Option<(u32, Option<MachineName>, usize)> {
    let number = |at: usize| Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk::<4>()?));
    let length = usize::try_from(number(LENGTH_AT)?).ok()?;
    let whole = NAME_AT.checked_add(length)?;
    let name = bytes.get(NAME_AT..whole)?.split(|&byte| byte == 0).next()?;
    Some((number(MASK_AT)?, MachineName::new(name).ok(), whole))
}

fn sorted_names() -> Result<Buffer<MachineName>, Errno> {
    let mut names = Buffer::new();
    each_name(Listing::All, &mut |name| names.push(name))?;
    sort(&mut names, |one, other| one < other);
    Ok(names)
}

/// Where a name is in a sorted list, or would be.
fn position(names: &[MachineName], name: &MachineName) -> Result<usize, usize> {
    let (mut low, mut high) = (0, names.len());
    while low < high {
        let middle = low.midpoint(high);
        match names.get(middle).map(|other| other.cmp(name)) {
            Some(core::cmp::Ordering::Equal) => return Ok(middle),
            Some(core::cmp::Ordering::Less) => low = middle.wrapping_add(1),
            _ => high = middle,
        }
    }
    Err(low)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn name(text: &str) -> MachineName {
        MachineName::new(text.as_bytes()).unwrap()
    }

    #[test]
    fn names_are_sorted_and_found() {
        // A linear congruential generator: the same names in every run.
        let mut seed = 1_u64;
        for length in 0..300 {
            let mut names: Vec<_> = (0..length)
                .map(|_| {
                    seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                    name(&std::format!("m{}", seed >> 54))
                })
                .collect();
            let mut expected = names.clone();
            expected.sort();
            sort(&mut names, |one, other| one < other);
            assert_eq!(names, expected);
            for known in &names {
                assert_eq!(names[position(&names, known).unwrap()], *known);
            }
            assert_eq!(position(&names, &name("a")), Err(0));
            assert_eq!(position(&names, &name("z")), Err(length));
        }
    }

    #[test]
    fn events_are_cut_apart() {
        let mut bytes = Vec::new();
        for (mask, text) in
            [(libc::IN_MOVED_TO, "web\0\0\0\0\0"), (libc::IN_DELETE, "unit:x\0\0"), (libc::IN_Q_OVERFLOW, "")]
        {
            bytes.extend(1_i32.to_ne_bytes());
            bytes.extend(mask.to_ne_bytes());
            bytes.extend(0_u32.to_ne_bytes());
            bytes.extend(u32::try_from(text.len()).unwrap().to_ne_bytes());
            bytes.extend(text.as_bytes());
        }
        assert_eq!(event(&bytes), Some((libc::IN_MOVED_TO, Some(name("web")), 24)));
        assert_eq!(event(&bytes[24..]), Some((libc::IN_DELETE, None, 24)));
        assert_eq!(event(&bytes[48..]), Some((libc::IN_Q_OVERFLOW, None, 16)));
        assert_eq!(event(&bytes[64..]), None);
        assert_eq!(event(&bytes[..20]), None);
    }
}
