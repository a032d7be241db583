//! `org.freedesktop.machine1.Manager`.

use std::rc::Rc;

use dbus_server::{Argument, Call, ErrorReply, Interface, Method, Reply, Signal, arg, now};
use libmachine::ProcessHandle;
use registry::{HOST_NAME, IdKind};
use rustix::io::Errno;

use super::leader::sender;
use super::register::{Form, register};
use super::subject::{Subject, name_of, target};
use super::{errors, kill, mapping, metadata, path_of};
use crate::daemon::Daemon;
use crate::host::Host;
use crate::operations::Target;

const NAME: Argument = arg("s", "name");
const ID: Argument = arg("ay", "id");
const SERVICE: Argument = arg("s", "service");
const CLASS: Argument = arg("s", "class");
const LEADER: Argument = arg("u", "leader");
const ROOT: Argument = arg("s", "root_directory");
const INTERFACES: Argument = arg("ai", "ifindices");
const PROPERTIES: Argument = arg("a(sv)", "properties");
const SCOPE_PROPERTIES: Argument = arg("a(sv)", "scope_properties");
const PATH: &[Argument] = &[arg("o", "path")];

pub(super) const INTERFACE: Interface<Daemon, Subject> = Interface {
    name: "org.freedesktop.machine1.Manager",
    properties: &[],
    methods: &[
        Method::new("GetMachine", &[NAME], &[arg("o", "machine")], |daemon, _, call| {
            now(machine(&daemon, &call))
        }),
        Method::new("GetMachineByPID", &[arg("u", "pid")], &[arg("o", "machine")], |daemon, _, call| {
            Box::pin(machine_by_pid(daemon, call))
        }),
        Method::new("ListMachines", &[], &[arg("a(ssso)", "machines")], |daemon, _, call| {
            now(list(&daemon, &call))
        }),
        Method::new(
            "CreateMachine",
            &[NAME, ID, SERVICE, CLASS, LEADER, ROOT, SCOPE_PROPERTIES],
            PATH,
            |daemon, _, call| Box::pin(register(daemon, call, Form::Create)),
        ),
        Method::new(
            "CreateMachineWithNetwork",
            &[NAME, ID, SERVICE, CLASS, LEADER, ROOT, INTERFACES, SCOPE_PROPERTIES],
            PATH,
            |daemon, _, call| Box::pin(register(daemon, call, Form::CreateWithNetwork)),
        ),
        Method::new("CreateMachineEx", &[NAME, PROPERTIES, SCOPE_PROPERTIES], PATH, |daemon, _, call| {
            Box::pin(register(daemon, call, Form::CreateEx))
        }),
        Method::new("RegisterMachine", &[NAME, ID, SERVICE, CLASS, LEADER, ROOT], PATH, |daemon, _, call| {
            Box::pin(register(daemon, call, Form::Register))
        }),
        Method::new(
            "RegisterMachineWithNetwork",
            &[NAME, ID, SERVICE, CLASS, LEADER, ROOT, INTERFACES],
            PATH,
            |daemon, _, call| Box::pin(register(daemon, call, Form::RegisterWithNetwork)),
        ),
        Method::new("RegisterMachineEx", &[NAME, PROPERTIES], PATH, |daemon, _, call| {
            Box::pin(register(daemon, call, Form::RegisterEx))
        }),
        Method::new("UnregisterMachine", &[NAME], &[], |daemon, _, call| {
            Box::pin(kill::unregister(daemon, call))
        }),
        // The argument is a name, whatever it is called.
        Method::new("TerminateMachine", &[arg("s", "id")], &[], |daemon, subject, call| {
            Box::pin(kill::terminate(daemon, subject, call))
        }),
        Method::new(
            "KillMachine",
            &[NAME, arg("s", "whom"), arg("i", "signal")],
            &[],
            |daemon, subject, call| Box::pin(kill::kill(daemon, subject, call)),
        ),
        Method::new(
            "GetMachineAddresses",
            &[NAME],
            &[arg("a(iay)", "addresses")],
            |daemon, subject, call| now(metadata::addresses(&daemon, subject, &call)),
        ),
        Method::new(
            "GetMachineSSHInfo",
            &[NAME],
            &[arg("s", "ssh_address"), arg("s", "ssh_private_key_path")],
            |daemon, subject, call| now(metadata::ssh_info(&daemon, subject, &call)),
        ),
        Method::new("GetMachineOSRelease", &[NAME], &[arg("a{ss}", "fields")], |daemon, subject, call| {
            Box::pin(metadata::os_release(daemon, subject, call))
        }),
        Method::new("OpenMachineRootDirectory", &[NAME], &[arg("h", "fd")], |daemon, subject, call| {
            Box::pin(metadata::root_directory(daemon, subject, call))
        }),
        Method::new("GetMachineUIDShift", &[NAME], &[arg("u", "shift")], |daemon, subject, call| {
            now(metadata::shift(&daemon, subject, &call))
        }),
        Method::new(
            "MapFromMachineUser",
            &[NAME, arg("u", "uid_inner")],
            &[arg("u", "uid_outer")],
            |daemon, _, call| now(mapping::from_machine(&daemon, &call, IdKind::User)),
        ),
        Method::new(
            "MapToMachineUser",
            &[arg("u", "uid_outer")],
            &[arg("s", "machine_name"), arg("o", "machine_path"), arg("u", "uid_inner")],
            |daemon, _, call| now(mapping::to_machine(&daemon, &call, IdKind::User)),
        ),
        Method::new(
            "MapFromMachineGroup",
            &[NAME, arg("u", "gid_inner")],
            &[arg("u", "gid_outer")],
            |daemon, _, call| now(mapping::from_machine(&daemon, &call, IdKind::Group)),
        ),
        Method::new(
            "MapToMachineGroup",
            &[arg("u", "gid_outer")],
            &[arg("s", "machine_name"), arg("o", "machine_path"), arg("u", "gid_inner")],
            |daemon, _, call| now(mapping::to_machine(&daemon, &call, IdKind::Group)),
        ),
    ],
    signals: &[
        Signal { name: "MachineNew", arguments: &[arg("s", "machine"), arg("o", "path")] },
        Signal { name: "MachineRemoved", arguments: &[arg("s", "machine"), arg("o", "path")] },
    ],
};

