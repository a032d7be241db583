//! The methods that mount something of the host in a container.

use std::rc::Rc;

use dbus_server::{Call, ErrorReply, Reply, description};

use super::authority::caller;
use super::errors;
use super::subject::{Subject, name_of, target};
use crate::authorization::{Authorized, Bind as MayBind};
use crate::error::Error;
use crate::inside::Bind;
use crate::operations::{Operations, is_plain_path};

type Wanted = (String, String, bool, bool);

/// `BindMountMachine`, `BindMount`.
pub(super) async fn bind(
    operations: Rc<Operations>,
    subject: Subject,
    call: Call,
) -> Result<Reply, ErrorReply> {
    let not_supported =
        |_: Error| errors::not_supported("Bind mounting is only supported on container machines.");
    let (target, (source, destination, is_read_only, makes_directories)) = match subject {
        Subject::Machine(target) => (target, call.arguments::<Wanted>()?),
        _ => {
            let (name, source, destination, is_read_only, makes): (String, String, String, bool, bool) =
                call.arguments()?;
            (target(&operations, &name)?, (source, destination, is_read_only, makes))
        }
    };
    operations.is_bindable(target).map_err(not_supported)?;
    if !is_plain_path(&source) {
        return Err(ErrorReply::invalid_args("Source path must be absolute and normalized."));
    }
    let destination = if destination.is_empty() { source.clone() } else { destination };
    if !is_plain_path(&destination) {
        return Err(ErrorReply::invalid_args("Destination path must be absolute and normalized."));
    }
    let (caller, name) = (caller(&call).await?, name_of(&operations, target));
    let details = [("machine", name.as_str()), ("verb", "bind"), ("src", &source), ("dest", &destination)];
    let verdict = call.turn.passing(operations.may(&caller, Some(target), &details)).await;
    let authorized: Authorized<MayBind> = verdict.map_err(|error| errors::of_operation(error, &name))?;
    let (from, to) = (source.clone(), destination.clone());
    let wanted = Bind { source, destination, is_read_only, makes_directories };
    let bound = call.turn.passing(operations.bind(&authorized, target, wanted)).await;
    bound.map_err(|error| match error {
        Error::UserNamespace => {
            errors::not_supported("Can't bind mount on container with user namespacing applied.")
        }
        Error::System { errno, .. } => {
            let text =
                format!("Failed to mount {from} on {to} in machine's namespace: {}", description(errno));
            errors::with_text(errno, text)
        }
        error => errors::of_operation(error, &name),
    })?;
    call.reply(&())
}
