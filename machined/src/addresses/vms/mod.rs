//! The addresses of virtual machines, which have no network namespace to look into: what registrars give, what DHCP servers on
//! this host have leased, and whom the kernel has met.
//!
//! [`Vms`] is the state of it, and knows no sockets: it asks the host through [`Host`], and is told when to look. Leases are
//! matched by the hardware addresses behind a machine's port of a bridge; on an interface that is in no bridge, all that is
//! leased there is the machine's.

mod decide;
mod lease;
mod lease_files;
mod leases;
mod macs;
mod taps;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Debug;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use registry::{Address, AddressSource, Addresses, Record, Resolution, source_at};

use self::decide::{MOST, Said, decide};
use self::lease::Lease;
use self::leases::{Leases, Written};
use self::macs::Macs;
use super::neighbour::{Mac, Neighbour};
use super::route::Route;

pub(super) use self::decide::is_nobodys;
pub(super) use self::lease_files::LeaseFiles;
pub(super) use self::taps::of_leader;

/// When neighbours are looked at again of a machine that has none, and then of all.
const FIRST_LOOK: Duration = Duration::from_secs(1);
const LATER_LOOKS: Duration = Duration::from_secs(15);
/// Those whose time comes so soon are looked at together.
const TOGETHER: Duration = Duration::from_secs(1);
/// For how long somebody is a neighbour who is silent.
const KEPT: Duration = Duration::from_secs(3600);
/// When interfaces are looked for, after the machine is there.
const SEARCHES: [Duration; 3] = [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(5)];
/// So many hardware addresses are asked for at a time.
const MOST_ASKED: usize = 8192;

/// What is asked of the host's network.
pub(super) trait Host {
    /// Where the host would send what is for an address.
    fn route(&self, address: &Address) -> Route;
    /// The bridge that an interface is a port of.
    fn bridge_of(&self, ifindex: u32) -> Option<u32>;
    /// The port of a bridge behind which a hardware address is.
    fn port_of(&self, bridge: u32, mac: Mac) -> Option<u32>;
    /// Whom the kernel has met on an interface.
    fn neighbours(&self, ifindex: u32) -> Vec<Neighbour>;
}

/// A moment, by both clocks that count.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) now: Instant,
    /// Seconds of `CLOCK_REALTIME`.
    pub(super) realtime: u64,
}

/// Somebody whom the kernel has met.
#[derive(Debug, Clone, Copy)]
struct Met {
    on: u32,
    seen: Instant,
}

/// A virtual machine.
#[derive(Debug)]
struct Vm {
    /// Its name is a user's alone, whose word counts for nobody else.
    is_private: bool,
    interfaces: Vec<u32>,
    given: Vec<Address>,
    met: BTreeMap<IpAddr, Met>,
    resolution: Resolution,
    /// What it had leased before this daemon: the bridge may have forgotten it since.
    was_leased: Vec<IpAddr>,
    /// How often its interfaces were looked for, and when that is done next.
    searched: usize,
    search: Option<Instant>,
    /// When neighbours are looked at, and after what time again.
    look: Instant,
    pause: Duration,
}

impl Vm {
    /// Whether all that could be told of it is whom the kernel has met.
    fn wants_neighbours(&self) -> bool {
        let known = [AddressSource::Given, AddressSource::Lease];
        !self.interfaces.is_empty() && !self.resolution.from.iter().any(|source| known.contains(source))
    }
}

/// All virtual machines.
#[derive(Debug)]
pub(super) struct Vms<K> {
    machines: BTreeMap<K, Vm>,
    ports: HashMap<u32, K>,
    macs: Macs,
    leases: Leases,
    /// Who was met as which machine.
    met: HashMap<IpAddr, K>,
    /// Of whom something is to be decided anew.
    stale: BTreeSet<K>,
}

impl<K> Default for Vms<K> {
    fn default() -> Self {
        Self {
            machines: BTreeMap::new(),
            ports: HashMap::new(),
            macs: Macs::default(),
            leases: Leases::default(),
            met: HashMap::new(),
            stale: BTreeSet::new(),
        }
    }
}

