//! The methods that open terminals.

use std::rc::Rc;

use dbus_server::{Call, ErrorReply, Reply};
use rustix::io::Errno;
use zbus::Fd;

use super::authority::caller;
use super::errors;
use super::subject::{Subject, name_of, target_of};
use crate::error::Error;
use crate::operations::{Operations, Program, Target, VARIABLES, is_assignment, is_user_name};
use crate::systemd::Shell;

/// `OpenMachinePTY`, `OpenPTY`.
pub(super) async fn pty(
    operations: Rc<Operations>,
    subject: Subject,
    call: Call,
) -> Result<Reply, ErrorReply> {
    let target = target_of(&operations, subject, || call.arguments())?;
    open(&operations, &call, target, Program::Nothing).await
}

/// `OpenMachineLogin`, `OpenLogin`.
pub(super) async fn login(
    operations: Rc<Operations>,
    subject: Subject,
    call: Call,
) -> Result<Reply, ErrorReply> {
    let target = target_of(&operations, subject, || call.arguments())?;
    open(&operations, &call, target, Program::Login).await
}

type Wanted = (String, String, Vec<String>, Vec<String>);

/// `OpenMachineShell`, `OpenShell`.
pub(super) async fn shell(
    operations: Rc<Operations>,
    subject: Subject,
    call: Call,
) -> Result<Reply, ErrorReply> {
    let (target, (user, path, arguments, environment)) = match subject {
        Subject::Machine(target) => (target, call.arguments::<Wanted>()?),
        _ => {
            let (name, user, path, arguments, environment): (
                String,
                String,
                String,
                Vec<String>,
                Vec<String>,
            ) = call.arguments()?;
            (super::subject::target(&operations, &name)?, (user, path, arguments, environment))
        }
    };
    let user = if user.is_empty() { "root".to_owned() } else { user };
    if !is_user_name(&user, true) {
        return Err(ErrorReply::invalid_args("Invalid user name"));
    }
    let mut shell = Shell::of_user(&user);
    if !path.is_empty() {
        if !path.starts_with('/') {
            return Err(ErrorReply::invalid_args(format!("Specified path '{path}' is not absolute")));
        }
        shell.arguments = if arguments.is_empty() { vec![path.clone()] } else { arguments };
        shell.path = path;
    }
    if environment.len() > VARIABLES {
        return Err(ErrorReply::limits_exceeded("Too many environment variables"));
    }
    if !environment.iter().all(|text| is_assignment(text)) {
        return Err(ErrorReply::invalid_args("Invalid environment assignments"));
    }
    shell.environment = environment;
    operations.is_not_the_hosts_root(target).map_err(|error| refused(&operations, target, error))?;
    open(&operations, &call, target, Program::Shell(shell)).await
}

async fn open(
    operations: &Operations,
    call: &Call,
    target: Target,
    program: Program,
) -> Result<Reply, ErrorReply> {
    let caller = caller(call).await?;
    let opened = async {
        let opening = operations.may_open(&caller, target, program).await?;
        operations.open_terminal(opening).await
    };
    let terminal = call.turn.passing(opened).await.map_err(|error| refused(operations, target, error))?;
    let path = terminal.path();
    call.reply(&(Fd::from(terminal.master), path))
}

fn refused(operations: &Operations, target: Target, error: Error) -> ErrorReply {
    let name = name_of(operations, target);
    match error {
        Error::NoIpc => {
            errors::with_text(Errno::NOENT, format!("There is no system bus in container {name}."))
        }
        Error::RootNamespace => {
            errors::with_text(Errno::ACCESS, "Only root may shell into the root user namespace")
        }
        error => errors::of_operation(error, &name),
    }
}
