//! What a peer has sent: bytes in, pieces of one message out, within limits.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use turns::User;

/// The largest message: 16 MiB as for sd-varlink, which takes a little more when it comes in one piece.
const MESSAGE_MAX: usize = (16 << 20) + CHUNK;

/// How many of `,:[{` a message may hold. A JSON value has no more nodes than these, so it bounds what a
/// parsed message takes, which could otherwise be thirty times its text.
const NODES_MAX: usize = 64 << 10;

/// The same for peers who are not privileged: no method needs nearly as much, and it bounds how long a message takes.
const UNPRIVILEGED_MESSAGE_MAX: usize = 256 << 10;
const UNPRIVILEGED_NODES_MAX: usize = 8 << 10;

/// How much is read at once. Up to this size a message is nobody's concern; beyond it, it counts against the [`Budget`].
const CHUNK: usize = 8 << 10;

/// How many of a budget's bytes are one user's.
const SHARE: usize = 8;

/// How many bytes the messages of all unprivileged peers may take together, and which user's take how many.
#[derive(Debug)]
pub struct Budget {
    bytes: usize,
    spent: Cell<usize>,
    of_user: RefCell<HashMap<User, usize>>,
}

impl Budget {
    /// A budget of so many bytes.
    pub fn new(bytes: usize) -> Rc<Self> {
        Rc::new(Self { bytes, spent: Cell::new(0), of_user: RefCell::default() })
    }
}

/// A user's share of a budget.
#[derive(Debug)]
pub struct Share {
    budget: Rc<Budget>,
    user: User,
}

impl Share {
    /// The share of a user; `None`: as much as is wanted.
    pub fn of(budget: &Rc<Budget>, user: User) -> Option<Self> {
        (user != User::Privileged).then(|| Self { budget: budget.clone(), user })
    }

    fn spend(&self, bytes: usize) -> bool {
        if bytes == 0 {
            return true;
        }
        let mut of_user = self.budget.of_user.borrow_mut();
        let mine = of_user.get(&self.user).copied().unwrap_or(0).saturating_add(bytes);
        let all = self.budget.spent.get().saturating_add(bytes);
        if mine > self.budget.bytes / SHARE || all > self.budget.bytes {
            return false;
        }
        of_user.insert(self.user, mine);
        self.budget.spent.set(all);
        true
    }

    fn refund(&self, bytes: usize) {
        self.budget.spent.update(|spent| spent.saturating_sub(bytes));
        let mut of_user = self.budget.of_user.borrow_mut();
        if let Some(mine) = of_user.get_mut(&self.user) {
            *mine = mine.saturating_sub(bytes);
            if *mine == 0 {
                of_user.remove(&self.user);
            }
        }
    }
}

/// The message is larger than the peer may send: the connection is to be closed.
#[derive(Debug, PartialEq, Eq)]
pub struct TooLarge;

/// Buffers input, and finds the messages in it. It keeps no memory while it holds nothing.
#[derive(Debug)]
pub struct Inbox {
    bytes: Vec<u8>,
    /// Where the current message starts, and how far it was searched for its end.
    start: usize,
    searched: usize,
    /// How many bytes the message that was found has.
    found: Option<usize>,
    nodes: usize,
    spent: usize,
    share: Option<Share>,
}

impl Inbox {
    /// An empty one; `None` is for a peer that is trusted to send large messages.
    pub fn new(share: Option<Share>) -> Self {
        Self { bytes: Vec::new(), start: 0, searched: 0, found: None, nodes: 0, spent: 0, share }
    }

    /// Room to append what is read. Only to be asked for when [`Inbox::find`] has found nothing more.
    pub fn room(&mut self) -> &mut Vec<u8> {
        if self.start > 0 {
            self.bytes.drain(..self.start.min(self.bytes.len()));
            self.searched = self.searched.saturating_sub(self.start);
            self.start = 0;
        }
        // A long message is moved a few times only, and takes little more than its size.
        let more = CHUNK.max(self.bytes.len() / 4);
        if self.bytes.capacity().saturating_sub(self.bytes.len()) < CHUNK {
            self.bytes.reserve_exact(more);
        }
        &mut self.bytes
    }

