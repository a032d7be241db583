//! The table of machines: a state machine that knows neither files nor sockets.
//!
//! What happens comes in as a call; what has to be done comes out as [`Effect`]s, in the order in which it has to
//! be done. Every call costs O(log n) at most, and as many steps as the machine has addresses.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;

use registry::{Addresses, MachineName, Record};

/// A machine of this run of the daemon; never used twice.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Key(u64);

impl Key {
    /// The key as a number, for tables outside this process (epoll).
    pub const fn number(self) -> u64 {
        self.0
    }

    /// The key with this number.
    pub const fn of_number(number: u64) -> Self {
        Self(number)
    }
}

/// What a change of the table demands to be done.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Write the machine's record.
    Publish(Key),
    /// Remove the record of this name.
    Withdraw(MachineName),
    /// Point the link of this unit at the machine.
    LinkUnit(String, MachineName),
    /// Remove the link of this unit.
    UnlinkUnit(String),
    /// Point the link of this address at the machine, the only one that has it.
    IndexAddress(IpAddr, MachineName),
    /// Remove the link of this address: no machine has it, or more than one.
    UnindexAddress(IpAddr),
}

/// Why a machine cannot be registered: another one has what it needs for itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Conflict {
    /// The name.
    Name(Key),
    /// The leader.
    Leader(Key),
    /// The unit.
    Unit(Key),
}

/// The table.
#[derive(Debug, Default)]
pub struct Machines {
    /// In the order of registration.
    machines: BTreeMap<Key, Record>,
    by_name: HashMap<MachineName, Key>,
    by_leader: HashMap<i32, Key>,
    by_unit: HashMap<String, Key>,
    by_group: HashMap<String, Key>,
    by_address: HashMap<IpAddr, Vec<Key>>,
    next: u64,
}

impl Machines {
    /// How many machines there are.
    pub fn len(&self) -> usize {
        self.machines.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.machines.is_empty()
    }