fn machine(daemon: &Daemon, call: &Call) -> Result<Reply, ErrorReply> {
    let name: String = call.arguments()?;
    target(daemon, &name)?;
    call.reply(&path_of(&name))
}

async fn machine_by_pid(daemon: Rc<Daemon>, call: Call) -> Result<Reply, ErrorReply> {
    let number: u32 = call.arguments()?;
    let pid = i32::try_from(number).map_err(|_| errors::bare(Errno::INVAL))?;
    let process = match pid {
        0 => sender(&call).await.ok(),
        pid => ProcessHandle::open(pid).ok(),
    };
    let key = process.and_then(|process| daemon.by_process(&process)).ok_or_else(|| {
        let text = format!("PID {number} does not belong to any known machine");
        ErrorReply::new("org.freedesktop.machine1.NoMachineForPID", text)
    })?;
    call.reply(&path_of(&name_of(&daemon, Target::Machine(key))))
}

fn list(daemon: &Daemon, call: &Call) -> Result<Reply, ErrorReply> {
    daemon.remove_ended();
    daemon.machines(|machines| {
        let rows = machines.iter().map(|(_, record)| {
            let name = record.name.as_str();
            (name, record.class.name(), record.service.as_deref().unwrap_or_default(), path_of(name))
        });
        let host = (HOST_NAME, Host::CLASS, "", path_of(HOST_NAME));
        call.reply(&(rows.chain([host]).collect::<Vec<_>>(),))
    })
}
