//! The record of one machine, owned: [`Record::parse`] and [`Record::emit`].

use std::borrow::ToOwned;
use std::boxed::Box;
use std::fmt::Display;
use std::string::{String, ToString};
use std::vec::Vec;

use crate::address_source::{Sources, shortest};
use crate::decimal::parse_decimal;
use crate::env_file::{pairs, push_line};
use crate::owner::private_to;
use crate::{
    Address, AddressSource, Class, Error, IdRange, Key, LeaderIdentity, MachineId, MachineName, RECORD_MAX,
};

mod keys;

/// A process, as a record names it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Process {
    /// Its id, positive.
    pub pid: i32,
    /// The inode number of its pidfd; `None` on kernels whose pidfds have none.
    pub pidfd_id: Option<u64>,
}

/// What a machine's name resolves to.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub enum Addresses {
    /// Not known: another daemon wrote the record.
    #[default]
    Unknown,
    /// The machine shares the host's network.
    SharedWithHost,
    /// These, in this order; perhaps none at the moment.
    Listed(Vec<Address>),
}

/// What a machine's name resolves to, and what is known of that.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Resolution {
    /// The addresses.
    pub addresses: Addresses,
    /// Where they are known from, in their order, as [`source_at`](crate::source_at) reads it.
    pub from: Sources,
    /// Whether the host reaches the machine at them, by its own routes.
    pub is_reached: bool,
}

/// Everything published about a machine. The fields are documented in systemd's terms, org.freedesktop.machine1(5).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// The machine's name, also that of the file.
    pub name: MachineName,
    /// Container or virtual machine.
    pub class: Class,
    /// The uid that registered it.
    pub uid: Option<u32>,
    /// The systemd unit it runs in.
    pub unit: Option<String>,
    /// The control group below the unit, if the machine is not all of it.
    pub subgroup: Option<String>,
    /// The D-Bus path of the pending start job of the unit.
    pub scope_job: Option<String>,
    /// What started it, `systemd-nspawn` for example.
    pub service: Option<String>,
    /// Its root directory on the host, as its registrar says.
    pub root: Option<String>,
    /// The machine id inside.
    pub id: Option<MachineId>,
    /// The process that leads it.
    pub leader: Option<Process>,
    /// When the leader started, in clock ticks since boot.
    pub leader_start_time: Option<u64>,
    /// The inode of the PID namespace in which the process ids of the record mean something.
    pub pid_namespace: Option<u64>,
    /// The process that looks after it.
    pub supervisor: Option<Process>,
    /// When it was registered, microseconds of CLOCK_REALTIME.
    pub realtime: Option<u64>,
    /// When it was registered, microseconds of CLOCK_MONOTONIC.
    pub monotonic: Option<u64>,
    /// The host's network interfaces that lead to it.
    pub interfaces: Vec<u32>,
    /// Its AF_VSOCK context id.
    pub vsock_cid: Option<u32>,
    /// Where its SSH server is reached.
    pub ssh_address: Option<String>,
    /// The private key for it.
    pub ssh_private_key_path: Option<String>,
    /// The Varlink address of its manager.
    pub control_address: Option<String>,
    /// Whether the host reaches it at its addresses, by its own routes: then they lead back to its name.
    pub is_reached: bool,
    /// The host's network interfaces that lead to it, found by what its leader has open.
    pub interfaces_found: Box<[u32]>,
    /// What its name resolves to.
    pub addresses: Addresses,
    /// Where these are known from, as [`source_at`](crate::source_at) reads it.
    pub addresses_from: Sources,
    /// Whether whoever registered it has shown to be an administrator, so that its name is for everybody.
    pub is_public: bool,
    /// Its uid map.
    pub uid_map: Vec<IdRange>,
    /// Its gid map.
    pub gid_map: Vec<IdRange>,
    /// Its control group, subgroup included.
    pub cgroup: Option<String>,
    /// The id of that group, which is the inode number of its directory.
    pub cgroup_id: Option<u64>,
    /// Lines that this version does not know, kept as they are.
    pub unknown: Vec<(String, String)>,
}

