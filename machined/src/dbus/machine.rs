//! `org.freedesktop.machine1.Machine`.

use dbus_server::{Changes, ErrorReply, Get, Interface, Method, Property, Value, arg, now};
use registry::{HOST_NAME, Process, Record};

use super::subject::Subject;
use super::{errors, kill, metadata};
use crate::daemon::Daemon;
use crate::host::Host;
use crate::operations::{State, Target};

/// A property that stays as it was registered.
const fn constant(
    name: &'static str,
    signature: &'static str,
    get: Get<Daemon, Subject>,
) -> Property<Daemon, Subject> {
    Property::new(name, signature, Changes::Never, get)
}

pub(super) const INTERFACE: Interface<Daemon, Subject> = Interface {
    name: "org.freedesktop.machine1.Machine",
    properties: &[
        constant("Name", "s", |daemon, subject| {
            text(daemon, subject, |record| Some(record.name.as_str()), |_| Some(HOST_NAME))
        }),
        constant("Id", "ay", |daemon, subject| {
            let id = value(daemon, subject, |record| record.id, |host| host.id)?;
            Ok(Value::from(id.map(|id| id.bytes().to_vec()).unwrap_or_default()))
        }),
        constant("Timestamp", "t", |daemon, subject| {
            let time = value(daemon, subject, |record| record.realtime, |host| host.realtime)?;
            Ok(Value::from(time.unwrap_or_default()))
        }),
        constant("TimestampMonotonic", "t", |daemon, subject| {
            let time = value(daemon, subject, |record| record.monotonic, |_| None)?;
            Ok(Value::from(time.unwrap_or_default()))
        }),
        constant("Service", "s", |daemon, subject| {
            text(daemon, subject, |record| record.service.as_deref(), |_| None)
        }),
        constant("Unit", "s", unit),
        constant("Scope", "s", unit).hidden(),
        constant("Subgroup", "s", |daemon, subject| {
            text(daemon, subject, |record| record.subgroup.as_deref(), |_| None)
        }),
        constant("Leader", "u", |daemon, subject| Ok(pid(leader(daemon, subject)?))),
        constant("LeaderPIDFDId", "t", |daemon, subject| Ok(pidfd_id(leader(daemon, subject)?))),
        constant("Supervisor", "u", |daemon, subject| Ok(pid(supervisor(daemon, subject)?))),
        constant("SupervisorPIDFDId", "t", |daemon, subject| Ok(pidfd_id(supervisor(daemon, subject)?))),
        constant("Class", "s", |daemon, subject| {
            text(daemon, subject, |record| Some(record.class.name()), |_| Some(Host::CLASS))
        }),
        constant("RootDirectory", "s", |daemon, subject| {
            text(daemon, subject, |record| record.root.as_deref(), |_| Some(Host::ROOT))
        }),
        constant("NetworkInterfaces", "ai", |daemon, subject| {
            let list = value(daemon, subject, |record| record.interfaces.clone(), |_| Vec::new())?;
            Ok(Value::from(list.into_iter().map(u32::cast_signed).collect::<Vec<_>>()))
        }),
        constant("VSockCID", "u", |daemon, subject| {
            let cid = value(daemon, subject, |record| record.vsock_cid, |host| host.vsock_cid)?;
            // VMADDR_CID_ANY, vsock(7).
            Ok(Value::from(cid.unwrap_or(u32::MAX)))
        }),
        constant("SSHAddress", "s", |daemon, subject| {
            text(daemon, subject, |record| record.ssh_address.as_deref(), |_| None)
        }),
        constant("SSHPrivateKeyPath", "s", |daemon, subject| {
            text(daemon, subject, |record| record.ssh_private_key_path.as_deref(), |_| None)
        }),
        Property::new("State", "s", Changes::Untold, |daemon, subject| {
            let state = match subject {
                Subject::Machine(target) => daemon.state(*target),
                _ => State::Running,
            };
            Ok(Value::from(state.name()))
        }),
        constant("UID", "u", |daemon, subject| {
            let uid = value(daemon, subject, |record| record.uid, |_| None)?;
            Ok(Value::from(uid.unwrap_or_default()))
        }),
    ],
    methods: &[
        Method::new("Terminate", &[], &[], |daemon, subject, call| {
            Box::pin(kill::terminate(daemon, subject, call))
        }),
        Method::new("Kill", &[arg("s", "whom"), arg("i", "signal")], &[], |daemon, subject, call| {
            Box::pin(kill::kill(daemon, subject, call))
        }),
        Method::new("GetAddresses", &[], &[arg("a(iay)", "addresses")], |daemon, subject, call| {
            now(metadata::addresses(&daemon, subject, &call))
        }),
        Method::new(
            "GetSSHInfo",
            &[],
            &[arg("s", "ssh_address"), arg("s", "ssh_private_key_path")],
            |daemon, subject, call| now(metadata::ssh_info(&daemon, subject, &call)),
        ),
        Method::new("GetOSRelease", &[], &[arg("a{ss}", "fields")], |daemon, subject, call| {
            Box::pin(metadata::os_release(daemon, subject, call))
        }),
        Method::new("GetUIDShift", &[], &[arg("u", "shift")], |daemon, subject, call| {
            now(metadata::shift(&daemon, subject, &call))
        }),
        Method::new("OpenRootDirectory", &[], &[arg("h", "fd")], |daemon, subject, call| {
            Box::pin(metadata::root_directory(daemon, subject, call))
        }),
    ],
    signals: &[],
};

/// What is said of a machine by its record, and of the host otherwise.
fn value<T>(
    daemon: &Daemon,
    subject: &Subject,
    of_record: impl FnOnce(&Record) -> T,
    of_host: impl FnOnce(&Host) -> T,
) -> Result<T, ErrorReply> {
    match subject {
        Subject::Machine(Target::Machine(key)) => daemon
            .machines(|machines| machines.get(*key).map(of_record))
            .ok_or_else(|| errors::no_such_machine("")),
        _ => Ok(of_host(&Host::of(daemon))),
    }
}

/// The same as a string; empty if there is none.
fn text(
    daemon: &Daemon,
    subject: &Subject,
    of_record: impl FnOnce(&Record) -> Option<&str>,
    of_host: impl FnOnce(&Host) -> Option<&'static str>,
) -> Result<Value, ErrorReply> {
    let owned = |text: Option<&str>| text.unwrap_or_default().to_owned();
    let text = value(daemon, subject, |record| owned(of_record(record)), |host| owned(of_host(host)))?;
    Ok(Value::from(text))
}

fn unit(daemon: &Daemon, subject: &Subject) -> Result<Value, ErrorReply> {
    text(daemon, subject, |record| record.unit.as_deref(), |host| host.unit)
}

fn leader(daemon: &Daemon, subject: &Subject) -> Result<Option<Process>, ErrorReply> {
    value(daemon, subject, |record| record.leader, |host| host.leader)
}

fn supervisor(daemon: &Daemon, subject: &Subject) -> Result<Option<Process>, ErrorReply> {
    value(daemon, subject, |record| record.supervisor, |_| None)
}

fn pid(process: Option<Process>) -> Value {
    Value::from(process.map_or(0, |process| process.pid.cast_unsigned()))
}

fn pidfd_id(process: Option<Process>) -> Value {
    Value::from(process.and_then(|process| process.pidfd_id).unwrap_or_default())
}
