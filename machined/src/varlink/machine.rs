//! `io.systemd.Machine`, on top of the daemon's operations.

use std::rc::Rc;

use libmachine::{checked_name, signal_of_name, signal_of_number};
use registry::{HOST_NAME, MachineName};
use rustix::io::Errno;
use rustix::process::Signal;
use serde_json::{Map, Value};

use crate::authorization::{Authorized, Caller, Manage, Subject};
use crate::error::Error;
use crate::inside::Direction;
use crate::operations::{KillWhom, Operations, Target};
use varlink_server::{Call, Descriptors, Done, ErrorReply, Interface, Method, More, Replier, Rule};

mod bind;
mod copy;
mod list;
mod mapping;
mod open;
mod process_id;
mod register;

pub(super) use copy::asked as asked_copy;
use process_id::ProcessId;
pub(super) use process_id::ProcessReply;

/// The interface.
pub fn interface() -> Interface<Operations> {
    Interface {
        description: include_str!("idl/io.systemd.Machine.varlink"),
        methods: const {
            &[
                Method {
                    name: "Register",
                    more: More::No,
                    rules: register::RULES,
                    descriptors: Descriptors::None,
                    handler: |operations, call, replier| {
                        Box::pin(register::register(operations, call, replier))
                    },
                },
                Method {
                    name: "Unregister",
                    more: More::No,
                    rules: &[("name", Rule::NotNull), ("pid", Rule::NullMember("pidfdId"))],
                    descriptors: Descriptors::None,
                    handler: |operations, call, replier| Box::pin(unregister(operations, call, replier)),
                },
                Method {
                    name: "Terminate",
                    more: More::No,
                    rules: &[("name", Rule::NotNull), ("pid", Rule::NullMember("pidfdId"))],
                    descriptors: Descriptors::None,
                    handler: |operations, call, replier| Box::pin(terminate(operations, call, replier)),
                },
                Method {
                    name: "Kill",
                    more: More::No,
                    rules: &[
                        ("name", Rule::NotNull),
                        ("pid", Rule::NullMember("pidfdId")),
                        ("whom", Rule::NotNull),
                        ("signal", Rule::IntOrWord),
                    ],
                    descriptors: Descriptors::None,
                    handler: |operations, call, replier| Box::pin(kill(operations, call, replier)),
                },
                Method {
                    name: "List",
                    more: More::Supported,
                    rules: &[
                        ("name", Rule::NotNull),
                        ("pid", Rule::NullMember("pidfdId")),
                        ("acquireMetadata", Rule::NotNull),
                    ],
                    descriptors: Descriptors::None,
                    handler: |operations, call, replier| Box::pin(list::list(operations, call, replier)),
                },
                Method {
                    name: "Open",
                    more: More::No,
                    rules: &[("name", Rule::NotNull), ("pid", Rule::NullMember("pidfdId"))],
                    descriptors: Descriptors::Sent,
                    handler: |operations, call, replier| Box::pin(open::open(operations, call, replier)),
                },
                Method {
                    name: "MapFrom",
                    more: More::No,
                    rules: &[("name", Rule::NotNull), ("pid", Rule::NullMember("pidfdId"))],
                    descriptors: Descriptors::None,
                    handler: |operations, call, replier| {
                        Box::pin(async move { mapping::map_from(&operations, &call, replier) })
                    },
                },
                Method {
                    name: "MapTo",
                    more: More::No,
                    rules: &[],
                    descriptors: Descriptors::None,
                    handler: |operations, call, replier| {
                        Box::pin(async move { mapping::map_to(&operations, &call, replier) })
                    },
                },
                Method {
                    name: "BindMount",
                    more: More::No,
                    rules: &[("name", Rule::NotNull), ("pid", Rule::NullMember("pidfdId"))],
                    descriptors: Descriptors::None,
                    handler: |operations, call, replier| Box::pin(bind::bind(operations, call, replier)),
                },
                Method {
                    name: "CopyFrom",
                    more: More::No,
                    rules: &[("name", Rule::NotNull), ("pid", Rule::NullMember("pidfdId"))],
                    descriptors: Descriptors::None,
                    handler: |operations, call, replier| {
                        Box::pin(copy::copy(operations, call, replier, Direction::OutOf))
                    },
                },
                Method {
                    name: "CopyTo",
                    more: More::No,
                    rules: &[("name", Rule::NotNull), ("pid", Rule::NullMember("pidfdId"))],
                    descriptors: Descriptors::None,
                    handler: |operations, call, replier| {
                        Box::pin(copy::copy(operations, call, replier, Direction::Into))
                    },
                },
                Method {
                    name: "OpenRootDirectory",
                    more: More::No,
                    rules: &[("name", Rule::NotNull), ("pid", Rule::NullMember("pidfdId"))],
                    descriptors: Descriptors::Sent,
                    handler: |operations, call, replier| {
                        Box::pin(open::root_directory(operations, call, replier))
                    },
                },
            ]
        },
    }
}

