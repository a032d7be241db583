//! `unregister`, `terminate` and `kill`: calls to the daemon about machines with a name; and its errors in words.

use std::io::{self, IsTerminal};
use std::time::Duration;

use libmachine::signal_of_name;
use serde_json::{Map, Value};

use crate::cli;
use crate::client::{self, CallError};
use crate::daemon::Daemon;
use crate::failure::Failure;
use crate::machine::no_machine;
use crate::names::looked_for;
use crate::whose::Whose;

/// The error of Varlink that is an errno.
pub const SYSTEM: &str = "io.systemd.System";
/// There is no image of a name, or no image at all.
pub const NO_SUCH_IMAGE: &str = "io.systemd.MachineImage.NoSuchImage";
/// How long the daemon has for a call.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// How long it has where somebody may have to type a password first.
const PATIENCE_WITH_PASSWORD: Duration = Duration::from_secs(330);

/// Takes machines out of the registry.
///
/// # Errors
/// That of the last that failed.
pub fn unregister(named: &cli::Named) -> Result<u8, Failure> {
    each(&named.names, &named.whose, "Unregister", &Map::new())
}

/// Ends machines.
///
/// # Errors
/// That of the last that failed.
pub fn terminate(named: &cli::Named) -> Result<u8, Failure> {
    each(&named.names, &named.whose, "Terminate", &Map::new())
}

/// Sends a signal.
///
/// # Errors
/// There is no such signal; that of the last that failed.
pub fn kill(kill: &cli::Kill) -> Result<u8, Failure> {
    let signal = signal_of_name(&kill.signal).ok_or_else(|| {
        Failure::with_hint(
            format!("there is no signal '{}'", kill.signal.escape_debug()),
            "signals are named as kill -l has them, with or without SIG, or by number",
        )
    })?;
    let mut parameters = Map::new();
    parameters.insert("signal".into(), signal.as_raw().into());
    parameters.insert("whom".into(), kill.whom.as_str().into());
    each(&kill.names, &kill.whose, "Kill", &parameters)
}

/// Calls for each name; one that fails does not keep the others from being called for.
fn each(
    names: &[String],
    whose: &Whose,
    method: &str,
    parameters: &Map<String, Value>,
) -> Result<u8, Failure> {
    let mut last = Ok(0);
    for name in names {
        let result = looked_for(name).and_then(|name| {
            let mut parameters = parameters.clone();
            parameters.insert("name".into(), name.as_str().into());
            call(&Daemon::of(&name, whose)?, method, parameters, name.as_str())
        });
        if let Err(failure) = result
            && let Err(before) = std::mem::replace(&mut last, Err(failure))
        {
            before.print();
        }
    }
    last
}

/// Calls a method of `io.systemd.Machine` about this machine.
///
/// # Errors
/// Why it was not done.
fn call(
    daemon: &Daemon,
    method: &str,
    mut parameters: Map<String, Value>,
    machine: &str,
) -> Result<(), Failure> {
    let patience = patience(&mut parameters);
    call_within(daemon, method, parameters, patience).map_err(|error| explained(error, daemon, machine))
}

/// How long the daemon has for a call. Where it may ask the user for a password, the call says so.
pub fn patience(parameters: &mut Map<String, Value>) -> Duration {
    if io::stdin().is_terminal() && !rustix::process::geteuid().is_root() {
        parameters.insert("allowInteractiveAuthentication".into(), true.into());
        PATIENCE_WITH_PASSWORD
    } else {
        PATIENCE
    }
}

/// Calls a method of `io.systemd.Machine`, with a deadline.
///
/// # Errors
/// That of the call.
pub fn call_within(
    daemon: &Daemon,
    method: &str,
    parameters: Map<String, Value>,
    patience: Duration,
) -> Result<(), CallError> {
    client::call(&daemon.machines(), patience, &format!("io.systemd.Machine.{method}"), &parameters)
        .map(|_| ())
}

/// Why a call failed, and what to do about it.
pub fn explained(error: CallError, daemon: &Daemon, machine: &str) -> Failure {
    let unreachable = |text: String| Failure::with_hint(text, daemon.hint());
    match error {
        CallError::NobodyThere(error) => {
            unreachable(format!("machined cannot be reached at {}: {error}", daemon.machines()))
        }
        CallError::Full => unreachable("machined takes no connections".into()),
        CallError::NoAnswer(patience) => {
            unreachable(format!("machined did not answer within {} s", patience.as_secs()))
        }
        CallError::Nonsense(what) => unreachable(format!("machined gave no good answer: {what}")),
        CallError::Refused(id, fields) => refused(&id, &fields, daemon, machine),
    }
}

