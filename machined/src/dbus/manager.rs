//! `org.freedesktop.machine1.Manager`.

use std::rc::Rc;

use dbus_server::{Argument, Call, ErrorReply, Interface, Method, Reply, Signal, arg, now};
use libmachine::ProcessHandle;
use registry::{HOST_NAME, IdKind, Record};
use rustix::io::Errno;

use super::leader::sender;
use super::register::{Form, register};
use super::subject::{Subject, name_of, target};
use super::{bind, copy, errors, image, image_changes, kill, mapping, metadata, path_of, terminal};
use crate::host::Host;
use crate::inside::Direction;
use crate::operations::{Operations, Target};

const NAME: Argument = arg("s", "name");
const ID: Argument = arg("ay", "id");
const SERVICE: Argument = arg("s", "service");
const CLASS: Argument = arg("s", "class");
const LEADER: Argument = arg("u", "leader");
const ROOT: Argument = arg("s", "root_directory");
const INTERFACES: Argument = arg("ai", "ifindices");
const PROPERTIES: Argument = arg("a(sv)", "properties");
const SCOPE_PROPERTIES: Argument = arg("a(sv)", "scope_properties");
const NEW_NAME: Argument = arg("s", "new_name");
const READ_ONLY: Argument = arg("b", "read_only");
const SIZE: Argument = arg("t", "size");
const PATH: &[Argument] = &[arg("o", "path")];
pub(super) const PTY: &[Argument] = &[arg("h", "pty"), arg("s", "pty_path")];

