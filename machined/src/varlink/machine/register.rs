//! `Register`.

use std::rc::Rc;

use libmachine::ProcessHandle;
use registry::{Class, MachineId};
use serde_json::{Map, Value};

use super::process_id::{ProcessId, found, open as open_process, peer_identity, peer_process};
use super::{caller, machine_name, text, to_the_end};
use crate::operations::{Operations, Registration};
use varlink_server::{Call, Done, ErrorReply, Replier, Rule};

/// The largest index of a network interface.
const MAX_INTERFACE: u64 = 0x7fff_ffff;

/// Where null is not taken for "absent".
pub(super) const RULES: &[(&str, Rule)] = &[
    ("id", Rule::NotNull),
    ("service", Rule::NotNull),
    ("leaderProcessId", Rule::NotNull),
    ("rootDirectory", Rule::NotNull),
    ("ifIndices", Rule::NotNull),
    ("vSockCid", Rule::NotNull),
    ("sshAddress", Rule::NotNull),
    ("sshPrivateKeyPath", Rule::NotNull),
    ("controlAddress", Rule::NotNull),
    ("allocateUnit", Rule::NotNull),
    ("allowInteractiveAuthentication", Rule::NotNull),
];

pub(super) async fn register(
    operations: Rc<Operations>,
    call: Call,
    replier: Replier,
) -> Result<Done, ErrorReply> {
    let parameters = &call.parameters;
    let name = text(parameters, "name").ok_or_else(|| ErrorReply::invalid_parameter("name"))?;
    let name = machine_name(name)?;
    let id = match text(parameters, "id") {
        Some(id) => MachineId::parse(id.as_bytes()).ok_or_else(|| ErrorReply::invalid_parameter("id"))?,
        None => None,
    };
    let leader = leader(&operations, parameters)?;
    let root = path(parameters, "rootDirectory", true)?;
    let interfaces = interfaces(parameters)?;
    let vsock_cid = match parameters.get("vSockCid") {
        Some(cid) => Some(regular_cid(cid).ok_or_else(|| ErrorReply::invalid_parameter("vSockCid"))?),
        None => None,
    };
    let ssh_address = text(parameters, "sshAddress");
    if ssh_address.is_some_and(|address| address.chars().any(char::is_control)) {
        return Err(ErrorReply::invalid_parameter("sshAddress"));
    }
    let ssh_private_key_path = path(parameters, "sshPrivateKeyPath", false)?;
    let control_address = path(parameters, "controlAddress", true)?;
    let class = text(parameters, "class").and_then(|class| Class::from_name(class.as_bytes()));
    let class = class.ok_or_else(|| ErrorReply::invalid_parameter("class"))?;

    // Without a leader the caller itself is the leader.
    let leader = leader.map_or_else(|| found("leader", peer_process(&call.peer)), Ok)?;
    let registration = Registration {
        name,
        class,
        id,
        service: filled(text(parameters, "service")),
        supervisor: peer_identity(&call.peer).filter(|supervisor| supervisor.pid != leader.pid()),
        leader,
        uid: call.peer.uid.as_raw(),
        root,
        interfaces,
        vsock_cid,
        ssh_address: filled(ssh_address),
        ssh_private_key_path,
        control_address,
        allocate_unit: parameters.get("allocateUnit").and_then(Value::as_bool).unwrap_or(false),
        scope_properties: Vec::new(),
    };
    let authorized = operations.may_register(&caller(&call), &registration).await?;
    to_the_end(async move { operations.register(&authorized, registration).await }).await?;
    replier.reply(&())
}

/// The leader that the caller names, if it names one: by number, by identity, or by both if they agree.
fn leader(
    operations: &Operations,
    parameters: &Map<String, Value>,
) -> Result<Option<ProcessHandle>, ErrorReply> {
    // Process 1 is the host's.
    let open = |pid: i64| match i32::try_from(pid) {
        Ok(pid) if pid > 1 => found("leader", open_process(pid)),
        _ => Err(ErrorReply::invalid_parameter("leader")),
    };
    let by_number = match parameters.get("leader") {
        // A number too large for an i64 is no process either, and must not be taken for "absent": the caller.
        Some(pid) => Some(open(pid.as_i64().unwrap_or(0))?),
        None => None,
    };
    let by_identity = match ProcessId::of(parameters, "leaderProcessId")? {
        Some(process) => {
            let process = process.open(operations)?.filter(|process| process.pid() > 1);
            Some(process.ok_or_else(|| ErrorReply::invalid_parameter("leaderProcessId"))?)
        }
        None => None,
    };
    match (by_number, by_identity) {
        (Some(one), Some(other)) if one.identity() != other.identity() => {
            Err(ErrorReply::invalid_parameter("leaderProcessId"))
        }
        (one, other) => Ok(other.or(one)),
    }
}

fn filled(text: Option<&str>) -> Option<String> {
    text.filter(|text| !text.is_empty()).map(str::to_owned)
}

/// An absolute path, perhaps one without `.`, `..` and double slashes.
fn path(parameters: &Map<String, Value>, name: &str, normalized: bool) -> Result<Option<String>, ErrorReply> {
    let Some(path) = text(parameters, name) else { return Ok(None) };
    let valid = path.starts_with('/') && path.len() < 4096 && path.split('/').all(|part| part.len() < 256);
    if valid && (!normalized || is_normalized(path)) {
        Ok(Some(path.to_owned()))
    } else {
        Err(ErrorReply::invalid_parameter(name))
    }
}

fn is_normalized(path: &str) -> bool {
    let inner = path.strip_prefix('/').unwrap_or(path);
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    path == "/" || inner.split('/').all(|part| !matches!(part, "" | "." | ".."))
}

fn interfaces(parameters: &Map<String, Value>) -> Result<Vec<u32>, ErrorReply> {
    let Some(list) = parameters.get("ifIndices").and_then(Value::as_array) else { return Ok(Vec::new()) };
    let index = |value: &Value| value.as_u64().filter(|index| (1..=MAX_INTERFACE).contains(index));
    let indices: Option<Vec<_>> =
        list.iter().map(|value| index(value).and_then(|index| u32::try_from(index).ok())).collect();
    // A record has room for a few thousand; a machine has a handful.
    indices.filter(|list| list.len() <= 1024).ok_or_else(|| ErrorReply::invalid_parameter("ifIndices"))
}

/// A context id that is a machine's: not the hypervisor's, not the host's, not "any".
fn regular_cid(value: &Value) -> Option<u32> {
    let cid = u32::try_from(value.as_u64()?).ok()?;
    (3..u32::MAX).contains(&cid).then_some(cid)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_normalized_path_has_no_detours() {
        for path in ["/", "/a", "/a/b", "/a/", "/...", "/a.b"] {
            assert!(is_normalized(path), "{path}");
        }
        for path in ["//", "/a//b", "/./a", "/a/..", "/a/./b", "//a"] {
            assert!(!is_normalized(path), "{path}");
        }
    }
}
