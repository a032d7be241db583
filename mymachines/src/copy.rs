//! `copy`: files into a machine, or out of it.

use std::io::{self, IsTerminal};
use std::time::Duration;

use serde_json::{Map, Value};

use crate::cli;
use crate::client::{CallError, call_for_each};
use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::manage::{SYSTEM, call_within, errno, explained, patience};
use crate::names::looked_for;
use crate::progress::Progress;

/// A file system may not answer for long, and the daemon says nothing meanwhile.
const PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// Which way, which machine, and the two paths.
#[derive(PartialEq, Eq, Debug)]
struct Way<'a> {
    method: &'static str,
    machine: &'a str,
    source: &'a str,
    destination: &'a str,
}

/// Copies. On a terminal it says how far it is.
///
/// # Errors
/// It is not said which side is in a machine; why it was not done.
pub fn copy(options: &cli::Copy) -> Result<u8, Failure> {
    let way = way(&options.source, &options.destination)?;
    let name = looked_for(way.machine)?;
    let daemon = Daemon::of(&name, &options.whose)?;
    let mut parameters = Map::new();
    parameters.insert("name".into(), name.as_str().into());
    parameters.insert("source".into(), absolute(way.source, way.method == TO)?.into());
    let destination = if way.destination.is_empty() { way.source } else { way.destination };
    parameters.insert("destination".into(), absolute(destination, way.method == FROM)?.into());
    if options.replace {
        parameters.insert("replace".into(), Value::from(true));
    }
    let patience = patience(&mut parameters).max(PATIENCE);
    let result = match told_how_far(&daemon, &way, parameters.clone(), patience) {
        // The original has no such interface.
        Err(CallError::Refused(id, _))
            if id == "org.varlink.service.MethodNotFound"
                || id == "org.varlink.service.InterfaceNotFound" =>
        {
            call_within(&daemon, way.method, parameters, patience)
        }
        result => result,
    };
    result.map(|()| 0).map_err(|error| failed(error, &daemon, name.as_str()))
}

fn told_how_far(
    daemon: &Daemon,
    way: &Way<'_>,
    mut parameters: Map<String, Value>,
    patience: Duration,
) -> Result<(), CallError> {
    let direction = if way.method == TO { "into" } else { "out" };
    parameters.insert("direction".into(), direction.into());
    let mut progress = io::stderr().is_terminal().then(|| Progress::new(io::stderr()));
    call_for_each(&daemon.machines(), patience, "io.mymachines.Copying.Copy", &parameters, |reply| {
        if let Some(progress) = &mut progress {
            progress.show(&reply);
        }
    })
}

fn failed(error: CallError, daemon: &Daemon, machine: &str) -> Failure {
    let CallError::Refused(id, fields) = &error else { return explained(error, daemon, machine) };
    let errno = errno(fields).unwrap_or(0);
    match (id.as_str(), errno) {
        ("io.mymachines.Copying.Failed", _) => {
            let why = io::Error::from_raw_os_error(errno);
            match (fields.get("path").and_then(Value::as_str), errno) {
                (Some(path), _) => Failure::new(format!("{}: {why}", path.escape_debug())),
                (None, libc::ENXIO) => odd_ids(),
                // The machine may not be entered.
                (None, libc::EACCES | libc::EPERM) if daemon.is_own() => {
                    Failure::with_hint(why.to_string(), daemon.who_may())
                }
                (None, _) => Failure::new(why.to_string()),
            }
        }
        (SYSTEM, libc::ENXIO) => odd_ids(),
        _ => explained(error, daemon, machine),
    }
}

fn odd_ids() -> Failure {
    Failure::new("the ids of the machine are not shifted as a whole")
}

const TO: &str = "CopyTo";
const FROM: &str = "CopyFrom";

fn way<'a>(source: &'a str, destination: &'a str) -> Result<Way<'a>, Failure> {
    match (inside(source), inside(destination)) {
        (Some((machine, source)), None) => Ok(Way { method: FROM, machine, source, destination }),
        (None, Some((machine, destination))) => Ok(Way { method: TO, machine, source, destination }),
        _ => Err(Failure::with_hint(
            "one of the two has to be in a machine, and the other one on the host",
            "MACHINE:PATH is in a machine; a path of the host with a colon begins with / or ./",
        )),
    }
}

/// The machine and the path in it.
fn inside(text: &str) -> Option<(&str, &str)> {
    let (machine, path) = text.split_once(':')?;
    if machine.is_empty() || machine.contains('/') { None } else { Some((machine, path)) }
}

/// A path without detours, which the daemon asks for. On the host, one from here is meant.
fn absolute(path: &str, is_hosts: bool) -> Result<String, Failure> {
    if !is_hosts {
        return Ok(path.to_owned());
    }
    let path = std::path::absolute(path)
        .map_err(|error| Failure::new(format!("path '{}': {error}", path.escape_debug())))?;
    let mut path = path.into_os_string().into_string().map_err(|_| Failure::new("a path has to be UTF-8"))?;
    while path.len() > 1 && path.ends_with('/') {
        path.pop();
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_side_with_a_machine_says_which_way() {
        let to = Way { method: TO, machine: "web", source: "/etc/a:b", destination: "/tmp" };
        assert_eq!(way("/etc/a:b", "web:/tmp").unwrap(), to);
        let from = Way { method: FROM, machine: "web", source: "/etc/x", destination: "./x" };
        assert_eq!(way("web:/etc/x", "./x").unwrap(), from);
        for (source, destination) in [("a", "b"), ("web:/a", "db:/b"), (":/a", "b"), ("./web:/a", "b")] {
            assert!(way(source, destination).is_err(), "{source} {destination}");
        }
    }

    #[test]
    fn a_failure_names_the_file() {
        let words = |id: &str, fields: Value| {
            let error = CallError::Refused(id.into(), fields.as_object().unwrap().clone());
            failed(error, &Daemon::system(), "web").to_string()
        };
        let full = serde_json::json!({"path": "/srv/a", "errno": libc::ENOSPC});
        assert_eq!(
            words("io.mymachines.Copying.Failed", full),
            "/srv/a: No space left on device (os error 28)"
        );
        assert_eq!(
            words("io.mymachines.Copying.Failed", serde_json::json!({"errno": libc::ECANCELED})),
            "Operation canceled (os error 125)"
        );
        for id in [SYSTEM, "io.mymachines.Copying.Failed"] {
            let shifts = serde_json::json!({"errno": libc::ENXIO});
            assert_eq!(words(id, shifts), "the ids of the machine are not shifted as a whole", "{id}");
        }
        assert_eq!(
            words(
                "io.mymachines.Copying.Failed",
                serde_json::json!({"path": "/dev/x", "errno": libc::ENXIO})
            ),
            "/dev/x: No such device or address (os error 6)"
        );
        assert_eq!(
            words("io.systemd.Machine.NoSuchMachine", serde_json::json!({})),
            "there is no machine 'web'"
        );
    }

    #[test]
    fn a_path_of_the_host_is_one_from_here() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(absolute("./x", true).unwrap(), here.join("x").to_str().unwrap());
        assert_eq!(absolute("/a//b/./c/", true).unwrap(), "/a/b/c");
        assert_eq!(absolute("/", true).unwrap(), "/");
        assert_eq!(absolute("../x", false).unwrap(), "../x");
    }
}
