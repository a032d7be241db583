//! What a peer has sent: bytes in, pieces of one message out, within limits.

use std::cell::Cell;
use std::rc::Rc;

/// The largest message: 16 MiB as for sd-varlink, which takes a little more when it comes in one piece.
pub const MESSAGE_MAX: usize = (16 << 20) + CHUNK;

/// How many of `,:[{` a message may hold. A JSON value has no more nodes than these, so it bounds what a
/// parsed message takes, which could otherwise be thirty times its text.
const NODES_MAX: usize = 64 << 10;

/// Up to this size a message is nobody's concern; beyond it, it counts against the [`Budget`].
const SMALL: usize = 64 << 10;

/// How much is read at once.
const CHUNK: usize = 8 << 10;

/// How many bytes the large messages of all unprivileged peers may take together.
#[derive(Debug)]
pub struct Budget(Cell<usize>);

impl Budget {
    /// A budget of so many bytes.
    pub fn new(bytes: usize) -> Rc<Self> {
        Rc::new(Self(Cell::new(bytes)))
    }

    fn spend(&self, bytes: usize) -> bool {
        let left = self.0.get().checked_sub(bytes);
        left.inspect(|left| self.0.set(*left)).is_some()
    }

    fn refund(&self, bytes: usize) {
        self.0.set(self.0.get().saturating_add(bytes));
    }
}

/// The message is larger than the peer may send: the connection is to be closed.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLarge;

/// Buffers input. It hands out one message at a time, and keeps no memory while it holds nothing.
#[derive(Debug)]
pub struct Inbox {
    bytes: Vec<u8>,
    start: usize,
    /// How much of the current message was handed out.
    length: usize,
    nodes: usize,
    spent: usize,
    complete: bool,
    budget: Option<Rc<Budget>>,
}

impl Inbox {
    /// An empty one; `None` is for a peer that is trusted to send large messages.
    pub fn new(budget: Option<Rc<Budget>>) -> Self {
        Self { bytes: Vec::new(), start: 0, length: 0, nodes: 0, spent: 0, complete: false, budget }
    }

    /// Room to append what was read. Only to be asked for when [`Inbox::take`] has nothing more.
    pub fn room(&mut self) -> &mut Vec<u8> {
        self.bytes.clear();
        self.start = 0;
        self.bytes.reserve_exact(CHUNK);
        &mut self.bytes
    }

    /// Gives the buffer back while there is nothing in it.
    pub fn shrink(&mut self) {
        if self.start >= self.bytes.len() {
            self.bytes = Vec::new();
            self.start = 0;
        }
    }

    /// Copies the next piece of the current message, at the most up to its NUL byte; 0 bytes when more
    /// must be read first. What follows the NUL byte is for the next call of this function.
    ///
    /// # Errors
    /// The message exceeds a limit.
    pub fn take(&mut self, out: &mut [u8]) -> Result<usize, TooLarge> {
        if self.complete {
            self.next_message();
        }
        let waiting = self.bytes.get(self.start..).unwrap_or_default();
        let piece = waiting.get(..out.len()).unwrap_or(waiting);
        let end = piece.iter().position(|byte| *byte == 0);
        let piece = end.and_then(|end| piece.get(..=end)).unwrap_or(piece);
        if let Some(target) = out.get_mut(..piece.len()) {
            target.copy_from_slice(piece);
        }
        self.complete = end.is_some();
        let taken = piece.len();
        self.nodes += piece.iter().filter(|byte| matches!(byte, b',' | b':' | b'[' | b'{')).count();
        self.start += taken;
        self.length += taken;
        let due = self.length.saturating_sub(SMALL).saturating_sub(self.spent);
        if self.length > MESSAGE_MAX || self.nodes > NODES_MAX || !self.spend(due) {
            return Err(TooLarge);
        }
        Ok(taken)
    }

    /// Marks the current message as dealt with, and returns how long it was.
    pub fn next_message(&mut self) -> usize {
        if let Some(budget) = &self.budget {
            budget.refund(self.spent);
        }
        (self.spent, self.nodes, self.complete) = (0, 0, false);
        std::mem::take(&mut self.length)
    }

    fn spend(&mut self, due: usize) -> bool {
        let afforded = self.budget.as_ref().is_none_or(|budget| budget.spend(due));
        if afforded {
            self.spent += due;
        }
        afforded
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.next_message();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(inbox: &mut Inbox, piece: usize) -> Vec<Vec<u8>> {
        let mut out = vec![0; piece];
        let mut pieces = Vec::new();
        loop {
            match inbox.take(&mut out).unwrap() {
                0 => return pieces,
                n => pieces.push(out[..n].to_vec()),
            }
        }
    }

    fn feed(inbox: &mut Inbox, mut bytes: &[u8]) -> Result<(), TooLarge> {
        while !bytes.is_empty() {
            let (chunk, rest) = bytes.split_at(bytes.len().min(CHUNK));
            inbox.room().extend_from_slice(chunk);
            bytes = rest;
            while inbox.take(&mut [0; CHUNK])? > 0 {}
        }
        Ok(())
    }

    #[test]
    fn a_piece_never_reaches_into_the_next_message() {
        let mut inbox = Inbox::new(None);
        inbox.room().extend_from_slice(b"one\0two\0thr");
        let pieces = drain(&mut inbox, 100);
        assert_eq!(pieces, [&b"one\0"[..], b"two\0", b"thr"]);
        inbox.room().extend_from_slice(b"ee\0");
        assert_eq!(inbox.take(&mut [0; 2]), Ok(2));
        assert_eq!(inbox.take(&mut [0; 2]), Ok(1));
        assert_eq!(inbox.next_message(), 6);
        assert_eq!(inbox.take(&mut [0; 2]), Ok(0));
    }

    #[test]
    fn an_idle_inbox_keeps_no_memory() {
        let mut inbox = Inbox::new(None);
        inbox.room().extend_from_slice(b"x\0");
        inbox.shrink();
        assert_eq!(drain(&mut inbox, 10).len(), 1);
        inbox.shrink();
        assert_eq!(inbox.bytes.capacity(), 0);
    }

    #[test]
    fn a_message_larger_than_the_limit_is_refused() {
        let mut inbox = Inbox::new(None);
        let mut message = vec![b'x'; MESSAGE_MAX - 1];
        message.push(0);
        assert_eq!(feed(&mut inbox, &message), Ok(()));
        assert_eq!(feed(&mut inbox, &vec![b'x'; MESSAGE_MAX + 1]), Err(TooLarge));
    }

    #[test]
    fn a_message_of_many_small_values_is_refused() {
        assert_eq!(feed(&mut Inbox::new(None), &b"0,".repeat(NODES_MAX + 1)), Err(TooLarge));
    }

    #[test]
    fn large_messages_share_a_budget_that_comes_back() {
        let budget = Budget::new(100);
        let mut first = Inbox::new(Some(budget.clone()));
        let mut second = Inbox::new(Some(budget.clone()));
        assert_eq!(feed(&mut first, &vec![b'x'; SMALL + 60]), Ok(()));
        assert_eq!(feed(&mut second, &vec![b'x'; SMALL + 60]), Err(TooLarge));
        drop((first, second));
        assert_eq!(budget.0.get(), 100);
        let mut third = Inbox::new(Some(budget.clone()));
        let mut message = vec![b'x'; SMALL + 80];
        message.push(0);
        assert_eq!(feed(&mut third, &message), Ok(()));
        third.next_message();
        assert_eq!(budget.0.get(), 100);
    }
}
