//! systemd as the service manager: scopes, and the units that machines run in. org.freedesktop.systemd1(5).
//!
//! Process 1 is spoken to over the system bus, since the messages on its private socket name a sender that is no
//! valid bus name. Every call is a connection of its own, so that a bus that was restarted is no different from one
//! that was never there, and has a deadline.

use std::os::fd::OwnedFd;
use std::time::Duration;

use registry::{Class, MachineName};
use rustix::io::Errno;
use rustix::process::Signal;
use tokio::time::timeout;
use zbus::zvariant::DynamicType;
use zbus::{Fd, Message, OwnedObjectPath, Variant, connection};

use crate::error::Error;

const SERVICE: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
/// How long process 1 has to answer.
const DEADLINE: Duration = Duration::from_secs(10);
/// How many tasks a machine may have, as the original sets it.
const TASKS_MAX: u64 = 16_384;

/// The name of the scope of a machine: its own is escaped as systemd-escape(1) does.
pub fn scope_name(machine: &MachineName) -> String {
    format!("machine-{}.scope", machine.as_str().replace('-', "\\x2d"))
}

/// Starts the scope of a machine around its leader. Returns when the job is queued.
///
/// # Errors
/// `EEXIST`: there is such a unit. `ETIMEDOUT`: process 1 does not answer. `ENOENT` and the like: there is no
/// system bus. `EIO`: it says anything else.
pub async fn start_scope(
    machine: &MachineName,
    class: Class,
    leader: OwnedFd,
    uid: u32,
) -> Result<(), Error> {
    const ACTION: &str = "start the scope";
    let description = match class {
        Class::Vm => format!("Virtual Machine {machine}"),
        Class::Container => format!("Container {machine}"),
    };
    let mut properties = vec![
        ("Slice", Variant::from("machine.slice")),
        ("Description", Variant::from(description)),
        ("PIDFDs", Variant::from(vec![Fd::from(leader)])),
        ("Delegate", Variant::from(true)),
        ("CollectMode", Variant::from("inactive-or-failed")),
        ("TasksMax", Variant::from(TASKS_MAX)),
    ];
    if uid != 0 {
        properties.push(("User", Variant::from(uid.to_string())));
    }
    let auxiliary: Vec<(&str, Vec<(&str, Variant<'_>)>)> = Vec::new();
    let arguments = (scope_name(machine), "fail", properties, auxiliary);
    let reply = call(ACTION, "StartTransientUnit", &arguments).await?;
    reply.body().deserialize::<OwnedObjectPath>().map(drop).map_err(|error| failed(ACTION, &error))
}

/// Stops a unit. Returns when the job is queued; that there is no such unit is no error.
///
/// # Errors
/// `ETIMEDOUT`: process 1 does not answer. `EIO`: it says anything else.
pub async fn stop_unit(unit: &str) -> Result<(), Error> {
    match call("stop the unit", "StopUnit", &(unit, "fail")).await {
        Err(Error::System { errno: Errno::NOENT, .. }) => Ok(()),
        other => other.map(drop),
    }
}

/// Sends a signal to all processes of a unit.
///
/// # Errors
/// `ENOENT`: there is no such unit. `ETIMEDOUT`: process 1 does not answer. `EIO`: it says anything else.
pub async fn kill_unit(unit: &str, signal: Signal) -> Result<(), Error> {
    call("signal the unit", "KillUnit", &(unit, "all", signal.as_raw())).await.map(drop)
}

async fn call<B>(action: &'static str, method: &str, arguments: &B) -> Result<Message, Error>
where
    B: serde::Serialize + DynamicType,
{
    let answer = async {
        let connection = connection::Builder::system().build().await?;
        connection.call_method(Some(SERVICE), PATH, Some(MANAGER), method, arguments).await
    };
    match timeout(DEADLINE, answer).await {
        Ok(answer) => answer.map_err(|error| failed(action, &error)),
        Err(_) => Err(Error::System { action, errno: Errno::TIMEDOUT }),
    }
}

/// The errno that an error of systemd's comes nearest to.
fn failed(action: &'static str, error: &zbus::Error) -> Error {
    tracing::debug!("cannot {action}: {error}");
    let name = match error {
        zbus::Error::MethodError(name, ..) => name.as_str(),
        // No bus.
        zbus::Error::InputOutput(error) => return Error::system(action, error),
        _ => "",
    };
    const ERRNOS: [(&str, Errno); 6] = [
        ("org.freedesktop.systemd1.NoSuchUnit", Errno::NOENT),
        ("org.freedesktop.systemd1.LoadFailed", Errno::NOENT),
        ("org.freedesktop.systemd1.UnitExists", Errno::EXIST),
        ("org.freedesktop.DBus.Error.AccessDenied", Errno::ACCESS),
        ("org.freedesktop.DBus.Error.InvalidArgs", Errno::INVAL),
        ("org.freedesktop.DBus.Error.UnixProcessIdUnknown", Errno::SRCH),
    ];
    let errno = ERRNOS.iter().find(|(known, _)| *known == name).map_or(Errno::IO, |(_, errno)| *errno);
    Error::System { action, errno }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_scope_is_escaped() {
        let name = |text: &str| scope_name(&MachineName::new(text.as_bytes()).unwrap());
        assert_eq!(name("web"), "machine-web.scope");
        assert_eq!(name("my-vm.example"), "machine-my\\x2dvm.example.scope");
    }
}
