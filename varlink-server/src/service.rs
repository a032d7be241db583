//! `io.systemd.service`: what can be asked of every service of systemd.
//!
//! `Reload` is left out: the original declares it, but answers `MethodNotFound`. And a `SetLogLevel` of null,
//! which silences the original, is refused.

use std::ffi::OsString;
use std::rc::Rc;

use serde::Serialize;
use serde_json::Value;

use super::descriptors::Descriptors;
use super::error_reply::ErrorReply;
use super::reply::{Done, Replier};
use super::router::{Answer, Call, Interface, Method, More};
use super::validate::Rule;

/// The log level of the daemon, as `syslog(3)` counts: 0 (emergencies only) to 7 (debug).
pub trait LogControl {
    /// The level now.
    fn log_level(&self) -> u8;
    /// Changes it, until the daemon ends.
    fn set_log_level(&self, level: u8);
}

/// The interface, for a daemon whose log level can be changed.
pub fn interface<C: LogControl + 'static>() -> Interface<C> {
    Interface {
        description: include_str!("idl/io.systemd.service.varlink"),
        methods: const {
            &[
                Method {
                    name: "Ping",
                    more: More::No,
                    rules: &[],
                    descriptors: Descriptors::None,
                    handler: |_, _, replier| now(replier.reply(&())),
                },
                Method {
                    name: "SetLogLevel",
                    more: More::No,
                    rules: &[("level", Rule::NotNull)],
                    descriptors: Descriptors::None,
                    handler: |c, call, r| now(set_level(c, call, r)),
                },
                Method {
                    name: "GetLogLevel",
                    more: More::No,
                    rules: &[],
                    descriptors: Descriptors::None,
                    handler: |c, _, r| now(level(c, r)),
                },
                Method {
                    name: "GetEnvironment",
                    more: More::No,
                    rules: &[],
                    descriptors: Descriptors::None,
                    handler: |_, call, r| now(environment(call, r)),
                },
            ]
        },
    }
}

/// The answer of a method that never waits.
fn now(answer: Result<Done, ErrorReply>) -> Answer {
    Box::pin(std::future::ready(answer))
}

fn set_level<C: LogControl>(context: Rc<C>, call: Call, replier: Replier) -> Result<Done, ErrorReply> {
    let level = call.parameters.get("level").and_then(Value::as_u64);
    let level = level.and_then(|level| u8::try_from(level).ok()).filter(|level| *level <= DEBUG);
    let level = level.ok_or_else(|| ErrorReply::invalid_parameter("level"))?;
    if !call.peer.is_privileged() {
        // The original sends the parameters back, and so do we.
        return Err(ErrorReply {
            parameters: vec![("level", level.into())],
            ..ErrorReply::permission_denied()
        });
    }
    context.set_log_level(level);
    replier.reply(&())
}

fn level<C: LogControl>(context: Rc<C>, replier: Replier) -> Result<Done, ErrorReply> {
    #[derive(Serialize)]
    struct Reply {
        level: u8,
    }
    replier.reply(&Reply { level: context.log_level() })
}

fn environment(call: Call, replier: Replier) -> Result<Done, ErrorReply> {
    #[derive(Serialize)]
    struct Reply {
        environment: Vec<String>,
    }
    if !call.peer.is_privileged() {
        return Err(ErrorReply::permission_denied());
    }
    let pairs = std::env::vars_os().map(|(name, value)| text(name, value));
    let environment = pairs.collect::<Option<_>>().ok_or(INCONSISTENT_ENVIRONMENT)?;
    replier.reply(&Reply { environment })
}

/// `NAME=VALUE`; JSON has no way to say what is not UTF-8.
fn text(name: OsString, value: OsString) -> Option<String> {
    Some(format!("{}={}", name.into_string().ok()?, value.into_string().ok()?))
}

const DEBUG: u8 = 7;
const INCONSISTENT_ENVIRONMENT: ErrorReply = ErrorReply::named("io.systemd.service.InconsistentEnvironment");