impl Record {
    /// An empty record.
    pub fn new(name: MachineName, class: Class) -> Self {
        Self {
            name,
            class,
            uid: None,
            unit: None,
            subgroup: None,
            scope_job: None,
            service: None,
            root: None,
            id: None,
            leader: None,
            leader_start_time: None,
            pid_namespace: None,
            supervisor: None,
            realtime: None,
            monotonic: None,
            interfaces: Vec::new(),
            vsock_cid: None,
            ssh_address: None,
            ssh_private_key_path: None,
            control_address: None,
            is_reached: false,
            interfaces_found: Box::default(),
            addresses: Addresses::Unknown,
            addresses_from: Sources::default(),
            is_public: false,
            uid_map: Vec::new(),
            gid_map: Vec::new(),
            cgroup: None,
            cgroup_id: None,
            unknown: Vec::new(),
        }
    }

    /// Whose alone its name is: that of the user who registered it without being an administrator. `None`: everybody's.
    pub fn private_to(&self) -> Option<u32> {
        private_to(self.uid, self.is_public)
    }

    /// What the name resolves to from now on.
    pub fn resolve_to(&mut self, Resolution { addresses, from, is_reached }: Resolution) {
        (self.addresses, self.addresses_from, self.is_reached) = (addresses, from, is_reached);
        self.addresses_from = self.shortest_sources().into();
    }

    fn shortest_sources(&self) -> &[AddressSource] {
        match &self.addresses {
            Addresses::Listed(addresses) => shortest(&self.addresses_from, addresses.len()),
            Addresses::Unknown | Addresses::SharedWithHost => &[],
        }
    }

    /// What the name resolves to.
    pub fn resolution(&self) -> Resolution {
        let (addresses, from) = (self.addresses.clone(), self.addresses_from.clone());
        Resolution { addresses, from, is_reached: self.is_reached }
    }

    /// The leader's identity, for [`is_alive`](crate::is_alive).
    pub fn leader_identity(&self) -> LeaderIdentity {
        LeaderIdentity {
            pid: self.leader.map_or(0, |leader| leader.pid),
            pidfd_id: self.leader.and_then(|leader| leader.pidfd_id).unwrap_or(0),
            start_time: self.leader_start_time.unwrap_or(0),
            pid_namespace: self.pid_namespace.unwrap_or(0),
        }
    }

    /// Reads the record of this machine.
    ///
    /// # Errors
    /// [`Error::Damaged`]: it is too large, cut off, of another machine, or a value is not what its key says.
    pub fn parse(name: &MachineName, text: &[u8]) -> Result<Self, Error> {
        Self::try_parse(name, text).map_err(|reason| Error::Damaged { name: *name, reason })
    }

    fn try_parse(name: &MachineName, text: &[u8]) -> Result<Self, String> {
        if text.len() > RECORD_MAX {
            return Err(std::format!("{} bytes are more than {RECORD_MAX}", text.len()));
        }
        if text.contains(&0) {
            return Err("it has a zero byte".to_owned());
        }
        if text.last() != Some(&b'\n') {
            return Err("it is cut off".to_owned());
        }
        let mut record = Self::new(*name, Class::Container);
        let mut has_class = false;
        for (key, value) in pairs(text) {
            let key = String::from_utf8(key).map_err(|_| "a key is not UTF-8".to_owned())?;
            let value = String::from_utf8(value).map_err(|_| std::format!("{key} is not UTF-8"))?;
            match Key::of(key.as_bytes()) {
                Some(Key::Name) if value != name.as_str() => {
                    return Err(std::format!("it is of machine '{}'", value.escape_debug()));
                }
                known => has_class |= known == Some(Key::Class),
            }
            keys::read(&mut record, &key, value)?;
        }
        record.addresses_from = record.shortest_sources().into();
        // An id without a pid names no process.
        record.leader = record.leader.filter(|leader| leader.pid > 0);
        record.supervisor = record.supervisor.filter(|supervisor| supervisor.pid > 0);
        if has_class { Ok(record) } else { Err("it has no CLASS".to_owned()) }
    }

    /// Writes the record, byte for byte what [`Record::parse`] reads.
    pub fn emit(&self) -> String {
        let mut text = "# This is private data. Do not parse.\n".to_owned();
        keys::write(self, &mut text);
        for (key, value) in &self.unknown {
            push_line(&mut text, key, value);
        }
        text
    }
}

fn bad(key: &str, value: &str) -> String {
    std::format!("{key} cannot be '{}'", value.escape_debug())
}

#[cfg(test)]
mod tests;
