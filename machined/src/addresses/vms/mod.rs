//! The addresses of virtual machines, which have no network namespace to look into: what registrars give, what DHCP servers on
//! this host have leased, and whom the kernel has met.
//!
//! [`Vms`] is the state of it, and knows no sockets: it asks the host through [`Host`], and is told when to look. Leases are
//! matched by the hardware addresses behind a machine's port of a bridge; on an interface that is in no bridge, all that is
//! leased there is the machine's.

mod decide;
mod lease;
mod lease_files;
mod leased;
mod leases;
mod look;
mod macs;
mod met;
mod taps;
#[cfg(test)]
mod tests;

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, HashMap, hash_map};
use std::fmt::Debug;
use std::hash::Hash;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use registry::{Address, AddressSource, Addresses, Record, Resolution, source_at};

use self::decide::{Said, decide};
use self::leases::Leases;
use self::look::{FIRST_LOOK, Look, Met};
use self::macs::Macs;
use super::neighbour::{Mac, Neighbour};
use super::route::Route;

pub(super) use self::decide::is_nobodys;
pub(super) use self::lease_files::LeaseFiles;
pub(super) use self::leases::{Changes, Entry};
pub(super) use self::taps::of_leader;

/// When interfaces are looked for, after the machine is there.
const SEARCHES: [Duration; 3] = [Duration::ZERO, Duration::from_secs(1), Duration::from_secs(5)];
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

/// A virtual machine.
#[derive(Debug)]
struct Vm {
    /// Its name is a user's alone, whose word counts for nobody else.
    is_private: bool,
    interfaces: Vec<u32>,
    given: Vec<Address>,
    met: BTreeMap<IpAddr, Met>,
    resolution: Resolution,
    /// What it had leased before this daemon. That counts until it is known what is; and the bridge may have forgotten since
    /// that it is there.
    was_leased: Vec<IpAddr>,
    /// When the first of its leases ends that count, in seconds of `CLOCK_REALTIME`.
    first_end: Option<u64>,
    /// What was said to be its addresses when that was decided last.
    considered: Vec<IpAddr>,
    /// How often its interfaces were looked for, and when that is done next.
    searched: usize,
    search: Option<Instant>,
    /// When neighbours are looked at, and after what time again.
    look: Instant,
    pause: Duration,
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
    /// Who had leased what before this daemon.
    heirs: HashMap<IpAddr, K>,
    /// Whether it is known what is leased on this host.
    is_read: bool,
    /// The bridges of the ports, as they were when there was something to be done last.
    bridges: BTreeSet<u32>,
    /// The hardware addresses whose ports are to be asked for.
    asked: BTreeSet<Mac>,
    /// The look at neighbours that is not over.
    look: Look<K>,
    /// Of whom an address was considered.
    considered: HashMap<IpAddr, BTreeSet<K>>,
    /// Those of whom an address is another machine's, too.
    outdone: BTreeSet<K>,
    /// Of whom something is to be decided anew.
    stale: BTreeSet<K>,
}

/// What was done of what is due.
pub(super) enum Step<K> {
    /// There was nothing to do.
    Nothing,
    /// Something.
    Some,
    /// It was decided what the name of a machine resolves to.
    Decided(K, Resolution),
}

impl<K> Default for Vms<K> {
    fn default() -> Self {
        Self {
            machines: BTreeMap::new(),
            ports: HashMap::new(),
            macs: Macs::default(),
            leases: Leases::default(),
            met: HashMap::new(),
            heirs: HashMap::new(),
            is_read: false,
            bridges: BTreeSet::new(),
            asked: BTreeSet::new(),
            look: Look::default(),
            considered: HashMap::new(),
            outdone: BTreeSet::new(),
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
            first_end: None,
            considered: Vec::new(),
            searched: 0,
            search: (!is_told).then_some(now),
            look: now,
            pause: FIRST_LOOK,
            interfaces,
        };
        for &port in &vm.interfaces {
            self.claim(port, key, is_private);
        }
        self.heirs.extend(vm.was_leased.iter().map(|&ip| (ip, key)));
        self.machines.insert(key, vm);
        self.stale.insert(key);
    }

