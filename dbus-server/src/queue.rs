//! The calls of each sender, one after the other.

use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::task::{Context, Waker};

use crate::call::{Call, Turn};
use crate::error_reply::ErrorReply;
use crate::server::{Limits, LocalFuture, Server};
use crate::socket::is_cut;

/// A sender that never pauses lets others run after so many calls.
const TURN: usize = 16;

/// What a descriptor counts as, in bytes.
const DESCRIPTOR: usize = 32 << 10;

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

fn size(call: &Call) -> usize {
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
    fn next(&mut self, sender: &str) -> Option<Call> {
        let queue = self.senders.get_mut(sender)?;
        let next = queue.waiting.pop_front();
        queue.is_served = next.is_some();
        next
    }

    /// Whether a sender has more calls; if not, it is served no longer.
    fn goes_on(&mut self, sender: &str) -> bool {
        let Some(queue) = self.senders.get_mut(sender) else { return false };
        queue.is_served = !queue.waiting.is_empty();
        let goes_on = queue.is_served;
        self.tidy(sender);
        goes_on
    }

    fn done(&mut self, sender: &str, size: usize) {
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
    fn tidy(&mut self, sender: &str) {
        if self.senders.get(sender).is_some_and(|queue| queue.calls == 0 && !queue.is_served) {
            self.senders.remove(sender);
        }
    }

    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.senders.is_empty() && self.bytes == 0
    }
}

/// A call that is worked on.
type Work = LocalFuture<()>;

impl<C: 'static, O: Clone + 'static> Server<C, O> {
    /// Answers the next call of a sender, if that can be done at once. Otherwise, and if there are more, a task does it.
    pub(crate) fn begin(self: &Rc<Self>, sender: String) {
        let next = self.queues.borrow_mut().next(&sender);
        let Some(call) = next else { return };
        let turn = call.turn.clone();
        let mut work: Work = Box::pin(self.clone().work(sender.clone(), call));
        // Most calls wait for nothing. One that does is polled again by its task, which then is the one to be woken.
        if work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending() {
            tokio::task::spawn_local(self.clone().work_off(sender, Some((turn, work))));
        } else if self.queues.borrow_mut().goes_on(&sender) {
            tokio::task::spawn_local(self.clone().work_off(sender, None));
        }
    }

    /// Answers the calls of a sender until there are none, after the one that was begun.
    async fn work_off(self: Rc<Self>, sender: String, mut begun: Option<(Turn, Work)>) {
        for turn in 1_usize.. {
            if let Some((turn, work)) = begun.take()
                && let Some(rest) = turn.hold(work).await
            {
                tokio::task::spawn_local(rest);
            }
            let next = self.queues.borrow_mut().next(&sender);
            let Some(call) = next else { break };
            begun = Some((call.turn.clone(), Box::pin(self.clone().work(sender.clone(), call))));
            if turn.is_multiple_of(TURN) {
                tokio::task::yield_now().await;
            }
        }
        self.queues.borrow_mut().tidy(&sender);
    }

    async fn work(self: Rc<Self>, sender: String, call: Call) {
        let size = size(&call);
        if let Some(read) = self.bus.unread(&sender) {
            read.await;
        }
        self.answer(call).await;
        self.queues.borrow_mut().done(&sender, size);
    }
}
