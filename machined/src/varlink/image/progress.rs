//! `io.mymachines.ImageChanges`: changes of images that say how far they are, and can be ended. The original has nothing
//! like it.

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;

use images::Progress;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::Notify;
use varlink_server::{Call, Descriptors, Done, ErrorReply, Interface, Method, More, Replier};

use super::changes::{may, name};
use crate::error::Error;
use crate::image_workers::Request;
use crate::operations::{ImageChange, Operations, Telling};

/// The interface.
pub fn interface() -> Interface<Operations> {
    Interface {
        description: include_str!("../idl/io.mymachines.ImageChanges.varlink"),
        methods: const {
            &[
                Method {
                    name: "Clone",
                    more: More::Required,
                    rules: &[],
                    descriptors: Descriptors::None,
                    handler: |operations, call, replier| Box::pin(clone(operations, call, replier)),
                },
                Method {
                    name: "Remove",
                    more: More::Required,
                    rules: &[],
                    descriptors: Descriptors::None,
                    handler: |operations, call, replier| Box::pin(remove(operations, call, replier)),
                },
                Method {
                    name: "List",
                    more: More::No,
                    rules: &[],
                    descriptors: Descriptors::None,
                    handler: |operations, call, replier| Box::pin(list(operations, call, replier)),
                },
                Method {
                    name: "Cancel",
                    more: More::No,
                    rules: &[],
                    descriptors: Descriptors::None,
                    handler: |operations, call, replier| Box::pin(cancel(operations, call, replier)),
                },
            ]
        },
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Told {
    id: u64,
    bytes: u64,
    files: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_files: Option<u64>,
    done: bool,
}

impl Told {
    fn new((id, progress): (u64, Progress), done: bool) -> Self {
        let Progress { bytes, files, total } = progress;
        let (total_bytes, total_files) = total.unzip();
        Self { id, bytes, files, total_bytes, total_files, done }
    }
}

/// Says how far a change is, until it is done. It ends when this is dropped, as it is when the connection ends.
async fn follow(
    mut replier: Replier,
    change: impl AsyncFnOnce(Telling<'_>) -> Result<(), Error>,
) -> Result<Done, ErrorReply> {
    let (latest, news) = (Cell::new((0, Progress::default())), Notify::new());
    let mut each = |id, progress| {
        latest.set((id, progress));
        news.notify_one();
    };
    let mut change = pin!(change(Telling { counts: true, each: &mut each }));
    loop {
        tokio::select! {
            done = &mut change => {
                done?;
                return replier.reply(&Told::new(latest.get(), true));
            }
            () = news.notified() => replier.send(&Told::new(latest.get(), false)).await?,
        }
    }
}

async fn clone(operations: Rc<Operations>, call: Call, replier: Replier) -> Result<Done, ErrorReply> {
    operations.may_change_images()?;
    let (name, new) = (name(&call.parameters, "name")?, name(&call.parameters, "newName")?);
    let read_only = call.parameters.get("readOnly").and_then(Value::as_bool).unwrap_or(false);
    operations.image(name).await?;
    let details = [("image", name), ("verb", "clone"), ("new_name", new)];
    let authorized = may(&operations, &call, &details).await?;
    follow(replier, async |telling| operations.clone_image(&authorized, name, new, read_only, telling).await)
        .await
}

async fn remove(operations: Rc<Operations>, call: Call, replier: Replier) -> Result<Done, ErrorReply> {
    operations.may_change_images()?;
    let name = name(&call.parameters, "name")?;
    operations.image(name).await?;
    let authorized = may(&operations, &call, &[("image", name), ("verb", "remove")]).await?;
    follow(replier, async |telling| operations.remove_image(&authorized, name, telling).await).await
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Listed {
    id: u64,
    kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new_name: Option<String>,
    bytes: u64,
    files: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_files: Option<u64>,
}

impl Listed {
    /// `None`: nothing is changed.
    fn new((id, change): (u64, ImageChange)) -> Option<Self> {
        let (kind, name, new_name) = match change.request {
            Request::Clone { name, new, .. } => ("clone", Some(name), Some(new)),
            Request::Remove { name, .. } => ("remove", Some(name), None),
            Request::Update(name, update) => ("update", Some(name), update.name),
            Request::LimitPool(_) => ("limitPool", None, None),
            Request::Clean { .. } => ("cleanPool", None, None),
            Request::Tidy => ("tidy", None, None),
            Request::List | Request::Find(_) | Request::Pool | Request::Metadata(_) => return None,
        };
        let Progress { bytes, files, total } = change.progress;
        let (total_bytes, total_files) = total.unzip();
        Some(Self { id, kind, name, new_name, bytes, files, total_bytes, total_files })
    }
}

async fn list(operations: Rc<Operations>, call: Call, replier: Replier) -> Result<Done, ErrorReply> {
    #[derive(Debug, Serialize)]
    struct Reply {
        changes: Vec<Listed>,
    }
    let authorized = may(&operations, &call, &[("verb", "list-changes")]).await?;
    let changes = operations.image_changes(&authorized);
    replier.reply(&Reply { changes: changes.into_iter().filter_map(Listed::new).collect() })
}

async fn cancel(operations: Rc<Operations>, call: Call, replier: Replier) -> Result<Done, ErrorReply> {
    let id = call.parameters.get("id").and_then(Value::as_u64);
    let id = id.ok_or_else(|| ErrorReply::invalid_parameter("id"))?;
    let authorized = may(&operations, &call, &[("verb", "cancel-change")]).await?;
    if operations.cancel_image_change(&authorized, id) {
        replier.reply(&())
    } else {
        Err(ErrorReply::named("io.mymachines.ImageChanges.NoSuchChange"))
    }
}
