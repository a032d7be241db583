//! `List`.

use std::rc::Rc;

use registry::{HOST_NAME, Record};
use serde::Serialize;

use super::process_id::ProcessReply;
use super::{caller, lookup, text};
use crate::addresses::{InterfaceAddress, family_and_octets};
use crate::authorization::{Authorized, Inspect};
use crate::error::Error;
use crate::host::Host;
use crate::machines::Key;
use crate::operations::{Operations, Target, uid_shift};
use crate::os_release::Fields;
use varlink_server::{Call, Done, ErrorReply, Replier};

/// How many files are being read at a time for one list.
const LOOK_AHEAD: usize = 64;

/// A machine as clients see it, in the original's order.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct MachineReply {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    class: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    root_directory: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unit: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subgroup: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    leader: Option<ProcessReply>,
    #[serde(skip_serializing_if = "Option::is_none")]
    supervisor: Option<ProcessReply>,
    #[serde(skip_serializing_if = "Option::is_none")]
    timestamp: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    v_sock_cid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ssh_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ssh_private_key_path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    control_address: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    addresses: Vec<AddressReply>,
    #[serde(rename = "OSRelease", skip_serializing_if = "Option::is_none")]
    os_release: Option<Vec<String>>,
    #[serde(rename = "UIDShift", skip_serializing_if = "Option::is_none")]
    uid_shift: Option<u32>,
    #[serde(rename = "UID")]
    uid: u32,
}

#[derive(Debug, Serialize)]
struct Timestamp {
    realtime: u64,
    monotonic: u64,
}

#[derive(Debug, Serialize)]
struct AddressReply {
    ifindex: u32,
    family: i32,
    address: Vec<u8>,
}

/// How much more than its registration is to be told of a machine.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Metadata {
    No,
    Yes,
    Graceful,
}

/// Whether the caller may look into the machine, or into all of them.
async fn may_inspect(
    operations: &Operations,
    call: &Call,
    target: Option<Target>,
) -> Result<Authorized<Inspect>, Error> {
    let name = target.map(|target| operations.name_of(target)).transpose()?;
    let details: Vec<_> = name.iter().map(|name| ("name", name.as_str())).collect();
    operations.may(&caller(call), target, &details).await
}

pub(super) async fn list(
    operations: Rc<Operations>,
    call: Call,
    mut replier: Replier,
) -> Result<Done, ErrorReply> {
    let metadata = match text(&call.parameters, "acquireMetadata") {
        None | Some("no") => Metadata::No,
        Some("yes") => Metadata::Yes,
        Some("graceful") => Metadata::Graceful,
        Some(_) => return Err(ErrorReply::invalid_parameter("acquireMetadata")),
    };
    let found = lookup(&operations, &call)?;
    if found.is_none() && !call.more {
        return Err(ErrorReply::expected_more());
    }
    let inspect = match metadata {
        Metadata::No => None,
        _ => Some(may_inspect(&operations, &call, found).await?),
    };
    let metadata = inspect.as_ref().map(|authorized| (authorized, metadata == Metadata::Yes));
    match found {
        Some(Target::Host) => replier.reply(&host(&operations, metadata).await?),
        Some(Target::Machine(key)) => {
            replier.reply(&machine(&operations, key, metadata).await?.ok_or(Error::NoSuchMachine)?)
        }
        None => {
            let mut held = match operations.host_target() {
                Ok(_) => Some(host(&operations, metadata).await?),
                Err(_) => None,
            };
            let (mut last, mut ahead) = (None, Ahead::default());
            while let Some(key) = operations.machines(|machines| machines.after(last).map(|(key, _)| key)) {
                last = Some(key);
                if metadata.is_some() {
                    ahead.look(&operations);
                }
                // It may have gone while the last one was written.
                if let Some(next) = machine(&operations, key, metadata).await?
                    && let Some(held) = held.replace(next)
                {
                    replier.send(&held).await?;
                }
                ahead.passed();
            }
            replier.reply(&held.ok_or(Error::NoSuchMachine)?)
        }
    }
}

/// Has OS releases read before they are asked for one by one.
#[derive(Default)]
struct Ahead {
    last: Option<Key>,
    count: usize,
}

