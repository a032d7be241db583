//! Whose turn it is: what takes time is bounded, for each machine, for images and in all, and the turns go round.

use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::ops::Bound;
use std::os::fd::OwnedFd;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tokio::sync::{Notify, oneshot};
use tokio::time::sleep;

use crate::machines::Key;

/// On whose behalf something is done.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Whose {
    /// A machine's.
    Machine(Key),
    /// Those of whoever asks for images.
    Images,
}

impl From<Key> for Whose {
    fn from(key: Key) -> Self {
        Self::Machine(key)
    }
}

impl Whose {
    /// How many requests wait for their turn.
    const fn most_waiting(self) -> usize {
        match self {
            Self::Machine(_) => 64,
            // All users of the host ask for these.
            Self::Images => 4096,
        }
    }
}

/// How many children of a machine, and how many in all, work at a time. Others wait for their turn.
const WORKING: usize = 4;
const ALL_WORKING: usize = 16;
/// How many children of a machine, and how many in all, may be left behind that cannot be ended.
const ABANDONED: usize = 4;
const ALL_ABANDONED: usize = 32;
/// How many children of a machine may be about to end.
const ENDING: usize = 64;
/// How long a child may take to end that has done its work.
const GRACE: Duration = Duration::from_secs(1);

/// The turns.
#[derive(Clone, Debug, Default)]
pub struct Jobs(Rc<RefCell<State>>);

#[derive(Debug, Default)]
struct State {
    /// How many children work, by machine.
    working: HashMap<Whose, usize>,
    all_working: usize,
    /// Who waits, by machine.
    waiting: BTreeMap<Whose, VecDeque<oneshot::Sender<Turn>>>,
    /// Whose turn it was last.
    last: Option<Whose>,
    /// Children that have not ended, as far as is known.
    ending: Vec<Ending>,
    /// Told when there is one more.
    ends: Rc<Notify>,
    /// Told when a machine goes.
    gone: HashMap<Whose, Rc<Notify>>,
}

#[derive(Debug)]
struct Ending {
    whose: Whose,
    pidfd: OwnedFd,
    /// It was not done when it was killed.
    is_late: bool,
    since: Instant,
}

/// The right to have a child work. It is over when this is dropped.
#[derive(Debug)]
pub struct Turn {
    jobs: Jobs,
    whose: Whose,
}

/// Hears of a machine that goes.
#[derive(Debug)]
pub struct Gone {
    jobs: Jobs,
    whose: Whose,
    notify: Rc<Notify>,
}

impl Jobs {
    /// Waits for a turn of a machine.
    ///
    /// # Errors
    /// `ETIMEDOUT`: too many children were left behind. `EBUSY`: too many wait. `ESRCH`: the machine goes.
    pub async fn turn(&self, whose: impl Into<Whose>) -> Result<Turn, Errno> {
        let whose = whose.into();
        let waited = {
            let mut state = self.0.borrow_mut();
            state.check(whose)?;
            if state.has_room(whose) && !state.waiting.contains_key(&whose) {
                state.take(whose);
                return Ok(Turn { jobs: self.clone(), whose });
            }
            let queue = state.waiting.entry(whose).or_default();
            if queue.len() >= whose.most_waiting() {
                return Err(Errno::BUSY);
            }
            let (sender, receiver) = oneshot::channel();
            queue.push_back(sender);
            receiver
        };
        waited.await.map_err(|_| Errno::SRCH)
    }

    /// Whether a child may be started that takes no turn.
    ///
    /// # Errors
    /// As [`Jobs::turn`], but for `ESRCH`.
    pub fn admit(&self, whose: impl Into<Whose>) -> Result<(), Errno> {
        let whose = whose.into();
        self.0.borrow_mut().check(whose)
    }

    /// Waits for a machine to go.
    pub fn gone(&self, whose: impl Into<Whose>) -> Gone {
        let whose = whose.into();
        let notify = self.0.borrow_mut().gone.entry(whose).or_default().clone();
        Gone { jobs: self.clone(), whose, notify }
    }

    /// Ends what is done for a machine that goes.
    pub fn left(&self, whose: impl Into<Whose>) {
        let whose = whose.into();
        let mut state = self.0.borrow_mut();
        let waiting = state.waiting.remove(&whose);
        let notify = state.gone.get(&whose).cloned();
        drop(state);
        drop(waiting);
        if let Some(notify) = notify {
            notify.notify_waiters();
        }
    }

