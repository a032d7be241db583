//! How many connections there may be, so that nobody can take the daemon away from the others.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;

use rustix::process::{Resource, getrlimit};

use super::peer::Peer;

/// The limits on connections.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// In all.
    pub total: usize,
    /// Of one user.
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

/// The count of connections. Root and the daemon's own user count, but are never turned away.
#[derive(Debug)]
pub struct Admission {
    limits: Limits,
    total: Cell<usize>,
    of_uid: RefCell<HashMap<u32, usize>>,
}

/// A place among the connections, given back when dropped.
#[derive(Debug)]
pub struct Permit {
    admission: Rc<Admission>,
    uid: u32,
}

impl Admission {
    /// Nobody is connected yet.
    pub fn new(limits: Limits) -> Rc<Self> {
        Rc::new(Self { limits, total: Cell::new(0), of_uid: RefCell::default() })
    }

    /// How many connections there are.
    pub fn connections(&self) -> usize {
        self.total.get()
    }

    /// A place for `peer`; `None` when it is over a limit.
    pub fn admit(self: &Rc<Self>, peer: &Peer) -> Option<Permit> {
        let uid = peer.uid.as_raw();
        let mut of_uid = self.of_uid.borrow_mut();
        let mine = of_uid.get(&uid).copied().unwrap_or(0);
        let full = self.total.get() >= self.limits.total || mine >= self.limits.per_uid;
        if full && !peer.is_privileged() {
            return None;
        }
        of_uid.insert(uid, mine + 1);
        self.total.update(|total| total + 1);
        Some(Permit { admission: self.clone(), uid })
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.admission.total.update(|total| total.saturating_sub(1));
        let mut of_uid = self.admission.of_uid.borrow_mut();
        if let Some(mine) = of_uid.get_mut(&self.uid) {
            *mine = mine.saturating_sub(1);
            if *mine == 0 {
                of_uid.remove(&self.uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::{Gid, Uid};

    fn peer(uid: u32) -> Peer {
        Peer { uid: Uid::from_raw(uid), gid: Gid::from_raw(uid), pid: None, pidfd: None }
    }

    #[test]
    fn a_user_at_its_limit_leaves_room_for_others_until_the_total_is_reached() {
        let admission = Admission::new(Limits { total: 3, per_uid: 2 });
        let first = admission.admit(&peer(70001)).unwrap();
        let _second = admission.admit(&peer(70001)).unwrap();
        assert!(admission.admit(&peer(70001)).is_none());
        let third = admission.admit(&peer(70002)).unwrap();
        assert!(admission.admit(&peer(70003)).is_none());
        drop(third);
        drop(first);
        assert_eq!(admission.connections(), 1);
        assert!(admission.admit(&peer(70001)).is_some());
        assert_eq!(admission.of_uid.borrow().len(), 1);
    }

    #[test]
    fn root_and_the_own_user_always_get_in() {
        let admission = Admission::new(Limits { total: 0, per_uid: 0 });
        let own = rustix::process::geteuid().as_raw();
        let permits: Vec<_> = [0, 0, own].map(|uid| admission.admit(&peer(uid)).unwrap()).into();
        assert_eq!(admission.connections(), permits.len());
        assert!(admission.admit(&peer(70001)).is_none());
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
