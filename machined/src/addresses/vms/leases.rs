//! All leases that are written down on this host, by whom they are for.

use std::collections::{BTreeSet, HashMap, HashSet, hash_map};
use std::hash::Hash;

use serde::{Deserialize, Serialize};

use super::lease::Lease;
use crate::addresses::neighbour::Mac;

/// A lease as it is written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(in crate::addresses) struct Entry {
    /// The interface that the server leases on, if the file says so.
    pub(in crate::addresses) on: Option<u32>,
    /// The lease.
    pub(in crate::addresses) lease: Lease,
}

/// What has changed of what is written down.
#[derive(Debug, Default)]
pub(in crate::addresses) struct Changes {
    /// Nothing that was told before counts.
    pub(in crate::addresses) is_whole: bool,
    /// These are there no more.
    pub(in crate::addresses) gone: Vec<Entry>,
    /// These are there now.
    pub(in crate::addresses) new: Vec<Entry>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Leases {
    all: HashSet<Entry>,
    by_mac: HashMap<Mac, Vec<Lease>>,
    by_interface: HashMap<u32, Vec<Lease>>,
}

/// Whom a change concerns.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changed {
    pub(super) macs: BTreeSet<Mac>,
    pub(super) interfaces: BTreeSet<u32>,
}

impl Leases {
    /// Takes in what has changed. Returns whom that concerns.
    pub(super) fn change(&mut self, Changes { is_whole, mut gone, new }: Changes) -> Changed {
        if is_whole {
            let new: HashSet<_> = new.iter().collect();
            gone = self.all.iter().filter(|entry| !new.contains(entry)).copied().collect();
        }
        let mut changed = Changed::default();
        for entry in gone {
            if self.all.remove(&entry) {
                self.forget(entry);
                changed.note(entry);
            }
        }
        for entry in new {
            if self.all.insert(entry) {
                self.learn(entry);
                changed.note(entry);
            }
        }
        changed
    }

    fn learn(&mut self, Entry { on, lease }: Entry) {
        if let Some(mac) = lease.mac {
            self.by_mac.entry(mac).or_default().push(lease);
        }
        if let Some(on) = on {
            self.by_interface.entry(on).or_default().push(lease);
        }
    }

    fn forget(&mut self, Entry { on, lease }: Entry) {
        if let Some(mac) = lease.mac {
            forget(&mut self.by_mac, mac, lease);
        }
        if let Some(on) = on {
            forget(&mut self.by_interface, on, lease);
        }
    }

    /// The hardware addresses that have leases.
    pub(super) fn macs(&self) -> impl Iterator<Item = Mac> {
        self.by_mac.keys().copied()
    }

    /// The leases of a hardware address.
    pub(super) fn of_mac(&self, mac: Mac) -> &[Lease] {
        self.by_mac.get(&mac).map(Vec::as_slice).unwrap_or_default()
    }

    /// The leases on an interface.
    pub(super) fn on(&self, ifindex: u32) -> &[Lease] {
        self.by_interface.get(&ifindex).map(Vec::as_slice).unwrap_or_default()
    }
}

impl Changed {
    fn note(&mut self, Entry { on, lease }: Entry) {
        self.macs.extend(lease.mac);
        self.interfaces.extend(on);
    }
}

fn forget<K: Hash + Eq>(map: &mut HashMap<K, Vec<Lease>>, key: K, lease: Lease) {
    let hash_map::Entry::Occupied(mut leases) = map.entry(key) else { return };
    if let Some(place) = leases.get().iter().position(|other| *other == lease) {
        leases.get_mut().swap_remove(place);
    }
    if leases.get().is_empty() {
        leases.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mac(last: u8) -> Mac {
        Mac::new(&[2, 0, 0, 0, 0, last]).unwrap()
    }

    fn entry(on: Option<u32>, last: u8, ends: Option<u64>) -> Entry {
        Entry { on, lease: Lease { ip: [10, 0, 0, last].into(), mac: Some(mac(last)), ends } }
    }

    /// Whom these changes concern.
    fn told(leases: &mut Leases, is_whole: bool, gone: &[Entry], new: &[Entry]) -> (Vec<Mac>, Vec<u32>) {
        let changes = Changes { is_whole, gone: gone.to_vec(), new: new.to_vec() };
        let Changed { macs, interfaces } = leases.change(changes);
        (macs.into_iter().collect(), interfaces.into_iter().collect())
    }

    #[test]
    fn a_change_concerns_those_whose_leases_changed() {
        let mut leases = Leases::default();
        let (one, two) = (entry(Some(7), 1, None), entry(Some(7), 2, Some(9)));
        assert_eq!(told(&mut leases, true, &[], &[one, two]), (vec![mac(1), mac(2)], vec![7]));
        assert_eq!(told(&mut leases, false, &[], &[one]), (vec![], vec![]));
        let (renewed, other) = (entry(Some(7), 2, Some(10)), entry(None, 3, None));
        assert_eq!(told(&mut leases, false, &[two], &[renewed, other]), (vec![mac(2), mac(3)], vec![7]));
        assert_eq!((leases.of_mac(mac(2)), leases.on(7).len()), ([renewed.lease].as_slice(), 2));
        assert_eq!(told(&mut leases, false, &[two], &[]), (vec![], vec![]), "it was gone");
        assert_eq!(told(&mut leases, false, &[one, renewed, other], &[]).0, [mac(1), mac(2), mac(3)]);
        assert_eq!((leases.macs().count(), leases.on(7).len()), (0, 0));
    }

    #[test]
    fn another_reader_tells_all_anew() {
        let mut leases = Leases::default();
        let (one, two, three) = (entry(Some(7), 1, None), entry(None, 2, None), entry(None, 3, None));
        told(&mut leases, true, &[], &[one, two]);
        assert_eq!(told(&mut leases, true, &[], &[two, three]), (vec![mac(1), mac(3)], vec![7]));
        assert_eq!(told(&mut leases, true, &[], &[]), (vec![mac(2), mac(3)], vec![]));
    }
}