impl Ahead {
    fn look(&mut self, operations: &Operations) {
        while self.count < LOOK_AHEAD {
            let Some(key) = operations.machines(|machines| machines.after(self.last).map(|(key, _)| key))
            else {
                return;
            };
            self.last = Some(key);
            self.count = self.count.saturating_add(1);
            operations.look_ahead_at(key);
        }
    }

    fn passed(&mut self) {
        self.count = self.count.saturating_sub(1);
    }
}

async fn machine(
    operations: &Operations,
    key: Key,
    metadata: Option<(&Authorized<Inspect>, bool)>,
) -> Result<Option<MachineReply>, ErrorReply> {
    if !operations.is_there(key) {
        return Ok(None);
    }
    let Some(record) = operations.record(key) else { return Ok(None) };
    let mut reply = registration(operations, &record);
    let Some((authorized, strict)) = metadata else { return Ok(Some(reply)) };
    // What fails is missing, or fails the call.
    let graceful = |error: Error| if strict { Err(ErrorReply::from(error)) } else { Ok(()) };
    match operations.addresses(Target::Machine(key)) {
        Ok(list) => reply.addresses = list.iter().map(address).collect(),
        Err(error) => graceful(error)?,
    }
    match operations.os_release(authorized, Target::Machine(key)).await {
        Ok(fields) => reply.os_release = Some(pairs(&fields)),
        Err(error) => graceful(error)?,
    }
    match uid_shift(&record) {
        Ok(shift) => reply.uid_shift = Some(shift),
        Err(error) => graceful(error)?,
    }
    Ok(Some(reply))
}

fn registration(operations: &Operations, record: &Record) -> MachineReply {
    MachineReply {
        name: record.name.to_string(),
        id: record.id.map(|id| id.to_string()),
        class: record.class.name(),
        service: record.service.clone(),
        root_directory: record.root.clone(),
        unit: record.unit.clone(),
        subgroup: record.subgroup.clone(),
        leader: record.leader.map(|leader| ProcessReply::new(leader, operations)),
        supervisor: record.supervisor.map(|supervisor| ProcessReply::new(supervisor, operations)),
        timestamp: record
            .realtime
            .map(|realtime| Timestamp { realtime, monotonic: record.monotonic.unwrap_or_default() }),
        v_sock_cid: record.vsock_cid,
        ssh_address: record.ssh_address.clone(),
        ssh_private_key_path: record.ssh_private_key_path.clone(),
        control_address: record.control_address.clone(),
        uid: record.uid.unwrap_or_default(),
        ..MachineReply::default()
    }
}

fn address(address: &InterfaceAddress) -> AddressReply {
    let (family, bytes) = family_and_octets(address.address);
    AddressReply { ifindex: address.ifindex, family: family.into(), address: bytes }
}

fn pairs(fields: &Fields) -> Vec<String> {
    fields.iter().map(|(key, value)| format!("{key}={value}")).collect()
}

/// The host as a machine.
async fn host(
    operations: &Operations,
    metadata: Option<(&Authorized<Inspect>, bool)>,
) -> Result<MachineReply, ErrorReply> {
    let host = operations.host();
    let mut reply = MachineReply {
        name: HOST_NAME.to_owned(),
        id: host.id.map(|id| id.to_string()),
        class: Host::CLASS,
        root_directory: Some(Host::ROOT.to_owned()),
        unit: host.unit.map(str::to_owned),
        leader: host.leader.map(|leader| ProcessReply::new(leader, operations)),
        timestamp: host.realtime.map(|realtime| Timestamp { realtime, monotonic: 0 }),
        v_sock_cid: host.vsock_cid,
        ..MachineReply::default()
    };
    let Some((authorized, strict)) = metadata else { return Ok(reply) };
    match operations.addresses(Target::Host) {
        Ok(list) => reply.addresses = list.iter().map(address).collect(),
        Err(error) if strict => return Err(error.into()),
        Err(_) => {}
    }
    match operations.os_release(authorized, Target::Host).await {
        Ok(fields) => reply.os_release = Some(pairs(&fields)),
        Err(error) if strict => return Err(error.into()),
        Err(_) => {}
    }
    reply.uid_shift = Some(0);
    Ok(reply)
}
