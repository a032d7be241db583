//! The methods that copy between the host and a container.

use std::rc::Rc;

use dbus_server::{Call, ErrorReply, Reply, description};
use rustix::io::Errno;

use super::authority::caller;
use super::errors;
use super::subject::{Subject, name_of, target};
use crate::authorization::{Authorized, Copy as MayCopy};
use crate::error::Error;
use crate::inside::Direction;
use crate::operations::{Copying, Operations, Target, is_plain_path};

/// `MACHINE_COPY_REPLACE`, the only flag there is.
const REPLACE: u64 = 1;

/// `CopyToMachine`, `CopyTo`, and from there; with flags or without.
pub(super) async fn copy(
    operations: Rc<Operations>,
    subject: Subject,
    call: Call,
    direction: Direction,
    has_flags: bool,
) -> Result<Reply, ErrorReply> {
    let (target, source, destination, flags) = wanted(&operations, subject, &call, has_flags)?;
    let name = name_of(&operations, target);
    operations.may_copy(target).map_err(|error| match error {
        Error::NotSupported => {
            errors::not_supported("Copying files is only supported on container machines.")
        }
        error => errors::of_operation(error, &name),
    })?;
    if flags & !REPLACE != 0 {
        return Err(errors::bare(Errno::INVAL));
    }
    if !is_plain_path(&source) {
        return Err(ErrorReply::invalid_args("Source path must be absolute and normalized."));
    }
    let destination = if destination.is_empty() { source.clone() } else { destination };
    if !is_plain_path(&destination) {
        return Err(ErrorReply::invalid_args("Destination path must be absolute and normalized."));
    }
    let caller = caller(&call).await?;
    let details = [("machine", name.as_str()), ("verb", "copy"), ("src", &source), ("dest", &destination)];
    let verdict = call.turn.passing(operations.may(&caller, Some(target), &details)).await;
    let authorized: Authorized<MayCopy> = verdict.map_err(|error| errors::of_operation(error, &name))?;
    let copying = Copying { direction, source, destination, replaces: flags & REPLACE != 0 };
    // It goes on when the client goes.
    let work = tokio::task::spawn_local(async move {
        operations.copy(&authorized, target, copying, false, |_, _| {}).await
    });
    let done = call.turn.passing(work).await.unwrap_or(Err(Error::Copy { errno: Errno::IO, path: None }));
    done.map_err(|error| match error {
        Error::Copy { errno, path: Some(path) } => {
            errors::with_text(errno, format!("Cannot copy '{path}': {}", advice(errno)))
        }
        Error::Copy { errno, path: None } => errors::with_text(errno, advice(errno)),
        error => errors::of_operation(error, &name),
    })?;
    call.reply(&())
}

/// What a call asks for.
fn wanted(
    operations: &Operations,
    subject: Subject,
    call: &Call,
    has_flags: bool,
) -> Result<(Target, String, String, u64), ErrorReply> {
    let flags = 0;
    Ok(match (subject, has_flags) {
        (Subject::Machine(target), false) => {
            let (source, destination) = call.arguments()?;
            (target, source, destination, flags)
        }
        (Subject::Machine(target), true) => {
            let (source, destination, flags) = call.arguments()?;
            (target, source, destination, flags)
        }
        (_, false) => {
            let (name, source, destination): (String, String, String) = call.arguments()?;
            (target(operations, &name)?, source, destination, flags)
        }
        (_, true) => {
            let (name, source, destination, flags): (String, String, String, u64) = call.arguments()?;
            (target(operations, &name)?, source, destination, flags)
        }
    })
}

/// What an errno means here, and what to do.
fn advice(errno: Errno) -> String {
    let told = description(errno);
    match errno {
        Errno::EXIST => format!("{told}; --force replaces files"),
        Errno::ADDRNOTAVAIL => format!("{told}: the root directory has no name; name what is in it"),
        Errno::NXIO => format!("{told}: the ids of the machine are not shifted as a whole"),
        Errno::SHUTDOWN => format!("{told}: the machine has ended, or the copy was ended from within"),
        Errno::TIMEDOUT => format!("{told}: earlier work in the machine does not end"),
        _ => told.to_string(),
    }
}
