//! Registering a machine, in all the forms that there are for it.

use std::rc::Rc;

use dbus_server::{Call, ErrorReply, Reply, description};
use registry::{Class, MachineName};
use rustix::io::Errno;
use zbus::OwnedVariant;

use super::leader::{NamedLeader, by_number, identity, sender};
use super::{authority, errors, path_of};
use crate::error::Error;
use crate::operations::{Operations, Registration};

mod particulars;
mod properties;

use particulars::{Particulars, class_of, indices, machine_id, machine_name, root_directory};
use properties::{Description, Properties};

/// The methods that register a machine.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Form {
    Create,
    CreateWithNetwork,
    CreateEx,
    Register,
    RegisterWithNetwork,
    RegisterEx,
}

impl Form {
    const fn allocates_unit(self) -> bool {
        matches!(self, Self::Create | Self::CreateWithNetwork | Self::CreateEx)
    }
}

/// Properties of a unit, as they come.
type List = Vec<(String, OwnedVariant)>;

/// Who is to lead the machine.
#[derive(Debug)]
enum Leader {
    /// This process; 0 is the caller.
    Number(u32),
    /// Whom these properties name; if nobody, the caller.
    Named(NamedLeader),
}

/// The first arguments of the forms with a fixed list of them.
type Plain = (String, Vec<u8>, String, String, u32, String, Vec<i32>);

/// The arguments, but for the properties of the unit.
struct Arguments {
    name: MachineName,
    particulars: Particulars,
    leader: Leader,
}

pub(super) async fn register(
    operations: Rc<Operations>,
    call: Call,
    form: Form,
) -> Result<Reply, ErrorReply> {
    let Arguments { name, particulars, leader } = read(&call, form)?;
    let leader = match leader {
        Leader::Number(0) => sender(&call).await?,
        Leader::Number(pid) => by_number(pid)?,
        Leader::Named(leader) => match leader.open()? {
            Some(process) if process.pid() == 1 => return Err(leader_of_host()),
            Some(process) => process,
            None => sender(&call).await?,
        },
    };
    if operations.is_taken(&name) {
        return Err(errors::of_operation(Error::MachineExists(name), name.as_str()));
    }
    let credentials = call.credentials().await?;
    let filled = |text: String| Some(text).filter(|text| !text.is_empty());
    let pid = leader.pid();
    let mut registration = Registration {
        name,
        class: particulars.class.unwrap_or(Class::Container),
        id: particulars.id,
        service: filled(particulars.service),
        supervisor: identity(&credentials).filter(|supervisor| supervisor.pid != pid),
        leader,
        uid: credentials.uid,
        root: filled(particulars.root),
        interfaces: particulars.interfaces,
        vsock_cid: particulars.vsock_cid,
        ssh_address: filled(particulars.ssh_address),
        ssh_private_key_path: filled(particulars.ssh_private_key_path),
        control_address: None,
        allocate_unit: form.allocates_unit(),
        scope_properties: Vec::new(),
    };
    let authorized = authority::may_register(&operations, &call, &registration).await?;
    // A machine without a class is none that anybody could start.
    particulars.class.ok_or_else(|| errors::bare(Errno::OPNOTSUPP))?;
    let scope_properties = scope_properties(&call, form)?;
    registration.scope_properties =
        scope_properties.into_iter().map(|(name, value)| (name, value.into())).collect();
    let failed = |error: Error| match error {
        Error::NoUnit { errno } => {
            let text = format!("Failed to determine unit of process {pid} : {}", description(errno));
            errors::with_text(errno, text)
        }
        error => errors::of_operation(error, name.as_str()),
    };
    let registered = operations.register(&authorized, registration).await.map_err(failed)?;
    // The unit may take its time; the machine is there.
    call.turn.passing(registered.started()).await.map_err(failed)?;
    call.reply(&path_of(name.as_str()))
}

/// Reads the arguments and checks them, in the order of the original.
fn read(call: &Call, form: Form) -> Result<Arguments, ErrorReply> {
    let (name, id, service, class, leader, root, interfaces): Plain = match form {
        Form::CreateEx | Form::RegisterEx => {
            let (name, Description(properties)): (String, Description) = call.first_arguments()?;
            let name = machine_name(&name)?;
            let Properties { particulars, leader } = properties?;
            return Ok(Arguments { name, particulars, leader: Leader::Named(leader) });
        }
        Form::Create | Form::Register => {
            let (name, id, service, class, leader, root) = call.first_arguments()?;
            (name, id, service, class, leader, root, Vec::new())
        }
        Form::CreateWithNetwork | Form::RegisterWithNetwork => call.first_arguments()?,
    };
    let name = machine_name(&name)?;
    let mut particulars = Particulars { service, ..Particulars::default() };
    particulars.id = machine_id(&id)?;
    particulars.interfaces = indices(&interfaces)?;
    particulars.class = class_of(&class)?;
    if leader == 1 {
        return Err(leader_of_host());
    }
    particulars.root = root_directory(root)?;
    Ok(Arguments { name, particulars, leader: Leader::Number(leader) })
}

/// What the unit is to have beyond ours. Values of any type take a hundred times their bytes: they are read when it is
/// certain that the caller may have a unit.
fn scope_properties(call: &Call, form: Form) -> Result<List, ErrorReply> {
    match form {
        Form::Create => {
            let (.., list): (String, Vec<u8>, String, String, u32, String, List) = call.arguments()?;
            Ok(list)
        }
        Form::CreateWithNetwork => {
            let (.., list): (String, Vec<u8>, String, String, u32, String, Vec<i32>, List) =
                call.arguments()?;
            Ok(list)
        }
        Form::CreateEx => {
            let (.., list): (String, Description, List) = call.arguments()?;
            Ok(list)
        }
        Form::Register | Form::RegisterWithNetwork | Form::RegisterEx => Ok(Vec::new()),
    }
}

/// Process 1 leads the host, and no machine.
fn leader_of_host() -> ErrorReply {
    ErrorReply::invalid_args("Invalid leader PID")
}