pub(super) const INTERFACE: Interface<Operations, Subject> = Interface {
    name: "org.freedesktop.machine1.Manager",
    properties: image::POOL_PROPERTIES,
    methods: &[
        Method::new("GetMachine", &[NAME], &[arg("o", "machine")], |operations, _, call| {
            now(machine(&operations, &call))
        }),
        Method::new("GetImage", &[NAME], &[arg("o", "image")], |operations, _, call| {
            Box::pin(image::image(operations, call))
        }),
        Method::new("GetMachineByPID", &[arg("u", "pid")], &[arg("o", "machine")], |operations, _, call| {
            Box::pin(machine_by_pid(operations, call))
        }),
        Method::new("ListMachines", &[], &[arg("a(ssso)", "machines")], |operations, _, call| {
            Box::pin(list(operations, call))
        }),
        Method::new("ListImages", &[], &[arg("a(ssbttto)", "images")], |operations, _, call| {
            Box::pin(image::list(operations, call))
        }),
        Method::new(
            "CreateMachine",
            &[NAME, ID, SERVICE, CLASS, LEADER, ROOT, SCOPE_PROPERTIES],
            PATH,
            |operations, _, call| Box::pin(register(operations, call, Form::Create)),
        ),
        Method::new(
            "CreateMachineWithNetwork",
            &[NAME, ID, SERVICE, CLASS, LEADER, ROOT, INTERFACES, SCOPE_PROPERTIES],
            PATH,
            |operations, _, call| Box::pin(register(operations, call, Form::CreateWithNetwork)),
        ),
        Method::new("CreateMachineEx", &[NAME, PROPERTIES, SCOPE_PROPERTIES], PATH, |operations, _, call| {
            Box::pin(register(operations, call, Form::CreateEx))
        }),
        Method::new(
            "RegisterMachine",
            &[NAME, ID, SERVICE, CLASS, LEADER, ROOT],
            PATH,
            |operations, _, call| Box::pin(register(operations, call, Form::Register)),
        ),
        Method::new(
            "RegisterMachineWithNetwork",
            &[NAME, ID, SERVICE, CLASS, LEADER, ROOT, INTERFACES],
            PATH,
            |operations, _, call| Box::pin(register(operations, call, Form::RegisterWithNetwork)),
        ),
        Method::new("RegisterMachineEx", &[NAME, PROPERTIES], PATH, |operations, _, call| {
            Box::pin(register(operations, call, Form::RegisterEx))
        }),
        Method::new("UnregisterMachine", &[NAME], &[], |operations, _, call| {
            Box::pin(kill::unregister(operations, call))
        }),
        // The argument is a name, whatever it is called.
        Method::new("TerminateMachine", &[arg("s", "id")], &[], |operations, subject, call| {
            Box::pin(kill::terminate(operations, subject, call))
        }),
        Method::new(
            "KillMachine",
            &[NAME, arg("s", "whom"), arg("i", "signal")],
            &[],
            |operations, subject, call| Box::pin(kill::kill(operations, subject, call)),
        ),
        Method::new(
            "GetMachineAddresses",
            &[NAME],
            &[arg("a(iay)", "addresses")],
            |operations, subject, call| now(metadata::addresses(&operations, subject, &call)),
        ),
        Method::new(
            "GetMachineSSHInfo",
            &[NAME],
            &[arg("s", "ssh_address"), arg("s", "ssh_private_key_path")],
            |operations, subject, call| now(metadata::ssh_info(&operations, subject, &call)),
        ),
        Method::new(
            "GetMachineOSRelease",
            &[NAME],
            &[arg("a{ss}", "fields")],
            |operations, subject, call| Box::pin(metadata::os_release(operations, subject, call)),
        ),
        Method::new("OpenMachinePTY", &[NAME], PTY, |operations, subject, call| {
            Box::pin(terminal::pty(operations, subject, call))
        }),
        Method::new("OpenMachineLogin", &[NAME], PTY, |operations, subject, call| {
            Box::pin(terminal::login(operations, subject, call))
        }),
        Method::new(
            "OpenMachineShell",
            &[NAME, arg("s", "user"), arg("s", "path"), arg("as", "args"), arg("as", "environment")],
            PTY,
            |operations, subject, call| Box::pin(terminal::shell(operations, subject, call)),
        ),
        Method::new(
            "BindMountMachine",
            &[NAME, arg("s", "source"), arg("s", "destination"), arg("b", "read_only"), arg("b", "mkdir")],
            &[],
            |operations, subject, call| Box::pin(bind::bind(operations, subject, call)),
        ),
        Method::new(
            "CopyFromMachine",
            &[NAME, arg("s", "source"), arg("s", "destination")],
            &[],
            |operations, subject, call| {
                Box::pin(copy::copy(operations, subject, call, Direction::OutOf, false))
            },
        ),
        Method::new(
            "CopyToMachine",
            &[NAME, arg("s", "source"), arg("s", "destination")],
            &[],
            |operations, subject, call| {
                Box::pin(copy::copy(operations, subject, call, Direction::Into, false))
            },
        ),
        Method::new(
            "CopyFromMachineWithFlags",
            &[NAME, arg("s", "source"), arg("s", "destination"), arg("t", "flags")],
            &[],
            |operations, subject, call| {
                Box::pin(copy::copy(operations, subject, call, Direction::OutOf, true))
            },
        ),
        Method::new(
            "CopyToMachineWithFlags",
            &[NAME, arg("s", "source"), arg("s", "destination"), arg("t", "flags")],
            &[],
            |operations, subject, call| {
                Box::pin(copy::copy(operations, subject, call, Direction::Into, true))
            },
        ),
        Method::new("OpenMachineRootDirectory", &[NAME], &[arg("h", "fd")], |operations, subject, call| {
            Box::pin(metadata::root_directory(operations, subject, call))
        }),
        Method::new("GetMachineUIDShift", &[NAME], &[arg("u", "shift")], |operations, subject, call| {
            now(metadata::shift(&operations, subject, &call))
        }),
        Method::new("RemoveImage", &[NAME], &[], |operations, subject, call| {
            Box::pin(image_changes::remove(operations, subject, call))
        }),
        Method::new("RenameImage", &[NAME, NEW_NAME], &[], |operations, subject, call| {
            Box::pin(image_changes::rename(operations, subject, call))
        }),
        Method::new("CloneImage", &[NAME, NEW_NAME, READ_ONLY], &[], |operations, subject, call| {
            Box::pin(image_changes::clone(operations, subject, call))
        }),
        Method::new("MarkImageReadOnly", &[NAME, READ_ONLY], &[], |operations, subject, call| {
            Box::pin(image_changes::mark_read_only(operations, subject, call))
        }),
        Method::new("GetImageHostname", &[NAME], &[arg("s", "hostname")], |operations, subject, call| {
            Box::pin(image::hostname(operations, subject, call))
        }),
        Method::new("GetImageMachineID", &[NAME], &[arg("ay", "id")], |operations, subject, call| {
            Box::pin(image::machine_id(operations, subject, call))
        }),
        Method::new(
            "GetImageMachineInfo",
            &[NAME],
            &[arg("a{ss}", "machine_info")],
            |operations, subject, call| Box::pin(image::machine_info(operations, subject, call)),
        ),
        Method::new(
            "GetImageOSRelease",
            &[NAME],
            &[arg("a{ss}", "os_release")],
            |operations, subject, call| Box::pin(image::os_release(operations, subject, call)),
        ),
        Method::new("SetPoolLimit", &[SIZE], &[], |operations, _, call| {
            Box::pin(image_changes::set_pool_limit(operations, call))
        }),
        Method::new("SetImageLimit", &[NAME, SIZE], &[], |operations, subject, call| {
            Box::pin(image_changes::set_limit(operations, subject, call))
        }),
        Method::new("CleanPool", &[arg("s", "mode")], &[arg("a(st)", "images")], |operations, _, call| {
            Box::pin(image_changes::clean_pool(operations, call))
        }),
        Method::new(
            "MapFromMachineUser",
            &[NAME, arg("u", "uid_inner")],
            &[arg("u", "uid_outer")],
            |operations, _, call| now(mapping::from_machine(&operations, &call, IdKind::User)),
        ),
        Method::new(
            "MapToMachineUser",
            &[arg("u", "uid_outer")],
            &[arg("s", "machine_name"), arg("o", "machine_path"), arg("u", "uid_inner")],
            |operations, _, call| now(mapping::to_machine(&operations, &call, IdKind::User)),
        ),
        Method::new(
            "MapFromMachineGroup",
            &[NAME, arg("u", "gid_inner")],
            &[arg("u", "gid_outer")],
            |operations, _, call| now(mapping::from_machine(&operations, &call, IdKind::Group)),
        ),
        Method::new(
            "MapToMachineGroup",
            &[arg("u", "gid_outer")],
            &[arg("s", "machine_name"), arg("o", "machine_path"), arg("u", "gid_inner")],
            |operations, _, call| now(mapping::to_machine(&operations, &call, IdKind::Group)),
        ),
    ],
    signals: &[
        Signal { name: "MachineNew", arguments: &[arg("s", "machine"), arg("o", "path")] },
        Signal { name: "MachineRemoved", arguments: &[arg("s", "machine"), arg("o", "path")] },
    ],
};

