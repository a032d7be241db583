//! Which leases are whose: by the hardware addresses behind the ports of machines.

use std::cmp::Reverse;
use std::fmt::Debug;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::Instant;

use super::lease::Lease;
use super::leases::Changes;
use super::{Host, Moment, Vm, Vms};
use crate::addresses::neighbour::Mac;

/// So many hardware addresses of those that were silent wait to be asked for.
const MOST_ASKED: usize = 8192;

impl<K: Copy + Ord + Hash + Debug> Vms<K> {
    /// Takes in what has changed of all that is leased on this host.
    pub(in crate::addresses) fn set_leases(&mut self, changes: Changes) {
        let is_first = !std::mem::replace(&mut self.is_read, true);
        let changed = self.leases.change(changes);
        if is_first {
            // What was leased before this daemon counts no more by itself.
            let was_leased = self.machines.iter().filter(|(_, vm)| !vm.was_leased.is_empty());
            self.stale.extend(was_leased.map(|(key, _)| *key));
        }
        let of_macs = changed.macs.iter().filter_map(|mac| self.macs.port(*mac));
        let ports = of_macs.chain(changed.interfaces);
        self.stale.extend(ports.filter_map(|port| self.ports.get(&port).copied()));
        self.asked.extend(changed.macs);
    }

    /// Those who have leases and were not found behind any port are to be asked for once more.
    pub(super) fn ask_for_silent(&mut self) {
        let room = MOST_ASKED.saturating_sub(self.asked.len());
        let silent = self.leases.macs().filter(|&mac| self.macs.port(mac).is_none());
        self.asked.extend(silent.take(room));
    }

    /// Asks the bridges for the port of a hardware address. Who has it now, and who had it, are stale.
    pub(super) fn ask(&mut self, mac: Mac, host: &impl Host, now: Instant) {
        let port = self.bridges.iter().find_map(|&bridge| host.port_of(bridge, mac));
        let before = self.macs.port(mac);
        let after = match self.note(mac, port, now) {
            None if port.is_none() => self.heir(mac, host).and_then(|port| self.note(mac, Some(port), now)),
            noted => noted,
        };
        if before != after {
            let ports = [before, after].into_iter().flatten();
            self.stale.extend(ports.filter_map(|port| self.ports.get(&port).copied()));
        }
    }

    pub(super) fn note(&mut self, mac: Mac, port: Option<u32>, now: Instant) -> Option<u32> {
        self.macs.note(mac, port.filter(|port| self.ports.contains_key(port)), now)
    }

    /// The port of the machine that had a lease of this hardware address's before this daemon was there.
    fn heir(&self, mac: Mac, host: &impl Host) -> Option<u32> {
        let key = self.leases.of_mac(mac).iter().find_map(|lease| self.heirs.get(&lease.ip))?;
        self.machines.get(key)?.interfaces.iter().copied().find(|&port| host.bridge_of(port).is_some())
    }

    /// What is leased to a machine: the addresses, of which the one that ends last comes first, and when the first of them ends.
    pub(super) fn leased(&self, key: K, vm: &Vm, host: &impl Host, at: Moment) -> (Vec<IpAddr>, Option<u64>) {
        if !self.is_read {
            return (vm.was_leased.clone(), None);
        }
        let own = vm.interfaces.iter().copied().filter(|port| self.ports.get(port) == Some(&key));
        let mut leases: Vec<Lease> = Vec::new();
        for port in own {
            if host.bridge_of(port).is_some() {
                leases.extend(self.macs.behind(port).flat_map(|mac| self.leases.of_mac(mac)));
            } else {
                leases.extend(self.leases.on(port));
            }
        }
        leases.retain(|lease| lease.ends.is_none_or(|end| end > at.realtime));
        leases.sort_unstable_by_key(|lease| (Reverse(lease.ends.unwrap_or(u64::MAX)), lease.ip));
        let first = leases.iter().filter_map(|lease| lease.ends).min();
        (leases.into_iter().map(|lease| lease.ip).collect(), first)
    }

    /// When the first of the leases that count ends, in seconds of `CLOCK_REALTIME`.
    pub(in crate::addresses) fn next_end(&self) -> Option<u64> {
        self.machines.values().filter_map(|vm| vm.first_end).min()
    }

    /// What the leases were counts no more for those of whom one has ended.
    pub(super) fn end_leases(&mut self, at: Moment) {
        let has_ended = |vm: &Vm| vm.first_end.is_some_and(|end| end <= at.realtime);
        self.stale.extend(self.machines.iter().filter(|(_, vm)| has_ended(vm)).map(|(key, _)| *key));
    }
}
