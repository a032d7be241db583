//! `io.mymachines.Copying`: copies that say how far they are, and can be ended. The original has nothing like it.

use std::rc::Rc;

use serde::Serialize;
use serde_json::Value;

use super::how_far::{HowFar, follow};
use super::machine::{asked_copy, caller, text};
use crate::authorization::{Authorized, Copy as MayCopy};
use crate::error::Error;
use crate::inside::{Direction, Ongoing};
use crate::operations::{Operations, Target};
use varlink_server::{
    Call, Descriptors, Done, ErrorReply, Interface, Method, More, Replier, Rule, errno_name,
};

/// The interface.
pub fn interface() -> Interface<Operations> {
    Interface {
        description: include_str!("idl/io.mymachines.Copying.varlink"),
        methods: const {
            &[
                Method {
                    name: "Copy",
                    more: More::Required,
                    rules: &[("name", Rule::NotNull), ("pid", Rule::NullMember("pidfdId"))],
                    descriptors: Descriptors::None,
                    handler: |operations, call, replier| Box::pin(copy(operations, call, replier)),
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

async fn copy(operations: Rc<Operations>, call: Call, replier: Replier) -> Result<Done, ErrorReply> {
    let direction = match text(&call.parameters, "direction") {
        Some("into") => Direction::Into,
        Some("out") => Direction::OutOf,
        _ => return Err(ErrorReply::invalid_parameter("direction")),
    };
    let (authorized, target, copying) = asked_copy(&operations, &call, direction).await?;
    follow(replier, async |each| {
        operations.copy(&authorized, target, copying, true, each).await.map_err(failed)
    })
    .await
}

fn failed(error: Error) -> ErrorReply {
    let Error::Copy { errno, path } = error else { return error.into() };
    let mut parameters = Vec::new();
    parameters.extend(path.map(|path| ("path", Value::from(path))));
    parameters.push(("errno", Value::from(errno.raw_os_error())));
    parameters.extend(errno_name(errno).map(|name| ("errnoName", Value::from(name))));
    ErrorReply { id: "io.mymachines.Copying.Failed", parameters }
}

#[derive(Debug, Serialize)]
struct Listed {
    id: u64,
    machine: String,
    direction: &'static str,
    source: String,
    destination: String,
    #[serde(flatten)]
    how_far: HowFar,
}

async fn list(operations: Rc<Operations>, call: Call, replier: Replier) -> Result<Done, ErrorReply> {
    #[derive(Debug, Serialize)]
    struct Reply {
        copies: Vec<Listed>,
    }
    let details = [("verb", "list-copies")];
    let authorized: Authorized<MayCopy> = operations.may(&caller(&call), None, &details).await?;
    let copies = operations.copies(&authorized).into_iter().map(|(id, ongoing)| {
        let Ongoing { machine, direction, source, destination, progress, .. } = ongoing;
        let direction = match direction {
            Direction::Into => "into",
            Direction::OutOf => "out",
        };
        Listed { id, machine, direction, source, destination, how_far: progress.into() }
    });
    replier.reply(&Reply { copies: copies.collect() })
}

async fn cancel(operations: Rc<Operations>, call: Call, replier: Replier) -> Result<Done, ErrorReply> {
    const NO_SUCH_COPY: ErrorReply = ErrorReply::named("io.mymachines.Copying.NoSuchCopy");
    let id = call.parameters.get("id").and_then(Value::as_u64);
    let id = id.ok_or_else(|| ErrorReply::invalid_parameter("id"))?;
    let key = operations.machine_of_copy(id).ok_or(NO_SUCH_COPY)?;
    let target = Target::Machine(key);
    let name = operations.name_of(target)?;
    let details = [("name", name.as_str()), ("verb", "cancel-copy")];
    let authorized: Authorized<MayCopy> = operations.may(&caller(&call), Some(target), &details).await?;
    if operations.cancel_copy(&authorized, id) { replier.reply(&()) } else { Err(NO_SUCH_COPY) }
}
