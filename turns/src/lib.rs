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

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Notify;
use tokio::task::yield_now;

pub use owner::Owners;
pub use queue::{Length, User};
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
    /// Told when those who waited have had turns for a while, or nobody waits.
    has_passed: Notify,
    /// When the present turn began.
    began: Cell<Option<Instant>>,
    /// How long the work is whose turn it is.
    length: Cell<Length>,
    is_given_out: Cell<bool>,
    is_run: Cell<bool>,
    worked: Cell<Duration>,
}

/// Somebody's work that waits for its turn.
#[derive(Debug, Default)]
struct Waiter {
    waker: RefCell<Option<Waker>>,
    state: Cell<State>,
    length: Cell<Length>,
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
                if !self.0.is_given_out.get() {
                    self.0.has_passed.notify_waiters();
                }
                self.0.has_work.notified().await;
                continue;
            };
            if self.0.worked.get() >= LOOK {
                self.0.worked.set(Duration::ZERO);
                self.0.queue.borrow_mut().put_back(waiter);
                self.0.has_passed.notify_waiters();
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

    /// Says how long the work is whose turn it is, from its next turn on. Short unless something else is said.
    pub fn lasts(&self, length: Length) {
        self.0.length.set(length);
    }

    /// Waits until those who wait have had turns for a while, or nobody waits: for a task that brings in more work as long as it
    /// is let, and would keep the turns from all others.
    pub async fn pass(&self) {
        let passed = self.0.has_passed.notified();
        let is_idle = !self.0.is_given_out.get() && self.0.queue.borrow().is_empty();
        if is_idle || !self.is_run() {
            yield_now().await;
        } else {
            passed.await;
        }
    }

    /// Does the work of a user, in turns. What it waits for is its own; but each time that it goes on, it waits for a turn.
    ///
    /// It is in the queue from this call on, before it is polled for the first time: who has called this is to poll it soon, or
    /// to drop it.
    pub fn take<F: Future>(&self, user: User, work: F) -> impl Future<Output = F::Output> + use<F> {
        let seat = Seat { turns: self.clone(), waiter: Rc::default(), user };
        seat.queue();
        async move {
            let mut work = pin!(work);
            poll_fn(|context| {
                if seat.waiter.state.get() != State::Given {
                    seat.waiter.waker.replace(Some(context.waker().clone()));
                    seat.queue();
                    return Poll::Pending;
                }
                let before = processor_time();
                seat.turns.0.began.set(Some(Instant::now()));
                seat.turns.0.length.set(seat.waiter.length.get());
                let polled = work.as_mut().poll(context);
                seat.waiter.length.set(seat.turns.0.length.get());
                seat.waiter.state.set(State::Idle);
                seat.turns.ended(user, processor_time().saturating_sub(before));
                polled
            })
            .await
        }
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
struct Seat {
    turns: Turns,
    waiter: Rc<Waiter>,
    user: User,
}

impl Seat {
    /// Waits for a turn, unless it does already.
    fn queue(&self) {
        if self.waiter.state.get() == State::Idle {
            self.waiter.state.set(State::Queued);
            let (length, value) = (self.waiter.length.get(), self.waiter.clone());
            self.turns.0.queue.borrow_mut().push(Place { user: self.user, length, value });
            self.turns.0.has_work.notify_one();
        }
    }
}

impl Drop for Seat {
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

/// The processor time that this thread has used. What else the processors do meanwhile is nobody's here.
pub fn processor_time() -> Duration {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    let seconds = u64::try_from(now.tv_sec).unwrap_or(0);
    Duration::new(seconds, u32::try_from(now.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests;
