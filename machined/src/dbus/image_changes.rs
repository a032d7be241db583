//! The methods that change images and their pool.

use std::rc::Rc;

use dbus_server::{Call, ErrorReply, Reply, description};
use images::ImageName;
use rustix::io::Errno;

use super::subject::Subject;
use super::{authority, errors};
use crate::authorization::{Authorized, ManageImages, ManagePool};
use crate::error::Error;
use crate::image_workers::Update;
use crate::operations::{Operations, Telling};

/// The largest size that a file may have; and what stands for no limit.
const LARGEST: u64 = u64::MAX >> 1;
const NO_LIMIT: u64 = u64::MAX;

/// A name that an image may have.
///
/// # Errors
/// `InvalidArgs`.
pub(super) fn valid(name: String) -> Result<String, ErrorReply> {
    match ImageName::new(&name) {
        Ok(_) => Ok(name),
        Err(_) => Err(ErrorReply::invalid_args(format!("Image name '{name}' is invalid."))),
    }
}

/// The image that a method is about, whose name the manager's methods carry, and whether one more may be changed now.
async fn image(
    operations: &Operations,
    subject: &Subject,
    call: &Call,
    name: String,
) -> Result<String, ErrorReply> {
    let name = match subject {
        Subject::Image(image) => image.name.clone(),
        _ => {
            let name = valid(name)?;
            let found = call.turn.passing(operations.image(&name)).await;
            found.map_err(|error| errors::of_operation(error, &name))?.name
        }
    };
    operations.may_change_images().map_err(|error| errors::of_operation(error, &name))?;
    Ok(name)
}

