//! Works the calls of each sender off, one after the other, in turns.

use std::rc::Rc;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use crate::bus::LocalFuture;
use crate::call::{Call, Turn};
use crate::queue::size;
use crate::server::Server;

/// How long turns are given out before others run, and how many: those who read what comes in, and write what goes out.
const SLICE: Duration = Duration::from_micros(500);
const TURNS: usize = 32;

/// A call that is worked on.
type Work = LocalFuture<()>;

impl<C: 'static, O: Clone + 'static> Server<C, O> {
    /// A sender has a call, which is answered in its turn.
    pub(crate) fn line_up(self: &Rc<Self>, sender: String) {
        self.rounds.borrow_mut().push(sender);
        if !self.is_giving.replace(true) {
            tokio::task::spawn_local(self.clone().give_turns());
        }
    }

    async fn give_turns(self: Rc<Self>) {
        let mut slice = Instant::now();
        let mut began = slice;
        for turn in 1_usize.. {
            let next = self.rounds.borrow_mut().next();
            let Some(sender) = next else { break };
            let goes_on = self.begin(&sender);
            let ended = Instant::now();
            let lasted = ended.saturating_duration_since(began);
            self.rounds.borrow_mut().served(sender, lasted, goes_on);
            began = ended;
            if turn.is_multiple_of(TURNS) || ended.saturating_duration_since(slice) >= SLICE {
                tokio::task::yield_now().await;
                slice = Instant::now();
                began = slice;
            }
        }
        self.is_giving.set(false);
    }

    /// Answers the next call of a sender, if that can be done at once. Otherwise a task does it. Returns whether there are
    /// more, which need not wait for it.
    fn begin(self: &Rc<Self>, sender: &str) -> bool {
        let next = self.queues.borrow_mut().next(sender);
        let Some(call) = next else { return false };
        let turn = call.turn.clone();
        let mut work: Work = Box::pin(self.clone().work(sender.to_owned(), call));
        // Most calls wait for nothing. One that does is polled again by its task, which then is the one to be woken.
        if work.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_ready() {
            return self.queues.borrow_mut().goes_on(sender);
        }
        tokio::task::spawn_local(self.clone().work_off(sender.to_owned(), turn, work));
        false
    }

    /// Does what was begun for a sender, and has its next call wait for a turn.
    async fn work_off(self: Rc<Self>, sender: String, turn: Turn, begun: Work) {
        if let Some(rest) = turn.hold(begun).await {
            tokio::task::spawn_local(rest);
        }
        let goes_on = self.queues.borrow_mut().goes_on(&sender);
        if goes_on {
            self.line_up(sender);
        }
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
