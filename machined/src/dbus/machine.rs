//! `org.freedesktop.machine1.Machine`.

use dbus_server::{Changes, ErrorReply, Get, Interface, Method, Property, Value, arg, now};
use registry::{HOST_NAME, Process, Record};

use super::manager::PTY;
use super::subject::Subject;
use super::{bind, copy, errors, kill, metadata, terminal};
use crate::host::Host;
use crate::inside::Direction;
use crate::operations::{Operations, State, Target};

/// A property that stays as it was registered.
const fn constant(
    name: &'static str,
    signature: &'static str,
    get: Get<Operations, Subject>,
) -> Property<Operations, Subject> {
    Property::new(name, signature, Changes::Never, get)
}

pub(super) const INTERFACE: Interface<Operations, Subject> = Interface {
    name: "org.freedesktop.machine1.Machine",
    properties: &[
        constant("Name", "s", |operations, subject| {
            text(operations, subject, |record| Some(record.name.as_str()), |_| Some(HOST_NAME))
        }),
        constant("Id", "ay", |operations, subject| {
            let id = value(operations, subject, |record| record.id, |host| host.id)?;
            Ok(Value::from(id.map(|id| id.bytes().to_vec()).unwrap_or_default()))
        }),
        constant("Timestamp", "t", |operations, subject| {
            let time = value(operations, subject, |record| record.realtime, |host| host.realtime)?;
            Ok(Value::from(time.unwrap_or_default()))
        }),
        constant("TimestampMonotonic", "t", |operations, subject| {
            let time = value(operations, subject, |record| record.monotonic, |_| None)?;
            Ok(Value::from(time.unwrap_or_default()))
        }),
        constant("Service", "s", |operations, subject| {
            text(operations, subject, |record| record.service.as_deref(), |_| None)
        }),
        constant("Unit", "s", unit),
        constant("Scope", "s", unit).hidden(),
        constant("Subgroup", "s", |operations, subject| {
            text(operations, subject, |record| record.subgroup.as_deref(), |_| None)
        }),
        constant("Leader", "u", |operations, subject| Ok(pid(leader(operations, subject)?))),
        constant("LeaderPIDFDId", "t", |operations, subject| Ok(pidfd_id(leader(operations, subject)?))),
        constant("Supervisor", "u", |operations, subject| Ok(pid(supervisor(operations, subject)?))),
        constant("SupervisorPIDFDId", "t", |operations, subject| {
            Ok(pidfd_id(supervisor(operations, subject)?))
        }),
        constant("Class", "s", |operations, subject| {
            text(operations, subject, |record| Some(record.class.name()), |_| Some(Host::CLASS))
        }),
        constant("RootDirectory", "s", |operations, subject| {
            text(operations, subject, |record| record.root.as_deref(), |_| Some(Host::ROOT))
        }),
        constant("NetworkInterfaces", "ai", |operations, subject| {
            let list = value(operations, subject, |record| record.interfaces.clone(), |_| Vec::new())?;
            Ok(Value::from(list.into_iter().map(u32::cast_signed).collect::<Vec<_>>()))
        }),
        constant("VSockCID", "u", |operations, subject| {
            let cid = value(operations, subject, |record| record.vsock_cid, |host| host.vsock_cid)?;
            // VMADDR_CID_ANY, vsock(7).
            Ok(Value::from(cid.unwrap_or(u32::MAX)))
        }),
        constant("SSHAddress", "s", |operations, subject| {
            text(operations, subject, |record| record.ssh_address.as_deref(), |_| None)
        }),
        constant("SSHPrivateKeyPath", "s", |operations, subject| {
            text(operations, subject, |record| record.ssh_private_key_path.as_deref(), |_| None)
        }),
        Property::new("State", "s", Changes::Untold, |operations, subject| {
            let state = match subject {
                Subject::Machine(target) => operations.state(*target),
                _ => State::Running,
            };
            Ok(Value::from(state.name()))
        }),
        constant("UID", "u", |operations, subject| {
            let uid = value(operations, subject, |record| record.uid, |_| None)?;
            Ok(Value::from(uid.unwrap_or_default()))
        }),
    ],
    methods: &[
        Method::new("Terminate", &[], &[], |operations, subject, call| {
            Box::pin(kill::terminate(operations, subject, call))
        }),
        Method::new("Kill", &[arg("s", "whom"), arg("i", "signal")], &[], |operations, subject, call| {
            Box::pin(kill::kill(operations, subject, call))
        }),
        Method::new("GetAddresses", &[], &[arg("a(iay)", "addresses")], |operations, subject, call| {
            now(metadata::addresses(&operations, subject, &call))
        }),
        Method::new(
            "GetSSHInfo",
            &[],
            &[arg("s", "ssh_address"), arg("s", "ssh_private_key_path")],
            |operations, subject, call| now(metadata::ssh_info(&operations, subject, &call)),
        ),
        Method::new("GetOSRelease", &[], &[arg("a{ss}", "fields")], |operations, subject, call| {
            Box::pin(metadata::os_release(operations, subject, call))
        }),
        Method::new("GetUIDShift", &[], &[arg("u", "shift")], |operations, subject, call| {
            now(metadata::shift(&operations, subject, &call))
        }),
        Method::new("OpenPTY", &[], PTY, |operations, subject, call| {
            Box::pin(terminal::pty(operations, subject, call))
        }),
        Method::new("OpenLogin", &[], PTY, |operations, subject, call| {
            Box::pin(terminal::login(operations, subject, call))
        }),
        Method::new(
            "OpenShell",
            &[arg("s", "user"), arg("s", "path"), arg("as", "args"), arg("as", "environment")],
            PTY,
            |operations, subject, call| Box::pin(terminal::shell(operations, subject, call)),
        ),
        Method::new(
            "BindMount",
            &[arg("s", "source"), arg("s", "destination"), arg("b", "read_only"), arg("b", "mkdir")],
            &[],
            |operations, subject, call| Box::pin(bind::bind(operations, subject, call)),
        ),
        Method::new(
            "CopyFrom",
            &[arg("s", "source"), arg("s", "destination")],
            &[],
            |operations, subject, call| {
                Box::pin(copy::copy(operations, subject, call, Direction::OutOf, false))
            },
        ),
        Method::new(
            "CopyTo",
            &[arg("s", "source"), arg("s", "destination")],
            &[],
            |operations, subject, call| {
                Box::pin(copy::copy(operations, subject, call, Direction::Into, false))
            },
        ),
        Method::new(
            "CopyFromWithFlags",
            &[arg("s", "source"), arg("s", "destination"), arg("t", "flags")],
            &[],
            |operations, subject, call| {
                Box::pin(copy::copy(operations, subject, call, Direction::OutOf, true))
            },
        ),
        Method::new(
            "CopyToWithFlags",
            &[arg("s", "source"), arg("s", "destination"), arg("t", "flags")],
            &[],
            |operations, subject, call| {
                Box::pin(copy::copy(operations, subject, call, Direction::Into, true))
            },
        ),
        Method::new("OpenRootDirectory", &[], &[arg("h", "fd")], |operations, subject, call| {
            Box::pin(metadata::root_directory(operations, subject, call))
        }),
    ],
    signals: &[],
};