    /// Counts a child until it has ended: at once if it was late, and else if it takes its time.
    pub fn ends(&self, whose: impl Into<Whose>, pidfd: OwnedFd, is_late: bool) {
        let whose = whose.into();
        let mut state = self.0.borrow_mut();
        state.ending.push(Ending { whose, pidfd, is_late, since: Instant::now() });
        state.ends.notify_one();
    }

    /// Waits until a child is about to end, and forgets it when it has had the time for that.
    pub async fn forget_ended(&self) {
        let ends = self.0.borrow().ends.clone();
        ends.notified().await;
        sleep(GRACE).await;
        self.0.borrow_mut().forget_ended();
    }

    /// Gives turns to those who wait, as long as there is room.
    fn pass_on(&self) {
        loop {
            let given = self.0.borrow_mut().next();
            let Some((whose, waiting)) = given else { return };
            drop(waiting.send(Turn { jobs: self.clone(), whose }));
        }
    }
}

impl State {
    fn has_room(&self, whose: Whose) -> bool {
        self.all_working < ALL_WORKING && self.working.get(&whose).copied().unwrap_or(0) < WORKING
    }

    /// Whether there is room for another child that may hang.
    fn check(&mut self, whose: Whose) -> Result<(), Errno> {
        self.forget_ended();
        let own = || self.ending.iter().filter(|child| child.whose == whose);
        let is_left = |child: &&Ending| child.is_late || child.since.elapsed() > GRACE;
        let all = self.ending.iter().filter(is_left).count();
        if all >= ALL_ABANDONED || own().filter(is_left).count() >= ABANDONED {
            return Err(Errno::TIMEDOUT);
        }
        if own().count() >= ENDING { Err(Errno::BUSY) } else { Ok(()) }
    }

    fn forget_ended(&mut self) {
        self.ending.retain(|child| {
            let mut watched = [PollFd::new(&child.pidfd, PollFlags::IN)];
            poll(&mut watched, Some(&Timespec::default())) == Ok(0)
        });
    }

    fn take(&mut self, whose: Whose) {
        self.last = Some(whose);
        self.all_working = self.all_working.saturating_add(1);
        let working = self.working.entry(whose).or_default();
        *working = working.saturating_add(1);
    }

    fn give_back(&mut self, whose: Whose) {
        self.all_working = self.all_working.saturating_sub(1);
        if let Some(working) = self.working.get_mut(&whose) {
            *working = working.saturating_sub(1);
            if *working == 0 {
                self.working.remove(&whose);
            }
        }
    }

    /// Takes the next turn for whoever is to have it: the next machine after the last one.
    fn next(&mut self) -> Option<(Whose, oneshot::Sender<Turn>)> {
        // Who has given up waiting needs no turn.
        self.waiting.retain(|_, queue| {
            queue.retain(|waiting| !waiting.is_closed());
            !queue.is_empty()
        });
        let after = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let later = self.waiting.range((after, Bound::Unbounded));
        let whose =
            later.chain(self.waiting.iter()).map(|(whose, _)| *whose).find(|whose| self.has_room(*whose))?;
        let queue = self.waiting.get_mut(&whose)?;
        let waiting = queue.pop_front();
        if queue.is_empty() {
            self.waiting.remove(&whose);
        }
        let waiting = waiting?;
        self.take(whose);
        Some((whose, waiting))
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.jobs.0.borrow_mut().give_back(self.whose);
        self.jobs.pass_on();
    }
}

impl Gone {
    /// Waits for it.
    pub async fn wait(&self) {
        self.notify.notified().await;
    }
}

