//! What the daemon knows of the machines' addresses, by netlink.
//!
//! A machine's addresses are those of its leader's network namespace. They are *dumped*, by entering the namespace
//! for the length of one `socket()` call ([`Namespaces::dump`]), and they are dumped again when the kernel says that
//! something changed. One socket hears that of every namespace ([`Notifications`]); [`Tracker`] decides from it which
//! namespace to dump and when, so that a container which changes its addresses in a loop costs nobody else anything.
//! `order` and `reach` make what a name resolves to out of what a dump found and where the host's own routes lead;
//! `host` hears of changes of those, by a socket of its own.
//!
//! No descriptor is kept per machine, neither of a namespace nor of a socket in it: either would keep the namespace
//! alive after its last process.
//!
//! What bytes mean (`message`, `rtnetlink`, `route`, `conversation`) and what to do about them (`list`, `order`, `reach`,
//! `links`, `tracker`)
//! knows no sockets; `request`, `namespace`, `notifications` and `datagram` are the edge.

mod allowance;
mod conversation;
mod datagram;
mod error;
mod host;
mod keeper;
mod lease_reader;
mod links;
mod list;
mod message;
mod namespace;
mod neighbour;
mod notifications;
mod order;
mod reach;
mod request;
mod route;
mod rtnetlink;
mod tracker;
mod vm_keeper;
mod vms;

#[cfg(test)]
mod fuzz;
#[cfg(test)]
mod kernel_tests;

pub use error::Error;
pub use keeper::{Keeper, Listing, Owners};
pub use lease_reader::{MODE as LEASE_READER, main as read_leases};
pub use list::InterfaceAddress;
pub use namespace::{Namespaces, NetnsId, Place};
pub use notifications::{Notification, Notifications, Origin};
pub use order::{Peer, Resolved};
pub use rtnetlink::{Nsid, family_and_octets};
pub use tracker::{Tracker, Watch};
pub use vm_keeper::Refusal;
