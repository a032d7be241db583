//! `org.freedesktop.machine1.Image`, and what the manager says of images.

use std::rc::Rc;

use dbus_server::{
    Call, Changes, ErrorReply, Interface, Label, LocalFuture, Method, Property, Reply, Value, arg,
    description,
};
use images::{Image, Places};
use zbus::ObjectPath;

use super::image_changes::{self, valid};
use super::metadata::Dictionary;
use super::subject::Subject;
use super::{IMAGE_PATH, errors};
use crate::error::Error;
use crate::image_workers::Metadata;
use crate::operations::Operations;

/// What stands for a size that nobody knows.
const UNKNOWN: u64 = u64::MAX;

/// A property of an image: what it is, as far as anybody knows.
macro_rules! property {
    ($name:literal, $signature:literal, $of:expr) => {
        Property::new($name, $signature, Changes::Untold, |_, subject| match subject {
            Subject::Image(image) => {
                let of: fn(&Image) -> _ = $of;
                Ok(Value::from(of(image)))
            }
            _ => Err(errors::no_such_image("")),
        })
    };
}

pub(super) const INTERFACE: Interface<Operations, Subject> = Interface {
    name: "org.freedesktop.machine1.Image",
    properties: &[
        property!("Name", "s", |image| image.name.clone()),
        property!("Path", "s", |image| image.path.clone()),
        property!("Type", "s", |image| image.kind.name()),
        property!("ReadOnly", "b", |image| image.read_only),
        property!("CreationTimestamp", "t", |image| image.created),
        property!("ModificationTimestamp", "t", |image| image.modified),
        property!("Usage", "t", |image| image.space.usage.unwrap_or(UNKNOWN)),
        property!("Limit", "t", |image| image.space.limit.unwrap_or(UNKNOWN)),
        property!("UsageExclusive", "t", |image| image.space.usage_exclusive.unwrap_or(UNKNOWN)),
        property!("LimitExclusive", "t", |image| image.space.limit_exclusive.unwrap_or(UNKNOWN)),
    ],
    // The original tells nobody the names of these arguments.
    methods: &[
        Method::new("Remove", &[], &[], |operations, subject, call| {
            Box::pin(image_changes::remove(operations, subject, call))
        }),
        Method::new("Rename", &[arg("s", "")], &[], |operations, subject, call| {
            Box::pin(image_changes::rename(operations, subject, call))
        }),
        Method::new("Clone", &[arg("s", ""), arg("b", "")], &[], |operations, subject, call| {
            Box::pin(image_changes::clone(operations, subject, call))
        }),
        Method::new("MarkReadOnly", &[arg("b", "")], &[], |operations, subject, call| {
            Box::pin(image_changes::mark_read_only(operations, subject, call))
        }),
        Method::new("SetLimit", &[arg("t", "")], &[], |operations, subject, call| {
            Box::pin(image_changes::set_limit(operations, subject, call))
        }),
        Method::new("GetHostname", &[], &[arg("s", "")], |operations, subject, call| {
            Box::pin(hostname(operations, subject, call))
        }),
        Method::new("GetMachineID", &[], &[arg("ay", "")], |operations, subject, call| {
            Box::pin(machine_id(operations, subject, call))
        }),
        Method::new("GetMachineInfo", &[], &[arg("a{ss}", "")], |operations, subject, call| {
            Box::pin(machine_info(operations, subject, call))
        }),
        Method::new("GetOSRelease", &[], &[arg("a{ss}", "")], |operations, subject, call| {
            Box::pin(os_release(operations, subject, call))
        }),
    ],
    signals: &[],
};

/// A property of the manager that is about the pool.
macro_rules! of_pool {
    ($name:literal, $member:ident) => {
        Property::new($name, "t", Changes::Untold, |_, subject| match subject {
            Subject::ManagerOf(pool) => Ok(Value::from(pool.$member.unwrap_or(UNKNOWN))),
            _ => Ok(Value::from(UNKNOWN)),
        })
    };
}

/// The manager's properties.
pub(super) const POOL_PROPERTIES: &[Property<Operations, Subject>] = &[
    Property::new("PoolPath", "s", Changes::Untold, |_, _| Ok(Value::from(Places::system().pool()))),
    of_pool!("PoolUsage", usage),
    of_pool!("PoolLimit", limit),
];

/// The manager, with what is known of the pool. One that cannot be looked at has no usage, as in the original.
pub(super) fn look_at_pool(
    operations: Rc<Operations>,
    _: Subject,
    call: Call,
) -> LocalFuture<Result<Subject, ErrorReply>> {
    Box::pin(async move {
        let pool = call.turn.passing(operations.pool()).await;
        Ok(Subject::ManagerOf(pool.unwrap_or_else(|error| {
            tracing::debug!("Cannot look at the pool: {error}");
            images::Pool::default()
        })))
    })
}

