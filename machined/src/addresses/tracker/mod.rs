//! Which namespace is to be dumped, and when.
//!
//! A change is followed by a dump 20 ms later, so that one dump answers for all that a network manager does in one
//! go; and a namespace is dumped four times per second at most, however fast it changes. The last change is always
//! followed by a dump. So a container that changes its addresses in a loop costs four dumps per second, and the
//! others nothing.
//!
//! After an overrun every namespace is dumped once, a few at a time over 300 ms: 10,000 dumps in one go would hold
//! the daemon up. A namespace of which nothing is heard, since it has no id or there are no notifications at all, is
//! dumped every second.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::{Duration, Instant};

use super::{NetnsId, Notification, Nsid, Origin, Place};

mod members;
#[cfg(test)]
mod tests;

use members::Members;

/// How long to gather what belongs together.
const COALESCE: Duration = Duration::from_millis(20);
/// The least time from one dump of a namespace to the next.
const RATE: Duration = Duration::from_millis(250);
/// The time from one dump to the next of a namespace of which nothing is heard.
const POLL: Duration = Duration::from_secs(1);
/// After an overrun: so many steps, so far apart.
const SWEEP_STEPS: usize = 30;
const SWEEP_STEP: Duration = Duration::from_millis(10);
/// At most so many namespaces are due at once, a millisecond's worth of dumps.
const BATCH: usize = 64;

/// How the daemon learns of changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Watch {
    /// The kernel says so.
    Notifications,
    /// By looking once per second.
    Polling,
}

#[derive(Debug)]
struct Watched<K> {
    machines: Members<K>,
    nsid: Option<Nsid>,
    due: Option<Instant>,
    dumped: Option<Instant>,
}

/// A walk over all namespaces, a few per step.
#[derive(Debug)]
struct Sweep {
    step: Instant,
    per_step: usize,
    after: Option<NetnsId>,
    /// What has already been passed has to be walked again.
    again: bool,
}

/// Which machines are in which namespace, and which of these are to be dumped next.
///
/// Knows no clock: the caller says what time it is. Each event is O(log n) in the number of machines.
#[derive(Debug)]
pub struct Tracker<K> {
    watch: Watch,
    machines: BTreeMap<K, Option<NetnsId>>,
    namespaces: BTreeMap<NetnsId, Watched<K>>,
    by_nsid: BTreeMap<Nsid, NetnsId>,
    agenda: BTreeSet<(Instant, NetnsId)>,
    sweep: Option<Sweep>,
}

impl<K: Copy + Ord> Tracker<K> {
    /// Tracks no machine yet.
    pub fn new(watch: Watch) -> Self {
        Self {
            watch,
            machines: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            by_nsid: BTreeMap::new(),
            agenda: BTreeSet::new(),
            sweep: None,
        }
    }

    /// `machine` is in `place`, as of now; where it was before is forgotten. Its namespace is due at once, so that
    /// no change is missed between the id and this call; unless the caller says [`Self::dumped`].
    pub fn joined(&mut self, machine: K, place: Place, now: Instant) {
        self.left(machine);
        let Place::Private { netns, nsid } = place else {
            self.machines.insert(machine, None);
            return;
        };
        self.machines.insert(machine, Some(netns));
        let watched = self.namespaces.entry(netns).or_insert_with(|| Watched {
            machines: Members::Nobody,
            nsid: None,
            due: None,
            dumped: None,
        });
        watched.machines.insert(machine);
        if let Some(nsid) = nsid {
            self.learned(netns, nsid);
        }
        self.schedule(netns, now);
    }

    /// `machine` is no more. A namespace without machines is forgotten.
    pub fn left(&mut self, machine: K) {
        let Some(Some(netns)) = self.machines.remove(&machine) else { return };
        let Some(watched) = self.namespaces.get_mut(&netns) else { return };
        watched.machines.remove(machine);
        if !watched.machines.is_empty() {
            return;
        }
        if let Some(due) = watched.due {
            self.agenda.remove(&(due, netns));
        }
        if let Some(nsid) = watched.nsid {
            self.by_nsid.remove(&nsid);
        }
        self.namespaces.remove(&netns);
    }

    /// The kernel said so, or a part of it was lost.
    pub fn notification(&mut self, notification: Notification, now: Instant) {
        let soon = later(now, COALESCE);
        match notification {
            Notification::Changed(Origin::Own) => {}
            Notification::Changed(Origin::Peer(nsid)) => {
                if let Some(netns) = self.by_nsid.get(&nsid).copied() {
                    self.schedule(netns, soon);
                }
            }
            Notification::NamespaceGone(nsid) => {
                // The kernel frees the id before it says so: this may be about the one that had it before.
                if let Some(netns) = self.by_nsid.remove(&nsid) {
                    if let Some(watched) = self.namespaces.get_mut(&netns) {
                        watched.nsid = None;
                    }
                    self.schedule(netns, soon);
                }
            }
            Notification::Overrun => match &mut self.sweep {
                Some(sweep) => sweep.again = true,
                None => {
                    let per_step = self.namespaces.len().div_ceil(SWEEP_STEPS);
                    self.sweep = Some(Sweep { step: soon, per_step, after: None, again: false });
                }
            },
        }
    }

