//! Behind which port each hardware address is.
//!
//! A bridge learns that from every frame, so that a guest which sends with another's address moves it to its own port. Here it
//! stays with the port that had it first, until that is silent for an hour, or gone.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::addresses::neighbour::Mac;

/// For how long an address stays with a port that was not seen to have it.
const KEPT: Duration = Duration::from_secs(3600);

/// So many addresses are noted for one port: a guest may send with any number.
const MOST_OF_PORT: usize = 64;

#[derive(Debug)]
struct Bound {
    port: u32,
    seen: Instant,
}

/// The hardware addresses behind the ports of machines.
#[derive(Debug, Default)]
pub(in crate::addresses) struct Macs {
    bound: HashMap<Mac, Bound>,
    by_port: HashMap<u32, BTreeSet<Mac>>,
}

impl Macs {
    /// The port that has an address, as far as was noted.
    pub(super) fn port(&self, mac: Mac) -> Option<u32> {
        self.bound.get(&mac).map(|bound| bound.port)
    }

    /// The addresses behind a port.
    pub(super) fn behind(&self, port: u32) -> impl Iterator<Item = Mac> {
        self.by_port.get(&port).into_iter().flatten().copied()
    }

    /// A bridge says now that an address is behind this port, or (`None`) that it is behind none that counts. Returns whose it
    /// is.
    pub(super) fn note(&mut self, mac: Mac, port: Option<u32>, now: Instant) -> Option<u32> {
        if let Some(bound) = self.bound.get_mut(&mac) {
            if port == Some(bound.port) {
                bound.seen = now;
                return port;
            }
            if now.saturating_duration_since(bound.seen) < KEPT {
                return Some(bound.port);
            }
            self.forget(mac);
        }
        let port = port?;
        let of_port = self.by_port.entry(port).or_default();
        if of_port.len() >= MOST_OF_PORT {
            return None;
        }
        of_port.insert(mac);
        self.bound.insert(mac, Bound { port, seen: now });
        Some(port)
    }

    fn forget(&mut self, mac: Mac) {
        if let Some(bound) = self.bound.remove(&mac)
            && let Some(of_port) = self.by_port.get_mut(&bound.port)
        {
            of_port.remove(&mac);
        }
    }

    /// A port is no machine's any more.
    pub(super) fn forget_port(&mut self, port: u32) {
        for mac in self.by_port.remove(&port).into_iter().flatten() {
            self.bound.remove(&mac);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(last: u16) -> Mac {
        let [high, low] = last.to_be_bytes();
        Mac::new(&[2, 0, 0, 0, high, low]).unwrap()
    }

    #[test]
    fn an_address_stays_with_the_port_that_had_it_first() {
        let (mut macs, begin) = (Macs::default(), Instant::now());
        let later = |seconds| begin + Duration::from_secs(seconds);
        assert_eq!(macs.note(mac(1), None, begin), None);
        assert_eq!(macs.note(mac(1), Some(5), begin), Some(5));
        assert_eq!(macs.note(mac(1), Some(6), later(10)), Some(5), "another one says that it is its own");
        assert_eq!(macs.note(mac(1), None, later(20)), Some(5), "silence");
        assert_eq!(macs.note(mac(1), Some(5), later(3000)), Some(5));
        assert_eq!(macs.note(mac(1), Some(6), later(6000)), Some(5), "an hour from when it was seen last");
        assert_eq!(macs.note(mac(1), Some(6), later(6601)), Some(6));
        assert_eq!(macs.behind(5).count(), 0);
        macs.forget_port(6);
        assert_eq!((macs.port(mac(1)), macs.note(mac(1), Some(5), later(6602))), (None, Some(5)));
    }

    #[test]
    fn a_port_has_no_more_addresses_than_are_bearable() {
        let (mut macs, now) = (Macs::default(), Instant::now());
        for last in 0..3000 {
            macs.note(mac(last), Some(5), now);
        }
        assert_eq!(macs.behind(5).count(), MOST_OF_PORT);
        assert_eq!(macs.note(mac(4000), Some(6), now), Some(6), "another port has room of its own");
    }
}