/// The operations' errors in the interface's words.
impl From<Error> for ErrorReply {
    fn from(error: Error) -> Self {
        let names = error.names();
        if let Some(id) = names.varlink {
            return Self::named(id);
        }
        tracing::debug!("{}", crate::log::with_causes(&error));
        Self::system(names.errno)
    }
}

/// Runs an operation that is not given up half-way because its caller hangs up.
pub(super) async fn to_the_end<T: 'static>(
    operation: impl Future<Output = Result<T, Error>> + 'static,
) -> Result<T, Error> {
    let lost = Error::System { action: "complete the operation", errno: Errno::IO };
    tokio::task::spawn_local(operation).await.unwrap_or(Err(lost))
}

pub(super) fn caller(call: &Call) -> Caller {
    let is_interactive = call.parameters.get("allowInteractiveAuthentication").and_then(Value::as_bool);
    Caller {
        uid: call.peer.uid.as_raw(),
        subject: Subject::Process(call.peer.clone()),
        is_interactive: is_interactive.unwrap_or(false),
    }
}

/// Whether the caller may end what the call is about.
async fn may_manage(
    operations: &Operations,
    call: &Call,
    target: Target,
    verb: &str,
) -> Result<Authorized<Manage>, Error> {
    let name = operations.name_of(target)?;
    operations.may(&caller(call), Some(target), &[("name", &name), ("verb", verb)]).await
}

pub(super) fn text<'a>(parameters: &'a Map<String, Value>, name: &str) -> Option<&'a str> {
    parameters.get(name).and_then(Value::as_str)
}

/// A name that may be looked up.
enum LookupName {
    Host,
    Machine(MachineName),
}

fn lookup_name(parameters: &Map<String, Value>) -> Result<Option<LookupName>, ErrorReply> {
    let Some(name) = text(parameters, "name") else { return Ok(None) };
    if name == HOST_NAME {
        return Ok(Some(LookupName::Host));
    }
    Ok(Some(LookupName::Machine(machine_name(name)?)))
}

/// The name of a machine; one that is none is refused with the rule that it breaks, as `reason`.
pub(super) fn machine_name(name: &str) -> Result<MachineName, ErrorReply> {
    checked_name(name).map_err(|refused| {
        let mut error = ErrorReply::invalid_parameter("name");
        error.parameters.push(("reason", refused.to_string().into()));
        error
    })
}

/// What a call is about: by name, by process, or by both if they agree. `None`: it names neither.
fn lookup(operations: &Operations, call: &Call) -> Result<Option<Target>, ErrorReply> {
    let name = lookup_name(&call.parameters)?;
    let process = ProcessId::of(&call.parameters, "pid")?;
    let by_name = match name {
        None => None,
        Some(LookupName::Host) => Some(operations.host_target()?),
        Some(LookupName::Machine(name)) => {
            Some(Target::Machine(operations.by_name(&name).ok_or(Error::NoSuchMachine)?))
        }
    };
    let by_process = match process {
        None => None,
        Some(process) => {
            let key = process.find(operations, &call.peer).ok_or(Error::NoSuchMachine)?;
            Some(Target::Machine(key))
        }
    };
    match (by_name, by_process) {
        (Some(one), Some(other)) if one != other => Err(Error::NoSuchMachine.into()),
        (found, other) => Ok(found.or(other)),
    }
}

/// What a call that must be about something is about.
fn target(operations: &Operations, call: &Call) -> Result<Target, ErrorReply> {
    Ok(lookup(operations, call)?.ok_or(Error::NoSuchMachine)?)
}

async fn unregister(operations: Rc<Operations>, call: Call, replier: Replier) -> Result<Done, ErrorReply> {
    let target = target(&operations, &call)?;
    let authorized = may_manage(&operations, &call, target, "unregister").await?;
    operations.unregister(&authorized, target)?;
    replier.reply(&())
}

async fn terminate(operations: Rc<Operations>, call: Call, replier: Replier) -> Result<Done, ErrorReply> {
    let target = target(&operations, &call)?;
    let authorized = may_manage(&operations, &call, target, "terminate").await?;
    to_the_end(async move { operations.terminate(&authorized, target).await }).await?;
    replier.reply(&())
}

async fn kill(operations: Rc<Operations>, call: Call, replier: Replier) -> Result<Done, ErrorReply> {
    let whom = match text(&call.parameters, "whom") {
        None | Some("all") => KillWhom::All,
        Some("leader") => KillWhom::Leader,
        Some("supervisor") => KillWhom::Supervisor,
        Some(_) => return Err(ErrorReply::invalid_parameter("whom")),
    };
    let signal = call.parameters.get("signal").and_then(signal);
    let signal = signal.ok_or_else(|| ErrorReply::invalid_parameter("signal"))?;
    let target = target(&operations, &call)?;
    let authorized = may_manage(&operations, &call, target, "kill").await?;
    to_the_end(async move { operations.kill(&authorized, target, whom, signal).await }).await?;
    replier.reply(&())
}

/// A signal by its number, 1 to 64, or by its name.
fn signal(value: &Value) -> Option<Signal> {
    match value {
        Value::String(name) => signal_of_name(name),
        value => signal_of_number(i32::try_from(value.as_i64()?).ok()?),
    }
}