impl Drop for Gone {
    fn drop(&mut self) {
        let mut state = self.jobs.0.borrow_mut();
        // The table's, and this one.
        if Rc::strong_count(&self.notify) <= 2 {
            state.gone.remove(&self.whose);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{PidfdFlags, getpid, pidfd_open};
    use std::future::Future;
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    impl Jobs {
        /// How many children were killed before they were done.
        pub fn late(&self) -> usize {
            self.0.borrow().ending.iter().filter(|child| child.is_late).count()
        }

        /// How many children have not ended, as far as is known.
        pub fn unended(&self) -> usize {
            self.0.borrow().ending.len()
        }

        /// How many work.
        pub fn working(&self) -> usize {
            self.0.borrow().all_working
        }
    }

    fn key(number: usize) -> Key {
        Key::of_number(u64::try_from(number).unwrap())
    }

    fn poll<F: Future>(future: Pin<&mut F>) -> Option<F::Output> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    fn now(jobs: &Jobs, number: usize) -> Result<Turn, Errno> {
        poll(pin!(jobs.turn(key(number)))).unwrap()
    }

    fn assert_idle(jobs: &Jobs) {
        let state = jobs.0.borrow();
        assert!(state.working.is_empty() && state.waiting.is_empty() && state.gone.is_empty());
        assert_eq!((state.all_working, state.ending.len()), (0, 0));
    }

    /// A process that runs.
    fn running() -> OwnedFd {
        pidfd_open(getpid(), PidfdFlags::empty()).unwrap()
    }

    #[test]
    fn turns_go_round_by_machine_and_no_machine_takes_all() {
        let jobs = Jobs::default();
        let mut held: Vec<Turn> = (0..WORKING).map(|_| now(&jobs, 1).unwrap()).collect();
        let mut greedy: Vec<_> = (0..8).map(|_| Box::pin(jobs.turn(key(1)))).collect();
        for waiting in &mut greedy {
            assert!(poll(waiting.as_mut()).is_none());
        }
        held.push(now(&jobs, 2).unwrap());
        held.extend((WORKING + 1..ALL_WORKING).map(|number| now(&jobs, number).unwrap()));
        let mut modest = Box::pin(jobs.turn(key(99)));
        assert!(poll(modest.as_mut()).is_none(), "all is taken");
        // The greedy one has waited longer, but it was its turn before.
        held.remove(0);
        assert!(poll(modest.as_mut()).is_some());
        let turns: Vec<_> = greedy.iter_mut().filter_map(|waiting| poll(waiting.as_mut())).collect();
        assert_eq!(turns.len(), 1);
        drop((held, greedy, modest, turns));
        assert_idle(&jobs);
    }

    #[test]
    fn a_machine_that_goes_ends_what_is_done_and_waited_for_in_it() {
        let jobs = Jobs::default();
        let held: Vec<Turn> = (0..WORKING).map(|_| now(&jobs, 1).unwrap()).collect();
        let mut waiting = Box::pin(jobs.turn(key(1)));
        assert!(poll(waiting.as_mut()).is_none());
        let (gone, other) = (jobs.gone(key(1)), jobs.gone(key(2)));
        let (mut told, mut untold) = (Box::pin(gone.wait()), Box::pin(other.wait()));
        assert!(poll(told.as_mut()).is_none() && poll(untold.as_mut()).is_none());
        jobs.left(key(1));
        assert_eq!(poll(waiting.as_mut()).unwrap().unwrap_err(), Errno::SRCH);
        assert!(poll(told.as_mut()).is_some() && poll(untold.as_mut()).is_none());
        drop((told, untold));
        drop((held, gone, other));
        assert_idle(&jobs);
    }

    #[test]
    fn whose_children_cannot_be_ended_gets_no_more_and_others_do() {
        let jobs = Jobs::default();
        (0..ABANDONED).for_each(|_| jobs.ends(key(1), running(), true));
        // These have done their work, and are about to end.
        (0..ABANDONED).for_each(|_| jobs.ends(key(2), running(), false));
        assert_eq!(now(&jobs, 1).unwrap_err(), Errno::TIMEDOUT);
        drop(now(&jobs, 2).unwrap());
        (ABANDONED..ALL_ABANDONED).for_each(|number| jobs.ends(key(number + 10), running(), true));
        assert_eq!(now(&jobs, 2).unwrap_err(), Errno::TIMEDOUT);
        jobs.0.borrow_mut().ending.clear();
        (0..ENDING).for_each(|_| jobs.ends(key(1), running(), false));
        assert_eq!(now(&jobs, 1).unwrap_err(), Errno::BUSY);
        jobs.0.borrow_mut().ending.clear();
        drop(now(&jobs, 1).unwrap());
        assert_idle(&jobs);
    }

    #[test]
    fn a_child_that_has_ended_does_not_count() {
        let jobs = Jobs::default();
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        jobs.ends(key(1), pidfd_open(pid, PidfdFlags::empty()).unwrap(), true);
        child.wait().unwrap();
        jobs.0.borrow_mut().forget_ended();
        assert_idle(&jobs);
    }
}
