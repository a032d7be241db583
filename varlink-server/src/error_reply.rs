//! The error a call is answered with, and those that every interface shares.

use rustix::io::Errno;
use serde_json::Value;

use super::errno::errno_name;

/// An error reply: an id that some interface declares, and its fields in the declared order.
#[derive(Debug, Clone, PartialEq)]
pub struct ErrorReply {
    /// The full name, as in `io.systemd.Machine.NoSuchMachine`.
    pub id: &'static str,
    /// Its fields.
    pub parameters: Vec<(&'static str, Value)>,
}

impl ErrorReply {
    /// An error without fields; usable in a `const`, so that an interface can have a table of its own.
    pub const fn named(id: &'static str) -> Self {
        Self { id, parameters: Vec::new() }
    }

    /// An error with one field.
    pub fn with(id: &'static str, name: &'static str, value: impl Into<Value>) -> Self {
        Self { id, parameters: vec![(name, value.into())] }
    }

    /// The parameter `name` is missing, unknown, of the wrong type or out of range.
    pub fn invalid_parameter(name: &str) -> Self {
        Self::with("org.varlink.service.InvalidParameter", "parameter", name)
    }

    /// The call needs the `more` flag.
    pub const fn expected_more() -> Self {
        Self::named("org.varlink.service.ExpectedMore")
    }

    /// The peer may not do this.
    pub const fn permission_denied() -> Self {
        Self::named("org.varlink.service.PermissionDenied")
    }

    /// Nobody serves `method`, a full name.
    pub fn method_not_found(method: &str) -> Self {
        Self::with("org.varlink.service.MethodNotFound", "method", method)
    }

    /// Nobody serves `interface`.
    pub fn interface_not_found(interface: &str) -> Self {
        Self::with("org.varlink.service.InterfaceNotFound", "interface", interface)
    }

    /// The kernel's error, for what has no error of its own.
    pub fn system(errno: Errno) -> Self {
        let mut parameters =
            vec![("origin", Value::from("linux")), ("errno", Value::from(errno.raw_os_error()))];
        if let Some(name) = errno_name(errno) {
            parameters.push(("errnoName", Value::from(name)));
        }
        Self { id: "io.systemd.System", parameters }
    }
}

impl From<Errno> for ErrorReply {
    fn from(errno: Errno) -> Self {
        Self::system(errno)
    }
}
