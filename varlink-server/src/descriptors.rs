//! Descriptors that go with calls and replies.

/// Which way descriptors go with a method. None are installed or sent for one that does not say so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Descriptors {
    /// Neither.
    None,
    /// Its replies may have some, [`Replier::reply_with`](crate::Replier::reply_with).
    Sent,
    /// A call may have so many, [`Call::descriptors`](crate::Call::descriptors). It has to be sent in one piece of at most 8 KiB.
    Received(usize),
}
