//! `shell`: a shell, a program or the login prompt of a machine, on this terminal.

use std::io::{self, IsTerminal};
use std::os::fd::OwnedFd;

use rustix::process::{Pid, PidfdFlags, pidfd_open};
use serde_json::{Map, Value};

use crate::cli;
use crate::client::call_for_descriptors;
use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::machine::Machine;
use crate::manage::{explained, patience};
use crate::names::looked_for;
use crate::terminal::{End, Session};
use crate::whose::Whose;

/// What the original calls the host itself.
const HOST: &str = ".host";
/// What a program has to know of the terminal.
const PASSED_ON: [&str; 3] = ["TERM", "COLORTERM", "NO_COLOR"];

/// Opens it, and passes on what is typed and what is printed, until the program ends.
///
/// # Errors
/// There is no such machine, it may not be entered, or this terminal cannot be used.
pub fn shell(options: &cli::Shell) -> Result<u8, Failure> {
    let (user, machine) = split(&options.machine);
    let name = if machine == HOST { HOST.to_owned() } else { looked_for(machine)?.as_str().to_owned() };
    let mut parameters = Map::new();
    parameters.insert("name".into(), name.as_str().into());
    parameters.insert("mode".into(), if options.login { "login" } else { "shell" }.into());
    if !options.login {
        if let Some(user) = user {
            parameters.insert("user".into(), user.into());
        }
        if let Some(program) = options.command.first() {
            parameters.insert("path".into(), program.as_str().into());
            parameters.insert("args".into(), options.command.clone().into());
        }
        let is_terminal = io::stdin().is_terminal() && io::stdout().is_terminal();
        parameters.insert("environment".into(), environment(&options.setenv, is_terminal)?.into());
    }
    let daemon = if machine == HOST {
        Daemon::said(&options.whose)?
    } else {
        Daemon::of(&looked_for(machine)?, &options.whose)?
    };
    let leader = leader(&name, &options.whose)?;
    let patience = patience(&mut parameters);
    let opened = call_for_descriptors(&daemon.machines(), patience, "io.systemd.Machine.Open", &parameters);
    let (fields, descriptors) = opened.map_err(|error| explained(error, &daemon, &name))?;
    let pty = pty(&fields, descriptors).ok_or_else(|| Failure::new("machined sent no pseudo terminal"))?;
    let is_interactive = io::stdin().is_terminal();
    if is_interactive {
        eprintln!("Connected to {name}. Press Ctrl-] three times within a second to leave.");
    }
    let session = Session { pty, leader, outlives_its_program: options.login };
    let end = session.run().map_err(|error| Failure::new(format!("the terminal failed: {error}")))?;
    if is_interactive {
        match end {
            End::Over => eprintln!("The connection to {name} is over."),
            End::Left => eprintln!("Left {name}."),
        }
    }
    Ok(0)
}

/// The user, if one is named, and the machine. Names of users may have an @, those of machines never do.
fn split(text: &str) -> (Option<&str>, &str) {
    match text.rsplit_once('@') {
        Some((user, machine)) => {
            ((!user.is_empty()).then_some(user), if machine.is_empty() { HOST } else { machine })
        }
        None => (None, text),
    }
}

/// Assignments for the program: those that are asked for, and what this terminal is. Where there is none at one end, systemd (258
/// and newer) is not to ask it anything: it would read what is piped in for the answer.
fn environment(asked: &[String], is_terminal: bool) -> Result<Vec<String>, Failure> {
    let mut all = asked.to_vec();
    for assignment in asked {
        if assignment.split_once('=').is_none_or(|(name, _)| name.is_empty()) {
            return Err(Failure::with_hint(
                format!("'{}' sets no variable", assignment.escape_debug()),
                "--setenv takes NAME=VALUE",
            ));
        }
    }
    for name in PASSED_ON {
        let is_asked = asked.iter().any(|assignment| assignment.split('=').next() == Some(name));
        let value = if name == "TERM" && !is_terminal { Ok("dumb".to_owned()) } else { std::env::var(name) };
        if let Ok(value) = value
            && !is_asked
        {
            all.push(format!("{name}={value}"));
        }
    }
    Ok(all)
}

/// Who leads the machine, so that its end is seen; nobody leads the host.
fn leader(name: &str, whose: &Whose) -> Result<Option<OwnedFd>, Failure> {
    if name == HOST {
        return Ok(None);
    }
    let machine = Machine::read_of(&looked_for(name)?, whose)?;
    let pid = machine.record.leader_identity().pid;
    let pidfd = Pid::from_raw(pid).map(|pid| pidfd_open(pid, PidfdFlags::empty()));
    // Another process may have its number by now: then this one ends when the program does.
    Ok(pidfd.and_then(Result::ok).filter(|_| machine.is_still_alive()))
}

/// The descriptor that the reply means.
fn pty(fields: &Map<String, Value>, descriptors: Vec<OwnedFd>) -> Option<OwnedFd> {
    let index = usize::try_from(fields.get("ptyFileDescriptor")?.as_u64()?).ok()?;
    descriptors.into_iter().nth(index)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_may_be_named_before_the_machine() {
        assert_eq!(split("web"), (None, "web"));
        assert_eq!(split("me@web"), (Some("me"), "web"));
        assert_eq!(split("me@corp@web"), (Some("me@corp"), "web"));
        assert_eq!(split("@web"), (None, "web"));
        assert_eq!(split("me@"), (Some("me"), HOST));
    }

    #[test]
    fn what_sets_no_variable_is_refused() {
        assert!(
            environment(&["A=1".into(), "B=".into()], true)
                .unwrap()
                .starts_with(&["A=1".into(), "B=".into()])
        );
        for wrong in ["A", "=1", ""] {
            assert!(environment(&[wrong.into()], true).is_err(), "{wrong}");
        }
        let terms = |asked: &[String], is_terminal| {
            let all = environment(asked, is_terminal).unwrap();
            all.into_iter().filter(|assignment| assignment.starts_with("TERM=")).collect::<Vec<_>>()
        };
        for is_terminal in [true, false] {
            assert_eq!(terms(&["TERM=vt220".into()], is_terminal), ["TERM=vt220"]);
        }
        assert_eq!(terms(&[], false), ["TERM=dumb"]);
    }
}
