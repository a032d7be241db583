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
        Ok(Self { directory, levels: vec![Level::default()], steps: 0, is_entered: true })
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
            // Gone in between: nothing to visit.
            if let Ok(directory) = openat(&self.directory, &name, DIRECTORY, Mode::empty()) {
                self.directory = directory;
                self.levels.push(Level { name, below: Vec::new() });
                self.is_entered = true;
            }
        }
    }

    /// Goes up from a group that was visited, and returns its name; `None` at the top, where the walk ends.
    pub fn ascend(&mut self) -> Option<CString> {
        let name = self.levels.pop()?.name;
        match openat(&self.directory, c"..", DIRECTORY, Mode::empty()) {
            Ok(above) if !self.levels.is_empty() => {
                self.directory = above;
                Some(name)
            }
            _ => {
                self.levels.clear();
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
    pub fn processes(&self) -> Vec<i32> {
        let mut text = String::new();
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        if let Ok(procs) = openat(&self.directory, c"cgroup.procs", flags, Mode::empty()) {
            // What was read until then is what is known.
            let _ = File::from(procs).read_to_string(&mut text);
        }
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
        let Ok(entries) = Dir::read_from(&self.directory) else { return };
        for entry in entries.map_while(Result::ok) {
            self.step().await;
            let name = entry.file_name();
            if entry.file_type() == FileType::Directory && name != c"." && name != c".." {
                self.levels.last_mut().into_iter().for_each(|level| level.below.push(name.to_owned()));
            }
        }
    }
}
