//! How far something is that takes its time.

use std::fmt;
use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, openat2, statat};
use serde::{Deserialize, Serialize};

/// How often it is told.
const OFTEN: Duration = Duration::from_millis(200);
/// From this depth on nothing is counted.
const DEPTH: usize = 256;

/// How far it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Progress {
    /// The bytes of files that are done. Those of files that are removed are added up if they were counted before.
    pub bytes: u64,
    /// The files that are done, and links, and whatever is no directory.
    pub files: u64,
    /// The bytes and files there are, if they were counted.
    pub total: Option<(u64, u64)>,
}

/// Counts what is done, and tells it now and then.
pub struct Teller<'a> {
    counts: bool,
    tell: &'a mut dyn FnMut(Progress),
    progress: Progress,
    told: Instant,
}

impl fmt::Debug for Teller<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Teller").field("progress", &self.progress).finish_non_exhaustive()
    }
}

impl<'a> Teller<'a> {
    /// Nothing is done yet. What there is to be done is counted before, or not.
    pub fn new(counts: bool, tell: &'a mut dyn FnMut(Progress)) -> Self {
        Self { counts, tell, progress: Progress::default(), told: Instant::now() }
    }

    /// Counts what there is to be done, if that is wanted, and tells it. What is not reached in this way, or cannot be looked
    /// at, is left out: the work itself will say so.
    pub fn count(&mut self, directory: BorrowedFd<'_>, name: &[u8], way: ResolveFlags) {
        if !self.counts {
            return;
        }
        let (mut bytes, mut files) = (0_u64, 0_u64);
        let mut path: Vec<Dir> = Vec::new();
        let mut look = |directory: BorrowedFd<'_>, name: &[u8]| -> Option<Dir> {
            let stat = statat(directory, name, AtFlags::SYMLINK_NOFOLLOW).ok()?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                let flags = OFlags::RDONLY
                    | OFlags::DIRECTORY
                    | OFlags::NOFOLLOW
                    | OFlags::NONBLOCK
                    | OFlags::CLOEXEC;
                return Dir::new(openat2(directory, name, flags, Mode::empty(), way).ok()?).ok();
            }
            files = files.saturating_add(1);
            bytes = bytes.saturating_add(size_of(&stat));
            None
        };
        path.extend(look(directory, name));
        while let Some(level) = path.last_mut() {
            let Some(Ok(entry)) = level.read() else {
                path.pop();
                continue;
            };
            let name = entry.file_name().to_bytes();
            let deeper = match level.fd() {
                Ok(directory) if name != b"." && name != b".." => look(directory, name),
                _ => None,
            };
            if path.len() < DEPTH {
                path.extend(deeper);
            }
        }
        self.expect(bytes, files);
    }

    /// Tells how much there is to be done, if it is to be counted.
    pub fn expect(&mut self, bytes: u64, files: u64) {
        if self.counts {
            self.progress.total = Some((bytes, files));
            self.tell();
        }
    }

    /// Some bytes more are done.
    pub fn bytes(&mut self, more: u64) {
        self.progress.bytes = self.progress.bytes.saturating_add(more);
        self.now_and_then();
    }

    /// The file is done that had begun at this many bytes.
    pub fn file(&mut self, began: u64, size: u64) {
        self.progress.bytes = began.saturating_add(size);
        self.progress.files = self.progress.files.saturating_add(1);
        self.now_and_then();
    }

    /// Whether it is wanted how much there is to be done.
    pub const fn counts(&self) -> bool {
        self.counts
    }

    /// How many bytes are done.
    pub const fn done(&self) -> u64 {
        self.progress.bytes
    }

    fn now_and_then(&mut self) {
        if self.told.elapsed() > OFTEN {
            self.tell();
        }
    }

    /// Tells it at once.
    pub fn tell(&mut self) {
        self.told = Instant::now();
        (self.tell)(self.progress);
    }
}

/// The bytes of a regular file; others have none.
pub fn size_of(stat: &rustix::fs::Stat) -> u64 {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => u64::try_from(stat.st_size).unwrap_or_default(),
        _ => 0,
    }
}
