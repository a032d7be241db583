//! Turns on one thread: whose work goes on next.
//!
//! Each connection's work is a future that is polled in its turns alone ([`Turns::take`]). A turn is one poll. Work that
//! has more to do than a slice of time allows ([`Turns::is_over`]) lets go of its turn, and is given another one later.
//!
//! Turns go to root and to the daemon's own user first. Among all other users the next one goes to the one who has used
//! least time lately, and among the connections of that user to the one that waits longest. So a user with many connections,
//! or with costly calls, is as slow as without others, and no slower for anybody else than one with a single connection.
//!
//! Whose a uid is say [`Owners`]. The queue itself is `queue`, which knows no clock and no runtime.

mod owner;
mod queue;

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Poll, Waker};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio::task::yield_now;

pub use owner::Owners;
pub use queue::User;
use queue::{Place, Queue};

/// How long a turn is meant to be.
const SLICE: Duration = Duration::from_micros(500);
/// After so much work the event loop looks whether anything has come in meanwhile.
const LOOK: Duration = Duration::from_millis(1);

/// The turns of one thread. Clones are the same turns.
#[derive(Clone, Debug, Default)]
pub struct Turns(Rc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    queue: RefCell<Queue<Rc<Waiter>>>,
    has_work: Notify,
    /// When the present turn began.
    began: Cell<Option<Instant>>,
    is_given_out: Cell<bool>,
    is_run: Cell<bool>,
    worked: Cell<Duration>,
}

/// Somebody's work that waits for its turn.
#[derive(Debug, Default)]
struct Waiter {
    waker: RefCell<Option<Waker>>,
    state: Cell<State>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum State {
    #[default]
    Idle,
    Queued,
    Given,
}

impl Turns {
    /// Gives turns out, for ever, or until another call of this function does so already. To be spawned.
    pub async fn run(self) {
        if self.0.is_run.replace(true) {
            return;
        }
        loop {
            let next = if self.0.is_given_out.get() { None } else { self.0.queue.borrow_mut().next() };
            let Some(waiter) = next else {
                self.0.has_work.notified().await;
                continue;
            };
            if self.0.worked.get() >= LOOK {
                self.0.worked.set(Duration::ZERO);
                self.0.queue.borrow_mut().put_back(waiter);
                // The driver looks before this goes on, and who has been called since waits for a turn by then.
                yield_now().await;
                continue;
            }
            waiter.value.state.set(State::Given);
            self.0.is_given_out.set(true);
            if let Some(waker) = waiter.value.waker.take() {
                waker.wake();
            }
        }
    }

    /// Whether somebody gives turns out.
    pub fn is_run(&self) -> bool {
        self.0.is_run.get()
    }

    /// Whether the present turn has lasted as long as one is meant to.
    pub fn is_over(&self) -> bool {
        self.0.began.get().is_none_or(|began| began.elapsed() >= SLICE)
    }

    /// Does the work of a user, in turns. What it waits for is its own; but each time that it goes on, it waits for a turn.
    pub async fn take<F: Future>(&self, user: User, work: F) -> F::Output {
        let mut work = pin!(work);
        let seat = Seat { turns: self, waiter: Rc::default(), user };
        poll_fn(|context| {
            let waiter = &seat.waiter;
            if waiter.state.get() != State::Given {
                waiter.waker.replace(Some(context.waker().clone()));
                if waiter.state.replace(State::Queued) == State::Idle {
                    self.0.queue.borrow_mut().push(Place { user, value: waiter.clone() });
                    self.0.has_work.notify_one();
                }
                return Poll::Pending;
            }
            let began = Instant::now();
            self.0.began.set(Some(began));
            let polled = work.as_mut().poll(context);
            waiter.state.set(State::Idle);
            self.ended(user, began.elapsed());
            polled
        })
        .await
    }

    /// The turn that was given out is over.
    fn ended(&self, user: User, lasted: Duration) {
        self.0.began.set(None);
        self.0.is_given_out.set(false);
        self.0.worked.update(|worked| worked.saturating_add(lasted));
        self.0.queue.borrow_mut().charge(user, lasted);
        self.0.has_work.notify_one();
    }
}

/// Somebody who takes turns. Leaves without a trace when dropped.
struct Seat<'turns> {
    turns: &'turns Turns,
    waiter: Rc<Waiter>,
    user: User,
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        match self.waiter.state.replace(State::Idle) {
            State::Idle => {}
            State::Queued => {
                let mut queue = self.turns.0.queue.borrow_mut();
                queue.remove(self.user, |waiter| Rc::ptr_eq(waiter, &self.waiter));
            }
            // A turn that nobody takes any more is the next one's.
            State::Given => self.turns.ended(self.user, Duration::ZERO),
        }
    }
}

#[cfg(test)]
mod tests;
