//! The questions to the file system that a lookup asks, and records read by them.

use crate::path::{Path, record_path};
use crate::record_scan::{RecordHead, RecordScan, RecordSink};
use crate::{MachineName, RECORD_MAX};

/// Why a file could not be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum FileError {
    /// There is none of this name, or a symlink where none may be (`ENOENT`, `ENOTDIR`, `ELOOP`).
    Absent,
    /// It is not what was asked for: no symlink (`EINVAL`), or a directory or FIFO (`EISDIR`, `EAGAIN`).
    OtherKind,
    /// Another errno.
    Errno(i32),
}

/// Reads files and links. No call waits, and none follows a symlink at the end of a path.
pub trait Files {
    /// An open file; dropping it closes it.
    type File;
    /// Opens a file to read it.
    ///
    /// # Errors
    /// Why it could not be opened.
    fn open(&self, path: &Path) -> Result<Self::File, FileError>;
    /// Reads the next piece of a file; an empty one at its end.
    ///
    /// # Errors
    /// Why it could not be read.
    fn read<'a>(&self, file: &Self::File, buffer: &'a mut [u8]) -> Result<&'a [u8], FileError>;
    /// Reads the target of a symlink, or as much of it as fits into the buffer.
    ///
    /// # Errors
    /// Why it could not be read.
    fn read_link<'a>(&self, path: &Path, buffer: &'a mut [u8]) -> Result<&'a [u8], FileError>;
}

/// How much is read at a time. Most records are shorter, so that one call reads all of them.
const PIECE: usize = 2048;

/// Reads a file from its start to its end, or until more than `limit` bytes were read. One descriptor is open.
///
/// # Errors
/// Why it could not be read.
pub(crate) fn read_file<F: Files>(
    files: &F,
    path: &Path,
    limit: usize,
    take: &mut dyn FnMut(&[u8]),
) -> Result<(), FileError> {
    let file = files.open(path)?;
    let mut buffer = [0_u8; PIECE];
    let mut length = 0_usize;
    loop {
        let piece = files.read(&file, &mut buffer)?;
        take(piece);
        length = length.saturating_add(piece.len());
        // Files of the registry are replaced, never changed, so a short piece is the last one.
        if piece.len() < PIECE || length > limit {
            return Ok(());
        }
    }
}

/// The machine that a link of an index leads to; `None` if there is no such link.
///
/// # Errors
/// The errno, where that is not known.
// Once, and not in each place: the module of the name service switch has to be small.
#[inline(never)]
pub fn linked_machine<F: Files>(files: &F, link: &Path) -> Result<Option<MachineName>, i32> {
    let mut target = [0_u8; 65];
    match files.read_link(link, &mut target) {
        Ok(name) => Ok(MachineName::new(name).ok()),
        // What is no link, nobody of this suite made.
        Err(FileError::Absent | FileError::OtherKind) => Ok(None),
        Err(FileError::Errno(errno)) => Err(errno),
    }
}

/// Why nothing is known from a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordError {
    /// There is none: no such machine.
    Absent,
    /// It is damaged.
    Damaged,
    /// It could not be read, with the errno.
    Unreadable(i32),
}

/// Reads the record of a machine in one pass; what it lists goes to the sink.
///
/// # Errors
/// Why nothing is known; what went to the sink counts for nothing then.
pub fn read_record<F: Files>(
    files: &F,
    name: &MachineName,
    sink: &mut dyn RecordSink,
) -> Result<RecordHead, RecordError> {
    let mut scan = RecordScan::new(*name, sink);
    match read_file(files, &record_path(name), RECORD_MAX, &mut |piece| scan.feed(piece)) {
        Ok(()) => scan.finish().ok_or(RecordError::Damaged),
        Err(FileError::Absent) => Err(RecordError::Absent),
        Err(FileError::OtherKind) => Err(RecordError::Damaged),
        Err(FileError::Errno(errno)) => Err(RecordError::Unreadable(errno)),
    }
}
