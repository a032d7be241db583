//! All leases that are written down on this host, by whom they are for.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::lease::Lease;
use crate::addresses::neighbour::Mac;

/// What one file has.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(in crate::addresses) struct Written {
    /// The interface that the server leases on, if the file says so.
    pub(in crate::addresses) on: Option<u32>,
    /// The leases.
    pub(in crate::addresses) leases: Vec<Lease>,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Leases {
    by_mac: HashMap<Mac, Vec<Lease>>,
    by_interface: BTreeMap<u32, Vec<Lease>>,
}

/// Whom a change concerns.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Changed {
    pub(super) macs: BTreeSet<Mac>,
    pub(super) interfaces: BTreeSet<u32>,
}

impl Leases {
    /// These are all that there are now. Returns whom that concerns.
    pub(super) fn replace<'a>(&mut self, files: impl Iterator<Item = &'a Written>) -> Changed {
        let mut new = Self::default();
        for file in files {
            for &lease in &file.leases {
                if let Some(mac) = lease.mac {
                    new.by_mac.entry(mac).or_default().push(lease);
                }
                if let Some(on) = file.on {
                    new.by_interface.entry(on).or_default().push(lease);
                }
            }
        }
        let old = std::mem::replace(self, new);
        let macs = old.by_mac.keys().chain(self.by_mac.keys());
        let interfaces = old.by_interface.keys().chain(self.by_interface.keys());
        Changed {
            macs: macs.filter(|mac| old.by_mac.get(mac) != self.by_mac.get(mac)).copied().collect(),
            interfaces: interfaces
                .filter(|on| old.by_interface.get(on) != self.by_interface.get(on))
                .copied()
                .collect(),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_concerns_those_whose_leases_changed() {
        let [one, two, three] = [1, 2, 3].map(|last| Mac::new(&[2, 0, 0, 0, 0, last]).unwrap());
        let lease = |last: u8, mac, ends| Lease { ip: [10, 0, 0, last].into(), mac: Some(mac), ends };
        let file = |on, leases: &[Lease]| Written { on, leases: leases.to_vec() };
        let mut leases = Leases::default();
        let mut told = |files: &[Written]| {
            let Changed { macs, interfaces } = leases.replace(files.iter());
            (macs.into_iter().collect::<Vec<_>>(), interfaces.into_iter().collect::<Vec<_>>())
        };
        let first = file(Some(7), &[lease(1, one, None), lease(2, two, Some(9))]);
        assert_eq!(told(std::slice::from_ref(&first)), (vec![one, two], vec![7]));
        assert_eq!(told(std::slice::from_ref(&first)), (vec![], vec![]));
        let renewed = file(Some(7), &[lease(1, one, None), lease(2, two, Some(10))]);
        let other = file(None, &[lease(3, three, None)]);
        assert_eq!(told(&[renewed, other]), (vec![two, three], vec![7]));
        assert_eq!(told(&[]), (vec![one, two, three], vec![7]));
    }
}
