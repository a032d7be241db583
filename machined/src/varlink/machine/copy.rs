//! `CopyTo` and `CopyFrom`, and what they have in common with the copies of an interface of our own.

use std::rc::Rc;

use serde_json::Value;

use super::{caller, target, text, to_the_end};
use crate::authorization::{Authorized, Copy as MayCopy};
use crate::inside::Direction;
use crate::operations::{Copying, Operations, Target, is_plain_path};
use varlink_server::{Call, Done, ErrorReply, Replier};

/// What a call asks to have copied, if the caller may have that.
pub(in crate::varlink) async fn asked(
    operations: &Operations,
    call: &Call,
    direction: Direction,
) -> Result<(Authorized<MayCopy>, Target, Copying), ErrorReply> {
    let source = text(&call.parameters, "source").filter(|path| is_plain_path(path));
    let source = source.ok_or_else(|| ErrorReply::invalid_parameter("source"))?;
    let destination = text(&call.parameters, "destination").unwrap_or(source);
    if !is_plain_path(destination) {
        return Err(ErrorReply::invalid_parameter("destination"));
    }
    let target = target(operations, call)?;
    operations.may_copy(target)?;
    let name = operations.name_of(target)?;
    let details = [("name", name.as_str()), ("verb", "copy"), ("src", source), ("dest", destination)];
    let authorized = operations.may(&caller(call), Some(target), &details).await?;
    let replaces = call.parameters.get("replace").and_then(Value::as_bool).unwrap_or(false);
    let (source, destination) = (source.to_owned(), destination.to_owned());
    Ok((authorized, target, Copying { direction, source, destination, replaces }))
}

pub(super) async fn copy(
    operations: Rc<Operations>,
    call: Call,
    replier: Replier,
    direction: Direction,
) -> Result<Done, ErrorReply> {
    let (authorized, target, copying) = asked(&operations, &call, direction).await?;
    // It goes on when the client goes.
    to_the_end(async move { operations.copy(&authorized, target, copying, false, |_, _| {}).await }).await?;
    replier.reply(&())
}
