//! A walk through a control group and all below it. Who owns a delegated group may have made tens of thousands of them,
//! nested deeper than a path may be long: they are looked at in turns, and by descriptors.

use std::ffi::CString;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use rustix::fd::OwnedFd;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, OFlags, fstat, openat, unlinkat};
use tokio::task::yield_now;

/// After so many groups or processes it is the turn of others.
const TURN: usize = 32;
const DIRECTORY: OFlags = OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);

/// A place in a tree of groups. It keeps one descriptor, however deep it is.
#[derive(Debug)]
pub struct Walk {
    directory: OwnedFd,
    /// From the top down to this place; empty when the walk is over.
    levels: Vec<Level>,
    steps: usize,
    is_entered: bool,
    /// Something was there that could not be looked at.
    is_blind: bool,
}

#[derive(Debug, Default)]
struct Level {
    name: CString,
    /// Those below it that were not visited yet.
    below: Vec<CString>,
}

impl Walk {
    /// Begins a walk above its top.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn start(top: &Path) -> io::Result<Self> {
        let directory = openat(CWD, top, DIRECTORY, Mode::empty())?;
        Ok(Self { directory, levels: vec![Level::default()], steps: 0, is_entered: true, is_blind: false })
    }

    /// The id of the group that the walk is at.
    pub fn id(&self) -> Option<u64> {
        fstat(&self.directory).ok().map(|stat| stat.st_ino)
    }

    /// Goes down to a group below which all were visited. False: the walk is over.
    pub async fn descend(&mut self) -> bool {
        loop {
            self.step().await;
            if std::mem::take(&mut self.is_entered) {
                self.list().await;
            }
            let Some(level) = self.levels.last_mut() else { return false };
            let Some(name) = level.below.pop() else { return true };
            let opened = openat(&self.directory, &name, DIRECTORY, Mode::empty());
            if let Some(directory) = self.seen(opened.map_err(io::Error::from)) {
                self.directory = directory;
                self.levels.push(Level { name, below: Vec::new() });
                self.is_entered = true;
            }
        }
    }

    /// Goes up from a group that was visited, and returns its name; `None` at the top, where the walk ends.
    pub fn ascend(&mut self) -> Option<CString> {
        let name = self.levels.pop()?.name;
        if self.levels.is_empty() {
            return None;
        }
        match openat(&self.directory, c"..", DIRECTORY, Mode::empty()) {
            Ok(above) => {
                self.directory = above;
                Some(name)
            }
            Err(_) => {
                self.is_blind = true;
                self.levels.clear();
                None
            }
        }
    }

    /// Whether all could be looked at that was there.
    pub fn has_seen_all(&self) -> bool {
        !self.is_blind
    }

    /// What was looked at, if there is anything to look at.
    fn seen<T>(&mut self, looked: io::Result<T>) -> Option<T> {
        match looked {
            Ok(seen) => Some(seen),
            Err(error) => {
                // The last: the processes of a threaded group are its domain's, which is above it.
                let nothing = [libc::ENOENT, libc::ENODEV, libc::EOPNOTSUPP];
                self.is_blind |= error.raw_os_error().is_none_or(|errno| !nothing.contains(&errno));
                None
            }
        }
    }

    /// Removes a group right below the one that the walk is at.
    pub fn remove(&self, name: &CString) {
        // Not empty, or gone: both are fine.
        let _ = unlinkat(&self.directory, name, AtFlags::REMOVEDIR);
    }

    /// The processes of the group that the walk is at.
    pub fn processes(&mut self) -> Vec<i32> {
        let mut text = String::new();
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let procs = openat(&self.directory, c"cgroup.procs", flags, Mode::empty());
        let read =
            procs.map_err(io::Error::from).and_then(|procs| File::from(procs).read_to_string(&mut text));
        // What was read until then is what is known.
        self.seen(read);
        text.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Gives others their turn, now and then.
    pub async fn step(&mut self) {
        self.steps = self.steps.wrapping_add(1);
        if self.steps.is_multiple_of(TURN) {
            yield_now().await;
        }
    }

    async fn list(&mut self) {
        let entries = Dir::read_from(&self.directory).map_err(io::Error::from);
        for entry in self.seen(entries).into_iter().flatten() {
            self.step().await;
            let Some(entry) = self.seen(entry.map_err(io::Error::from)) else { return };
            let name = entry.file_name();
            if entry.file_type() == FileType::Directory && name != c"." && name != c".." {
                self.levels.last_mut().into_iter().for_each(|level| level.below.push(name.to_owned()));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    /// What a walk finds in a tree, and whether that is all.
    fn found(top: &Path) -> (Vec<i32>, bool) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut walk, mut found) = (Walk::start(top).unwrap(), Vec::new());
            while walk.descend().await {
                found.extend(walk.processes());
                walk.ascend();
            }
            found.sort_unstable();
            (found, walk.has_seen_all())
        })
    }

    #[test]
    fn what_cannot_be_looked_at_is_not_taken_for_empty() {
        let top = std::env::temp_dir().join(format!("walk-{}", std::process::id()));
        for (below, pid) in [("", 1), ("a", 2), ("a/b", 3), ("c", 4)] {
            fs::create_dir(top.join(below)).unwrap();
            fs::write(top.join(below).join("cgroup.procs"), format!("{pid}\n")).unwrap();
        }
        assert_eq!(found(&top), (vec![1, 2, 3, 4], true));
        let procs = top.join("a/b/cgroup.procs");
        fs::remove_file(&procs).unwrap();
        assert_eq!(found(&top), (vec![1, 2, 4], true), "a group that was removed meanwhile");
        // Which can be opened, and not be read.
        fs::create_dir(&procs).unwrap();
        assert_eq!(found(&top), (vec![1, 2, 4], false));
        fs::remove_dir_all(&top).unwrap();
    }
}
