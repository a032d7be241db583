//! Hears when control groups become empty: those of machines whose leader has ended. One inotify(7) descriptor watches
//! `cgroup.events` of them all, cgroup-v2.rst, and the directories that they are in: the kernel tells 10 ms late that a group
//! is empty, and not at all if that is removed meanwhile; of a removed group only the directory above tells. No process of a
//! machine that is gone can bring one into its group.

use std::cell::RefCell;
use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};

use rustix::fd::OwnedFd;
use rustix::fs::inotify::{CreateFlags, ReadFlags, Reader, WatchFlags, add_watch, init, remove_watch};
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::machines::Key;

/// Who may change a group all the time does not hold up whoever asks what has happened by now.
const MOST_READS: usize = 16;

/// A group, by the watch of its `cgroup.events`.
#[derive(Debug)]
struct Watched {
    keys: BTreeSet<Key>,
    events: PathBuf,
    parent: i32,
    name: OsString,
}

/// The groups, which one is a machine's, and which ones are in a directory.
#[derive(Debug, Default)]
struct Groups {
    by_watch: HashMap<i32, Watched>,
    by_key: HashMap<Key, i32>,
    by_parent: HashMap<i32, HashMap<OsString, i32>>,
}

/// The set of watched groups.
#[derive(Debug)]
pub struct Vacancy {
    inotify: AsyncFd<OwnedFd>,
    groups: RefCell<Groups>,
}

impl Vacancy {
    /// An empty set. Needs the event loop to be running.
    ///
    /// # Errors
    /// Where no descriptor is free, or `/proc/sys/fs/inotify/max_user_instances` is reached.
    pub fn new() -> io::Result<Self> {
        let inotify = init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?;
        #[allow(
            deprecated,
            reason = "sound for an OwnedFd; its successor asks every caller to say so, by unsafe"
        )]
        let inotify = AsyncFd::with_interest(inotify, Interest::READABLE)?;
        Ok(Self { inotify, groups: RefCell::default() })
    }

    /// Watches the group whose directory is this for a machine, if there is a process in it or below. Returns whether there
    /// is; there is none in a group that is not there.
    ///
    /// # Errors
    /// The kernel does not tell when this group is empty, or `/proc/sys/fs/inotify/max_user_watches` is reached.
    pub fn watch(&self, key: Key, group: &Path) -> io::Result<bool> {
        let events = group.join("cgroup.events");
        // Before it is looked at, so that nothing is missed in between.
        match self.add(key, group, &events) {
            Ok(()) => {}
            Err(Errno::NOENT) => return Ok(false),
            Err(errno) => return Err(errno.into()),
        }
        let is_populated = is_populated(&events);
        if !is_populated {
            self.forget(key);
        }
        Ok(is_populated)
    }

    fn add(&self, key: Key, group: &Path, events: &Path) -> Result<(), Errno> {
        let (Some(directory), Some(name)) = (group.parent(), group.file_name()) else {
            return Err(Errno::INVAL);
        };
        let inotify = self.inotify.get_ref();
        let mut groups = self.groups.borrow_mut();
        let changed = add_watch(inotify, events, WatchFlags::MODIFY)?;
        let parent = match add_watch(inotify, directory, WatchFlags::DELETE | WatchFlags::ONLYDIR) {
            Ok(parent) => parent,
            Err(errno) => {
                if !groups.by_watch.contains_key(&changed) {
                    let _ = remove_watch(inotify, changed);
                }
                return Err(errno);
            }
        };
        groups.by_key.insert(key, changed);
        groups.by_parent.entry(parent).or_default().insert(name.to_owned(), changed);
        let watched = groups.by_watch.entry(changed).or_insert_with(|| Watched {
            keys: BTreeSet::new(),
            events: events.to_owned(),
            parent,
            name: name.to_owned(),
        });
        watched.keys.insert(key);
        Ok(())
    }

    /// Stops to watch for a machine. That it is not watched for is no error.
    pub fn forget(&self, key: Key) {
        let mut groups = self.groups.borrow_mut();
        let groups = &mut *groups;
        let Some(watch) = groups.by_key.remove(&key) else { return };
        let Some(watched) = groups.by_watch.get_mut(&watch) else { return };
        watched.keys.remove(&key);
        if !watched.keys.is_empty() {
            return;
        }
        let Some(Watched { parent, name, .. }) = groups.by_watch.remove(&watch) else { return };
        let inotify = self.inotify.get_ref();
        // With its group it may be gone.
        let _ = remove_watch(inotify, watch);
        let Some(siblings) = groups.by_parent.get_mut(&parent) else { return };
        // A later group may have the name by now.
        if siblings.get(&name) == Some(&watch) {
            siblings.remove(&name);
        }
        if siblings.is_empty() {
            groups.by_parent.remove(&parent);
            let _ = remove_watch(inotify, parent);
        }
    }

    /// Waits for groups to become empty. Returns whose they are, and watches those no more.
    ///
    /// # Errors
    /// Where the kernel's event queue fails.
    pub async fn vacated(&self) -> io::Result<Vec<Key>> {
        loop {
            let mut ready = self.inotify.readable().await?;
            let (vacated, is_all) = self.read()?;
            if is_all {
                ready.clear_ready();
            }
            if !vacated.is_empty() {
                return Ok(vacated);
            }
        }
    }

    /// Whose groups have become empty by now and were not told of yet.
    ///
    /// # Errors
    /// As [`Vacancy::vacated`].
    pub fn vacated_by_now(&self) -> io::Result<Vec<Key>> {
        let mut all = Vec::new();
        for _ in 0..MOST_READS {
            if self.groups.borrow().by_watch.is_empty() {
                break;
            }
            let (vacated, is_all) = self.read()?;
            all.extend(vacated);
            if is_all {
                break;
            }
        }
        Ok(all)
    }

    /// Some of what has happened, and whether that is all.
    fn read(&self) -> io::Result<(Vec<Key>, bool)> {
        let mut room = [MaybeUninit::uninit(); 4096];
        let mut events = Reader::new(self.inotify.get_ref(), &mut room);
        let mut changed = BTreeSet::new();
        let is_all = loop {
            match events.next() {
                Ok(event) if event.events().contains(ReadFlags::QUEUE_OVERFLOW) => {
                    changed.extend(self.groups.borrow().by_watch.keys().copied());
                }
                Ok(event) => {
                    let groups = self.groups.borrow();
                    let removed = event.file_name().and_then(|name| {
                        groups.by_parent.get(&event.wd())?.get(OsStr::from_bytes(name.to_bytes()))
                    });
                    changed.insert(removed.copied().unwrap_or(event.wd()));
                }
                Err(Errno::AGAIN) => break true,
                Err(errno) => return Err(errno.into()),
            }
            if events.is_buffer_empty() {
                break false;
            }
        };
        let mut vacated = BTreeSet::new();
        for watch in changed {
            let groups = self.groups.borrow();
            if let Some(watched) =
                groups.by_watch.get(&watch).filter(|watched| !is_populated(&watched.events))
            {
                vacated.extend(watched.keys.iter().copied());
            }
        }
        vacated.iter().for_each(|&key| self.forget(key));
        Ok((vacated.into_iter().collect(), is_all))
    }
}