fn refused(id: &str, fields: &Map<String, Value>, daemon: &Daemon, machine: &str) -> Failure {
    let field = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or("?");
    match id {
        "io.systemd.Machine.NoSuchMachine" => no_machine(machine),
        NO_SUCH_IMAGE => Failure::NotFound(format!("there is no image '{}'", machine.escape_debug())),
        "io.systemd.Machine.NotSupported" | "io.systemd.Machine.NotAvailable" => {
            Failure::new("that cannot be done with a machine of this kind")
        }
        "io.systemd.Machine.NoIPC" => Failure::with_hint(
            format!("'{machine}' has no D-Bus, by which programs are started in it"),
            "it takes a machine that runs systemd",
        ),
        "io.systemd.Machine.NoSuchUser" => Failure::new(format!("'{machine}' has no such user")),
        "io.systemd.Machine.MachineExists" => Failure::with_hint(
            format!("there is a machine '{machine}' already"),
            format!(
                "mymachines status {}{machine} tells about it",
                if daemon.is_own() { "--user " } else { "" }
            ),
        ),
        "org.varlink.service.PermissionDenied" => {
            Failure::with_hint("machined does not permit it", daemon.who_may())
        }
        "io.systemd.InteractiveAuthenticationRequired" => {
            Failure::with_hint("it takes a password", "call it from a terminal, or as root")
        }
        "org.varlink.service.InvalidParameter" => invalid(field("parameter")),
        "org.varlink.service.MethodNotFound" => Failure::with_hint(
            format!("this machined cannot do that: it has no {}", field("method")),
            "mymachines doctor says which daemon it is",
        ),
        SYSTEM => {
            match errno(fields) {
                // "No such device or address" is what the C library calls it.
                Some(libc::ENXIO) => Failure::with_hint(
                    "the leader is in no unit of systemd",
                    "--allocate-unit gives the machine one of its own",
                ),
                Some(libc::ESRCH) => Failure::new("there is no such process"),
                Some(errno) => Failure::new(io::Error::from_raw_os_error(errno).to_string()),
                None => Failure::new("the system refused it"),
            }
        }
        other => Failure::new(format!("machined refused it: {other} {}", Value::Object(fields.clone()))),
    }
}

/// The number of an error of the system.
pub fn errno(fields: &Map<String, Value>) -> Option<i32> {
    fields.get("errno").and_then(Value::as_i64).and_then(|errno| i32::try_from(errno).ok())
}

/// What is wrong with a parameter, as far as that can be known.
fn invalid(parameter: &str) -> Failure {
    let text = format!("machined does not take this {parameter}");
    match parameter {
        "leader" => Failure::with_hint(
            text,
            "there has to be such a process, as the host numbers it, and it has to run",
        ),
        "rootDirectory" | "sshPrivateKeyPath" => Failure::with_hint(text, "it has to be an absolute path"),
        _ => Failure::new(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(id: &str, fields: Value) -> (String, u8) {
        let error = CallError::Refused(id.into(), fields.as_object().unwrap().clone());
        let failure = explained(error, &Daemon::system(), "web");
        (failure.to_string(), failure.code())
    }

    #[test]
    fn errors_are_told_in_words() {
        let none = || Value::Object(Map::new());
        assert_eq!(
            words("io.systemd.Machine.NoSuchMachine", none()),
            ("there is no machine 'web'".into(), 2)
        );
        assert_eq!(words("io.systemd.Machine.MachineExists", none()).1, 1);
        let errno = |errno: i32| {
            let mut fields = Map::new();
            fields.insert("errno".into(), errno.into());
            Value::Object(fields)
        };
        assert_eq!(words("io.systemd.System", errno(libc::ENXIO)).0, "the leader is in no unit of systemd");
        assert_eq!(words("io.systemd.System", errno(libc::EPERM)).0, "Operation not permitted (os error 1)");
    }

    #[test]
    fn no_machine_never_reads_as_no_device() {
        for id in ["io.systemd.Machine.NoSuchMachine", "io.systemd.System"] {
            let mut fields = Map::new();
            fields.insert("errno".into(), libc::ENXIO.into());
            assert!(!words(id, Value::Object(fields)).0.contains("No such device"));
        }
    }
}
