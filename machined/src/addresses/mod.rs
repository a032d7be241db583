//! What the daemon knows of the machines' addresses, by netlink.
//!
//! A machine's addresses are those of its leader's network namespace. They are *dumped*, by entering the namespace
//! for the length of one `socket()` call ([`Namespaces::dump`]).
//! [`resolve_order`] makes what a name resolves to out of what a dump found.
//!
//! No descriptor is kept per machine, neither of a namespace nor of a socket in it: either would keep the namespace
//! alive after its last process.

mod conversation;
mod error;
mod list;
mod message;
mod namespace;
mod order;
mod request;
mod rtnetlink;

#[cfg(test)]
mod kernel_tests;

pub use error::Error;
pub use list::{InterfaceAddress, MAX_ADDRESSES};
pub use namespace::{Namespaces, NetnsId, PeerLink, Place, identity};
pub use order::{Peer, Resolved, resolve_order};
pub use rtnetlink::Nsid;
