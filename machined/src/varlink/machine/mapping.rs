//! `MapFrom` and `MapTo`: ids of users and groups, inside a machine and on the host.

use std::rc::Rc;

use registry::{Class, IdKind};
use serde::Serialize;
use serde_json::{Map, Value};

use super::target;
use crate::error::Error;
use crate::operations::{Operations, Target};
use varlink_server::{Call, Done, ErrorReply, Replier};

/// The host's own ids: those of a container begin behind them.
const HOST_IDS: u32 = 65_536;

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Mapped {
    #[serde(skip_serializing_if = "Option::is_none")]
    uid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    gid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    machine_name: Option<String>,
}

/// What an id that is none is called.
const fn unknown(kind: IdKind) -> ErrorReply {
    ErrorReply::named(match kind {
        IdKind::User => "io.systemd.Machine.NoSuchUser",
        IdKind::Group => "io.systemd.Machine.NoSuchGroup",
    })
}

fn id(parameters: &Map<String, Value>, name: &str) -> Result<Option<u32>, ErrorReply> {
    match parameters.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => {
            // (uid_t) -1 is nobody's.
            let id = value.as_u64().and_then(|id| u32::try_from(id).ok()).filter(|id| *id != u32::MAX);
            id.map(Some).ok_or_else(|| ErrorReply::invalid_parameter(name))
        }
    }
}

pub(super) fn map_from(
    operations: &Rc<Operations>,
    call: &Call,
    replier: Replier,
) -> Result<Done, ErrorReply> {
    let (uid, gid) = (id(&call.parameters, "uid")?, id(&call.parameters, "gid")?);
    let Target::Machine(key) = target(operations, call)? else { return Err(Error::NotSupported.into()) };
    let class = operations.machines(|machines| machines.get(key).map(|record| record.class));
    if class.ok_or(Error::NoSuchMachine)? != Class::Container {
        return Err(Error::NotSupported.into());
    }
    let on_host = |kind, inside: Option<u32>| {
        let mapped = |inside| operations.id_on_host(key, kind, inside).ok_or_else(|| unknown(kind));
        inside.map(mapped).transpose()
    };
    let (uid, gid) = (on_host(IdKind::User, uid)?, on_host(IdKind::Group, gid)?);
    replier.reply(&Mapped { uid, gid, machine_name: None })
}

pub(super) fn map_to(operations: &Rc<Operations>, call: &Call, replier: Replier) -> Result<Done, ErrorReply> {
    let (uid, gid) = (id(&call.parameters, "uid")?, id(&call.parameters, "gid")?);
    for (id, error) in
        [(uid, "io.systemd.Machine.UserInHostRange"), (gid, "io.systemd.Machine.GroupInHostRange")]
    {
        if id.is_some_and(|id| id < HOST_IDS) {
            return Err(ErrorReply::named(error));
        }
    }
    let of_machine = |kind, outside: Option<u32>| {
        let found = |outside| operations.machine_of_id(kind, outside).ok_or_else(|| unknown(kind));
        outside.map(found).transpose()
    };
    let (user, group) = (of_machine(IdKind::User, uid)?, of_machine(IdKind::Group, gid)?);
    let key = match (user, group) {
        (Some((one, _)), Some((other, _))) if one != other => return Err(Error::NoSuchMachine.into()),
        (Some((key, _)), _) | (None, Some((key, _))) => key,
        (None, None) => return Err(Error::NoSuchMachine.into()),
    };
    let name = operations.record(key).ok_or(Error::NoSuchMachine)?.name;
    replier.reply(&Mapped {
        uid: user.map(|(_, uid)| uid),
        gid: group.map(|(_, gid)| gid),
        machine_name: Some(name.to_string()),
    })
}
