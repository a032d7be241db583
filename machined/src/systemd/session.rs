//! Logins and shells on a pseudo terminal, as units of the systemd that the terminal belongs to: a container's or the host's.

use std::borrow::Cow;
use std::os::fd::OwnedFd;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use zbus::{Connection, Fd, OwnedObjectPath, OwnedVariant, Variant};

use super::scope::ScopeProperty;
use super::{DEADLINE, MANAGER, SERVICE, refused};
use crate::bus::{CallError, Peer, call};
use crate::error::Error;

/// How long a getty has to end, and how often it is asked for.
const STOP: Duration = Duration::from_secs(5);
const LOOK: Duration = Duration::from_millis(10);

/// Runs the user's shell, whatever that is, as one that was logged in to. The user's name is an argument, and never part of
/// the text.
const LOGIN_SHELL: &str = "shell=$(getent passwd \"$1\" 2>/dev/null | { IFS=: read -r _ _ _ _ _ _ it; echo \"$it\"; })\n\
    exec \"${shell:-/bin/sh}\" -l";

/// A shell, or another program in its place.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Shell {
    /// Whose.
    pub user: String,
    /// The program.
    pub path: String,
    /// What it is called with, its name first.
    pub arguments: Vec<String>,
    /// `NAME=value`.
    pub environment: Vec<String>,
}

impl Shell {
    /// The login shell of a user.
    pub fn of_user(user: &str) -> Self {
        let arguments = ["sh", "-c", LOGIN_SHELL, "sh", user].map(str::to_owned).to_vec();
        Self { user: user.to_owned(), path: "/bin/sh".to_owned(), arguments, environment: Vec::new() }
    }

