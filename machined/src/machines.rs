//! The table of machines: a state machine that knows neither files nor sockets.
//!
//! What happens comes in as a call; what has to be done comes out as [`Effect`]s, in the order in which it has to
//! be done. Every call costs O(log n) at most, and as many steps as the machine has addresses and pages of ids.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

use registry::{Alias, IdRange, MachineName, Record, Resolution};

mod address_index;
mod by_text;
mod effect;
mod group_index;
mod holders;
mod id_index;
mod ids;
mod key;
mod names;
mod processes;
mod reserved;

use by_text::ByText;
pub use effect::Effect;
use holders::Holders;
use ids::Ids;
pub use key::Key;
pub use processes::own_unit;
use processes::{is_told_of_processes, lone_leader};
pub use reserved::Reserved;

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

/// The records, in the order of registration.
type Records = BTreeMap<Key, Box<Record>>;

/// The table.
#[derive(Debug, Default)]
pub struct Machines {
    machines: Records,
    by_name: ByText,
    /// Those whose names have capitals, by their names in lower case.
    by_lower_case: HashMap<Box<str>, Vec<Key>>,
    by_leader: HashMap<i32, Key>,
    /// The leaders of machines that have neither a unit nor a control group.
    by_lone_leader: HashMap<i32, Key>,
    by_unit: ByText,
    /// Machines that share a unit may share a group of it.
    by_group: ByText,
    by_address: Holders<IpAddr>,
    /// Those that need one.
    by_alias: BTreeMap<Alias, Vec<Key>>,
    uids: Ids,
    gids: Ids,
    by_owner: HashMap<u32, usize>,
    /// Whose leader has ended. They are known by name, unit and group alone.
    ended: HashSet<Key>,
    /// Names that no address may lead to.
    reserved: Reserved,
    next: u64,
}

impl Machines {
    /// How many machines there are.
    pub fn len(&self) -> usize {
        self.machines.len()
    }

    /// All machines in the order of their registration.
    pub fn iter(&self) -> impl Iterator<Item = (Key, &Record)> {
        self.machines.iter().map(|(&key, record)| (key, &**record))
    }

    /// The first machine registered after this one: a way to go through all of them while they change.
    pub fn after(&self, key: Option<Key>) -> Option<(Key, &Record)> {
        let first = key.map_or(0, |key| key.number().saturating_add(1));
        self.machines.range(Key::of_number(first)..).next().map(|(&key, record)| (key, &**record))
    }

    /// A machine's record.
    pub fn get(&self, key: Key) -> Option<&Record> {
        self.machines.get(&key).map(|record| &**record)
    }

    /// The machine of this name.
    pub fn by_name(&self, name: &MachineName) -> Option<Key> {
        self.named(name.as_str())
    }

    /// The machine led by this process.
    pub fn by_leader(&self, pid: i32) -> Option<Key> {
        self.by_leader.get(&pid).copied()
    }

    /// The machine led by this process, if it has neither a unit nor a control group: all that is known of its processes is
    /// whom they descend from.
    pub fn by_leader_alone(&self, pid: i32) -> Option<Key> {
        self.by_lone_leader.get(&pid).copied()
    }

    /// The leaders of the machines that have neither a unit nor a control group.
    pub fn lone_leaders(&self) -> impl Iterator<Item = (i32, MachineName)> {
        self.by_lone_leader.iter().filter_map(|(&pid, &key)| Some((pid, self.get(key)?.name)))
    }

    /// The machine that is all of this unit.
    pub fn by_unit(&self, unit: &str) -> Option<Key> {
        self.by_unit.only(unit, unit_of(&self.machines))
    }

    /// The machine whose own control group is this one, or the nearest above it. One that two machines have is neither's.
    pub fn by_group(&self, path: &str) -> Option<Key> {
        let mut path = path;
        while !path.is_empty() {
            if let Some(key) = self.by_group.only(path, group_of(&self.machines)) {
                return Some(key);
            }
            path = path.rsplit_once('/')?.0;
        }
        None
    }

    /// How many machines a user has registered.
    pub fn count_of(&self, uid: u32) -> usize {
        self.by_owner.get(&uid).copied().unwrap_or_default()
    }

    /// Whether the leader of a machine has ended.
    pub fn has_ended(&self, key: Key) -> bool {
        self.ended.contains(&key)
    }

    /// What stands in the way of this machine, in the order of the original: its name, its leader, its unit. A machine that
    /// is [a user's alone](Self::giving_way) does not stand in the way of one that takes its name for everybody.
    pub fn conflict(&self, record: &Record) -> Option<Conflict> {
        let gives_way = self.giving_way(record);
        let stands = |key: &Key| Some(*key) != gives_way;
        let name = || self.by_name(&record.name).filter(stands).map(Conflict::Name);
        let leader = || self.by_leader(record.leader?.pid).map(Conflict::Leader);
        let unit = || self.by_unit(own_unit(record)?).filter(stands).map(Conflict::Unit);
        name().or_else(leader).or_else(unit)
    }

