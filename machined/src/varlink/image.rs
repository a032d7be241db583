//! `io.systemd.MachineImage`, on top of the daemon's operations.

use std::rc::Rc;

use images::{Image, ImageName};
use serde::Serialize;
use varlink_server::{Call, Descriptors, Done, ErrorReply, Interface, Method, More, Replier, Rule};

use super::machine::{caller, text};
use crate::authorization::{Authorized, InspectImages};
use crate::image_workers::Metadata;
use crate::operations::Operations;
use crate::os_release::Fields;

mod changes;
pub mod progress;

/// The interface.
pub fn interface() -> Interface<Operations> {
    Interface {
        description: include_str!("idl/io.systemd.MachineImage.varlink"),
        methods: const {
            &[
                Method {
                    name: "List",
                    more: More::Supported,
                    rules: &[("name", Rule::NotNull), ("acquireMetadata", Rule::NotNull)],
                    descriptors: Descriptors::None,
                    handler: |operations, call, replier| Box::pin(list(operations, call, replier)),
                },
                Method {
                    name: "Update",
                    more: More::No,
                    rules: &[],
                    descriptors: Descriptors::None,
                    handler: |operations, call, replier| Box::pin(changes::update(operations, call, replier)),
                },
                Method {
                    name: "Clone",
                    more: More::No,
                    rules: &[],
                    descriptors: Descriptors::None,
                    handler: |operations, call, replier| Box::pin(changes::clone(operations, call, replier)),
                },
                Method {
                    name: "Remove",
                    more: More::No,
                    rules: &[],
                    descriptors: Descriptors::None,
                    handler: |operations, call, replier| Box::pin(changes::remove(operations, call, replier)),
                },
                Method {
                    name: "SetPoolLimit",
                    more: More::No,
                    rules: &[],
                    descriptors: Descriptors::None,
                    handler: |operations, call, replier| {
                        Box::pin(changes::set_pool_limit(operations, call, replier))
                    },
                },
                Method {
                    name: "CleanPool",
                    more: More::Required,
                    rules: &[],
                    descriptors: Descriptors::None,
                    handler: |operations, call, replier| {
                        Box::pin(changes::clean_pool(operations, call, replier))
                    },
                },
            ]
        },
    }
}

/// An image as clients see it, in the original's order.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ImageReply {
    name: String,
    path: String,
    r#type: &'static str,
    class: &'static str,
    read_only: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    creation_timestamp: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    modification_timestamp: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage_exclusive: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    limit_exclusive: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    hostname: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    machine_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    machine_info: Option<Vec<String>>,
    #[serde(rename = "OSRelease", skip_serializing_if = "Option::is_none")]
    os_release: Option<Vec<String>>,
}

impl ImageReply {
    fn new(image: Image, metadata: Metadata) -> Self {
        let known = |time: u64| Some(time).filter(|&time| time != 0);
        Self {
            name: image.name,
            path: image.path,
            r#type: image.kind.name(),
            class: "machine",
            read_only: image.read_only,
            creation_timestamp: known(image.created),
            modification_timestamp: known(image.modified),
            usage: image.space.usage,
            usage_exclusive: image.space.usage_exclusive,
            limit: image.space.limit,
            limit_exclusive: image.space.limit_exclusive,
            hostname: metadata.hostname,
            machine_id: metadata.machine_id,
            machine_info: pairs(metadata.machine_info),
            os_release: pairs(metadata.os_release),
        }
    }
}

fn pairs(fields: Option<Fields>) -> Option<Vec<String>> {
    let fields = fields.filter(|fields| !fields.is_empty())?;
    Some(fields.iter().map(|(key, value)| format!("{key}={value}")).collect())
}

/// How much more than where it is is to be told of an image.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Inside {
    Nothing,
    All,
    WhatThereIs,
}

async fn list(operations: Rc<Operations>, call: Call, mut replier: Replier) -> Result<Done, ErrorReply> {
    let inside = match text(&call.parameters, "acquireMetadata") {
        None | Some("no") => Inside::Nothing,
        Some("yes") => Inside::All,
        Some("graceful") => Inside::WhatThereIs,
        Some(_) => return Err(ErrorReply::invalid_parameter("acquireMetadata")),
    };
    let name = text(&call.parameters, "name");
    if name.is_some_and(|name| ImageName::new(name).is_err()) {
        return Err(ErrorReply::invalid_parameter("name"));
    }
    if name.is_none() && !call.more {
        return Err(ErrorReply::expected_more());
    }
    if inside != Inside::Nothing {
        let details: Vec<_> = name.iter().map(|name| ("image", *name)).collect();
        let _: Authorized<InspectImages> = operations.may(&caller(&call), None, &details).await?;
    }
    let images = match name {
        Some(name) => vec![operations.image(name).await?],
        None => operations.images().await?,
    };
    let mut held = None;
    for image in images {
        let metadata = match inside {
            Inside::Nothing => Metadata::default(),
            Inside::All => operations.image_metadata(&image.name).await?,
            Inside::WhatThereIs => operations.image_metadata(&image.name).await.unwrap_or_default(),
        };
        if let Some(held) = held.replace(ImageReply::new(image, metadata)) {
            replier.send(&held).await?;
        }
    }
    // The host at least is there.
    replier.reply(&held.ok_or(crate::error::Error::NoSuchImage)?)
}
