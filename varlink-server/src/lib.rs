//! The Varlink server: transport, framing, dispatch, validation and introspection.
//!
//! What is served is data. An [`Interface`] is the text of its description and a table of handlers; names,
//! parameters and introspection come from the text, and a call reaches its handler only after it was checked
//! against it. The rest is limits: no peer can stop the server, starve another peer, or fill the memory.
//!
//! Bytes become calls in `inbox` and `message`, `router` decides what a call gets, and only `stream`,
//! `connection` and `server` know about sockets.
//!
//! ```ignore
//! pub fn interface() -> Interface<Daemon> {
//!     Interface { description: include_str!("idl/io.systemd.Machine.varlink"), methods: METHODS }
//! }
//! const METHODS: &[Method<Daemon>] = &[
//!     Method {
//!         name: "List",
//!         more: More::Supported,
//!         rules: &[("name", Rule::NotNull), ("acquireMetadata", Rule::NotNull)],
//!         descriptors: Descriptors::None,
//!         handler: |daemon, call, replier| Box::pin(list(daemon, call, replier)),
//!     },
//! ];
//! async fn list(daemon: Rc<Daemon>, call: Call, replier: Replier) -> Result<Done, ErrorReply> {
//!     if let Some(name) = call.parameters.get("name").and_then(Value::as_str) {
//!         return replier.reply(&daemon.machine(name).ok_or(NO_SUCH_MACHINE)?);
//!     }
//!     if !call.more {
//!         return Err(ErrorReply::expected_more());
//!     }
//!     replier.reply_all(daemon.machines()).await?.ok_or(NO_SUCH_MACHINE)
//! }
//! ```

mod admission;
mod connection;
mod descriptors;
mod errno;
mod error_reply;
#[cfg(test)]
mod fuzz;
mod idl;
mod inbox;
mod listen;
mod memory;
mod message;
mod outbox;
mod peer;
mod reply;
mod router;
mod server;
pub mod service;
mod socket_option;
mod stream;
#[cfg(test)]
mod tests;
mod validate;

pub use admission::Limits;
pub use descriptors::Descriptors;
pub use errno::errno_name;
pub use error_reply::ErrorReply;
pub use idl::IdlError;
pub use listen::{Listener, alias, is_served, listen_at, listen_on, listen_privately_at, path_of};
pub use peer::Peer;
pub use reply::{Done, Replier};
pub use router::{About, Answer, Call, Handler, Interface, Method, More, TableError};
pub use server::{Server, Settings};
pub use validate::Rule;
