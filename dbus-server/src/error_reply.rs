//! The error a call is answered with, and those that the server itself answers with, in sd-bus's words.

use std::borrow::Cow;

/// An error reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorReply {
    /// Its D-Bus name.
    pub name: Cow<'static, str>,
    /// What it says to a human.
    pub message: String,
}

impl ErrorReply {
    /// An error of this name.
    pub fn new(name: impl Into<Cow<'static, str>>, message: impl Into<String>) -> Self {
        Self { name: name.into(), message: message.into() }
    }

    /// The arguments of the call are not what they must be.
    pub fn invalid_args(message: impl Into<String>) -> Self {
        Self::new("org.freedesktop.DBus.Error.InvalidArgs", message)
    }

    /// Something that is nobody's fault.
    pub fn failed(message: impl Into<String>) -> Self {
        Self::new("org.freedesktop.DBus.Error.Failed", message)
    }

    /// Too much at once.
    pub fn limits_exceeded(message: impl Into<String>) -> Self {
        Self::new("org.freedesktop.DBus.Error.LimitsExceeded", message)
    }

    pub(crate) fn unknown_object(path: &str) -> Self {
        Self::new("org.freedesktop.DBus.Error.UnknownObject", format!("Unknown object '{path}'."))
    }

    pub(crate) fn unknown_method(member: &str, interface: &str) -> Self {
        let message = format!("Unknown method {member} or interface {interface}.");
        Self::new("org.freedesktop.DBus.Error.UnknownMethod", message)
    }

    pub(crate) fn unknown_interface(interface: &str) -> Self {
        let message = format!("Unknown interface '{interface}'.");
        Self::new("org.freedesktop.DBus.Error.UnknownInterface", message)
    }

    pub(crate) fn unknown_property(interface: &str, property: &str) -> Self {
        let message = format!("Unknown interface {interface} or property {property}.");
        Self::new("org.freedesktop.DBus.Error.UnknownProperty", message)
    }

    pub(crate) fn read_only(property: &str) -> Self {
        let message = format!("Property '{property}' is not writable.");
        Self::new("org.freedesktop.DBus.Error.PropertyReadOnly", message)
    }

    pub(crate) fn access_denied(interface: &str, member: &str) -> Self {
        let message = format!("Access to {interface}.{member}() not permitted.");
        Self::new("org.freedesktop.DBus.Error.AccessDenied", message)
    }
}
