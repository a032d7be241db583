//! A machine, as whoever follows is told of it.

use ::registry::{AddressSource, Addresses, IdRange, Record, source_at};
use serde::Serialize;

use super::super::machine::ProcessReply;
use crate::machines::Key;
use crate::operations::{Operations, Target};

/// A machine.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MachineReply {
    pub(super) name: String,
    class: &'static str,
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    leader: Option<ProcessReply>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subgroup: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    control_group: Option<String>,
    uid: u32,
    is_public: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    addresses: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    addresses_from: Option<Vec<&'static str>>,
    shares_host_network: bool,
    is_reached: bool,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    if_indices: Vec<u32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    uid_map: Vec<RangeReply>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    gid_map: Vec<RangeReply>,
}

#[derive(Debug, Serialize)]
struct RangeReply {
    inside: u32,
    outside: u32,
    count: u32,
}

impl MachineReply {
    /// The machine of this key, which has this record.
    pub(super) fn new(operations: &Operations, key: Key, record: &Record) -> Self {
        let (addresses, addresses_from) = match &record.addresses {
            Addresses::Listed(list) => {
                let source = |place| source_at(&record.addresses_from, place).map(AddressSource::name);
                let from: Option<Vec<_>> = (0..list.len()).map(source).collect();
                (Some(list.iter().map(ToString::to_string).collect()), from)
            }
            Addresses::Unknown | Addresses::SharedWithHost => (None, None),
        };
        Self {
            name: record.name.to_string(),
            class: record.class.name(),
            state: operations.state(Target::Machine(key)).name(),
            service: record.service.clone(),
            id: record.id.map(|id| id.to_string()),
            leader: record.leader.map(|leader| ProcessReply::new(leader, operations)),
            unit: record.unit.clone(),
            subgroup: record.subgroup.clone(),
            control_group: record.cgroup.clone(),
            uid: record.uid.unwrap_or_default(),
            is_public: record.private_to().is_none(),
            addresses,
            addresses_from,
            shares_host_network: record.addresses == Addresses::SharedWithHost,
            is_reached: record.is_reached,
            if_indices: record.interfaces.iter().chain(&*record.interfaces_found).copied().collect(),
            uid_map: record.uid_map.iter().map(range).collect(),
            gid_map: record.gid_map.iter().map(range).collect(),
        }
    }
}

fn range(range: &IdRange) -> RangeReply {
    RangeReply { inside: range.inside, outside: range.outside, count: range.count }
}