    /// Gives the buffer back while there is nothing in it.
    pub fn shrink(&mut self) {
        if self.is_empty() {
            self.bytes = Vec::new();
            (self.start, self.searched) = (0, 0);
        }
    }

    /// Whether there is a whole message; if not, more must be read first. The message is then [`Inbox::message`] until
    /// [`Inbox::next_message`].
    ///
    /// # Errors
    /// The message exceeds a limit.
    pub fn find(&mut self) -> Result<bool, TooLarge> {
        if self.found.is_some() {
            return Ok(true);
        }
        let fresh = self.bytes.get(self.searched..).unwrap_or_default();
        let end = fresh.iter().position(|byte| *byte == 0);
        let fresh = end.and_then(|end| fresh.get(..end)).unwrap_or(fresh);
        self.nodes += fresh.iter().filter(|byte| matches!(byte, b',' | b':' | b'[' | b'{')).count();
        self.searched += fresh.len();
        let length = self.searched.saturating_sub(self.start);
        self.found = end.map(|_| length);
        let due = length.saturating_sub(CHUNK).saturating_sub(self.spent);
        let (length_max, nodes_max) = match self.share {
            Some(_) => (UNPRIVILEGED_MESSAGE_MAX, UNPRIVILEGED_NODES_MAX),
            None => (MESSAGE_MAX, NODES_MAX),
        };
        if length > length_max || self.nodes > nodes_max || !self.spend(due) {
            return Err(TooLarge);
        }
        Ok(self.found.is_some())
    }

    /// The message that was found, without the NUL byte at its end.
    pub fn message(&self) -> &[u8] {
        let end = self.start.saturating_add(self.found.unwrap_or_default());
        self.bytes.get(self.start..end).unwrap_or_default()
    }

    /// Whether nothing is left, but for what was dealt with.
    pub fn is_empty(&self) -> bool {
        self.start >= self.bytes.len()
    }

    /// Marks the message that was found as dealt with, and returns how long it was.
    pub fn next_message(&mut self) -> usize {
        if let Some(share) = &self.share {
            share.refund(self.spent);
        }
        (self.spent, self.nodes) = (0, 0);
        let Some(length) = self.found.take() else { return 0 };
        self.start += length + 1;
        self.searched = self.start;
        if length > CHUNK {
            self.shrink();
        }
        length
    }

