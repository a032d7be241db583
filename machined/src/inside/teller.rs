//! What a child says of its copy while it goes on.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, openat, statat};
use rustix::net::SendFlags;

use super::message;
use super::progress::Progress;
use super::request::Report;

/// How often it is told.
const OFTEN: Duration = Duration::from_millis(200);
/// From this depth on nothing is counted.
const DEPTH: usize = 256;

/// Tells the daemon of it.
#[derive(Debug)]
pub(super) struct Teller<'a> {
    to: &'a OwnedFd,
    progress: Progress,
    told: Instant,
}

impl<'a> Teller<'a> {
    pub(super) fn new(to: &'a OwnedFd) -> Self {
        Self { to, progress: Progress::default(), told: Instant::now() }
    }

    /// Counts what is to be copied. What cannot be looked at is left out: the copy will say so.
    pub(super) fn count(&mut self, directory: BorrowedFd<'_>, name: &[u8]) {
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
                return Dir::new(openat(directory, name, flags, Mode::empty()).ok()?).ok();
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
        self.progress.total = Some((bytes, files));
        self.tell();
    }

    /// Some bytes more are done.
    pub(super) fn bytes(&mut self, more: u64) {
        self.progress.bytes = self.progress.bytes.saturating_add(more);
        self.now_and_then();
    }

    /// The file is done that had begun at this many bytes.
    pub(super) fn file(&mut self, began: u64, size: u64) {
        self.progress.bytes = began.saturating_add(size);
        self.progress.files = self.progress.files.saturating_add(1);
        self.now_and_then();
    }

    /// How many bytes are done.
    pub(super) const fn done(&self) -> u64 {
        self.progress.bytes
    }

    fn now_and_then(&mut self) {
        if self.told.elapsed() > OFTEN {
            self.tell();
        }
    }

    /// Tells it at once.
    pub(super) fn tell(&mut self) {
        self.told = Instant::now();
        // If the daemon is behind, it hears the next one.
        let report = Report::Progress(self.progress).encode();
        let _ = message::send(self.to.as_fd(), &report, &[], SendFlags::DONTWAIT);
    }
}

/// The bytes of a regular file; others have none.
pub(super) fn size_of(stat: &rustix::fs::Stat) -> u64 {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => u64::try_from(stat.st_size).unwrap_or_default(),
        _ => 0,
    }
}
