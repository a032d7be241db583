//! The operations' errors in the interface's words, which are the original's.

use dbus_server::{ErrorReply, description, error_name};
use rustix::io::Errno;
use varlink_server::errno_name;

use crate::error::Error;

/// There is no machine of that name.
pub(super) fn no_such_machine(name: &str) -> ErrorReply {
    ErrorReply::new("org.freedesktop.machine1.NoSuchMachine", format!("No machine '{name}' known"))
}

/// An errno, and a text in the place of the C library's.
pub(super) fn with_text(errno: Errno, text: impl Into<String>) -> ErrorReply {
    ErrorReply::new(error_name(errno, errno_name(errno)), text)
}

/// An errno as it is.
pub(super) fn bare(errno: Errno) -> ErrorReply {
    with_text(errno, description(errno))
}

/// There is no such thing for a machine of this class.
pub(super) fn not_supported(text: &str) -> ErrorReply {
    with_text(Errno::OPNOTSUPP, text)
}

/// An operation's error. A machine that has gone since it was looked up is as unknown as one that never was.
pub(super) fn of_operation(error: Error, machine: &str) -> ErrorReply {
    tracing::debug!("{}", crate::log::with_causes(&error));
    match &error {
        Error::NoSuchMachine => no_such_machine(machine),
        Error::MachineExists(name) => {
            let text = format!("Machine '{name}' already exists");
            ErrorReply::new("org.freedesktop.machine1.MachineExists", text)
        }
        Error::NoPrivateNetworking => ErrorReply::new(
            "org.freedesktop.machine1.NoPrivateNetworking",
            format!("Machine {machine} does not use private networking"),
        ),
        Error::NoUidShift => not_supported(&format!(
            "Machine {machine} uses a complex UID/GID mapping, cannot determine shift"
        )),
        Error::AuthenticationRequired => ErrorReply::new(
            "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired",
            "Interactive authentication required.",
        ),
        Error::NotCallersProcess => {
            with_text(Errno::ACCESS, "Only privileged users may register machines for other users")
        }
        // What was said elsewhere is passed on in its own words.
        _ => match error.names().bus {
            Some(name) if !matches!(error, Error::PermissionDenied) => {
                ErrorReply::new(name.to_owned(), error.to_string())
            }
            _ => bare(error.errno()),
        },
    }
}
