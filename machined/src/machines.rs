//! The table of machines: a state machine that knows neither files nor sockets.
//!
//! What happens comes in as a call; what has to be done comes out as [`Effect`]s, in the order in which it has to
//! be done. Every call costs O(log n) at most, and as many steps as the machine has addresses and pages of ids.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

use registry::{Addresses, Alias, IdKind, IdList, IdRange, MachineName, Record};

mod holders;
mod ids;
mod reserved;

pub use reserved::Reserved;
mod key;

use crate::unit_part::PAYLOAD;
use holders::{Change, Holders};
use ids::Ids;
pub use key::Key;

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
    /// Point the link of this control group at the machine.
    IndexGroup(String, MachineName),
    /// Remove the link of this control group: no machine has it, or more than one.
    UnindexGroup(String),
    /// Point the link of this leader at the machine, which has neither a unit nor a control group.
    IndexLeader(i32, MachineName),
    /// Remove the link of this leader.
    UnindexLeader(i32),
    /// Write this list of the id index, or remove it, as the [table](Machines::id_list) says.
    IndexIds(IdKind, IdList),
    /// Point the link of this alias at the machine, or remove it, as the [table](Machines::alias) says.
    IndexAlias(Alias),
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
    machines: BTreeMap<Key, Box<Record>>,
    /// Names are mostly short, and a [`MachineName`] has room for the longest.
    by_name: HashMap<Box<str>, Key>,
    by_leader: HashMap<i32, Key>,
    /// The leaders of machines that have neither a unit nor a control group.
    by_lone_leader: HashMap<i32, Key>,
    by_unit: HashMap<String, Key>,
    /// Machines that share a unit may share a group of it.
    by_group: Holders<String>,
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
        self.by_name.get(name.as_str()).copied()
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
        self.by_unit.get(unit).copied()
    }

    /// The machine whose own control group is this one, or the nearest above it. One that two machines have is neither's.
    pub fn by_group(&self, path: &str) -> Option<Key> {
        let mut path = path;
        while !path.is_empty() {
            if let Some(key) = self.by_group.only(path) {
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

    /// What stands in the way of this machine, in the order of the original: its name, its leader, its unit. A name that
    /// is a user's alone does not stand in the way of one that is everybody's, which takes its place.
    pub fn conflict(&self, record: &Record) -> Option<Conflict> {
        let is_private = |key: &Key| self.get(*key).is_some_and(|record| record.private_to().is_some());
        let name = || {
            let gives_way = |key: &Key| record.private_to().is_none() && is_private(key);
            self.by_name(&record.name).filter(|key| !gives_way(key)).map(Conflict::Name)
        };
        let leader = || self.by_leader(record.leader?.pid).map(Conflict::Leader);
        let unit = || self.by_unit(own_unit(record)?).map(Conflict::Unit);
        name().or_else(leader).or_else(unit)
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
        self.by_name.insert(record.name.as_str().into(), key);
        if let Some(leader) = record.leader {
            self.by_leader.insert(leader.pid, key);
        }
        let mut effects = vec![Effect::Publish(key)];
        if let Some(unit) = own_unit(&record) {
            self.by_unit.insert(unit.into(), key);
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
        if let Some(group) = group {
            let change = self.by_group.gain(group.clone(), key);
            effects.extend(change.and_then(|change| self.group_effect(group, change)));
        }
        for ip in addresses {
            effects.extend(self.gain(ip, key));
        }
        effects.extend(self.gain_ids(key));
        effects.extend(self.named_as_alias(&name));
        (key, effects)
    }

    /// Takes out a machine, whatever became of it.
    pub fn remove(&mut self, key: Key) -> Option<(Record, Vec<Effect>)> {
        // First the entries of the id index, which answer in the place of the record.
        let has_ended = self.ended.remove(&key);
        let mut effects = if has_ended { Vec::new() } else { self.lose_ids(key) };
        let addresses = if has_ended { Vec::new() } else { self.lose_leader(key) };
        let record = *self.machines.remove(&key)?;
        effects.push(Effect::Withdraw(record.name));
        self.by_name.remove(record.name.as_str());
        if let Some(uid) = record.uid
            && let Some(count) = self.by_owner.get_mut(&uid)
        {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.by_owner.remove(&uid);
            }
        }
        if let Some(unit) = own_unit(&record) {
            self.by_unit.remove(unit);
            effects.push(Effect::UnlinkUnit(unit.into()));
        }
        if let Some(pid) = lone_leader(&record).filter(|pid| self.by_lone_leader.get(pid) == Some(&key)) {
            self.by_lone_leader.remove(&pid);
            effects.push(Effect::UnindexLeader(pid));
        }
        if let Some(group) = record.cgroup.as_ref().filter(|_| is_told_of_processes(&record)) {
            let change = self.by_group.lose(group.as_str(), key);
            effects.extend(change.and_then(|change| self.group_effect(group.clone(), change)));
        }
        effects.extend(addresses);
        effects.extend(self.named_as_alias(&record.name));
        Some((record, effects))
    }

    /// Takes in what a machine's name resolves to now, and whether the host reaches it there. Nothing is to be done if that is
    /// what was known.
    pub fn set_addresses(&mut self, key: Key, addresses: Addresses, is_reached: bool) -> Vec<Effect> {
        if self.ended.contains(&key) {
            return Vec::new();
        }
        let Some(mut record) = self.machines.remove(&key) else { return Vec::new() };
        let is_known = record.addresses == addresses && record.is_reached == is_reached;
        let old = self.ips(&record);
        (record.addresses, record.is_reached) = (addresses, is_reached);
        let new = self.ips(&record);
        self.machines.insert(key, record);
        if is_known {
            return Vec::new();
        }
        let mut effects = vec![Effect::Publish(key)];
        effects.extend(self.exchange(key, &old, &new));
        effects
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
        if let Some((id, group)) = group {
            (record.cgroup, record.cgroup_id) = (Some(group.clone()), id);
            if !is_told_of_processes(record) {
                return effects;
            }
            let change = self.by_group.gain(group.clone(), key);
            effects.extend(change.and_then(|change| self.group_effect(group, change)));
        }
        effects
    }

    fn gain_ids(&mut self, key: Key) -> Vec<Effect> {
        let Some(record) = self.machines.get(&key) else { return Vec::new() };
        let users = self.uids.gain(ids::map(record, IdKind::User), key);
        let groups = self.gids.gain(ids::map(record, IdKind::Group), key);
        let alias = ids::needs_alias(record).then(|| Alias::of(&record.name));
        if let Some(alias) = alias {
            self.by_alias.entry(alias).or_default().push(key);
        }
        index_effects(users, groups, alias)
    }

    fn lose_ids(&mut self, key: Key) -> Vec<Effect> {
        let Some(record) = self.machines.get(&key) else { return Vec::new() };
        let users = self.uids.lose(ids::map(record, IdKind::User), key);
        let groups = self.gids.lose(ids::map(record, IdKind::Group), key);
        let alias = ids::needs_alias(record).then(|| Alias::of(&record.name));
        if let Some(alias) = alias {
            let keys = self.by_alias.entry(alias).or_default();
            keys.retain(|&other| other != key);
            if keys.is_empty() {
                self.by_alias.remove(&alias);
            }
        }
        index_effects(users, groups, alias)
    }

    /// A machine came or went whose name is the alias of another one.
    fn named_as_alias(&self, name: &MachineName) -> Option<Effect> {
        let alias = Alias::parse(name.as_bytes())?;
        self.by_alias.contains_key(&alias).then_some(Effect::IndexAlias(alias))
    }

    /// The machine that an alias stands for: the only one that needs it, unless another has it for a name.
    pub fn alias(&self, alias: &Alias) -> Option<&MachineName> {
        let [only] = self.by_alias.get(alias)?.as_slice() else { return None };
        let is_name = self.by_name.contains_key(alias.as_str());
        self.machines.get(only).filter(|_| !is_name).map(|record| &record.name)
    }

    /// The aliases that may stand for a machine.
    pub fn aliases(&self) -> impl Iterator<Item = &Alias> {
        self.by_alias.keys()
    }

    /// The text of a list of the id index; `None` if there is none.
    pub fn id_list(&self, kind: IdKind, list: IdList) -> Option<String> {
        self.ids(kind).text(list, |key| self.get(key))
    }

    /// Who has an id of the host, and which id it is inside.
    pub fn holders(&self, kind: IdKind, id: u32) -> impl Iterator<Item = (Key, u32)> {
        self.ids(kind).holders(id)
    }

    /// The lists of the id index.
    pub fn id_lists(&self, kind: IdKind) -> impl Iterator<Item = IdList> {
        self.ids(kind).lists()
    }

    const fn ids(&self, kind: IdKind) -> &Ids {
        match kind {
            IdKind::User => &self.uids,
            IdKind::Group => &self.gids,
        }
    }

    /// The addresses that lead to a machine, each once: those at which the host reaches it. Those of one link may be anybody's
    /// on another. To a machine whose name is a user's alone, or means something else, none leads.
    fn ips(&self, record: &Record) -> Vec<IpAddr> {
        let mut ips = match &record.addresses {
            Addresses::Listed(list) if record.is_reached && record.private_to().is_none() => {
                let permits = self.reserved.permits(&record.name);
                let leads =
                    |ip: &IpAddr| !matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local()) && permits(*ip);
                list.iter().map(|address| address.ip).filter(leads).collect()
            }
            _ => Vec::new(),
        };
        ips.sort_unstable();
        ips.dedup();
        ips
    }

    /// Takes in which names mean something else than a machine.
    pub fn set_reserved(&mut self, reserved: Reserved) -> Vec<Effect> {
        if self.reserved == reserved {
            return Vec::new();
        }
        let ips = |machines: &Self| -> Vec<_> {
            let living = machines.iter().filter(|(key, _)| !machines.has_ended(*key));
            living.map(|(key, record)| (key, machines.ips(record))).collect()
        };
        let before = ips(self);
        self.reserved = reserved;
        let mut effects = Vec::new();
        for ((key, old), (_, new)) in before.into_iter().zip(ips(self)) {
            effects.extend(self.exchange(key, &old, &new));
        }
        effects
    }

    /// A machine has other addresses than it had.
    fn exchange(&mut self, key: Key, old: &[IpAddr], new: &[IpAddr]) -> Vec<Effect> {
        let mut effects = Vec::new();
        for &ip in old.iter().filter(|ip| !new.contains(ip)) {
            effects.extend(self.lose(ip, key));
        }
        for &ip in new.iter().filter(|ip| !old.contains(ip)) {
            effects.extend(self.gain(ip, key));
        }
        effects
    }

    fn gain(&mut self, ip: IpAddr, key: Key) -> Option<Effect> {
        let change = self.by_address.gain(ip, key)?;
        self.address_effect(ip, change)
    }

    fn lose(&mut self, ip: IpAddr, key: Key) -> Option<Effect> {
        let change = self.by_address.lose(&ip, key)?;
        self.address_effect(ip, change)
    }

    fn address_effect(&self, ip: IpAddr, change: Change) -> Option<Effect> {
        match change {
            Change::Only(key) => self.name(key).map(|name| Effect::IndexAddress(ip, name)),
            Change::Nobodys => Some(Effect::UnindexAddress(ip)),
        }
    }

    fn group_effect(&self, group: String, change: Change) -> Option<Effect> {
        match change {
            Change::Only(key) => self.name(key).map(|name| Effect::IndexGroup(group, name)),
            Change::Nobodys => Some(Effect::UnindexGroup(group)),
        }
    }

    fn name(&self, key: Key) -> Option<MachineName> {
        self.machines.get(&key).map(|record| record.name)
    }

    /// What the address index has to say: each address that one machine alone has.
    pub fn index(&self) -> impl Iterator<Item = (IpAddr, MachineName)> {
        self.by_address.iter().filter_map(|(&ip, key)| Some((ip, self.name(key)?)))
    }

    /// The machines that are all of a unit whose link leads to them, with that.
    pub fn units(&self) -> impl Iterator<Item = (&str, MachineName)> {
        self.by_unit.iter().filter_map(|(unit, key)| {
            let record = self.machines.get(key).filter(|record| is_told_of_processes(record))?;
            Some((&**unit, record.name))
        })
    }

    /// The whole group index: the machine of each control group that is one.
    pub fn groups(&self) -> impl Iterator<Item = (&str, MachineName)> {
        self.by_group.iter().filter_map(|(group, key)| Some((group.as_str(), self.name(key)?)))
    }
}

fn index_effects(
    users: impl IntoIterator<Item = IdList>,
    groups: impl IntoIterator<Item = IdList>,
    alias: Option<Alias>,
) -> Vec<Effect> {
    // The alias first: by name a machine is found without the lists.
    let lists = |kind| move |list| Effect::IndexIds(kind, list);
    let users = users.into_iter().map(lists(IdKind::User));
    alias
        .map(Effect::IndexAlias)
        .into_iter()
        .chain(users)
        .chain(groups.into_iter().map(lists(IdKind::Group)))
        .collect()
}

/// The leader of a machine that has neither a unit nor a control group.
fn lone_leader(record: &Record) -> Option<i32> {
    let is_alone = record.unit.is_none() && record.cgroup.is_none() && is_told_of_processes(record);
    record.leader.filter(|_| is_alone).map(|leader| leader.pid)
}

/// The unit that a machine has for itself. A machine in a subgroup shares its unit with others, unless the rest of
/// the unit is there for the machine alone.
pub fn own_unit(record: &Record) -> Option<&str> {
    record.unit.as_deref().filter(|_| record.subgroup.as_deref().is_none_or(|subgroup| subgroup == PAYLOAD))
}

/// Whether the links of a machine's unit and control group lead to it, so that it is found by its processes. What is a user's
/// alone could else be said of others' processes: only units below that user's own slice count, and groups made for it.
fn is_told_of_processes(record: &Record) -> bool {
    let Some(uid) = record.private_to() else { return true };
    let (Some(group), Some(unit)) = (&record.cgroup, &record.unit) else { return record.cgroup_id.is_some() };
    let slice = format!("user-{uid}.slice");
    let subgroup = record.subgroup.as_deref().unwrap_or_default();
    let of_unit = group.strip_suffix(subgroup).unwrap_or(group).trim_end_matches('/');
    // What is above the unit, the outermost one, is the service manager's own doing.
    of_unit.strip_suffix(unit.as_str()).is_some_and(|slices| slices.split('/').any(|part| part == slice))
}

#[cfg(test)]
mod tests;
