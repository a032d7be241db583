//! Whose turn it is: what takes time is bounded, for each machine, for images and in all, and the turns go round.

use std::cell::{Cell, RefCell};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::Hash;
use std::ops::Bound;
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use tokio::sync::{Notify, oneshot};
use tokio::time::{sleep, timeout};

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

/// On whose behalf something is done, and which user that belongs to: what one user's machines may have is bounded as well.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Party {
    whose: Whose,
    /// `None`: root's, or everybody's.
    owner: Option<u32>,
}

impl Party {
    /// A machine, and the user who registered it.
    pub fn machine(key: Key, owner: Option<u32>) -> Self {
        Self { whose: key.into(), owner: owner.filter(|&uid| uid != 0) }
    }

    /// Whoever asks for images.
    pub const fn images() -> Self {
        Self { whose: Whose::Images, owner: None }
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
/// The same for all machines of one user but root.
const USERS_WORKING: usize = 4;
/// How long a child may keep one of the places for all. Most take a millisecond.
const SLOW: Duration = Duration::from_millis(100);
/// How many children work at a time that have taken longer.
const ALL_SLOW: usize = 64;
/// How many children of a machine, and how many in all, may be left behind that cannot be ended.
const ABANDONED: usize = 4;
const ALL_ABANDONED: usize = 32;
/// The same for all machines of one user but root.
const USERS_ABANDONED: usize = 8;
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
    /// The same by user.
    users_working: HashMap<u32, usize>,
    /// How many there are in the places for all, and how many have taken too long for these.
    all_working: usize,
    all_slow: usize,
    /// Who waits, by machine.
    waiting: BTreeMap<Whose, VecDeque<Waiting>>,
    /// Whose turn it was last.
    last: Option<Whose>,
    /// Children that have not ended, as far as is known.
    ending: Vec<Ending>,
    /// Told when there is one more.
    ends: Rc<Notify>,
    /// Told when a machine goes.
    gone: HashMap<Whose, Rc<Going>>,
}

#[derive(Debug)]
struct Waiting {
    owner: Option<u32>,
    answer: oneshot::Sender<Turn>,
}

/// A machine that goes, or will.
#[derive(Debug, Default)]
struct Going {
    has_gone: Cell<bool>,
    notify: Notify,
}

#[derive(Debug)]
struct Ending {
    party: Party,
    pidfd: OwnedFd,
    /// It had more time than it should need.
    is_late: bool,
    since: Instant,
}

/// The right to have a child work. It is over when this is dropped.
#[derive(Debug)]
pub struct Turn {
    jobs: Jobs,
    party: Party,
    is_slow: Cell<bool>,
}

/// Hears of a machine that goes.
#[derive(Debug)]
pub struct Gone {
    jobs: Jobs,
    whose: Whose,
    going: Rc<Going>,
}

impl Jobs {
    /// Waits for a turn of a machine.
    ///
    /// # Errors
    /// `ETIMEDOUT`: too many children were left behind. `EBUSY`: too many wait. `ESRCH`: the machine goes.
    pub async fn turn(&self, party: Party) -> Result<Turn, Errno> {
        let waited = {
            let mut state = self.0.borrow_mut();
            state.check(party)?;
            if state.has_room(party) && !state.waiting.contains_key(&party.whose) {
                state.take(party);
                return Ok(self.given(party));
            }
            let queue = state.waiting.entry(party.whose).or_default();
            if queue.len() >= party.whose.most_waiting() {
                return Err(Errno::BUSY);
            }
            let (answer, receiver) = oneshot::channel();
            queue.push_back(Waiting { owner: party.owner, answer });
            receiver
        };
        let turn = waited.await.map_err(|_| Errno::SRCH)?;
        // Those before may have been left behind meanwhile.
        self.admit(party)?;
        Ok(turn)
    }

    fn given(&self, party: Party) -> Turn {
        Turn { jobs: self.clone(), party, is_slow: Cell::default() }
    }

    /// Whether a child may be started that takes no turn.
    ///
    /// # Errors
    /// As [`Jobs::turn`], but for `ESRCH`.
    pub fn admit(&self, party: Party) -> Result<(), Errno> {
        self.0.borrow_mut().check(party)
    }

    /// Waits for a machine to go.
    pub fn gone(&self, whose: impl Into<Whose>) -> Gone {
        let whose = whose.into();
        let going = self.0.borrow_mut().gone.entry(whose).or_default().clone();
        Gone { jobs: self.clone(), whose, going }
    }

    /// Ends what is done for a machine that goes.
    pub fn left(&self, whose: impl Into<Whose>) {
        let whose = whose.into();
        let mut state = self.0.borrow_mut();
        let waiting = state.waiting.remove(&whose);
        let going = state.gone.get(&whose).cloned();
        drop(state);
        drop(waiting);
        if let Some(going) = going {
            going.has_gone.set(true);
            going.notify.notify_waiters();
        }
    }