/// What is said of a machine by its record, and of the host otherwise.
fn value<T>(
    operations: &Operations,
    subject: &Subject,
    of_record: impl FnOnce(&Record) -> T,
    of_host: impl FnOnce(&Host) -> T,
) -> Result<T, ErrorReply> {
    match subject {
        Subject::Machine(Target::Machine(key)) => operations
            .machines(|machines| machines.get(*key).map(of_record))
            .ok_or_else(|| errors::no_such_machine("")),
        _ => Ok(of_host(&operations.host())),
    }
}

/// The same as a string; empty if there is none.
fn text(
    operations: &Operations,
    subject: &Subject,
    of_record: impl FnOnce(&Record) -> Option<&str>,
    of_host: impl FnOnce(&Host) -> Option<&'static str>,
) -> Result<Value, ErrorReply> {
    let owned = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let text = value(operations, subject, |record| owned(of_record(record)), |host| owned(of_host(host)))?;
    Ok(Value::from(text))
}

fn unit(operations: &Operations, subject: &Subject) -> Result<Value, ErrorReply> {
    text(operations, subject, |record| record.unit.as_deref(), |host| host.unit)
}

fn leader(operations: &Operations, subject: &Subject) -> Result<Option<Process>, ErrorReply> {
    value(operations, subject, |record| record.leader, |host| host.leader)
}

fn supervisor(operations: &Operations, subject: &Subject) -> Result<Option<Process>, ErrorReply> {
    value(operations, subject, |record| record.supervisor, |_| None)
}

fn pid(process: Option<Process>) -> Value {
    Value::from(process.map_or(0, |process| process.pid.cast_unsigned()))
}

fn pidfd_id(process: Option<Process>) -> Value {
    Value::from(process.and_then(|process| process.pidfd_id).unwrap_or_default())
}
