//! Works the calls of each sender off, one after the other.

use std::rc::Rc;
use std::task::{Context, Waker};

use crate::bus::LocalFuture;
use crate::call::{Call, Turn};
use crate::queue::size;
use crate::server::Server;

/// A sender that never pauses lets others run after so many calls.
const TURN: usize = 16;

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