    /// Counts a child until it has ended: at once if it was late, and else if it takes its time.
    pub fn ends(&self, party: Party, pidfd: OwnedFd, is_late: bool) {
        let mut state = self.0.borrow_mut();
        state.ending.push(Ending { party, pidfd, is_late, since: Instant::now() });
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
            let Some((party, answer)) = given else { return };
            drop(answer.send(self.given(party)));
        }
    }
}

impl State {
    fn has_room(&self, party: Party) -> bool {
        let has_users = |uid| self.users_working.get(&uid).copied().unwrap_or(0) < USERS_WORKING;
        self.all_working < ALL_WORKING
            && self.working.get(&party.whose).copied().unwrap_or(0) < WORKING
            && party.owner.is_none_or(has_users)
    }

    /// Whether there is room for another child that may hang.
    fn check(&mut self, party: Party) -> Result<(), Errno> {
        self.forget_ended();
        let own = || self.ending.iter().filter(|child| child.party.whose == party.whose);
        let is_left = |child: &&Ending| child.is_late || child.since.elapsed() > GRACE;
        let all = self.ending.iter().filter(is_left).count();
        let users = || self.ending.iter().filter(is_left).filter(|child| child.party.owner == party.owner);
        if all >= ALL_ABANDONED
            || own().filter(is_left).count() >= ABANDONED
            || (party.owner.is_some() && users().count() >= USERS_ABANDONED)
        {
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

    fn take(&mut self, party: Party) {
        self.last = Some(party.whose);
        self.all_working = self.all_working.saturating_add(1);
        one_more(&mut self.working, party.whose);
        if let Some(uid) = party.owner {
            one_more(&mut self.users_working, uid);
        }
    }

    fn give_back(&mut self, party: Party, is_slow: bool) {
        let all = if is_slow { &mut self.all_slow } else { &mut self.all_working };
        *all = all.saturating_sub(1);
        one_less(&mut self.working, party.whose);
        if let Some(uid) = party.owner {
            one_less(&mut self.users_working, uid);
        }
    }

    /// Takes the next turn for whoever is to have it: the next machine after the last one.
    fn next(&mut self) -> Option<(Party, oneshot::Sender<Turn>)> {
        // Who has given up waiting needs no turn.
        self.waiting.retain(|_, queue| {
            queue.retain(|waiting| !waiting.answer.is_closed());
            !queue.is_empty()
        });
        let after = self.last.map_or(Bound::Unbounded, Bound::Excluded);
        let later = self.waiting.range((after, Bound::Unbounded));
        let party = later.chain(self.waiting.iter()).find_map(|(&whose, queue)| {
            let party = Party { whose, owner: queue.front()?.owner };
            self.has_room(party).then_some(party)
        })?;
        let queue = self.waiting.get_mut(&party.whose)?;
        let waiting = queue.pop_front();
        if queue.is_empty() {
            self.waiting.remove(&party.whose);
        }
        let waiting = waiting?;
        self.take(party);
        Some((party, waiting.answer))
    }
}

fn one_more<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K) {
    let count = counts.entry(key).or_default();
    *count = count.saturating_add(1);
}

fn one_less<K: Eq + Hash>(counts: &mut HashMap<K, usize>, key: K) {
    if let Entry::Occupied(mut count) = counts.entry(key) {
        *count.get_mut() = count.get().saturating_sub(1);
        if *count.get() == 0 {
            count.remove();
        }
    }
}

impl Turn {
    /// Waits for a child. One that takes long gives its place among all to another, and keeps its machine's.
    pub async fn wait_for<T>(&self, child: impl Future<Output = T>) -> T {
        let mut child = pin!(child);
        if let Ok(done) = timeout(SLOW, &mut child).await {
            return done;
        }
        self.be_slow();
        child.await
    }

    fn be_slow(&self) {
        {
            let mut state = self.jobs.0.borrow_mut();
            if self.is_slow.get() || state.all_slow >= ALL_SLOW {
                return;
            }
            state.all_slow = state.all_slow.saturating_add(1);
            state.all_working = state.all_working.saturating_sub(1);
        }
        self.is_slow.set(true);
        self.jobs.pass_on();
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.jobs.0.borrow_mut().give_back(self.party, self.is_slow.get());
        self.jobs.pass_on();
    }
}

impl Gone {
    /// Waits for it. It may have gone before.
    pub async fn wait(&self) {
        let notified = self.going.notify.notified();
        if !self.going.has_gone.get() {
            notified.await;
        }
    }
}

impl Drop for Gone {
    fn drop(&mut self) {
        let mut state = self.jobs.0.borrow_mut();
        // The table's, and this one.
        if Rc::strong_count(&self.going) <= 2 {
            state.gone.remove(&self.whose);
        }
    }
}

#[cfg(test)]
mod tests;
