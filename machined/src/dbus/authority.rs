//! Whether the sender of a call may do what it asks for: the one place where this front end asks.

use dbus_server::{Call, ErrorReply};

use super::errors;
use crate::authorization::{Authorized, Caller, Inspect, Manage, Register};
use crate::daemon::Daemon;
use crate::error::Error;
use crate::operations::Target;

async fn caller(daemon: &Daemon, call: &Call) -> Result<Caller, ErrorReply> {
    let credentials = call.credentials().await?;
    Ok(Caller { uid: credentials.uid, daemon_uid: daemon.surroundings.uid })
}

fn record(daemon: &Daemon, target: Target) -> Option<registry::Record> {
    match target {
        Target::Host => None,
        Target::Machine(key) => daemon.record(key),
    }
}

/// To register a machine.
///
/// # Errors
/// `AccessDenied`.
pub(super) async fn may_register(daemon: &Daemon, call: &Call) -> Result<Authorized<Register>, ErrorReply> {
    let verdict = caller(daemon, call).await?.may_register();
    verdict.map_err(|denied| errors::of_operation(Error::from(denied), ""))
}

/// To unregister, terminate or kill a machine.
///
/// # Errors
/// `AccessDenied`.
pub(super) async fn may_manage(
    daemon: &Daemon,
    call: &Call,
    target: Target,
) -> Result<Authorized<Manage>, ErrorReply> {
    let verdict = caller(daemon, call).await?.may_manage(record(daemon, target).as_ref());
    verdict.map_err(|denied| errors::of_operation(Error::from(denied), ""))
}

/// To be told what is inside a machine.
///
/// # Errors
/// `AccessDenied`.
pub(super) async fn may_inspect(
    daemon: &Daemon,
    call: &Call,
    target: Target,
) -> Result<Authorized<Inspect>, ErrorReply> {
    let verdict = caller(daemon, call).await?.may_inspect(record(daemon, target).as_ref());
    verdict.map_err(|denied| errors::of_operation(Error::from(denied), ""))
}
