//! systemd as the service manager: scopes, jobs, and the units that machines run in. org.freedesktop.systemd1(5).
//!
//! Process 1 is spoken to over the system bus, and never waited for longer than a deadline.

use std::borrow::Cow;
use std::time::Duration;

use rustix::io::Errno;

use crate::bus::{CallError, Peer};
use crate::error::Error;

mod jobs;
mod scope;
mod session;
mod signals;
mod units;

pub use jobs::{Expected, Jobs, News};
pub use scope::{Scope, ScopeProperty, scope_name};
pub use session::{Shell, start_getty, start_shell};
pub use signals::Systemd;
pub use units::{
    Fate, control_group, fate_of_job, is_active, job_of_unit, kill_subgroup, kill_unit, stop_unit,
};

const SERVICE: &str = "org.freedesktop.systemd1";
const PATH: &str = "/org/freedesktop/systemd1";
const MANAGER: Peer =
    Peer { service: SERVICE, path: Cow::Borrowed(PATH), interface: "org.freedesktop.systemd1.Manager" };
/// How long process 1 has to answer.
pub const DEADLINE: Duration = Duration::from_secs(10);

const NO_SUCH_UNIT: &str = "org.freedesktop.systemd1.NoSuchUnit";
const LOAD_FAILED: &str = "org.freedesktop.systemd1.LoadFailed";
const UNKNOWN_OBJECT: &str = "org.freedesktop.DBus.Error.UnknownObject";
const UNKNOWN_METHOD: &str = "org.freedesktop.DBus.Error.UnknownMethod";

/// The errno that the outcome of a call to the service manager comes nearest to.
fn errno(cause: &CallError) -> Errno {
    const ERRNOS: [(&str, Errno); 13] = [
        (NO_SUCH_UNIT, Errno::NOENT),
        (LOAD_FAILED, Errno::NOENT),
        ("org.freedesktop.systemd1.UnitExists", Errno::EXIST),
        ("org.freedesktop.systemd1.UnitMasked", Errno::RFKILL),
        ("org.freedesktop.systemd1.TransactionIsDestructive", Errno::DEADLK),
        ("org.freedesktop.systemd1.TransactionJobsConflicting", Errno::DEADLK),
        ("org.freedesktop.systemd1.ShuttingDown", Errno::CANCELED),
        ("org.freedesktop.DBus.Error.AccessDenied", Errno::ACCESS),
        ("org.freedesktop.DBus.Error.InvalidArgs", Errno::INVAL),
        ("org.freedesktop.DBus.Error.UnixProcessIdUnknown", Errno::SRCH),
        ("org.freedesktop.DBus.Error.NotSupported", Errno::OPNOTSUPP),
        ("org.freedesktop.DBus.Error.LimitsExceeded", Errno::NOBUFS),
        ("org.freedesktop.DBus.Error.NoReply", Errno::TIMEDOUT),
    ];
    match cause {
        CallError::NoBus => Errno::NOTCONN,
        CallError::Timeout => Errno::TIMEDOUT,
        CallError::Refused { name, .. } => {
            ERRNOS.iter().find(|(known, _)| known == name).map_or(Errno::IO, |(_, errno)| *errno)
        }
        CallError::Broken(_) => Errno::IO,
    }
}

/// In systemd's own words, which are passed on.
fn refused(action: &'static str, cause: CallError) -> Error {
    let errno = errno(&cause);
    match cause {
        CallError::Refused { name, message } => {
            Error::ServiceManager { action, errno, name: Some(name), message }
        }
        cause => Error::ServiceManager { action, errno, name: None, message: cause.to_string() },
    }
}

/// As the original passes it on: by errno alone.
fn failed(action: &'static str, cause: &CallError) -> Error {
    tracing::debug!("cannot {action}: {cause}");
    Error::System { action, errno: errno(cause) }
}

/// Whether a call failed with this error.
fn is(cause: &CallError, names: &[&str]) -> bool {
    matches!(cause, CallError::Refused { name, .. } if names.contains(&name.as_str()))
}
