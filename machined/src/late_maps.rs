//! Machines that were registered before their id maps were written: their leader is in its user namespace, but whoever
//! made that has not said yet which ids it has. Nothing tells when that happens, so these leaders are looked at again,
//! more and more rarely, and not for ever. A map is written once and for all.

use std::cell::RefCell;
use std::time::Duration;

use registry::{Class, MachineName, Record};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use tracing::info;

use crate::machines::Key;

/// When a leader is looked at first.
const FIRST: Duration = Duration::from_millis(10);
/// How long it is left alone at the most.
const LONGEST: Duration = Duration::from_secs(10);
/// How long it is looked at in all. Later maps are read when the daemon starts again.
const PATIENCE: Duration = Duration::from_secs(600);

/// The machines whose maps are missing.
#[derive(Debug, Default)]
pub struct LateMaps {
    waiting: RefCell<Vec<Waiting>>,
    joined: Notify,
}

#[derive(Debug)]
struct Waiting {
    key: Key,
    next: Instant,
    interval: Duration,
    until: Instant,
}

impl Waiting {
    fn new(key: Key, now: Instant) -> Self {
        Self { key, next: now + FIRST, interval: FIRST, until: now + PATIENCE }
    }

    /// The maps are not there yet. Returns whether to look again.
    fn postpone(&mut self, now: Instant) -> bool {
        self.interval = (self.interval * 2).min(LONGEST);
        self.next = now + self.interval;
        self.next <= self.until
    }
}

impl LateMaps {
    /// Whether a machine's maps are missing. Virtual machines have none that count.
    pub fn are_missing(record: &Record) -> bool {
        record.class == Class::Container && (record.uid_map.is_empty() || record.gid_map.is_empty())
    }

    /// Looks again at the leader of a machine, until its maps are there.
    pub fn wait_for(&self, key: Key) {
        self.waiting.borrow_mut().push(Waiting::new(key, Instant::now()));
        self.joined.notify_one();
    }

    /// Has the maps read as they are written. `read` reads a leader's, and returns whose machine's are still
    /// missing. Nothing runs while none is missing.
    pub async fn run(&self, read: impl Fn(Key) -> Option<MachineName>) {
        loop {
            let next = self.waiting.borrow().iter().map(|waiting| waiting.next).min();
            let Some(next) = next else {
                self.joined.notified().await;
                continue;
            };
            tokio::select! {
                () = sleep_until(next) => self.look(&read, Instant::now()),
                () = self.joined.notified() => {}
            }
        }
    }

    fn look(&self, read: impl Fn(Key) -> Option<MachineName>, now: Instant) {
        let mut waiting = std::mem::take(&mut *self.waiting.borrow_mut());
        waiting.retain_mut(|waiting| {
            if waiting.next > now {
                return true;
            }
            let Some(machine) = read(waiting.key) else { return false };
            let goes_on = waiting.postpone(now);
            if !goes_on {
                info!("Machine {machine} still has no id maps; not looking any more.");
            }
            goes_on
        });
        self.waiting.borrow_mut().append(&mut waiting);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use registry::IdRange;

    #[test]
    fn a_leader_is_looked_at_less_and_less_often_and_not_for_ever() {
        let start = Instant::now();
        let mut waiting = Waiting::new(Key::of_number(1), start);
        let (mut looks, mut last, mut gap) = (1, start, Duration::ZERO);
        loop {
            let now = waiting.next;
            assert!(now - last >= gap, "never more often than before");
            (gap, last) = (now - last, now);
            if !waiting.postpone(now) {
                break;
            }
            looks += 1;
        }
        assert!(last - start <= PATIENCE && last - start > PATIENCE - 2 * LONGEST);
        assert!((60..90).contains(&looks), "{looks}");
    }

    #[test]
    fn maps_are_missing_where_a_container_lacks_one() {
        let name = MachineName::new(b"web").unwrap();
        let mut record = Record::new(name, Class::Container);
        assert!(LateMaps::are_missing(&record));
        record.uid_map = vec![IdRange::new(0, 100_000, 65_536).unwrap()];
        assert!(LateMaps::are_missing(&record), "gid_map is written after uid_map");
        record.gid_map = record.uid_map.clone();
        assert!(!LateMaps::are_missing(&record));
        assert!(!LateMaps::are_missing(&Record::new(name, Class::Vm)));
    }
}
