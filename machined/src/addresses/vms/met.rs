//! Whom the kernel has met: all that is known of a machine of which nobody says anything.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Debug;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use registry::{Address, AddressSource};

use super::decide::MOST;
use super::look::{Look, Met};
use super::{Host, Moment, Vm, Vms};
use crate::addresses::neighbour::Neighbour;

/// When neighbours are looked at again of a machine that has some, and of the others in the end.
const LATER_LOOKS: Duration = Duration::from_secs(15);
/// Those whose time comes so soon are looked at together.
const TOGETHER: Duration = Duration::from_secs(1);
/// For how long somebody is a neighbour who is silent.
const KEPT: Duration = Duration::from_secs(3600);

impl Vm {
    /// Whether all that could be told of it is whom the kernel has met.
    pub(super) fn wants_neighbours(&self) -> bool {
        let known = [AddressSource::Given, AddressSource::Lease];
        !self.interfaces.is_empty() && !self.resolution.from.iter().any(|source| known.contains(source))
    }

    /// Whom the kernel has met as this machine; those of a link come last.
    pub(super) fn neighbours(&self) -> Vec<Address> {
        let mut neighbours: Vec<_> = self
            .met
            .iter()
            .map(|(&ip, met)| {
                let is_of_a_link = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
                Address { ip, scope_id: if is_of_a_link { met.on } else { 0 } }
            })
            .collect();
        neighbours.sort_by_key(|address| address.scope_id != 0);
        neighbours
    }
}

impl<K: Copy + Ord + Hash + Debug> Vms<K> {
    /// Begins to look at neighbours, if that is due.
    pub(super) fn begin_look(&mut self, host: &impl Host, at: Moment) {
        if !self.machines.values().any(|vm| vm.wants_neighbours() && vm.look <= at.now) {
            return;
        }
        let soon = at.now.checked_add(TOGETHER).unwrap_or(at.now);
        let due = self.machines.iter().filter(|(_, vm)| vm.wants_neighbours() && vm.look <= soon);
        let of: Vec<_> = due.map(|(key, _)| *key).collect();
        let ports = of.iter().filter_map(|key| self.machines.get(key)).flat_map(|vm| vm.interfaces.iter());
        let devices: BTreeMap<_, _> =
            ports.map(|&port| host.bridge_of(port).map_or((port, false), |bridge| (bridge, true))).collect();
        let neighbours = devices.into_iter().flat_map(|(device, is_bridge)| {
            host.neighbours(device).into_iter().map(move |neighbour| (device, is_bridge, neighbour))
        });
        self.look = Look { of, neighbours: neighbours.collect(), ports: HashMap::new() };
        self.ask_for_silent();
    }

    /// Goes on with the look at neighbours. Returns whether there was anything to do.
    pub(super) fn go_on_looking(&mut self, host: &impl Host, at: Moment) -> bool {
        if let Some((device, is_bridge, neighbour)) = self.look.neighbours.pop() {
            self.meet(device, is_bridge, neighbour, host, at.now);
            return true;
        }
        self.look.ports = HashMap::new();
        let Some(key) = self.look.of.pop() else { return false };
        let Some(vm) = self.machines.get_mut(&key) else { return true };
        let (before, met) = (vm.met.len(), &mut self.met);
        vm.met.retain(|ip, neighbour| {
            let is_kept = at.now.saturating_duration_since(neighbour.seen) < KEPT;
            if !is_kept {
                met.remove(ip);
            }
            is_kept
        });
        // Others may have given up what it was met with.
        if vm.met.len() != before || !vm.met.is_empty() {
            self.stale.insert(key);
        }
        vm.look = at.now.checked_add(vm.pause).unwrap_or(at.now);
        vm.pause = if vm.met.is_empty() { vm.pause.saturating_mul(2).min(LATER_LOOKS) } else { LATER_LOOKS };
        true
    }

    /// Takes in somebody whom the kernel has met on an interface.
    fn meet(
        &mut self,
        device: u32,
        is_bridge: bool,
        Neighbour { ip, mac }: Neighbour,
        host: &impl Host,
        now: Instant,
    ) {
        let port = match self.look.ports.get(&(device, mac)) {
            _ if !is_bridge => Some(device),
            Some(port) => *port,
            None => {
                let port = self.note(mac, host.port_of(device, mac), now);
                self.look.ports.insert((device, mac), port);
                port
            }
        };
        let Some(&key) = port.and_then(|port| self.ports.get(&port)) else { return };
        let Some(vm) = self.machines.get_mut(&key) else { return };
        if let Some(known) = vm.met.get_mut(&ip) {
            *known = Met { on: device, seen: now };
            return;
        }
        if vm.met.len() >= MOST {
            return;
        }
        vm.met.insert(ip, Met { on: device, seen: now });
        self.stale.insert(key);
        if let Some(other) = self.met.insert(ip, key).filter(|other| *other != key)
            && let Some(vm) = self.machines.get_mut(&other)
        {
            vm.met.remove(&ip);
            self.stale.insert(other);
        }
    }
}
