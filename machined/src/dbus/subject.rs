//! Which object a call is for.

use std::future::ready;
use std::rc::Rc;

use dbus_server::{Call, ErrorReply, Label, LocalFuture};
use images::{Image, Pool};
use registry::{HOST_NAME, MachineName};

use super::errors;
use super::leader::sender;
use crate::operations::{Operations, Target};

/// An object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Subject {
    /// The manager.
    Manager,
    /// The same, with what is known of the pool of images.
    ManagerOf(Pool),
    /// An image.
    Image(Rc<Image>),
    /// A machine, or the host.
    Machine(Target),
    /// The control of the log.
    LogControl,
}

/// The machine that a caller is in, whatever it is called.
const SELF: &str = "self";

/// The machine of a label.
pub(super) fn find(operations: Rc<Operations>, label: Label, call: Call) -> LocalFuture<Option<Subject>> {
    Box::pin(async move {
        let target = if label.as_str() == SELF {
            let sender = sender(&call).await.ok()?;
            Target::Machine(operations.by_process(&sender)?)
        } else {
            target(&operations, &label.name()?).ok()?
        };
        Some(Subject::Machine(target))
    })
}

/// The labels of all machines.
pub(super) fn labels(operations: Rc<Operations>, _: Call) -> LocalFuture<Vec<Label>> {
    Box::pin(ready(operations.machines(|machines| {
        let names = machines.iter().map(|(_, record)| Label::of(record.name.as_str()));
        names.chain(operations.host_target().ok().map(|_| Label::of(HOST_NAME))).collect()
    })))
}

/// The machine of a name, or the host.
///
/// # Errors
/// `NoSuchMachine`.
pub(super) fn target(operations: &Operations, name: &str) -> Result<Target, ErrorReply> {
    if name == HOST_NAME {
        return operations.host_target().map_err(|_| errors::no_such_machine(name));
    }
    // A name that no machine can have is that of none.
    let key = MachineName::new(name.as_bytes()).ok().and_then(|name| operations.by_name(&name));
    key.map(Target::Machine).ok_or_else(|| errors::no_such_machine(name))
}

/// The machine that a method of the manager, or of the machine itself, is about. The manager's methods name it first.
pub(super) fn target_of(
    operations: &Operations,
    subject: Subject,
    name: impl FnOnce() -> Result<String, ErrorReply>,
) -> Result<Target, ErrorReply> {
    match subject {
        Subject::Machine(target) => Ok(target),
        _ => target(operations, &name()?),
    }
}

/// The name of a machine, or the host's.
pub(super) fn name_of(operations: &Operations, target: Target) -> String {
    match target {
        Target::Host => HOST_NAME.to_owned(),
        Target::Machine(key) => {
            operations.record(key).map_or_else(String::new, |record| record.name.to_string())
        }
    }
}
