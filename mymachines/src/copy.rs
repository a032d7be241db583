//! `copy`: files into a machine, or out of it.

use std::time::Duration;

use serde_json::{Map, Value};

use crate::cli;
use crate::failure::Failure;
use crate::manage::call_for;
use crate::names::looked_for;

/// A copy may take long, and the daemon does not say how far it is over this call.
const PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// Which way, which machine, and the two paths.
#[derive(PartialEq, Eq, Debug)]
struct Way<'a> {
    method: &'static str,
    machine: &'a str,
    source: &'a str,
    destination: &'a str,
}

/// Copies.
///
/// # Errors
/// It is not said which side is in a machine; why it was not done.
pub fn copy(options: &cli::Copy) -> Result<u8, Failure> {
    let way = way(&options.source, &options.destination)?;
    let name = looked_for(way.machine)?;
    let mut parameters = Map::new();
    parameters.insert("name".into(), name.as_str().into());
    parameters.insert("source".into(), absolute(way.source, way.method == TO)?.into());
    let destination = if way.destination.is_empty() { way.source } else { way.destination };
    parameters.insert("destination".into(), absolute(destination, way.method == FROM)?.into());
    if options.replace {
        parameters.insert("replace".into(), Value::from(true));
    }
    call_for(PATIENCE, way.method, parameters, name.as_str()).map(|()| 0)
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
    fn a_path_of_the_host_is_one_from_here() {
        let here = std::env::current_dir().unwrap();
        assert_eq!(absolute("./x", true).unwrap(), here.join("x").to_str().unwrap());
        assert_eq!(absolute("/a//b/./c/", true).unwrap(), "/a/b/c");
        assert_eq!(absolute("/", true).unwrap(), "/");
        assert_eq!(absolute("../x", false).unwrap(), "../x");
    }
}
