//! What inotify(7) has noticed, in the order in which it happened, as far as it was not dealt with yet.

use registry::MachineName;

use crate::buffer::Buffer;
use crate::errno::Errno;
use crate::inotify::{Notice, split_first};
use crate::system::{Descriptor, read, watch};

/// So much is read of the watch at a time, and so often in a row before what was read is looked at.
const PIECE: usize = 4096;
const PIECES: usize = 256;

/// A queue of the kernel's, and what was read of it.
#[derive(Debug)]
pub struct Notices {
    watch: Descriptor,
    /// What was read, and where what was not dealt with yet begins.
    queue: Buffer<u8>,
    next: usize,
}

impl Notices {
    /// An empty queue, which watches nothing yet.
    ///
    /// # Errors
    /// Why inotify(7) fails.
    pub fn new() -> Result<Self, Errno> {
        Ok(Self { watch: watch()?, queue: Buffer::new(), next: 0 })
    }

    /// What watches are added to.
    pub const fn watch(&self) -> &Descriptor {
        &self.watch
    }

    /// The first that was not dealt with.
    pub fn first(&self) -> Option<Notice> {
        Notice::first(self.queue.get(self.next..).unwrap_or_default())
    }

    /// The first was dealt with.
    pub fn pass(&mut self, first: &Notice) {
        self.next = self.next.saturating_add(first.length);
        let left = self.queue.len().saturating_sub(self.next);
        // Seldom, as what is left is moved.
        if self.next > left {
            self.queue.cut_out(self.next, left);
            self.next = 0;
        }
    }

    /// The place in the queue behind the first.
    pub const fn behind(&self, first: &Notice) -> usize {
        self.next.saturating_add(first.length)
    }

    /// The place behind the last.
    pub fn end(&self) -> usize {
        self.queue.len()
    }

    /// Reads what was noticed, behind what was not dealt with yet; `false` if there is nothing.
    ///
    /// # Errors
    /// Why it cannot be read; nothing is lost.
    #[inline(never)]
    pub fn fill(&mut self) -> Result<bool, Errno> {
        let mut is_any = false;
        for _ in 0..PIECES {
            let length = self.queue.len();
            self.queue.fill(0, PIECE)?;
            let room = self.queue.get_mut(length..).unwrap_or_default();
            let read = match read(self.watch.borrow(), room) {
                Ok(piece) => Ok(piece.len()),
                Err(Errno::AGAIN | Errno::INTR) => Ok(0),
                Err(errno) => Err(errno),
            };
            let read_length = read.unwrap_or_default();
            self.queue.truncate(length.saturating_add(read_length));
            read?;
            if read_length == 0 {
                break;
            }
            is_any = true;
        }
        Ok(is_any)
    }

    /// Whether something happened to a machine's record, or may have happened, by what is in the queue from this place on.
    pub fn is_met(&self, name: &MachineName, from: usize) -> bool {
        let mut rest = self.queue.get(from..).unwrap_or_default();
        // There may be thousands, and this is asked for each of them.
        while let Some((mask, entry, behind)) = split_first(rest) {
            let is_its = entry.strip_prefix(name.as_bytes()).is_some_and(|rest| rest.first() == Some(&0));
            if is_its || mask & libc::IN_Q_OVERFLOW != 0 {
                return true;
            }
            rest = behind;
        }
        false
    }
}