    /// As the original has them, in its order.
    fn properties(&self, number: u32, peer: OwnedFd) -> Result<Vec<ScopeProperty>, Error> {
        let failed = |error: std::io::Error| Error::system("duplicate the terminal", &error);
        let (input, output) = (peer.try_clone().map_err(failed)?, peer.try_clone().map_err(failed)?);
        let program = vec![(self.path.clone(), self.arguments.clone(), true)];
        let mut properties = vec![
            ("Description", Variant::from(format!("Shell for User {}", self.user))),
            ("StandardInputFileDescriptor", Variant::from(Fd::from(input))),
            ("StandardOutputFileDescriptor", Variant::from(Fd::from(output))),
            ("StandardErrorFileDescriptor", Variant::from(Fd::from(peer))),
            ("SendSIGHUP", Variant::from(true)),
            ("IgnoreSIGPIPE", Variant::from(false)),
            ("KillMode", Variant::from("mixed")),
            ("TTYPath", Variant::from(format!("/dev/pts/{number}"))),
            ("TTYReset", Variant::from(true)),
            ("UtmpIdentifier", Variant::from(format!("pts/{number}"))),
            ("UtmpMode", Variant::from("user")),
            ("PAMName", Variant::from("login")),
            ("WorkingDirectory", Variant::from("-~")),
            ("User", Variant::from(self.user.clone())),
        ];
        if !self.environment.is_empty() {
            properties.push(("Environment", Variant::from(self.environment.clone())));
        }
        properties.push(("ExecStart", Variant::from(program)));
        Ok(properties.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }
}

fn getty(number: u32) -> String {
    format!("container-getty@{number}.service")
}

/// Starts a getty on a terminal. One that an earlier terminal of this number has left behind ends first.
///
/// # Errors
/// What systemd says, in its own words.
pub async fn start_getty(systemd: &Connection, number: u32) -> Result<(), Error> {
    let answer =
        call(systemd.clone(), MANAGER, "RestartUnit", (getty(number), "replace"), DEADLINE, ()).await;
    answer.map(drop).map_err(|cause| refused("start the getty", cause))
}

/// Starts a shell on a terminal, likewise. Its end of the terminal is opened when no getty is there any more: one that
/// ends hangs the terminal up, and with it all that was opened before.
///
/// # Errors
/// What systemd says, in its own words; what opening the terminal says.
pub async fn start_shell(
    systemd: &Connection,
    number: u32,
    open: impl FnOnce() -> Result<OwnedFd, Error>,
    shell: Shell,
) -> Result<(), Error> {
    end_getty(systemd, number).await?;
    let properties = shell.properties(number, open()?)?;
    let unit = format!("container-shell@{number}.service");
    let auxiliary: Vec<(String, Vec<ScopeProperty>)> = Vec::new();
    let arguments = (unit, "fail", properties, auxiliary);
    let answer = call(systemd.clone(), MANAGER, "StartTransientUnit", arguments, DEADLINE, ()).await;
    answer.map(drop).map_err(|cause| refused("start the shell", cause))
}

/// Ends the getty of a terminal, if there is one.
async fn end_getty(systemd: &Connection, number: u32) -> Result<(), Error> {
    let known = call(systemd.clone(), MANAGER, "GetUnit", (getty(number),), DEADLINE, ()).await;
    let path = match known {
        Ok(answer) => answer.body().deserialize::<OwnedObjectPath>().map(|path| path.to_string()),
        // There is none.
        Err(CallError::Refused { .. }) => return Ok(()),
        Err(cause) => return Err(refused("ask for the getty", cause)),
    };
    let failed = |cause| refused("stop the getty", cause);
    let path = path.map_err(|error| failed(error.into()))?;
    let stop = call(systemd.clone(), MANAGER, "StopUnit", (getty(number), "replace"), DEADLINE, ());
    stop.await.map_err(failed)?;
    let properties =
        Peer { service: SERVICE, path: Cow::Owned(path), interface: "org.freedesktop.DBus.Properties" };
    let question = ("org.freedesktop.systemd1.Unit", "ActiveState");
    let deadline = Instant::now() + STOP;
    // This connection hears no signals, so that a container cannot fill it with them: so the state is asked for.
    while Instant::now() < deadline {
        let state = call(systemd.clone(), properties.clone(), "Get", question, DEADLINE, ()).await;
        let state = match state {
            Ok(answer) => {
                answer.body().deserialize::<OwnedVariant>().map_err(|error| failed(error.into()))?
            }
            // It has gone.
            Err(CallError::Refused { .. }) => return Ok(()),
            Err(cause) => return Err(failed(cause)),
        };
        if String::try_from(state).is_ok_and(|state| matches!(state.as_str(), "inactive" | "failed")) {
            return Ok(());
        }
        sleep(LOOK).await;
    }
    Err(failed(CallError::Timeout))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shell_has_the_properties_of_the_originals_in_its_order() {
        let null = || OwnedFd::from(std::fs::File::open("/dev/null").unwrap());
        let names = |shell: &Shell| -> Vec<String> {
            shell.properties(3, null()).unwrap().into_iter().map(|(name, _)| name).collect()
        };
        let mut shell = Shell::of_user("root");
        let expected = [
            "Description",
            "StandardInputFileDescriptor",
            "StandardOutputFileDescriptor",
            "StandardErrorFileDescriptor",
            "SendSIGHUP",
            "IgnoreSIGPIPE",
            "KillMode",
            "TTYPath",
            "TTYReset",
            "UtmpIdentifier",
            "UtmpMode",
            "PAMName",
            "WorkingDirectory",
            "User",
            "ExecStart",
        ];
        assert_eq!(names(&shell), expected);
        shell.environment.push("TERM=linux".to_owned());
        assert_eq!(names(&shell).get(14).unwrap(), "Environment");
        let properties = shell.properties(3, null()).unwrap();
        assert_eq!(properties.last().unwrap().1.value_signature().to_string(), "a(sasb)");
    }

    #[test]
    fn a_users_name_is_no_part_of_the_script() {
        let shell = Shell::of_user("x; reboot");
        assert_eq!(shell.arguments.get(2).map(String::as_str), Some(LOGIN_SHELL));
        assert_eq!(shell.arguments.last().map(String::as_str), Some("x; reboot"));
    }
}
