//! The methods that change images and their pool. What was begun is done, whether or not its caller waits.

use std::rc::Rc;

use images::ImageName;
use rustix::io::Errno;
use serde::Serialize;
use serde_json::{Map, Value};
use varlink_server::{Call, Done, ErrorReply, Replier};

use crate::authorization::{Authorized, ManageImages};
use crate::error::Error;
use crate::image_workers::Update;
use crate::operations::{Operations, Telling};
use crate::varlink::machine::{caller, text, to_the_end};

/// The largest size that a file may have; and what stands for no limit.
const LARGEST: u64 = u64::MAX >> 1;
const NO_LIMIT: u64 = u64::MAX;

/// A name that an image may have.
pub(super) fn name<'a>(parameters: &'a Map<String, Value>, field: &str) -> Result<&'a str, ErrorReply> {
    let name = text(parameters, field).filter(|name| ImageName::new(name).is_ok());
    name.ok_or_else(|| ErrorReply::invalid_parameter(field))
}

/// A size, or no limit.
fn size(parameters: &Map<String, Value>) -> Result<Option<u64>, ErrorReply> {
    let Some(value) = parameters.get("limit") else { return Ok(None) };
    let size = value.as_u64().filter(|&size| size <= LARGEST || size == NO_LIMIT);
    size.map(Some).ok_or_else(|| ErrorReply::invalid_parameter("limit"))
}

pub(super) async fn may(
    operations: &Operations,
    call: &Call,
    details: &[(&'static str, &str)],
) -> Result<Authorized<ManageImages>, Error> {
    operations.may(&caller(call), None, details).await
}

pub(super) async fn update(
    operations: Rc<Operations>,
    call: Call,
    replier: Replier,
) -> Result<Done, ErrorReply> {
    let name = name(&call.parameters, "name")?.to_owned();
    let new = call.parameters.get("newName").map(|_| self::name(&call.parameters, "newName")).transpose()?;
    let update = Update {
        name: new.map(str::to_owned),
        read_only: call.parameters.get("readOnly").and_then(Value::as_bool),
        // The largest of all leaves the limit as it is.
        limit: size(&call.parameters)?.filter(|&size| size != NO_LIMIT).map(Some),
    };
    operations.image(&name).await?;
    let authorized = may(&operations, &call, &[("image", &name), ("verb", "update")]).await?;
    to_the_end(async move { operations.update_image(&authorized, &name, update).await }).await?;
    replier.reply(&())
}

pub(super) async fn clone(
    operations: Rc<Operations>,
    call: Call,
    replier: Replier,
) -> Result<Done, ErrorReply> {
    operations.may_change_images()?;
    let name = name(&call.parameters, "name")?.to_owned();
    let new = self::name(&call.parameters, "newName")?.to_owned();
    let read_only = call.parameters.get("readOnly").and_then(Value::as_bool).unwrap_or(false);
    operations.image(&name).await?;
    let details = [("image", name.as_str()), ("verb", "clone"), ("new_name", &new)];
    let authorized = may(&operations, &call, &details).await?;
    to_the_end(async move {
        let telling = Telling { counts: false, each: &mut |_, _| {} };
        operations.clone_image(&authorized, &name, &new, read_only, telling).await
    })
    .await?;
    replier.reply(&())
}

pub(super) async fn remove(
    operations: Rc<Operations>,
    call: Call,
    replier: Replier,
) -> Result<Done, ErrorReply> {
    operations.may_change_images()?;
    let name = name(&call.parameters, "name")?.to_owned();
    operations.image(&name).await?;
    let authorized = may(&operations, &call, &[("image", &name), ("verb", "remove")]).await?;
    to_the_end(async move {
        let telling = Telling { counts: false, each: &mut |_, _| {} };
        operations.remove_image(&authorized, &name, telling).await
    })
    .await?;
    replier.reply(&())
}

pub(super) async fn set_pool_limit(
    operations: Rc<Operations>,
    call: Call,
    replier: Replier,
) -> Result<Done, ErrorReply> {
    let size = size(&call.parameters)?.ok_or_else(|| ErrorReply::invalid_parameter("limit"))?;
    let authorized = may(&operations, &call, &[("verb", "set_pool_limit")]).await?;
    let limit = Some(size).filter(|&size| size != NO_LIMIT);
    let limited = to_the_end(async move { operations.limit_pool(&authorized, limit).await }).await;
    limited.map_err(|error| match error.errno() {
        Errno::OPNOTSUPP => ErrorReply::named("io.systemd.MachineImage.NotSupported"),
        _ => error.into(),
    })?;
    replier.reply(&())
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Removed {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage_exclusive: Option<u64>,
}

pub(super) async fn clean_pool(
    operations: Rc<Operations>,
    call: Call,
    replier: Replier,
) -> Result<Done, ErrorReply> {
    operations.may_change_images()?;
    let mode = text(&call.parameters, "mode").unwrap_or_default().to_owned();
    let authorized = may(&operations, &call, &[("mode", &mode), ("verb", "clean_pool")]).await?;
    let only_hidden = mode == "hidden";
    let removed = to_the_end(async move { operations.clean_pool(&authorized, only_hidden).await }).await?;
    let removed = removed.into_iter().map(|(name, usage_exclusive)| Removed { name, usage_exclusive });
    Ok(replier.reply_all(removed).await?.ok_or(Error::NoSuchImage)?)
}
