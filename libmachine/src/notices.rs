//! What inotify(7) has noticed, in the order in which it happened, as far as it was not dealt with yet.

use registry::MachineName;

use crate::buffer::Buffer;
use crate::errno::Errno;
use crate::inotify::Notice;
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
    pub const fn pass(&mut self, first: &Notice) {
        self.next = self.next.saturating_add(first.length);
    }

    /// Reads what was noticed, behind what was not dealt with yet; `false` if there is nothing.
    ///
    /// # Errors
    /// Why it cannot be read; nothing is lost.
    #[inline(never)]
    pub fn fill(&mut self) -> Result<bool, Errno> {
        let left = self.queue.len().saturating_sub(self.next);
        self.queue.cut_out(self.next, left);
        self.next = 0;
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

    /// Whether something happened to a machine's record after the first, or may have happened.
    pub fn is_met_again(&self, name: &MachineName, first: &Notice) -> bool {
        let mut at = self.next.saturating_add(first.length);
        while let Some(notice) = Notice::first(self.queue.get(at..).unwrap_or_default()) {
            if notice.name.as_ref() == Some(name) || notice.is_any(libc::IN_Q_OVERFLOW) {
                return true;
            }
            at = at.saturating_add(notice.length);
        }
        false
    }
}
