//! Logins and shells on a pseudo terminal, as units of the systemd that the terminal belongs to: a container's or the host's.

use std::os::fd::OwnedFd;

use zbus::{Connection, Fd, Variant};

use super::scope::ScopeProperty;
use super::{DEADLINE, MANAGER, refused};
use crate::bus::{CallError, call};
use crate::error::Error;

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

/// Starts a shell on a terminal, likewise.
///
/// # Errors
/// What systemd says, in its own words.
pub async fn start_shell(
    systemd: &Connection,
    number: u32,
    peer: OwnedFd,
    shell: Shell,
) -> Result<(), Error> {
    let mut properties = shell.properties(number, peer)?;
    let known = call(systemd.clone(), MANAGER, "GetUnit", (getty(number),), DEADLINE, ()).await;
    match known {
        Ok(_) => {
            let stop = call(systemd.clone(), MANAGER, "StopUnit", (getty(number), "replace"), DEADLINE, ());
            stop.await.map_err(|cause| refused("stop the getty", cause))?;
            for name in ["Conflicts", "After"] {
                properties.push((name.to_owned(), Variant::from(vec![getty(number)])));
            }
        }
        // There is none.
        Err(CallError::Refused { .. }) => {}
        Err(cause) => return Err(refused("ask for the getty", cause)),
    }
    let unit = format!("container-shell@{number}.service");
    let auxiliary: Vec<(String, Vec<ScopeProperty>)> = Vec::new();
    let arguments = (unit, "fail", properties, auxiliary);
    let answer = call(systemd.clone(), MANAGER, "StartTransientUnit", arguments, DEADLINE, ()).await;
    answer.map(drop).map_err(|cause| refused("start the shell", cause))
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
