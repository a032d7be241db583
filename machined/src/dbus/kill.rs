//! The methods that end machines.

use std::rc::Rc;

use dbus_server::{Call, ErrorReply, Reply};
use libmachine::signal_of_number;

use super::authority;
use super::errors;
use super::subject::{Subject, name_of, target, target_of};
use crate::operations::{KillWhom, Operations};

/// `UnregisterMachine`.
pub(super) async fn unregister(operations: Rc<Operations>, call: Call) -> Result<Reply, ErrorReply> {
    let name: String = call.arguments()?;
    let target = target(&operations, &name)?;
    let authorized = authority::may(&operations, &call, target, "unregister").await?;
    let unregistered = operations.unregister(&authorized, target);
    unregistered.map_err(|error| errors::of_operation(error, &name))?;
    call.reply(&())
}

/// `TerminateMachine`, `Terminate`.
pub(super) async fn terminate(
    operations: Rc<Operations>,
    subject: Subject,
    call: Call,
) -> Result<Reply, ErrorReply> {
    let target = target_of(&operations, subject, || call.arguments())?;
    let authorized = authority::may(&operations, &call, target, "terminate").await?;
    operations
        .terminate(&authorized, target)
        .await
        .map_err(|error| errors::of_operation(error, &name_of(&operations, target)))?;
    call.reply(&())
}

/// `KillMachine`, `Kill`.
pub(super) async fn kill(
    operations: Rc<Operations>,
    subject: Subject,
    call: Call,
) -> Result<Reply, ErrorReply> {
    let (name, whom, signal): (String, String, i32) = match subject {
        Subject::Machine(_) => {
            let (whom, signal) = call.arguments()?;
            (String::new(), whom, signal)
        }
        _ => call.arguments()?,
    };
    let target = target_of(&operations, subject, || Ok(name))?;
    let whom = match whom.as_str() {
        "" | "all" => KillWhom::All,
        "leader" => KillWhom::Leader,
        "supervisor" => KillWhom::Supervisor,
        other => return Err(ErrorReply::invalid_args(format!("Invalid kill parameter '{other}'"))),
    };
    let refused = || ErrorReply::invalid_args(format!("Invalid signal {signal}"));
    let signal = signal_of_number(signal).ok_or_else(refused)?;
    let authorized = authority::may(&operations, &call, target, "kill").await?;
    // The service manager's own name for an error is not passed on, as in the original.
    operations.kill(&authorized, target, whom, signal).await.map_err(|error| errors::bare(error.errno()))?;
    call.reply(&())
}
