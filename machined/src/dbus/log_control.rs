//! `org.freedesktop.LogControl1`.

use dbus_server::{Changes, ErrorReply, Interface, Property, Value};

use super::subject::Subject;
use crate::log::{self, LogDestination};
use crate::operations::Operations;

pub(super) const INTERFACE: Interface<Operations, Subject> = Interface {
    name: "org.freedesktop.LogControl1",
    properties: &[
        Property::new("LogLevel", "s", Changes::Untold, |_, _| {
            let level = LEVELS.get(usize::from(log::level())).copied().unwrap_or_default();
            Ok(Value::from(level))
        })
        .writable(|_, _, value| set_level(&text(value)?)),
        Property::new("LogTarget", "s", Changes::Untold, |_, _| Ok(Value::from(log::destination().name())))
            .writable(|_, _, value| set_target(&text(value)?)),
        Property::new("SyslogIdentifier", "s", Changes::Untold, |_, _| Ok(Value::from(log::identifier()))),
    ],
    methods: &[],
    signals: &[],
};

/// The names of syslog(3)'s levels; the number of each is its place.
const LEVELS: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

fn text(value: Value) -> Result<String, ErrorReply> {
    String::try_from(value).map_err(|error| ErrorReply::invalid_args(error.to_string()))
}

/// A level by its name or its number.
fn set_level(text: &str) -> Result<(), ErrorReply> {
    let by_name = LEVELS.iter().position(|name| *name == text);
    let level = by_name.or_else(|| text.parse().ok()).and_then(|level: usize| u8::try_from(level).ok());
    let level = level.filter(|level| usize::from(*level) < LEVELS.len());
    log::set_level(level.ok_or_else(|| ErrorReply::invalid_args(format!("Invalid log level '{text}'")))?);
    Ok(())
}

fn set_target(text: &str) -> Result<(), ErrorReply> {
    let refused = || ErrorReply::invalid_args(format!("Invalid log target '{text}'"));
    log::set_destination(LogDestination::from_name(text).ok_or_else(refused)?);
    Ok(())
}