    /// A machine is gone.
    pub(super) fn left(&mut self, key: K) {
        self.stale.remove(&key);
        let Some(vm) = self.machines.remove(&key) else { return };
        self.consider(key, &vm.considered, &[]);
        self.outdone.remove(&key);
        for ip in vm.met.keys() {
            forget(&mut self.met, ip, key);
        }
        for ip in &vm.was_leased {
            forget(&mut self.heirs, ip, key);
        }
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

    /// Whether there is anything that leases could be of. Where there is not, none are known from now on.
    pub(super) fn want_leases(&mut self) -> bool {
        if self.ports.is_empty() {
            (self.leases, self.is_read) = (Leases::default(), false);
        }
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

    /// Another machine has these addresses now; it may have had others before.
    pub(super) fn rival_changed(&mut self, rival: K, ips: &[IpAddr]) {
        let considered = ips.iter().filter_map(|ip| self.considered.get(ip)).flatten();
        let concerned = considered.chain(&self.outdone).filter(|key| **key != rival);
        self.stale.extend(concerned);
    }

    /// Begins to do what is due. It is done by [`Self::step`].
    pub(super) fn begin(&mut self, host: &impl Host, at: Moment) {
        self.bridges = self.ports.keys().filter_map(|&port| host.bridge_of(port)).collect();
        self.end_leases(at);
        self.begin_look(host, at);
    }

    /// Does a small part of what is due. `rival` says by which source another machine than this one has an address.
    pub(super) fn step(
        &mut self,
        host: &impl Host,
        at: Moment,
        rival: impl Fn(K, IpAddr) -> Option<AddressSource>,
    ) -> Step<K> {
        if let Some(mac) = self.asked.pop_first() {
            self.ask(mac, host, at.now);
        } else if self.go_on_looking(host, at) {
        } else if let Some(key) = self.stale.pop_first() {
            if let Some(resolution) = self.decide(key, host, at, |ip| rival(key, ip)) {
                return Step::Decided(key, resolution);
            }
        } else {
            return Step::Nothing;
        }
        Step::Some
    }

    /// Decides what the name of a machine resolves to.
    pub(super) fn decide(
        &mut self,
        key: K,
        host: &impl Host,
        at: Moment,
        rival: impl Fn(IpAddr) -> Option<AddressSource>,
    ) -> Option<Resolution> {
        self.stale.remove(&key);
        let vm = self.machines.get(&key)?;
        let (leases, first_end) = self.leased(key, vm, host, at);
        let said = Said { given: vm.given.clone(), leases, neighbours: vm.neighbours() };
        let is_outdone = Cell::new(false);
        let resolution = if vm.interfaces.is_empty() && vm.given.is_empty() {
            Resolution::default()
        } else {
            let rival = |ip| rival(ip).inspect(|_| is_outdone.set(true));
            decide(&said, &ways(vm, host), |address| host.route(address), rival)
        };
        let considered: Vec<_> = said.ips().collect();
        let vm = self.machines.get_mut(&key)?;
        let before = std::mem::replace(&mut vm.considered, considered.clone());
        let wanted = vm.wants_neighbours();
        vm.resolution = resolution.clone();
        vm.first_end = first_end;
        if vm.wants_neighbours() && !wanted {
            (vm.look, vm.pause) = (at.now, FIRST_LOOK);
        }
        self.consider(key, &before, &considered);
        if is_outdone.get() {
            self.outdone.insert(key);
        } else {
            self.outdone.remove(&key);
        }
        Some(resolution)
    }

    /// Takes in that these addresses were considered for a machine, instead of those before.
    fn consider(&mut self, key: K, before: &[IpAddr], now: &[IpAddr]) {
        if before == now {
            return;
        }
        for ip in before {
            if let hash_map::Entry::Occupied(mut keys) = self.considered.entry(*ip) {
                keys.get_mut().remove(&key);
                if keys.get().is_empty() {
                    keys.remove();
                }
            }
        }
        for ip in now {
            self.considered.entry(*ip).or_default().insert(key);
        }
    }

    /// When something is to be done: an interface to be looked for, neighbours to be looked at.
    pub(super) fn next_deadline(&self) -> Option<Instant> {
        let searches = self.machines.values().filter_map(|vm| vm.search);
        let looks = self.machines.values().filter(|vm| vm.wants_neighbours()).map(|vm| vm.look);
        searches.chain(looks).min()
    }

    /// Whether something is to be done now.
    pub(super) fn is_stale(&self) -> bool {
        !self.stale.is_empty() || !self.asked.is_empty()
    }
}

/// Takes a key away from an address, if it is this one's.
fn forget<K: PartialEq>(map: &mut HashMap<IpAddr, K>, ip: &IpAddr, key: K) {
    if map.get(ip) == Some(&key) {
        map.remove(ip);
    }
}

/// The host's interfaces that lead to a machine, and their bridges.
fn ways(vm: &Vm, host: &impl Host) -> Vec<u32> {
    let bridges = vm.interfaces.iter().filter_map(|&port| host.bridge_of(port));
    vm.interfaces.iter().copied().chain(bridges).collect()
}