    /// All machines in the order of their registration.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &Record)> {
        self.machines.iter().map(|(&key, record)| (key, record))
    }

    /// The first machine registered after this one: a way to go through all of them while they change.
    pub fn after(&self, key: Option<Key>) -> Option<(Key, &Record)> {
        let first = key.map_or(0, |key| key.0.saturating_add(1));
        self.machines.range(Key(first)..).next().map(|(&key, record)| (key, record))
    }

    /// A machine's record.
    pub fn get(&self, key: Key) -> Option<&Record> {
        self.machines.get(&key)
    }

    /// The machine of this name.
    pub fn by_name(&self, name: &MachineName) -> Option<Key> {
        self.by_name.get(name).copied()
    }

    /// The machine led by this process.
    pub fn by_leader(&self, pid: i32) -> Option<Key> {
        self.by_leader.get(&pid).copied()
    }

    /// The machine that is all of this unit.
    pub fn by_unit(&self, unit: &str) -> Option<Key> {
        self.by_unit.get(unit).copied()
    }

    /// The machine whose own control group is this one, or the nearest above it.
    pub fn by_group(&self, path: &str) -> Option<Key> {
        let mut path = path;
        while !path.is_empty() {
            if let Some(&key) = self.by_group.get(path) {
                return Some(key);
            }
            path = path.rsplit_once('/')?.0;
        }
        None
    }

    /// What stands in the way of this machine, in the order of the original: its name, its leader, its unit.
    pub fn conflict(&self, record: &Record) -> Option<Conflict> {
        let leader = || self.by_leader(record.leader?.pid).map(Conflict::Leader);
        let unit = || self.by_unit(own_unit(record)?).map(Conflict::Unit);
        self.by_name(&record.name).map(Conflict::Name).or_else(leader).or_else(unit)
    }

    /// Takes in a machine that has no [conflict](Self::conflict).
    pub fn insert(&mut self, record: Record) -> (Key, Vec<Effect>) {
        let key = Key(self.next);
        self.next = self.next.saturating_add(1);
        self.by_name.insert(record.name, key);
        if let Some(leader) = record.leader {
            self.by_leader.insert(leader.pid, key);
        }
        let mut effects = vec![Effect::Publish(key)];
        if let Some(unit) = own_unit(&record) {
            self.by_unit.insert(unit.into(), key);
            effects.push(Effect::LinkUnit(unit.into(), record.name));
        }
        if let Some(group) = &record.cgroup {
            self.by_group.insert(group.clone(), key);
        }
        let addresses = ips(&record.addresses);
        self.machines.insert(key, record);
        for ip in addresses {
            effects.extend(self.gain(ip, key));
        }
        (key, effects)
    }

    /// Takes out a machine, whatever became of it.
    pub fn remove(&mut self, key: Key) -> Option<(Record, Vec<Effect>)> {
        let record = self.machines.remove(&key)?;
        let mut effects = vec![Effect::Withdraw(record.name)];
        self.by_name.remove(&record.name);
        if let Some(leader) = record.leader {
            self.by_leader.remove(&leader.pid);
        }
        if let Some(unit) = own_unit(&record) {
            self.by_unit.remove(unit);
            effects.push(Effect::UnlinkUnit(unit.into()));
        }
        if let Some(group) = &record.cgroup {
            self.by_group.remove(group);
        }
        for ip in ips(&record.addresses) {
            effects.extend(self.lose(ip, key));
        }
        Some((record, effects))
    }

    /// Takes in what a machine's name resolves to now. Nothing is to be done if that is what was known.
    pub fn set_addresses(&mut self, key: Key, addresses: Addresses) -> Vec<Effect> {
        let Some(record) = self.machines.get_mut(&key) else { return Vec::new() };
        if record.addresses == addresses {
            return Vec::new();
        }
        let new = ips(&addresses);
        let old = ips(&std::mem::replace(&mut record.addresses, addresses));
        let mut effects = vec![Effect::Publish(key)];
        for &ip in old.iter().filter(|ip| !new.contains(ip)) {
            effects.extend(self.lose(ip, key));
        }
        for &ip in new.iter().filter(|ip| !old.contains(ip)) {
            effects.extend(self.gain(ip, key));
        }
        effects
    }

    fn gain(&mut self, ip: IpAddr, key: Key) -> Option<Effect> {
        let holders = self.by_address.entry(ip).or_default();
        holders.push(key);
        match holders.len() {
            1 => self.machines.get(&key).map(|record| Effect::IndexAddress(ip, record.name)),
            2 => Some(Effect::UnindexAddress(ip)),
            _ => None,
        }
    }

    fn lose(&mut self, ip: IpAddr, key: Key) -> Option<Effect> {
        let holders = self.by_address.get_mut(&ip)?;
        holders.retain(|&holder| holder != key);
        match holders.as_slice() {
            [] => {
                self.by_address.remove(&ip);
                Some(Effect::UnindexAddress(ip))
            }
            [last] => self.machines.get(last).map(|record| Effect::IndexAddress(ip, record.name)),
            _ => None,
        }
    }

    /// What the address index has to say: each address that one machine alone has.
    pub fn index(&self) -> impl Iterator<Item = (IpAddr, MachineName)> {
        self.by_address.iter().filter_map(|(&ip, holders)| match holders.as_slice() {
            [only] => self.machines.get(only).map(|record| (ip, record.name)),
            _ => None,
        })
    }
}

/// The group below its unit into which systemd-nspawn puts a container whose unit it manages itself.
const PAYLOAD: &str = "payload";

/// The unit that a machine has for itself. A machine in a subgroup shares its unit with others, unless the rest of
/// the unit is there for the machine alone.
pub fn own_unit(record: &Record) -> Option<&str> {
    record.unit.as_deref().filter(|_| record.subgroup.as_deref().is_none_or(|subgroup| subgroup == PAYLOAD))
}

/// The addresses of a record, each once.
fn ips(addresses: &Addresses) -> Vec<IpAddr> {
    let mut ips = match addresses {
        Addresses::Listed(list) => list.iter().map(|address| address.ip).collect(),
        Addresses::Unknown | Addresses::SharedWithHost => Vec::new(),
    };
    ips.sort_unstable();
    ips.dedup();
    ips
}

#[cfg(test)]
mod tests;
