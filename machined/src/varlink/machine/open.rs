//! `Open` and `OpenRootDirectory`.

use std::rc::Rc;

use serde::Serialize;
use serde_json::{Map, Value};

use super::{caller, target, text};
use crate::authorization::Enter;
use crate::error::Error;
use crate::operations::{Operations, Program, VARIABLES, is_assignment, is_user_name};
use crate::systemd::Shell;
use varlink_server::{Call, Done, ErrorReply, Replier};

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Opened {
    /// The first of the descriptors that come with the reply.
    pty_file_descriptor: u32,
    pty_path: String,
}

pub(super) async fn open(
    operations: Rc<Operations>,
    call: Call,
    replier: Replier,
) -> Result<Done, ErrorReply> {
    let program = program(&call.parameters)?;
    let target = target(&operations, &call)?;
    operations.is_not_the_hosts_root(target)?;
    let opening = operations.may_open(&caller(&call), target, program).await?;
    let terminal = operations.open_terminal(opening).await?;
    let reply = Opened { pty_file_descriptor: 0, pty_path: terminal.path() };
    replier.reply_with(&reply, vec![terminal.master])
}

fn program(parameters: &Map<String, Value>) -> Result<Program, ErrorReply> {
    let user = text(parameters, "user").unwrap_or("root");
    if !is_user_name(user, false) {
        return Err(ErrorReply::invalid_parameter("user"));
    }
    let mut shell = Shell::of_user(user);
    let arguments = texts(parameters, "args");
    if let Some(path) = text(parameters, "path") {
        if !path.starts_with('/') {
            return Err(ErrorReply::invalid_parameter("path"));
        }
        shell.arguments = if arguments.is_empty() { vec![path.to_owned()] } else { arguments };
        path.clone_into(&mut shell.path);
    }
    let environment = texts(parameters, "environment");
    if environment.len() > VARIABLES || !environment.iter().all(|text| is_assignment(text)) {
        return Err(ErrorReply::invalid_parameter("environment"));
    }
    shell.environment = environment;
    match text(parameters, "mode") {
        Some("tty") => Ok(Program::Nothing),
        Some("login") => Ok(Program::Login),
        Some("shell") => Ok(Program::Shell(shell)),
        _ => Err(ErrorReply::invalid_parameter("mode")),
    }
}

fn texts(parameters: &Map<String, Value>, name: &str) -> Vec<String> {
    let texts = parameters.get(name).and_then(Value::as_array).into_iter().flatten();
    texts.filter_map(Value::as_str).map(str::to_owned).collect()
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct RootDirectory {
    /// The first of the descriptors that come with the reply.
    file_descriptor: u32,
}

/// `OpenRootDirectory`.
pub(super) async fn root_directory(
    operations: Rc<Operations>,
    call: Call,
    replier: Replier,
) -> Result<Done, ErrorReply> {
    let target = target(&operations, &call)?;
    let name = operations.name_of(target)?;
    let details = [("name", name.as_str()), ("verb", "open_root_directory")];
    let authorized = operations.may::<Enter>(&caller(&call), Some(target), &details).await?;
    let root = operations.root_directory(&authorized, target).await.map_err(|error| match error {
        Error::NotAvailable => Error::NotSupported,
        error => error,
    })?;
    replier.reply_with(&RootDirectory { file_descriptor: 0 }, vec![root])
}
