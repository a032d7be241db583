//! The calls of each sender, as they wait for their turn.

use std::collections::{HashMap, VecDeque};

use crate::call::Call;
use crate::error_reply::ErrorReply;
use crate::socket::is_cut;

/// What a descriptor counts as, in bytes.
const DESCRIPTOR: usize = 32 << 10;

/// What a server takes in at a time.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How many bytes a call may have.
    pub message: usize,
    /// How many calls of one sender may wait or be worked on.
    pub calls: usize,
    /// How many bytes they may have together.
    pub bytes: usize,
    /// How many bytes the calls of all senders may have together.
    pub all_bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { message: 1 << 20, calls: 4096, bytes: 8 << 20, all_bytes: 64 << 20 }
    }
}

/// What waits and what is worked on.
pub(crate) struct Queues {
    limits: Limits,
    senders: HashMap<String, Queue>,
    bytes: usize,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Call>,
    /// How many wait or are worked on.
    calls: usize,
    bytes: usize,
    /// Whether a task takes them out.
    is_served: bool,
}

pub(crate) fn size(call: &Call) -> usize {
    let data = call.message().data();
    data.fds().len().saturating_mul(DESCRIPTOR).saturating_add(data.len())
}

impl Queues {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { limits, senders: HashMap::new(), bytes: 0 }
    }

    /// Puts a call behind the others of its sender. Returns whether they need a task.
    pub(crate) fn push(&mut self, call: Call) -> Result<bool, ErrorReply> {
        let size = size(&call);
        if size > self.limits.message || is_cut(call.message()) {
            return Err(ErrorReply::limits_exceeded("The message is too large."));
        }
        let queue = self.senders.entry(call.sender()).or_default();
        let bytes = queue.bytes.saturating_add(size);
        let all_bytes = self.bytes.saturating_add(size);
        // One that has nothing here is let in whatever the others have.
        let is_full = queue.calls >= self.limits.calls || bytes > self.limits.bytes;
        if queue.calls > 0 && (is_full || all_bytes > self.limits.all_bytes) {
            return Err(ErrorReply::limits_exceeded("Too many calls at once."));
        }
        queue.calls = queue.calls.saturating_add(1);
        queue.bytes = bytes;
        self.bytes = all_bytes;
        queue.waiting.push_back(call);
        Ok(!std::mem::replace(&mut queue.is_served, true))
    }

    /// The next call of a sender; `None` ends the task that asked.
    pub(crate) fn next(&mut self, sender: &str) -> Option<Call> {
        let queue = self.senders.get_mut(sender)?;
        let next = queue.waiting.pop_front();
        queue.is_served = next.is_some();
        next
    }

    /// Whether a sender has more calls; if not, it is served no longer.
    pub(crate) fn goes_on(&mut self, sender: &str) -> bool {
        let Some(queue) = self.senders.get_mut(sender) else { return false };
        queue.is_served = !queue.waiting.is_empty();
        let goes_on = queue.is_served;
        self.tidy(sender);
        goes_on
    }

    pub(crate) fn done(&mut self, sender: &str, size: usize) {
        self.bytes = self.bytes.saturating_sub(size);
        if let Some(queue) = self.senders.get_mut(sender) {
            queue.bytes = queue.bytes.saturating_sub(size);
            queue.calls = queue.calls.saturating_sub(1);
            if queue.calls == 0 && !queue.is_served {
                self.senders.remove(sender);
            }
        }
    }

    /// Forgets a sender that has nothing here any more.
    pub(crate) fn tidy(&mut self, sender: &str) {
        if self.senders.get(sender).is_some_and(|queue| queue.calls == 0 && !queue.is_served) {
            self.senders.remove(sender);
        }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.senders.is_empty() && self.bytes == 0
    }
}