async fn may_manage(
    operations: &Operations,
    call: &Call,
    details: &[(&'static str, &str)],
) -> Result<Authorized<ManageImages>, ErrorReply> {
    authority::may_all(operations, call, details).await
}

/// What an operation came to, which may take its time.
async fn done<T>(
    call: &Call,
    name: &str,
    operation: impl Future<Output = Result<T, Error>>,
) -> Result<T, ErrorReply> {
    call.turn.passing(operation).await.map_err(|error| errors::of_operation(error, name))
}

/// `RemoveImage`, `Remove`.
pub(super) async fn remove(
    operations: Rc<Operations>,
    subject: Subject,
    call: Call,
) -> Result<Reply, ErrorReply> {
    let name = match subject {
        Subject::Image(_) => String::new(),
        _ => call.arguments()?,
    };
    let name = image(&operations, &subject, &call, name).await?;
    let authorized = may_manage(&operations, &call, &[("image", &name), ("verb", "remove")]).await?;
    let telling = Telling { counts: false, each: &mut |_, _| {} };
    done(&call, &name, operations.remove_image(&authorized, &name, telling)).await?;
    call.reply(&())
}

/// `RenameImage`, `Rename`.
pub(super) async fn rename(
    operations: Rc<Operations>,
    subject: Subject,
    call: Call,
) -> Result<Reply, ErrorReply> {
    let (name, new): (String, String) = match subject {
        Subject::Image(_) => (String::new(), call.arguments()?),
        _ => call.arguments()?,
    };
    let name = image(&operations, &subject, &call, name).await?;
    let new = valid(new)?;
    let details = [("image", name.as_str()), ("verb", "rename"), ("new_name", &new)];
    let authorized = may_manage(&operations, &call, &details).await?;
    let update = Update { name: Some(new.clone()), ..Update::default() };
    let renamed = call.turn.passing(operations.update_image(&authorized, &name, update)).await;
    renamed.map_err(|error| match error {
        Error::Image { errno, .. } => {
            errors::with_text(errno, format!("Failed to rename image: {}", description(errno)))
        }
        error => errors::of_operation(error, &name),
    })?;
    call.reply(&())
}

/// `CloneImage`, `Clone`.
pub(super) async fn clone(
    operations: Rc<Operations>,
    subject: Subject,
    call: Call,
) -> Result<Reply, ErrorReply> {
    let (name, new, read_only): (String, String, bool) = match subject {
        Subject::Image(_) => {
            let (new, read_only) = call.arguments()?;
            (String::new(), new, read_only)
        }
        _ => call.arguments()?,
    };
    let name = image(&operations, &subject, &call, name).await?;
    let new = valid(new)?;
    let details = [("image", name.as_str()), ("verb", "clone"), ("new_name", &new)];
    let authorized = may_manage(&operations, &call, &details).await?;
    let telling = Telling { counts: false, each: &mut |_, _| {} };
    done(&call, &name, operations.clone_image(&authorized, &name, &new, read_only, telling)).await?;
    call.reply(&())
}

/// `MarkImageReadOnly`, `MarkReadOnly`.
pub(super) async fn mark_read_only(
    operations: Rc<Operations>,
    subject: Subject,
    call: Call,
) -> Result<Reply, ErrorReply> {
    let (name, read_only): (String, bool) = match subject {
        Subject::Image(_) => (String::new(), call.arguments()?),
        _ => call.arguments()?,
    };
    let name = image(&operations, &subject, &call, name).await?;
    let told = if read_only { "1" } else { "0" };
    let details = [("image", name.as_str()), ("verb", "mark_read_only"), ("read_only", told)];
    let authorized = may_manage(&operations, &call, &details).await?;
    let update = Update { read_only: Some(read_only), ..Update::default() };
    done(&call, &name, operations.update_image(&authorized, &name, update)).await?;
    call.reply(&())
}

/// `SetImageLimit`, `SetLimit`.
pub(super) async fn set_limit(
    operations: Rc<Operations>,
    subject: Subject,
    call: Call,
) -> Result<Reply, ErrorReply> {
    let (name, size): (String, u64) = match subject {
        Subject::Image(_) => (String::new(), call.arguments()?),
        _ => call.arguments()?,
    };
    let name = image(&operations, &subject, &call, name).await?;
    let limit = limit(size)?;
    // Rules know the image as `machine` here.
    let authorized = may_manage(&operations, &call, &[("machine", &name), ("verb", "set_limit")]).await?;
    let update = Update { limit: Some(limit), ..Update::default() };
    done(&call, &name, operations.update_image(&authorized, &name, update)).await?;
    call.reply(&())
}

/// A limit; `None`: there is to be none.
fn limit(size: u64) -> Result<Option<u64>, ErrorReply> {
    match size {
        NO_LIMIT => Ok(None),
        0..=LARGEST => Ok(Some(size)),
        _ => Err(ErrorReply::invalid_args("New limit out of range")),
    }
}

/// `SetPoolLimit`.
pub(super) async fn set_pool_limit(operations: Rc<Operations>, call: Call) -> Result<Reply, ErrorReply> {
    let limit = limit(call.arguments()?)?;
    let details = [("verb", "set_pool_limit")];
    let authorized: Authorized<ManagePool> = authority::may_all(&operations, &call, &details).await?;
    let limited = call.turn.passing(operations.limit_pool(&authorized, limit)).await;
    limited.map_err(|error| match error {
        Error::Image { errno: Errno::OPNOTSUPP, text, .. } => errors::not_supported(&text),
        Error::Image { errno, .. } => {
            errors::with_text(errno, format!("Failed to adjust quota limit: {}", description(errno)))
        }
        error => errors::of_operation(error, ""),
    })?;
    call.reply(&())
}

/// `CleanPool`.
pub(super) async fn clean_pool(operations: Rc<Operations>, call: Call) -> Result<Reply, ErrorReply> {
    operations.may_change_images().map_err(|error| errors::of_operation(error, ""))?;
    let mode: String = call.arguments()?;
    let only_hidden = match mode.as_str() {
        "all" => false,
        "hidden" => true,
        other => return Err(ErrorReply::invalid_args(format!("Unknown mode '{other}'."))),
    };
    let details = [("verb", "clean_pool"), ("mode", mode.as_str())];
    let authorized: Authorized<ManagePool> = authority::may_all(&operations, &call, &details).await?;
    let removed = call.turn.passing(operations.clean_pool(&authorized, only_hidden)).await;
    let removed = removed.map_err(|error| match error {
        Error::Image { errno, image: Some(image), .. } => {
            errors::with_text(errno, format!("Failed to remove image {image}: {}", description(errno)))
        }
        error => errors::of_operation(error, ""),
    })?;
    let rows: Vec<_> = removed.into_iter().map(|(name, usage)| (name, usage.unwrap_or(NO_LIMIT))).collect();
    call.reply(&(rows,))
}
