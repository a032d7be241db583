//! The methods that open terminals.

use std::rc::Rc;

use dbus_server::{Call, ErrorReply, Reply, description};
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
        Error::NoIpc => errors::with_text(
            Errno::NOENT,
            format!(
                "There is no system bus in container {name}. Logins and shells are started by the systemd in it; \
                 nsenter(1) goes in without."
            ),
        ),
        Error::NoProgram { path } => {
            errors::with_text(Errno::NOENT, format!("There is no program '{path}' in container {name}."))
        }
        Error::NotSupported => errors::not_supported(&format!(
            "{}: {name} is no container; a virtual machine may be reached by ssh machine/{name}.",
            description(Errno::OPNOTSUPP)
        )),
        Error::Terminal { errno } => errors::with_text(errno, advice(errno, TERMINAL)),
        Error::MachineBus { errno } => errors::with_text(errno, advice(errno, BUS)),
        Error::RootNamespace => {
            errors::with_text(Errno::ACCESS, "Only root may shell into the root user namespace")
        }
        error => errors::of_operation(error, &name),
    }
}

/// What to do about an errno.
type Advice = &'static [(Errno, &'static str)];

const TERMINAL: Advice = &[
    (Errno::NOENT, "the machine has no /dev/ptmx; mount a devpts file system in it"),
    (Errno::NOTTY, "the machine's /dev/ptmx makes no terminals; mount a devpts file system in it"),
    (Errno::LOOP, "the machine's /dev/ptmx leads nowhere; mount a devpts file system in it"),
    (
        Errno::NOSPC,
        "no terminal is left; see /proc/sys/kernel/pty/max, and the option max of the machine's devpts",
    ),
    (Errno::SRCH, "the leader of the machine has ended"),
    (Errno::TIMEDOUT, "a file system of the machine does not answer, or the machine is frozen"),
    (Errno::BUSY, "too many calls wait for the machine"),
];

const BUS: Advice = &[
    (Errno::AGAIN, "the machine's bus takes no more connections; look at the dbus service in it"),
    (
        Errno::NOTSOCK,
        "the machine's /run/dbus/system_bus_socket is no socket; start the dbus service in it again",
    ),
    (Errno::TIMEDOUT, "the machine's bus does not answer; look at the dbus service in it"),
    (Errno::IO, "the machine's bus lets nobody in; look at the dbus service in it"),
];

/// The original's words, and what to do.
fn advice(errno: Errno, table: Advice) -> String {
    let told = description(errno);
    let known = table.iter().find(|(known, _)| *known == errno);
    known.map_or_else(|| told.to_string(), |(_, advice)| format!("{told}: {advice}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_opened_is_told_in_the_originals_words_and_with_what_to_do() {
        assert_eq!(
            advice(Errno::NOENT, TERMINAL),
            "No such file or directory: the machine has no /dev/ptmx; mount a devpts file system in it."
        );
        assert_eq!(
            advice(Errno::TIMEDOUT, BUS),
            "Connection timed out: the machine's bus does not answer; look at the dbus service in it."
        );
        assert_eq!(advice(Errno::NOMEM, BUS), "Cannot allocate memory");
    }
}