    /// The machine of a user's alone whose name this one takes, as it is everybody's.
    pub fn giving_way(&self, record: &Record) -> Option<Key> {
        let is_private = |key: &Key| self.get(*key).is_some_and(|record| record.private_to().is_some());
        self.by_name(&record.name).filter(|key| record.private_to().is_none() && is_private(key))
    }

    /// Takes in a machine that has no [conflict](Self::conflict), and whose leader has ended.
    pub fn insert_ended(&mut self, mut record: Record) -> (Key, Vec<Effect>) {
        // Its number may be another leader's by now.
        let leader = record.leader.take();
        let (key, mut effects) = self.insert(record);
        effects.extend(self.leader_ended(key));
        if let Some(record) = self.machines.get_mut(&key) {
            record.leader = leader;
        }
        (key, effects)
    }

    /// Takes in that the leader of a machine has ended, which stays nevertheless. Neither its addresses nor its ids lead to
    /// it from now on; those who read its record see that for themselves.
    pub fn leader_ended(&mut self, key: Key) -> Vec<Effect> {
        if !self.machines.contains_key(&key) || self.has_ended(key) {
            return Vec::new();
        }
        let mut effects = self.lose_ids(key);
        effects.extend(self.leader_only_effect(key));
        effects.extend(self.lose_leader(key));
        self.ended.insert(key);
        effects
    }

    fn lose_leader(&mut self, key: Key) -> Vec<Effect> {
        let Some(record) = self.machines.get(&key) else { return Vec::new() };
        if let Some(leader) = record.leader {
            self.by_leader.remove(&leader.pid);
        }
        let ips = self.ips(record);
        ips.into_iter().filter_map(|ip| self.lose(ip, key)).collect()
    }

    /// Takes in a machine that has no [conflict](Self::conflict).
    pub fn insert(&mut self, record: Record) -> (Key, Vec<Effect>) {
        let key = Key::of_number(self.next);
        self.next = self.next.saturating_add(1);
        let lower = record.name.in_lower_case();
        let alike = self.in_any_case(&lower);
        self.gain_name(&record.name, key);
        if let Some(leader) = record.leader {
            self.by_leader.insert(leader.pid, key);
        }
        let mut effects = vec![Effect::Publish(key)];
        if let Some(unit) = own_unit(&record) {
            self.by_unit.gain(unit, key, unit_of(&self.machines));
            if is_told_of_processes(&record) {
                effects.push(Effect::LinkUnit(unit.into(), record.name));
            }
        }
        if let Some(pid) = lone_leader(&record) {
            self.by_lone_leader.insert(pid, key);
            effects.push(Effect::IndexLeader(pid, record.name));
        }
        if let Some(uid) = record.uid {
            let count = self.by_owner.entry(uid).or_default();
            *count = count.saturating_add(1);
        }
        let addresses = self.ips(&record);
        let group = record.cgroup.clone().filter(|_| is_told_of_processes(&record));
        let name = record.name;
        // Of its own: the nodes of the tree are half empty.
        self.machines.insert(key, Box::new(record));
        match group {
            Some(group) => effects.extend(self.gain_group(group, key)),
            None => effects.extend(self.leader_only_effect(key)),
        }
        for ip in addresses {
            effects.extend(self.gain(ip, key));
        }
        effects.extend(self.gain_ids(key));
        effects.extend(self.named_as_alias(&name));
        self.index_name(lower, alike, &mut effects);
        (key, effects)
    }

