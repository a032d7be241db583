//! The operations' errors in the interface's words, which are the original's.

use dbus_server::{ErrorReply, description, error_name};
use rustix::io::Errno;
use varlink_server::errno_name;

use crate::error::{Error, Names};

/// There is no machine of that name.
pub(super) fn no_such_machine(name: &str) -> ErrorReply {
    of_operation(Error::NoSuchMachine, name)
}

/// There is no image of that name.
pub(super) fn no_such_image(name: &str) -> ErrorReply {
    of_operation(Error::NoSuchImage, name)
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

/// An operation's error; `machine` is the name of the machine, or of the image. One that has gone since it was looked up is as unknown as one that never was.
pub(super) fn of_operation(error: Error, machine: &str) -> ErrorReply {
    tracing::debug!("{}", crate::log::with_causes(&error));
    let Names { errno, bus, .. } = error.names();
    let text = match &error {
        Error::NoSuchMachine => format!("No machine '{machine}' known"),
        Error::NoSuchImage => format!("No image '{machine}' known"),
        Error::TooManyOperations => "Too many ongoing operations.".to_owned(),
        Error::MachineExists(name) => format!("Machine '{name}' already exists"),
        Error::NoPrivateNetworking => format!("Machine {machine} does not use private networking"),
        Error::NoUidShift => {
            let text = format!("Machine {machine} uses a complex UID/GID mapping, cannot determine shift");
            return not_supported(&text);
        }
        Error::AuthenticationRequired => "Interactive authentication required.".to_owned(),
        Error::NotCallersProcess => "Only privileged users may register machines for other users".to_owned(),
        Error::TooMany { uid } => format!("User {uid} has registered too many machines"),
        // What was said elsewhere is passed on in its own words.
        Error::ServiceManager { .. } | Error::JobFailed { .. } if bus.is_some() => error.to_string(),
        _ => return bare(errno),
    };
    match bus {
        Some(name) => ErrorReply::new(name.to_owned(), text),
        None => with_text(errno, text),
    }
}
