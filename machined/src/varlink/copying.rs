//! `io.mymachines.Copying`: copies that say how far they are, and can be ended. The original has nothing like it.

use std::cell::Cell;
use std::pin::pin;
use std::rc::Rc;

use images::Progress;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::Notify;

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

/// How far a copy is.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct HowFar {
    bytes: u64,
    files: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    total_files: Option<u64>,
}

impl From<Progress> for HowFar {
    fn from(Progress { bytes, files, total }: Progress) -> Self {
        let (total_bytes, total_files) = total.unzip();
        Self { bytes, files, total_bytes, total_files }
    }
}

#[derive(Debug, Serialize)]
struct Told {
    id: u64,
    #[serde(flatten)]
    how_far: HowFar,
    done: bool,
}

impl Told {
    fn new((id, progress): (u64, Progress), done: bool) -> Self {
        Self { id, how_far: progress.into(), done }
    }
}

/// The copy ends when this is dropped, as it is when the connection ends.
async fn copy(operations: Rc<Operations>, call: Call, mut replier: Replier) -> Result<Done, ErrorReply> {
    let direction = match text(&call.parameters, "direction") {
        Some("into") => Direction::Into,
        Some("out") => Direction::OutOf,
        _ => return Err(ErrorReply::invalid_parameter("direction")),
    };
    let (authorized, target, copying) = asked_copy(&operations, &call, direction).await?;
    let (latest, news) = (Cell::new((0, Progress::default())), Notify::new());
    let each = |id, progress| {
        latest.set((id, progress));
        news.notify_one();
    };
    let mut copy = pin!(operations.copy(&authorized, target, copying, true, each));
    loop {
        tokio::select! {
            done = &mut copy => {
                done.map_err(failed)?;
                return replier.reply(&Told::new(latest.get(), true));
            }
            () = news.notified() => replier.send(&Told::new(latest.get(), false)).await?,
        }
    }
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