    /// Takes out a machine, whatever became of it.
    pub fn remove(&mut self, key: Key) -> Option<(Record, Vec<Effect>)> {
        // First the entries of the id index, which answer in the place of the record.
        let has_ended = self.ended.remove(&key);
        let mut effects = if has_ended { Vec::new() } else { self.lose_ids(key) };
        effects.extend(self.leader_only_effect(key).filter(|_| !has_ended));
        let addresses = if has_ended { Vec::new() } else { self.lose_leader(key) };
        let lower = self.get(key)?.name.in_lower_case();
        let alike = self.in_any_case(&lower);
        let record = *self.machines.remove(&key)?;
        effects.push(Effect::Withdraw(record.name));
        self.lose_name(&record.name, key);
        if let Some(uid) = record.uid
            && let Some(count) = self.by_owner.get_mut(&uid)
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.by_owner.remove(&uid);
            }
        }
        if let Some(unit) = own_unit(&record) {
            self.by_unit.lose(unit, key, unit_of(&self.machines));
            effects.push(Effect::UnlinkUnit(unit.into()));
        }
        if let Some(pid) = lone_leader(&record).filter(|pid| self.by_lone_leader.get(pid) == Some(&key)) {
            self.by_lone_leader.remove(&pid);
            effects.push(Effect::UnindexLeader(pid));
        }
        if let Some(group) = record.cgroup.as_ref().filter(|_| is_told_of_processes(&record)) {
            effects.extend(self.lose_group(group, key));
        }
        effects.extend(addresses);
        effects.extend(self.named_as_alias(&record.name));
        self.index_name(lower, alike, &mut effects);
        Some((record, effects))
    }

    /// Takes in what a machine's name resolves to now. Nothing is to be done if that is what was known.
    pub fn set_addresses(&mut self, key: Key, resolution: Resolution) -> Vec<Effect> {
        if self.ended.contains(&key) {
            return Vec::new();
        }
        let Some(mut record) = self.machines.remove(&key) else { return Vec::new() };
        let (old, known) = (self.ips(&record), record.resolution());
        record.resolve_to(resolution);
        let is_known = record.resolution() == known;
        let new = self.ips(&record);
        self.machines.insert(key, record);
        if is_known {
            return Vec::new();
        }
        let mut effects = vec![Effect::Publish(key)];
        effects.extend(self.exchange(key, &old, &new));
        effects
    }

    /// Takes in which of the host's interfaces were found to lead to a machine, beside those that were known.
    pub fn set_found(&mut self, key: Key, interfaces: Vec<u32>) -> Vec<Effect> {
        let Some(record) =
            self.machines.get_mut(&key).filter(|record| *record.interfaces_found != *interfaces)
        else {
            return Vec::new();
        };
        record.interfaces_found = interfaces.into();
        vec![Effect::Publish(key)]
    }

    /// Takes in the maps of a machine that were not there when it was registered. Nothing is to be done if they are
    /// what was known.
    pub fn set_maps(&mut self, key: Key, uid_map: Vec<IdRange>, gid_map: Vec<IdRange>) -> Vec<Effect> {
        let is_known = |record: &Record| record.uid_map == uid_map && record.gid_map == gid_map;
        if self.has_ended(key) || self.get(key).is_none_or(is_known) {
            return Vec::new();
        }
        let mut index = self.lose_ids(key);
        if let Some(record) = self.machines.get_mut(&key) {
            (record.uid_map, record.gid_map) = (uid_map, gid_map);
        }
        for effect in self.gain_ids(key) {
            if !index.contains(&effect) {
                index.push(effect);
            }
        }
        let mut effects = vec![Effect::Publish(key)];
        effects.append(&mut index);
        effects
    }

    /// Takes in the job that the service manager has for a machine's unit.
    pub fn set_scope_job(&mut self, key: Key, job: String) -> Vec<Effect> {
        let job = Some(job);
        let Some(record) = self.machines.get_mut(&key).filter(|record| record.scope_job != job) else {
            return Vec::new();
        };
        record.scope_job = job;
        vec![Effect::Publish(key)]
    }

    /// Takes in that the service manager's job for a machine's unit is done, and which control group the unit has (its id and
    /// its path), where that was not known yet.
    pub fn end_scope_job(&mut self, key: Key, group: Option<(Option<u64>, String)>) -> Vec<Effect> {
        let Some(record) = self.machines.get_mut(&key) else { return Vec::new() };
        let group = group.filter(|_| record.cgroup.is_none());
        if record.scope_job.take().is_none() && group.is_none() {
            return Vec::new();
        }
        let mut effects = vec![Effect::Publish(key)];
        // Its group may lead to it from now on.
        effects.extend(self.leader_only_effect(key).filter(|_| group.is_some()));
        let Some(record) = self.machines.get_mut(&key) else { return effects };
        if let Some((id, group)) = group {
            (record.cgroup, record.cgroup_id) = (Some(group.clone()), id);
            if !is_told_of_processes(record) {
                return effects;
            }
            effects.extend(self.gain_group(group, key));
        }
        effects
    }

    fn name(&self, key: Key) -> Option<MachineName> {
        self.machines.get(&key).map(|record| record.name)
    }

    /// The machines that are all of a unit whose link leads to them, with that.
    pub fn units(&self) -> impl Iterator<Item = (&str, MachineName)> {
        self.by_unit.keys().filter_map(|key| {
            let record = self.get(key).filter(|record| is_told_of_processes(record))?;
            Some((own_unit(record)?, record.name))
        })
    }

    /// The whole group index: the machine of each control group that is one.
    pub fn groups(&self) -> impl Iterator<Item = (&str, MachineName)> {
        self.by_group.keys().filter_map(|key| {
            let record = self.get(key)?;
            let group = record.cgroup.as_deref()?;
            let is_alone = self.by_group.only(group, group_of(&self.machines)) == Some(key);
            is_alone.then_some((group, record.name))
        })
    }
}

/// How the unit is found that a machine has for itself.
fn unit_of<'a>(machines: &'a Records) -> impl Fn(Key) -> Option<&'a str> {
    move |key| machines.get(&key).and_then(|record| own_unit(record))
}

/// How the control group of a machine is found.
fn group_of<'a>(machines: &'a Records) -> impl Fn(Key) -> Option<&'a str> {
    move |key| machines.get(&key).and_then(|record| record.cgroup.as_deref())
}

#[cfg(test)]
mod tests;