impl<K: Copy + Ord + Hash + Debug> Vms<K> {
    /// A machine is there, as its record says. What an earlier daemon wrote down counts until it is known better.
    pub(super) fn joined(&mut self, key: K, record: &Record, now: Instant) {
        let mut interfaces = record.interfaces.clone();
        interfaces.extend(&*record.interfaces_found);
        let listed = match &record.addresses {
            Addresses::Listed(list) => list.as_slice(),
            Addresses::Unknown | Addresses::SharedWithHost => &[],
        };
        let of = |source| {
            let is_of = move |place: &usize| source_at(&record.addresses_from, *place) == Some(source);
            listed.iter().enumerate().filter(move |(place, _)| is_of(place)).map(|(_, address)| *address)
        };
        let device = interfaces.first().copied().unwrap_or_default();
        let met: BTreeMap<_, _> = of(AddressSource::Neighbour)
            .map(|address| {
                let on = if address.scope_id == 0 { device } else { address.scope_id };
                (address.ip, Met { on, seen: now })
            })
            .collect();
        self.met.extend(met.keys().map(|&ip| (ip, key)));
        // A user may say anything of what it holds.
        let is_private = record.private_to().is_some();
        let is_told = !record.interfaces.is_empty() || is_private;
        let vm = Vm {
            is_private,
            given: of(AddressSource::Given).collect(),
            met,
            resolution: record.resolution(),
            was_leased: of(AddressSource::Lease).map(|address| address.ip).collect(),
            searched: 0,
            search: (!is_told).then_some(now),
            look: now,
            pause: FIRST_LOOK,
            interfaces,
        };
        for &port in &vm.interfaces {
            self.claim(port, key, is_private);
        }
        self.machines.insert(key, vm);
        self.stale.insert(key);
    }

    /// A machine is gone.
    pub(super) fn left(&mut self, key: K) {
        self.stale.remove(&key);
        let Some(vm) = self.machines.remove(&key) else { return };
        self.met.retain(|_, other| *other != key);
        for port in vm.interfaces {
            if self.ports.get(&port) == Some(&key) {
                self.ports.remove(&port);
                self.macs.forget_port(port);
                let heir = self.machines.iter().filter(|(_, vm)| vm.interfaces.contains(&port));
                if let Some((&heir, _)) = heir.min_by_key(|(key, vm)| (vm.is_private, **key)) {
                    self.ports.insert(port, heir);
                    self.stale.insert(heir);
                }
            }
        }
    }

    /// An interface leads to one machine. What a user says of it does not count beside what others do.
    fn claim(&mut self, port: u32, key: K, is_private: bool) {
        let holder = self.ports.get(&port).copied();
        let gives_way = |holder: &K| !is_private && self.machines.get(holder).is_some_and(|vm| vm.is_private);
        if holder.as_ref().is_none_or(gives_way) {
            self.ports.insert(port, key);
            self.stale.extend(holder);
        }
    }

    /// Whether there is anything that leases could be of.
    pub(super) fn want_leases(&self) -> bool {
        !self.ports.is_empty()
    }

    /// Whether there is any such machine.
    pub(super) fn is_empty(&self) -> bool {
        self.machines.is_empty()
    }

    /// What the registrar gave, if there is such a machine.
    pub(super) fn give(&mut self, key: K, given: Vec<Address>) {
        if let Some(vm) = self.machines.get_mut(&key) {
            vm.given = given;
            self.stale.insert(key);
        }
    }

    /// What the name of a machine resolves to.
    pub(super) fn resolution(&self, key: K) -> Option<&Resolution> {
        self.machines.get(&key).map(|vm| &vm.resolution)
    }

    /// Which machines' interfaces are to be looked for now.
    pub(super) fn take_searches(&mut self, now: Instant) -> Vec<K> {
        let mut due = Vec::new();
        for (&key, vm) in &mut self.machines {
            if vm.search.is_some_and(|search| search <= now) {
                vm.searched = vm.searched.saturating_add(1);
                let after = SEARCHES.get(vm.searched).zip(SEARCHES.get(vm.searched.saturating_sub(1)));
                vm.search = after.and_then(|(next, last)| now.checked_add(next.saturating_sub(*last)));
                due.push(key);
            }
        }
        due
    }

    /// The interfaces that were found for a machine. Returns whether they are others than were known.
    pub(super) fn found(&mut self, key: K, found: &[u32], now: Instant) -> bool {
        let Some(vm) = self.machines.get_mut(&key) else { return false };
        let new: Vec<_> = found.iter().copied().filter(|port| !vm.interfaces.contains(port)).collect();
        if new.is_empty() {
            return false;
        }
        vm.interfaces.extend(&new);
        (vm.look, vm.pause) = (now, FIRST_LOOK);
        let is_private = vm.is_private;
        for port in new {
            self.claim(port, key, is_private);
        }
        self.stale.insert(key);
        true
    }

