//! How many connections there may be, so that nobody can take the daemon away from the others.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use rustix::process::{Resource, getrlimit};

use tokio::sync::Notify;
use turns::User;

use super::memory::give_back;

/// The limits on connections.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// In all.
    pub total: usize,
    /// Of one user, whose ranges of /etc/subuid count as that user.
    pub per_uid: usize,
}

impl Limits {
    /// 4096 in all, but never more than three quarters of the file descriptors, of which a connection takes
    /// two (the socket and the peer's pidfd); 128 of one user.
    pub fn of_process() -> Self {
        let fds = getrlimit(Resource::Nofile).current.and_then(|fds| usize::try_from(fds).ok());
        let total = fds.map_or(TOTAL, |fds| TOTAL.min(fds / 4 * 3 / 2));
        Self { total, per_uid: PER_UID }
    }
}

const TOTAL: usize = 4096;
const PER_UID: usize = 128;
/// From so many on it is a crowd.
const CROWD: usize = 64;

/// The count of connections. Root and the daemon's own user count, but are never turned away.
///
/// When there is no place left, who has fewer than another user gets one of that user's: the one that nothing has come in on
/// for the longest time is closed. So a new user always gets in, however many the others have.
#[derive(Debug)]
pub struct Admission {
    limits: Limits,
    total: Cell<usize>,
    /// The most there were since memory was given back last.
    peak: Cell<usize>,
    number: Cell<u64>,
    users: RefCell<HashMap<User, Places>>,
}

/// The places of one user.
#[derive(Debug, Default)]
struct Places {
    all: Vec<Rc<Place>>,
    /// How many of them are not lost to somebody else: counted, as it is asked for at each connection.
    left: usize,
}

/// A place among the connections, given back when dropped.
#[derive(Debug)]
pub struct Permit {
    admission: Rc<Admission>,
    user: User,
    place: Rc<Place>,
}

#[derive(Debug)]
struct Place {
    /// Grows with each use of any place.
    used: Cell<u64>,
    is_lost: Cell<bool>,
    loss: Notify,
}

impl Admission {
    /// Nobody is connected yet.
    pub fn new(limits: Limits) -> Rc<Self> {
        let (total, peak, number, users) = Default::default();
        Rc::new(Self { limits, total, peak, number, users })
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.total.get()
    }

    /// Whether so many have lost their places and not gone yet that descriptors may run out.
    pub fn is_crowded(&self) -> bool {
        self.total.get() >= self.limits.total.saturating_add(self.limits.total / 4)
    }

    /// A place for a user; `None` when it is over a limit.
    pub fn admit(self: &Rc<Self>, user: User) -> Option<Permit> {
        let mine = self.users.borrow().get(&user).map_or(0, |places| places.all.len());
        if user != User::Privileged {
            if mine >= self.limits.per_uid {
                return None;
            }
            if self.total.get() >= self.limits.total && !self.take_from_another(mine) {
                return None;
            }
        }
        let place =
            Rc::new(Place { used: Cell::new(self.next()), is_lost: Cell::new(false), loss: Notify::new() });
        let mut users = self.users.borrow_mut();
        let places = users.entry(user).or_default();
        places.all.push(place.clone());
        places.left = places.left.saturating_add(1);
        drop(users);
        self.total.update(|total| total + 1);
        self.peak.update(|peak| peak.max(self.total.get()));
        Some(Permit { admission: self.clone(), user, place })
    }

    /// Takes a place from the user who has most, if that is more than one who has `mine` is to have. It is free a little later.
    fn take_from_another(&self, mine: usize) -> bool {
        let mut users = self.users.borrow_mut();
        let others = users.iter_mut().filter(|(user, _)| **user != User::Privileged);
        let others: Vec<_> = others.map(|(_, places)| places).collect();
        let most = others.iter().map(|places| places.left).max().unwrap_or(0);
        if most <= mine.saturating_add(1) {
            return false;
        }
        let theirs = others.into_iter().filter(|places| places.left == most);
        let idlest = theirs.filter_map(|places| Some((places.idlest()?, places)));
        let Some((place, places)) = idlest.min_by_key(|(place, _)| place.used.get()) else { return false };
        place.is_lost.set(true);
        place.loss.notify_one();
        places.left = places.left.saturating_sub(1);
        true
    }

    /// One has gone. When most of a crowd have, the kernel gets back what they took: an allocator keeps it otherwise.
    fn one_less(&self) {
        let total = self.total.get().saturating_sub(1);
        self.total.set(total);
        if self.peak.get() >= CROWD && total <= self.peak.get() / 4 {
            self.peak.set(total);
            give_back();
        }
    }