/// The image of a label.
pub(super) fn find(operations: Rc<Operations>, label: Label, call: Call) -> LocalFuture<Option<Subject>> {
    Box::pin(async move {
        let image = call.turn.passing(operations.image(&label.name()?)).await.ok()?;
        Some(Subject::Image(Rc::new(image)))
    })
}

/// The labels of all images.
pub(super) fn labels(operations: Rc<Operations>, call: Call) -> LocalFuture<Vec<Label>> {
    Box::pin(async move {
        let images = call.turn.passing(operations.images()).await;
        images.unwrap_or_default().iter().map(|image| Label::of(&image.name)).collect()
    })
}

/// The path of an image's object.
fn path_of(name: &str) -> ObjectPath<'static> {
    // A label has only characters that a path may have.
    ObjectPath::from_string_unchecked(Label::path(IMAGE_PATH, name))
}

/// `GetImage`. A name that no image can have is that of none.
pub(super) async fn image(operations: Rc<Operations>, call: Call) -> Result<Reply, ErrorReply> {
    let name: String = call.arguments()?;
    let image = call.turn.passing(operations.image(&name)).await;
    let image = image.map_err(|error| errors::of_operation(error, &name))?;
    call.reply(&path_of(&image.name))
}

/// `ListImages`.
pub(super) async fn list(operations: Rc<Operations>, call: Call) -> Result<Reply, ErrorReply> {
    let row = |image: Image| {
        let Image { name, kind, read_only, created, modified, space, .. } = image;
        let (path, usage) = (path_of(&name), space.usage.unwrap_or(UNKNOWN));
        (name, kind.name(), read_only, created, modified, usage, path)
    };
    // While others are still looked at.
    let mut reply = call.long_reply();
    let mut is_made = Ok(());
    let add = |images: Vec<Image>| {
        if is_made.is_ok() {
            let rows: Vec<_> = images.into_iter().map(row).collect();
            is_made = reply.add(&rows);
        }
    };
    let listed = call.turn.passing(operations.images_as_found(add)).await;
    listed.map_err(|error| errors::of_operation(error, ""))?;
    is_made?;
    reply.whole()
}

/// What is inside the image that a method of the manager, which names it, or of the image itself, is about.
async fn metadata(operations: &Operations, subject: Subject, call: &Call) -> Result<Metadata, ErrorReply> {
    let name = match subject {
        Subject::Image(image) => image.name.clone(),
        _ => valid(call.arguments()?)?,
    };
    // An image may take its time.
    let metadata = call.turn.passing(operations.image_metadata(&name)).await;
    metadata.map_err(|error| match error {
        Error::Image { errno, .. } => {
            errors::with_text(errno, format!("Failed to read image metadata: {}", description(errno)))
        }
        error => errors::of_operation(error, &name),
    })
}

/// `GetImageHostname`, `GetHostname`.
pub(super) async fn hostname(
    operations: Rc<Operations>,
    subject: Subject,
    call: Call,
) -> Result<Reply, ErrorReply> {
    let metadata = metadata(&operations, subject, &call).await?;
    call.reply(&metadata.hostname.unwrap_or_default())
}

/// `GetImageMachineID`, `GetMachineID`.
pub(super) async fn machine_id(
    operations: Rc<Operations>,
    subject: Subject,
    call: Call,
) -> Result<Reply, ErrorReply> {
    let metadata = metadata(&operations, subject, &call).await?;
    let id = metadata.machine_id.and_then(|id| u128::from_str_radix(&id, 16).ok());
    call.reply(&(id.map(|id| id.to_be_bytes().to_vec()).unwrap_or_default(),))
}

/// `GetImageMachineInfo`, `GetMachineInfo`.
pub(super) async fn machine_info(
    operations: Rc<Operations>,
    subject: Subject,
    call: Call,
) -> Result<Reply, ErrorReply> {
    let metadata = metadata(&operations, subject, &call).await?;
    call.reply(&Dictionary::of(&metadata.machine_info.unwrap_or_default()))
}

/// `GetImageOSRelease`, `GetOSRelease`.
pub(super) async fn os_release(
    operations: Rc<Operations>,
    subject: Subject,
    call: Call,
) -> Result<Reply, ErrorReply> {
    let metadata = metadata(&operations, subject, &call).await?;
    call.reply(&Dictionary::of(&metadata.os_release.unwrap_or_default()))
}