    /// These are all leases that are written down.
    pub(super) fn set_leases<'a>(
        &mut self,
        files: impl Iterator<Item = &'a Written>,
        host: &impl Host,
        at: Moment,
    ) {
        let changed = self.leases.replace(files);
        self.look_for(changed.macs.iter().copied(), host, at.now);
        let of_macs = changed.macs.iter().filter_map(|mac| self.macs.port(*mac));
        let ports = of_macs.chain(changed.interfaces);
        let concerned: Vec<_> = ports.filter_map(|port| self.ports.get(&port).copied()).collect();
        self.stale.extend(concerned);
    }

    /// Asks the bridges for the ports of hardware addresses. Those of whom somebody has one now are stale.
    fn look_for(&mut self, macs: impl Iterator<Item = Mac>, host: &impl Host, now: Instant) {
        let bridges: BTreeSet<_> = self.ports.keys().filter_map(|&port| host.bridge_of(port)).collect();
        let mut asked = 0_usize;
        for mac in macs {
            if asked >= MOST_ASKED {
                return;
            }
            asked = asked.saturating_add(bridges.len());
            let port = bridges.iter().find_map(|&bridge| host.port_of(bridge, mac));
            let before = self.macs.port(mac);
            let after = match self.note(mac, port, now) {
                None if port.is_none() => {
                    self.heir(mac, host).and_then(|port| self.note(mac, Some(port), now))
                }
                noted => noted,
            };
            if before != after {
                let ports = [before, after].into_iter().flatten();
                let concerned: Vec<_> = ports.filter_map(|port| self.ports.get(&port).copied()).collect();
                self.stale.extend(concerned);
            }
        }
    }

    fn note(&mut self, mac: Mac, port: Option<u32>, now: Instant) -> Option<u32> {
        self.macs.note(mac, port.filter(|port| self.ports.contains_key(port)), now)
    }

    /// The port of the machine that had a lease of this hardware address's before this daemon was there.
    fn heir(&self, mac: Mac, host: &impl Host) -> Option<u32> {
        let leases = self.leases.of_mac(mac);
        let vm = self
            .machines
            .values()
            .find(|vm| leases.iter().any(|lease| vm.was_leased.contains(&lease.ip)))
            .filter(|_| !leases.is_empty())?;
        vm.interfaces.iter().copied().find(|&port| host.bridge_of(port).is_some())
    }

    /// Looks at neighbours, if that is due, and for those who have leases and were silent.
    pub(super) fn look(&mut self, host: &impl Host, at: Moment) {
        let soon = at.now.checked_add(TOGETHER).unwrap_or(at.now);
        if !self.machines.values().any(|vm| vm.wants_neighbours() && vm.look <= at.now) {
            return;
        }
        let due: Vec<_> = self
            .machines
            .iter()
            .filter(|(_, vm)| vm.wants_neighbours() && vm.look <= soon)
            .map(|(key, _)| *key)
            .collect();
        let silent: Vec<_> = self.leases.macs().filter(|&mac| self.macs.port(mac).is_none()).collect();
        self.look_for(silent.into_iter(), host, at.now);
        let ports = due.iter().filter_map(|key| self.machines.get(key)).flat_map(|vm| vm.interfaces.iter());
        let devices: BTreeMap<_, _> =
            ports.map(|&port| host.bridge_of(port).map_or((port, false), |bridge| (bridge, true))).collect();
        for (device, is_bridge) in devices {
            self.meet(device, is_bridge, host, at.now);
        }
        for key in due {
            let Some(vm) = self.machines.get_mut(&key) else { continue };
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
            vm.pause =
                if vm.met.is_empty() { vm.pause.saturating_mul(2).min(LATER_LOOKS) } else { LATER_LOOKS };
        }
    }

    /// Takes in whom the kernel has met on an interface.
    fn meet(&mut self, device: u32, is_bridge: bool, host: &impl Host, now: Instant) {
        let mut asked: HashMap<Mac, Option<u32>> = HashMap::new();
        for Neighbour { ip, mac } in host.neighbours(device) {
            let port = if is_bridge {
                *asked.entry(mac).or_insert_with(|| {
                    let port = host.port_of(device, mac);
                    self.macs.note(mac, port.filter(|port| self.ports.contains_key(port)), now)
                })
            } else {
                Some(device)
            };
            let Some(&key) = port.and_then(|port| self.ports.get(&port)) else { continue };
            let Some(vm) = self.machines.get_mut(&key) else { continue };
            if let Some(known) = vm.met.get_mut(&ip) {
                *known = Met { on: device, seen: now };
                continue;
            }
            if vm.met.len() >= MOST {
                continue;
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

    /// Something of the host's network has changed. `concerns` is asked for each machine, with its addresses and the interfaces
    /// that lead there.
    pub(super) fn host_changed(&mut self, host: &impl Host, concerns: impl Fn(&[IpAddr], &[u32]) -> bool) {
        for (&key, vm) in &self.machines {
            let ips = match &vm.resolution.addresses {
                Addresses::Listed(list) => list.iter().map(|address| address.ip).collect(),
                Addresses::Unknown | Addresses::SharedWithHost => Vec::new(),
            };
            // What was given and is not told now may be told.
            let ips: Vec<_> = ips.into_iter().chain(vm.given.iter().map(|address| address.ip)).collect();
            if concerns(&ips, &ways(vm, host)) {
                self.stale.insert(key);
            }
        }
    }

    /// Another machine has these addresses now, or no more.
    pub(super) fn rival_changed(&mut self, rival: K, ips: &[IpAddr]) {
        for (&key, vm) in self.machines.iter().filter(|(key, _)| **key != rival) {
            let has = |ip: &IpAddr| {
                let is_told = matches!(&vm.resolution.addresses, Addresses::Listed(list) if list.iter().any(|address| address.ip == *ip));
                is_told || vm.met.contains_key(ip) || vm.given.iter().any(|address| address.ip == *ip)
            };
            if ips.iter().any(has) {
                self.stale.insert(key);
            }
        }
    }

    /// Decides anew what the names of those resolve to of whom something has changed. Returns what is new.
    pub(super) fn decide(
        &mut self,
        host: &impl Host,
        at: Moment,
        rival: impl Fn(K, IpAddr) -> Option<AddressSource>,
    ) -> Vec<(K, Resolution)> {
        let mut new = Vec::new();
        for key in std::mem::take(&mut self.stale) {
            let Some(said) = self.said(key, host, at) else { continue };
            let Some(vm) = self.machines.get_mut(&key) else { continue };
            let resolution = if vm.interfaces.is_empty() && vm.given.is_empty() {
                Resolution::default()
            } else {
                decide(&said, &ways(vm, host), |address| host.route(address), |ip| rival(key, ip))
            };
            let wanted = vm.wants_neighbours();
            vm.resolution = resolution.clone();
            if vm.wants_neighbours() && !wanted {
                (vm.look, vm.pause) = (at.now, FIRST_LOOK);
            }
            new.push((key, resolution));
        }
        new
    }

    fn said(&self, key: K, host: &impl Host, at: Moment) -> Option<Said> {
        let vm = self.machines.get(&key)?;
        let mut leases: Vec<_> = self.leases_of(key, vm, host, at).collect();
        leases.sort_unstable_by_key(|lease| (std::cmp::Reverse(lease.ends.unwrap_or(u64::MAX)), lease.ip));
        let mut neighbours: Vec<_> = vm
            .met
            .iter()
            .map(|(&ip, met)| {
                let is_of_a_link = matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local());
                (is_of_a_link, Address { ip, scope_id: if is_of_a_link { met.on } else { 0 } })
            })
            .collect();
        // Those of a link come last.
        neighbours.sort_by_key(|(is_of_a_link, _)| *is_of_a_link);
        Some(Said {
            given: vm.given.clone(),
            leases: leases.into_iter().map(|lease| lease.ip).collect(),
            neighbours: neighbours.into_iter().map(|(_, address)| address).collect(),
        })
    }

    fn leases_of(&self, key: K, vm: &Vm, host: &impl Host, at: Moment) -> impl Iterator<Item = Lease> {
        let own = vm.interfaces.iter().copied().filter(move |port| self.ports.get(port) == Some(&key));
        let mut leases = Vec::new();
        for port in own {
            if host.bridge_of(port).is_some() {
                leases.extend(self.macs.behind(port).flat_map(|mac| self.leases.of_mac(mac)).copied());
            } else {
                leases.extend(self.leases.on(port).iter().copied());
            }
        }
        leases.into_iter().filter(move |lease| lease.ends.is_none_or(|end| end > at.realtime))
    }

    /// When something is to be done: an interface to be looked for, neighbours to be looked at.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let searches = self.machines.values().filter_map(|vm| vm.search);
        let looks = self.machines.values().filter(|vm| vm.wants_neighbours()).map(|vm| vm.look);
        searches.chain(looks).min()
    }

    /// When the first of the leases that are told ends, in seconds of `CLOCK_REALTIME`.
    pub(super) fn next_end(&self, host: &impl Host, at: Moment) -> Option<u64> {
        let leased =
            self.machines.iter().filter(|(_, vm)| vm.resolution.from.contains(&AddressSource::Lease));
        leased.flat_map(|(key, vm)| self.leases_of(*key, vm, host, at)).filter_map(|lease| lease.ends).min()
    }

    /// Leases have ended.
    pub(super) fn lease_ended(&mut self) {
        let leased =
            self.machines.iter().filter(|(_, vm)| vm.resolution.from.contains(&AddressSource::Lease));
        let leased: Vec<_> = leased.map(|(key, _)| *key).collect();
        self.stale.extend(leased);
    }

    /// Whether something is to be decided anew.
    pub(super) fn is_stale(&self) -> bool {
        !self.stale.is_empty()
    }
}

/// The host's interfaces that lead to a machine, and their bridges.
fn ways(vm: &Vm, host: &impl Host) -> Vec<u32> {
    let bridges = vm.interfaces.iter().filter_map(|&port| host.bridge_of(port));
    vm.interfaces.iter().copied().chain(bridges).collect()
}
