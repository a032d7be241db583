//! A D-Bus server: objects, interfaces and members as tables, dispatched and described as sd-bus(3) does it.
//!
//! What is served is data. An [`Object`] is a path, or all paths below one, and the [`Interface`]s that are there; an
//! interface is rows of methods, properties and signals. Introspection, the standard interfaces, the check of
//! signatures, and who may call what without being asked for come from the tables; there is no tree of objects, so
//! that ten thousand of them cost nothing: each is looked up when it is called.
//!
//! Messages come in by [`Server::accept`] and go out through a [`Bus`]; only `link` knows about connections. The calls
//! of one sender begin in the order in which they came, each when the one before it is done or has let it pass
//! ([`Turn`]); no sender waits for another, and turns go round by sender.
//!
//! ```ignore
//! const MANAGER: Interface<Daemon, Subject> = Interface {
//!     name: "org.freedesktop.machine1.Manager",
//!     properties: &[],
//!     methods: &[Method::new("GetMachine", &[arg("s", "name")], &[arg("o", "machine")], |daemon, _, call| {
//!         now(get_machine(&daemon, &call))
//!     })],
//!     signals: &[Signal { name: "MachineNew", arguments: &[arg("s", "machine"), arg("o", "path")] }],
//! };
//! ```

mod arrival;
mod bus;
mod call;
mod credentials;
mod dispatch;
mod errno;
mod error_reply;
#[cfg(test)]
mod fuzz;
mod header;
mod inquiry;
mod introspection;
mod joining;
mod label;
mod link;
mod long_reply;
mod properties;
mod queue;
mod readers;
mod rounds;
mod runtime;
mod server;
mod signature;
mod skip;
mod socket;
mod standard;
mod table;
#[cfg(test)]
mod tests;
mod transfer;
mod tree;
mod work;

pub use bus::{Bus, LocalFuture};
pub use call::{Call, Reply, Turn};
pub use credentials::Credentials;
pub use errno::{description, error_name};
pub use error_reply::ErrorReply;
pub use introspection::introspect;
pub use joining::{appears_at, join_at, join_bus, join_peer, session_bus, system_bus};
pub use label::Label;
pub use link::{Link, Traffic, listen};
pub use long_reply::LongReply;
pub use queue::Limits;
pub use server::Server;
pub use table::{
    Answer, Argument, Changes, Get, Handler, Interface, Look, Method, Object, Place, Property, Set, Signal,
    Value, arg, now,
};
