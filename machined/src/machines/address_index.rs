//! Which addresses lead to which machine: that part of the table, and what the index on disk has to say of it.

use std::net::IpAddr;

use registry::{AddressSource, Addresses, MachineName, Record, source_at};

use super::Machines;
use super::effect::Effect;
use super::holders::Change;
use super::key::Key;
use super::reserved::Reserved;

impl Machines {
    /// The addresses that lead to a machine, each once: those at which the host reaches it. Those of one link may be anybody's
    /// on another, and what the kernel has met on the way to a machine is that one's word alone. To a machine whose name is a
    /// user's alone, or means something else, none leads.
    pub(super) fn ips(&self, record: &Record) -> Vec<IpAddr> {
        let mut ips = match &record.addresses {
            Addresses::Listed(list) if record.is_reached && record.private_to().is_none() => {
                let permits = self.reserved.permits(&record.name);
                let leads =
                    |ip: &IpAddr| !matches!(ip, IpAddr::V6(ip) if ip.is_unicast_link_local()) && permits(*ip);
                let is_known =
                    |place| source_at(&record.addresses_from, place) != Some(AddressSource::Neighbour);
                let known = list.iter().enumerate().filter(|(place, _)| is_known(*place));
                known.map(|(_, address)| address.ip).filter(leads).collect()
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
    pub(super) fn exchange(&mut self, key: Key, old: &[IpAddr], new: &[IpAddr]) -> Vec<Effect> {
        let mut effects = Vec::new();
        for &ip in old.iter().filter(|ip| !new.contains(ip)) {
            effects.extend(self.lose(ip, key));
        }
        for &ip in new.iter().filter(|ip| !old.contains(ip)) {
            effects.extend(self.gain(ip, key));
        }
        effects
    }

    pub(super) fn gain(&mut self, ip: IpAddr, key: Key) -> Option<Effect> {
        let change = self.by_address.gain(ip, key)?;
        self.address_effect(ip, change)
    }

    pub(super) fn lose(&mut self, ip: IpAddr, key: Key) -> Option<Effect> {
        let change = self.by_address.lose(ip, key)?;
        self.address_effect(ip, change)
    }

    fn address_effect(&self, ip: IpAddr, change: Change) -> Option<Effect> {
        match change {
            Change::Only(key) => self.name(key).map(|name| Effect::IndexAddress(ip, name)),
            Change::Nobodys if self.by_address.has(ip) => Some(Effect::IndexSharedAddress(ip)),
            Change::Nobodys => Some(Effect::UnindexAddress(ip)),
        }
    }

    /// The best source by which another machine than this one has an address, among those to whom it leads.
    pub fn rival(&self, key: Key, ip: IpAddr) -> Option<AddressSource> {
        let others = self.by_address.having(ip).filter(|other| *other != key);
        let source = |record: &Record| {
            let Addresses::Listed(list) = &record.addresses else { return None };
            let of = list.iter().enumerate().filter(|(_, address)| address.ip == ip);
            of.filter_map(|(place, _)| source_at(&record.addresses_from, place)).min()
        };
        others.filter_map(|other| source(self.get(other)?)).min()
    }

    /// What the address index has to say: of each address the machine that has it; `None` where there are several.
    pub fn index(&self) -> impl Iterator<Item = (IpAddr, Option<MachineName>)> {
        self.by_address.things().filter_map(|(ip, only)| match only {
            Some(key) => Some((ip, Some(self.name(key)?))),
            None => Some((ip, None)),
        })
    }
}