    fn spend(&mut self, due: usize) -> bool {
        let afforded = self.share.as_ref().is_none_or(|share| share.spend(due));
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

    /// All whole messages that are there.
    fn drain(inbox: &mut Inbox) -> Vec<Vec<u8>> {
        let mut messages = Vec::new();
        while inbox.find().unwrap() {
            messages.push(inbox.message().to_vec());
            inbox.next_message();
        }
        messages
    }

    fn feed(inbox: &mut Inbox, bytes: &[u8]) -> Result<(), TooLarge> {
        for piece in bytes.chunks(CHUNK) {
            inbox.room().extend_from_slice(piece);
            inbox.find()?;
        }
        Ok(())
    }

    #[test]
    fn a_message_never_reaches_into_the_next_one() {
        let mut inbox = Inbox::new(None);
        inbox.room().extend_from_slice(b"one\0two\0thr");
        assert_eq!(drain(&mut inbox), [&b"one"[..], b"two"]);
        inbox.room().extend_from_slice(b"ee\0");
        assert_eq!(inbox.find(), Ok(true));
        assert_eq!(inbox.message(), b"three");
        assert_eq!(inbox.next_message(), 5);
        assert_eq!(inbox.find(), Ok(false));
    }

    #[test]
    fn a_message_may_come_byte_by_byte() {
        let mut inbox = Inbox::new(None);
        let mut messages = Vec::new();
        for byte in b"a\0\0bc\0" {
            inbox.room().push(*byte);
            messages.extend(drain(&mut inbox));
        }
        assert_eq!(messages, [&b"a"[..], b"", b"bc"]);
    }

    #[test]
    fn an_idle_inbox_keeps_no_memory() {
        let mut inbox = Inbox::new(None);
        inbox.room().extend_from_slice(b"x\0");
        inbox.shrink();
        assert_eq!(drain(&mut inbox).len(), 1);
        inbox.shrink();
        assert_eq!(inbox.bytes.capacity(), 0);
    }

    #[test]
    #[cfg_attr(miri, ignore = "an interpreter takes an hour for 32 MB; smaller limits are tried below")]
    fn a_message_larger_than_the_limit_is_refused() {
        let mut inbox = Inbox::new(None);
        let mut message = vec![b'x'; MESSAGE_MAX - 1];
        message.push(0);
        assert_eq!(feed(&mut inbox, &message), Ok(()));
        assert_eq!(inbox.next_message(), MESSAGE_MAX - 1);
        assert_eq!(feed(&mut inbox, &vec![b'x'; MESSAGE_MAX + 1]), Err(TooLarge));
    }

    #[test]
    fn a_message_of_many_small_values_is_refused() {
        assert_eq!(feed(&mut Inbox::new(None), &b"0,".repeat(NODES_MAX + 1)), Err(TooLarge));
    }

    #[test]
    fn who_is_not_privileged_sends_small_messages() {
        let budget = Budget::new(100 << 20);
        let inbox = || Inbox::new(Share::of(&budget, User::Uid(1)));
        assert_eq!(feed(&mut inbox(), &vec![b'x'; UNPRIVILEGED_MESSAGE_MAX]), Ok(()));
        assert_eq!(feed(&mut inbox(), &vec![b'x'; UNPRIVILEGED_MESSAGE_MAX + 1]), Err(TooLarge));
        assert_eq!(feed(&mut inbox(), &b"0,".repeat(UNPRIVILEGED_NODES_MAX + 1)), Err(TooLarge));
        let mut root = Inbox::new(Share::of(&budget, User::Privileged));
        assert_eq!(feed(&mut root, &vec![b'x'; 1 << 20]), Ok(()));
    }

    #[test]
    fn each_user_has_a_share_of_a_budget_that_comes_back() {
        let budget = Budget::new(10 * SHARE);
        let inbox = |uid| Inbox::new(Share::of(&budget, User::Uid(uid)));
        let message = |more: usize| vec![b'x'; CHUNK + more];
        let (mut first, mut second, mut other) = (inbox(1), inbox(1), inbox(2));
        assert_eq!(feed(&mut first, &message(6)), Ok(()));
        assert_eq!(feed(&mut second, &message(6)), Err(TooLarge));
        assert_eq!(feed(&mut other, &message(10)), Ok(()));
        drop((first, second));
        assert_eq!(budget.spent.get(), 10);
        let mut third = inbox(1);
        let mut ended = message(9);
        ended.push(0);
        assert_eq!(feed(&mut third, &ended), Ok(()));
        assert!(third.find().unwrap());
        third.next_message();
        drop(other);
        assert_eq!(budget.spent.get(), 0);
        assert!(budget.of_user.borrow().is_empty());
        // All together have no more than there is.
        let crowd: Vec<_> = (0..20).filter(|&uid| feed(&mut inbox(uid), &message(10)).is_ok()).collect();
        assert_eq!(crowd.len(), 20, "each gives back what it had");
        let mut crowd: Vec<_> = (0..20).map(inbox).collect();
        assert_eq!(crowd.iter_mut().filter_map(|inbox| feed(inbox, &message(10)).ok()).count(), SHARE);
    }
}