/// Whether there is a process in a group or below. One that is gone has none; one that cannot be looked at may have.
fn is_populated(events: &Path) -> bool {
    match std::fs::read_to_string(events) {
        Ok(text) => !text.lines().any(|line| line == "populated 0"),
        Err(error) => error.kind() != ErrorKind::NotFound && error.raw_os_error() != Some(libc::ENODEV),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;

    use super::*;

    fn with<T>(test: impl AsyncFnOnce(Vacancy, PathBuf) -> T) -> T {
        let directory = std::env::temp_dir().join(format!(
            "vacancy-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::create_dir_all(directory.join("group")).unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().unwrap();
        let result = runtime.block_on(async { test(Vacancy::new().unwrap(), directory.join("group")).await });
        std::fs::remove_dir_all(&directory).unwrap();
        result
    }

    fn populated(group: &Path, number: u8) {
        std::fs::write(group.join("cgroup.events"), format!("populated {number}\nfrozen 0\n")).unwrap();
    }

    #[test]
    fn a_group_that_becomes_empty_is_told_of_once() {
        with(async |vacancy: Vacancy, group: PathBuf| {
            populated(&group, 1);
            let key = Key::of_number(7);
            assert!(vacancy.watch(key, &group).unwrap());
            assert_eq!(vacancy.vacated_by_now().unwrap(), []);
            populated(&group, 1);
            assert_eq!(vacancy.vacated_by_now().unwrap(), [], "something else of it changed");
            populated(&group, 0);
            assert_eq!(vacancy.vacated().await.unwrap(), [key]);
            populated(&group, 0);
            assert_eq!(vacancy.vacated_by_now().unwrap(), []);
        });
    }

    #[test]
    fn a_group_that_is_empty_or_gone_is_not_watched() {
        with(async |vacancy: Vacancy, group: PathBuf| {
            assert!(!vacancy.watch(Key::of_number(1), &group).unwrap(), "gone");
            populated(&group, 0);
            assert!(!vacancy.watch(Key::of_number(1), &group).unwrap(), "empty");
            assert!(vacancy.groups.borrow().by_watch.is_empty());
            std::fs::remove_file(group.join("cgroup.events")).unwrap();
            std::fs::remove_dir(&group).unwrap();
            std::fs::write(&group, "").unwrap();
            assert!(vacancy.watch(Key::of_number(1), &group).is_err(), "no group");
        });
    }

    #[test]
    fn a_group_that_is_removed_before_the_kernel_told_is_told_of() {
        with(async |vacancy: Vacancy, group: PathBuf| {
            let sibling = group.with_file_name("sibling");
            for group in [&group, &sibling] {
                std::fs::create_dir_all(group).unwrap();
                populated(group, 1);
            }
            // Held: as in a control group, what is removed says so nowhere but in the directory above.
            let held = [File::open(&group).unwrap(), File::open(group.join("cgroup.events")).unwrap()];
            let (first, second) = (Key::of_number(1), Key::of_number(2));
            assert!(vacancy.watch(first, &group).unwrap() && vacancy.watch(second, &sibling).unwrap());
            std::fs::remove_dir_all(&group).unwrap();
            assert_eq!(vacancy.vacated_by_now().unwrap(), [first]);
            std::fs::remove_dir_all(&sibling).unwrap();
            assert_eq!(vacancy.vacated_by_now().unwrap(), [second]);
            let groups = vacancy.groups.borrow();
            assert!(groups.by_watch.is_empty() && groups.by_parent.is_empty() && groups.by_key.is_empty());
            drop(held);
        });
    }

    #[test]
    fn who_is_forgotten_is_not_told_of() {
        with(async |vacancy: Vacancy, group: PathBuf| {
            populated(&group, 1);
            assert!(vacancy.watch(Key::of_number(1), &group).unwrap());
            vacancy.forget(Key::of_number(1));
            populated(&group, 0);
            assert_eq!(vacancy.vacated_by_now().unwrap(), []);
        });
    }
}
