//! Whether the sender of a call may do what it asks for: the one place where this front end asks.

use dbus_server::{Call, ErrorReply};

use super::errors;
use super::subject::name_of;
use crate::authorization::{Action, Authorized, Caller, Register, Subject};
use crate::operations::{Operations, Registration, Target};

/// Who sends a call.
///
/// # Errors
/// The bus does not say.
pub(super) async fn caller(call: &Call) -> Result<Caller, ErrorReply> {
    let credentials = call.credentials().await?;
    Ok(Caller {
        uid: credentials.uid,
        subject: Subject::BusName(call.sender()),
        is_interactive: call.allows_interaction(),
    })
}

/// To register a machine.
///
/// # Errors
/// `AccessDenied`. `InteractiveAuthorizationRequired`.
pub(super) async fn may_register(
    operations: &Operations,
    call: &Call,
    registration: &Registration,
) -> Result<Authorized<Register>, ErrorReply> {
    let caller = caller(call).await?;
    // Polkit may ask somebody for a password.
    let verdict = call.turn.passing(operations.may_register(&caller, registration)).await;
    verdict.map_err(|error| errors::of_operation(error, registration.name.as_str()))
}

/// To do something that is about no single machine. The details are what polkit's rules are told of it.
///
/// # Errors
/// `AccessDenied`. `InteractiveAuthorizationRequired`.
pub(super) async fn may_all<A: Action>(
    operations: &Operations,
    call: &Call,
    details: &[(&'static str, &str)],
) -> Result<Authorized<A>, ErrorReply> {
    let caller = caller(call).await?;
    let verdict = call.turn.passing(operations.may(&caller, None, details)).await;
    verdict.map_err(|error| errors::of_operation(error, ""))
}

/// To do something to a machine, or to the host. The verb is what polkit's rules are told of it.
///
/// # Errors
/// `AccessDenied`. `InteractiveAuthorizationRequired`. `NoSuchMachine`: it has gone meanwhile.
pub(super) async fn may<A: Action>(
    operations: &Operations,
    call: &Call,
    target: Target,
    verb: &str,
) -> Result<Authorized<A>, ErrorReply> {
    let (caller, name) = (caller(call).await?, name_of(operations, target));
    let details = [("machine", name.as_str()), ("verb", verb)];
    let verdict = call.turn.passing(operations.may(&caller, Some(target), &details)).await;
    verdict.map_err(|error| errors::of_operation(error, &name))
}
