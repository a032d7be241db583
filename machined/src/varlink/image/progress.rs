//! `io.mymachines.ImageChanges`: changes of images that say how far they are, and can be ended. The original has nothing
//! like it.

use std::rc::Rc;

use serde::Serialize;
use serde_json::Value;
use varlink_server::{Call, Descriptors, Done, ErrorReply, Interface, Method, More, Replier};

use super::changes::{may, name};
use crate::image_workers::Request;
use crate::operations::{ImageChange, Operations, Telling};
use crate::varlink::how_far::{HowFar, follow};

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

async fn clone(operations: Rc<Operations>, call: Call, replier: Replier) -> Result<Done, ErrorReply> {
    operations.may_change_images()?;
    let (name, new) = (name(&call.parameters, "name")?, name(&call.parameters, "newName")?);
    let read_only = call.parameters.get("readOnly").and_then(Value::as_bool).unwrap_or(false);
    operations.image(name).await?;
    let details = [("image", name), ("verb", "clone"), ("new_name", new)];
    let authorized = may(&operations, &call, &details).await?;
    follow(replier, async |each| {
        let telling = Telling { counts: true, each };
        Ok(operations.clone_image(&authorized, name, new, read_only, telling).await?)
    })
    .await
}

async fn remove(operations: Rc<Operations>, call: Call, replier: Replier) -> Result<Done, ErrorReply> {
    operations.may_change_images()?;
    let name = name(&call.parameters, "name")?;
    operations.image(name).await?;
    let authorized = may(&operations, &call, &[("image", name), ("verb", "remove")]).await?;
    follow(replier, async |each| {
        Ok(operations.remove_image(&authorized, name, Telling { counts: true, each }).await?)
    })
    .await
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
    #[serde(flatten)]
    how_far: HowFar,
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
        Some(Self { id, kind, name, new_name, how_far: change.progress.into() })
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