    /// Whether the id of `netns` is to be asked for again, before it is dumped: it is not known, or was another's.
    #[cfg(test)]
    pub fn wants_nsid(&self, netns: NetnsId) -> bool {
        self.watch == Watch::Notifications
            && self.namespaces.get(&netns).is_some_and(|watched| watched.nsid.is_none())
    }

    /// The daemon's namespace calls `netns` so. If it called another one so before, that one's is not known any more.
    pub fn learned(&mut self, netns: NetnsId, nsid: Nsid) {
        let Some(watched) = self.namespaces.get_mut(&netns) else { return };
        if let Some(old) = watched.nsid.replace(nsid) {
            self.by_nsid.remove(&old);
        }
        if let Some(other) = self.by_nsid.insert(nsid, netns)
            && other != netns
            && let Some(watched) = self.namespaces.get_mut(&other)
        {
            watched.nsid = None;
        }
    }

    /// There are no notifications any more: every namespace is polled from now on.
    pub fn fall_back_to_polling(&mut self, now: Instant) {
        self.watch = Watch::Polling;
        self.sweep = None;
        let all: Vec<_> = self.namespaces.keys().copied().collect();
        for netns in all {
            self.schedule(netns, later(now, spread(netns, POLL)));
        }
    }

    /// The namespaces to dump now, longest due first. At most a millisecond's worth: what remains is due at the next
    /// call, and [`Self::next_deadline`] is already past.
    ///
    /// What is named here counts as dumped: a change after this is followed by another one.
    pub fn due(&mut self, now: Instant) -> Vec<NetnsId> {
        while self.sweep.as_ref().is_some_and(|sweep| sweep.step <= now) {
            self.step_sweep(now);
        }
        let mut due = Vec::new();
        while due.len() < BATCH
            && let Some((at, netns)) = self.agenda.first().copied()
            && at <= now
        {
            due.push(netns);
            self.dumped(netns, now);
        }
        due
    }

    /// When to call [`Self::due`] next; `None` if nothing is due until something happens.
    pub fn next_deadline(&self) -> Option<Instant> {
        let agenda = self.agenda.first().map(|(at, _)| *at);
        let sweep = self.sweep.as_ref().map(|sweep| sweep.step);
        [agenda, sweep].into_iter().flatten().min()
    }

    /// The caller dumped `netns` just now, due or not: all that was notified until now is answered for.
    pub fn dumped(&mut self, netns: NetnsId, now: Instant) {
        let Some(watched) = self.namespaces.get_mut(&netns) else { return };
        if let Some(due) = watched.due.take() {
            self.agenda.remove(&(due, netns));
        }
        let first = watched.dumped.replace(now).is_none();
        if self.watch == Watch::Polling || watched.nsid.is_none() {
            // Machines that came together, as all do when the daemon starts, are to part.
            let wait = if first { POLL / 2 + spread(netns, POLL / 2) } else { POLL };
            self.schedule(netns, later(now, wait));
        }
    }

    /// The caller could not dump `netns`: it is due again in a second.
    pub fn failed(&mut self, netns: NetnsId, now: Instant) {
        self.schedule(netns, later(now, POLL));
    }

    /// The machines in `netns`.
    pub fn machines_in(&self, netns: NetnsId) -> impl Iterator<Item = K> {
        self.namespaces.get(&netns).into_iter().flat_map(|watched| watched.machines.iter())
    }

    /// The namespace of `machine`: `Some(None)` is the daemon's own, `None` an unknown machine.
    #[cfg(test)]
    pub fn namespace_of(&self, machine: K) -> Option<Option<NetnsId>> {
        self.machines.get(&machine).copied()
    }

    /// Sees to it that `netns` is dumped at `at`, or before, or as soon after it as its rate permits.
    fn schedule(&mut self, netns: NetnsId, at: Instant) {
        let Some(watched) = self.namespaces.get_mut(&netns) else { return };
        let at = watched.dumped.map_or(at, |dumped| at.max(later(dumped, RATE)));
        match watched.due {
            Some(due) if due <= at => return,
            Some(due) => self.agenda.remove(&(due, netns)),
            None => false,
        };
        watched.due = Some(at);
        self.agenda.insert((at, netns));
    }

    fn step_sweep(&mut self, now: Instant) {
        let Some(mut sweep) = self.sweep.take() else { return };
        let from = sweep.after.map_or(Bound::Unbounded, Bound::Excluded);
        let range = self.namespaces.range((from, Bound::Unbounded));
        let step: Vec<_> = range.take(sweep.per_step).map(|(netns, _)| *netns).collect();
        for netns in &step {
            self.schedule(*netns, now);
        }
        sweep.step = later(sweep.step, SWEEP_STEP);
        sweep.after = step.last().copied();
        if step.is_empty() || step.len() < sweep.per_step {
            if !sweep.again {
                return;
            }
            let per_step = self.namespaces.len().div_ceil(SWEEP_STEPS);
            sweep = Sweep { per_step, after: None, again: false, ..sweep };
        }
        self.sweep = Some(sweep);
    }
}

fn later(at: Instant, by: Duration) -> Instant {
    at.checked_add(by).unwrap_or(at)
}

/// A part of `period` that differs from namespace to namespace; their inode numbers are mostly consecutive.
fn spread(netns: NetnsId, period: Duration) -> Duration {
    let millis = u64::try_from(period.as_millis()).unwrap_or(u64::MAX).max(1);
    Duration::from_millis(netns.ino().checked_rem(millis).unwrap_or(0))
}
