//! `register`: a machine as the command line says, or as a container manager's hook does.

use serde_json::{Map, Value};

use crate::cli;
use crate::client::CallError;
use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::hook;
use crate::manage::{SYSTEM, call_within, errno, explained, patience};
use crate::names::checked;

/// Registers a machine.
///
/// # Errors
/// Why it is not registered. With `--from` there are none.
pub fn register(options: &cli::Register) -> Result<u8, Failure> {
    if let Some(from) = options.from {
        hook::register(from);
        return Ok(0);
    }
    let (Some(name), Some(leader)) = (&options.name, options.leader) else {
        return Err(Failure::new("a name and a leader are needed"));
    };
    let name = checked(name).map_err(Failure::new)?;
    let daemon = Daemon::said(&options.whose)?;
    let mut parameters = described(options)?;
    parameters.insert("name".into(), name.as_str().into());
    parameters.insert("leader".into(), leader.into());
    let patience = patience(&mut parameters);
    let result = call_within(&daemon, "Register", parameters, patience);
    result.map(|()| 0).map_err(|error| failed(error, &daemon, name.as_str()))
}

fn failed(error: CallError, daemon: &Daemon, name: &str) -> Failure {
    match &error {
        CallError::Refused(id, fields) if id == SYSTEM && errno(fields) == Some(libc::EEXIST) => {
            Failure::with_hint(
                "another machine has this leader, or all of the unit that it is in",
                "--allocate-unit gives the machine a unit of its own",
            )
        }
        _ => explained(error, daemon, name),
    }
}

/// What the command line says of a machine beside its name and leader.
fn described(options: &cli::Register) -> Result<Map<String, Value>, Failure> {
    let mut parameters = Map::new();
    parameters.insert("class".into(), options.class.as_str().into());
    let texts = [
        ("service", &options.service),
        ("id", &options.id),
        ("rootDirectory", &options.root),
        ("sshAddress", &options.ssh_address),
        ("sshPrivateKeyPath", &options.ssh_key),
        ("controlAddress", &options.control_address),
    ];
    for (field, text) in texts {
        if let Some(text) = text {
            parameters.insert(field.into(), text.as_str().into());
        }
    }
    if let Some(cid) = options.vsock_cid {
        parameters.insert("vSockCid".into(), cid.into());
    }
    if !options.interfaces.is_empty() {
        let indexes = options.interfaces.iter().map(|interface| index(interface));
        parameters.insert("ifIndices".into(), indexes.collect::<Result<Vec<u32>, _>>()?.into());
    }
    if options.allocate_unit {
        parameters.insert("allocateUnit".into(), true.into());
    }
    Ok(parameters)
}

/// The index of an interface, by name or number.
fn index(interface: &str) -> Result<u32, Failure> {
    if let Ok(index) = interface.parse() {
        return Ok(index);
    }
    let path = format!("/sys/class/net/{interface}/ifindex");
    let text = if interface.contains('/') { None } else { std::fs::read_to_string(path).ok() };
    text.and_then(|text| text.trim().parse().ok())
        .ok_or_else(|| Failure::new(format!("there is no network interface '{}'", interface.escape_debug())))
}