fn machine(operations: &Operations, call: &Call) -> Result<Reply, ErrorReply> {
    let name: String = call.arguments()?;
    target(operations, &name)?;
    call.reply(&path_of(&name))
}

async fn machine_by_pid(operations: Rc<Operations>, call: Call) -> Result<Reply, ErrorReply> {
    let number: u32 = call.arguments()?;
    let pid = i32::try_from(number).map_err(|_| errors::bare(Errno::INVAL))?;
    let process = match pid {
        0 => sender(&call).await.ok(),
        pid => ProcessHandle::open(pid).ok(),
    };
    let key = process.and_then(|process| operations.by_process(&process)).ok_or_else(|| {
        let text = format!("PID {number} does not belong to any known machine");
        ErrorReply::new("org.freedesktop.machine1.NoMachineForPID", text)
    })?;
    call.reply(&path_of(&name_of(&operations, Target::Machine(key))))
}

async fn list(operations: Rc<Operations>, call: Call) -> Result<Reply, ErrorReply> {
    operations.remove_ended();
    // All of one moment: the reply takes longer to make.
    let mut found: Vec<_> = operations.machines(|machines| {
        let row = |record: &Record| {
            let service = record.service.as_deref().unwrap_or_default();
            (record.name.to_string(), record.class.name(), service.to_owned())
        };
        machines.iter().map(|(_, record)| row(record)).collect()
    });
    if operations.host_target().is_ok() {
        found.push((HOST_NAME.to_owned(), Host::CLASS, String::new()));
    }
    let rows = found.iter().map(|(name, class, service)| (name, *class, service, path_of(name)));
    call.reply_rows(rows).await
}