    fn next(&self) -> u64 {
        self.number.update(|number| number.wrapping_add(1));
        self.number.get()
    }
}

impl Places {
    /// The one that nothing has come in on for the longest time.
    fn idlest(&self) -> Option<Rc<Place>> {
        let left = self.all.iter().filter(|place| !place.is_lost.get());
        left.min_by_key(|place| place.used.get()).cloned()
    }
}

impl Permit {
    /// Something has come in.
    pub fn is_used(&self) {
        self.place.used.set(self.admission.next());
    }

    /// Waits until somebody else gets this place.
    pub async fn lost(&self) {
        self.place.loss.notified().await;
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.one_less();
        let mut users = self.admission.users.borrow_mut();
        if let Some(places) = users.get_mut(&self.user) {
            if let Some(at) = places.all.iter().position(|place| Rc::ptr_eq(place, &self.place)) {
                places.all.swap_remove(at);
            }
            if !self.place.is_lost.get() {
                places.left = places.left.saturating_sub(1);
            }
            if places.all.is_empty() {
                users.remove(&self.user);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_at_its_limit_leaves_room_for_others_until_the_total_is_reached() {
        let admission = Admission::new(Limits { total: 3, per_uid: 2 });
        let first = admission.admit(User::Uid(70001)).unwrap();
        let _second = admission.admit(User::Uid(70001)).unwrap();
        assert!(admission.admit(User::Uid(70001)).is_none());
        let third = admission.admit(User::Uid(70002)).unwrap();
        // One more would have as many as who has most.
        assert!(admission.admit(User::Uid(70002)).is_none());
        drop(third);
        drop(first);
        assert_eq!(admission.connections(), 1);
        assert!(admission.admit(User::Uid(70001)).is_some());
        assert_eq!(admission.users.borrow().len(), 1);
    }

    #[test]
    fn a_new_user_gets_a_place_of_the_one_who_has_most() {
        let admission = Admission::new(Limits { total: 4, per_uid: 3 });
        let held: Vec<_> = [1, 1, 1, 2].map(|uid| admission.admit(User::Uid(uid)).unwrap()).into();
        // The first is used again, so the second is the idlest.
        held[0].is_used();
        let new = admission.admit(User::Uid(3));
        assert!(new.is_some());
        let lost =
            |held: &[Permit]| -> Vec<_> { held.iter().map(|permit| permit.place.is_lost.get()).collect() };
        assert_eq!(lost(&held), [false, true, false, false]);
        // Nobody has two more than nobody now, but for who has two.
        assert!(admission.admit(User::Uid(4)).is_some());
        assert_eq!(lost(&held), [false, true, true, false]);
        assert!(admission.admit(User::Uid(5)).is_none());
    }

    #[test]
    fn it_is_crowded_when_those_who_lost_their_places_stay() {
        let admission = Admission::new(Limits { total: 8, per_uid: 8 });
        let held: Vec<_> = (0..8).map(|_| admission.admit(User::Uid(1)).unwrap()).collect();
        assert!(!admission.is_crowded());
        let more = [2, 3].map(|uid| admission.admit(User::Uid(uid)).unwrap());
        assert!(admission.is_crowded());
        drop((held, more));
        assert!(!admission.is_crowded());
    }

    #[test]
    fn memory_is_given_back_once_a_crowd_has_gone() {
        let admission = Admission::new(Limits { total: 100, per_uid: 100 });
        let mut held: Vec<_> = (0..100).map(|_| admission.admit(User::Uid(1)).unwrap()).collect();
        assert_eq!(admission.peak.get(), 100);
        held.truncate(26);
        assert_eq!(admission.peak.get(), 100);
        held.truncate(25);
        assert_eq!(admission.peak.get(), 25);
    }

    #[test]
    fn root_and_the_own_user_always_get_in() {
        let admission = Admission::new(Limits { total: 0, per_uid: 0 });
        let permits: Vec<_> = [User::Privileged; 3].map(|user| admission.admit(user).unwrap()).into();
        assert_eq!(admission.connections(), permits.len());
        assert!(admission.admit(User::Uid(70001)).is_none());
    }

    #[test]
    fn the_limit_of_the_process_bounds_the_total() {
        let limits = Limits::of_process();
        let fds = getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX);
        assert!(limits.total <= 4096);
        assert!(u64::try_from(limits.total).unwrap() * 2 <= fds / 4 * 3);
        assert_eq!(limits.per_uid, 128);
    }
}
