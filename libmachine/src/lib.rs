//! Query library for the machines of a host: which there are, what is known of each, and whose a process, an id or an
//! address is.
//!
//! Everything is read from files and from the kernel at the moment of the call: no daemon is asked, nothing is kept
//! between calls, nothing waits, no thread is started. A shortage of memory is an error like any other.
//!
//! Without the feature `std` the crate has no panic path that survives optimisation: it is the core of libmachine's C
//! interface. With it come processes pinned by pidfd, their parents and their signals, for those who manage machines.

#![no_std]

#[cfg(any(feature = "std", test))]
extern crate std;

mod all;
mod ancestry;
mod batch;
mod buffer;
mod errno;
mod event;
#[cfg(test)]
mod fuzz;
mod group;
mod hierarchy;
mod inotify;
mod known;
mod login_watch;
mod machine_group;
mod monitor;
mod names;
mod nearest;
mod notices;
mod origin;
mod owner;
mod pid;
mod pid_table;
mod registry_watch;
mod snapshot;
mod sort;
mod stock;
mod suggest;
mod system;
mod unit_name;
mod wait;
mod zero_ended;

#[cfg(feature = "std")]
mod cgroup;
#[cfg(feature = "std")]
mod error;
#[cfg(feature = "std")]
mod namespace;
#[cfg(feature = "std")]
mod ownership;
#[cfg(feature = "std")]
mod process;
#[cfg(feature = "std")]
mod signal;

pub use all::{AllMachines, only_machine};
pub use batch::Batch;
pub use buffer::Buffer;
pub use errno::Errno;
pub use event::{Change, Event, MonitorOptions};
pub use login_watch::{Category, drain, watch_categories};
pub use monitor::Monitor;
pub use names::{Listing, Seen, each_name};
pub use nearest::{machines_of_pid, machines_of_pidfd, path_of};
pub use owner::{id_inside, id_on_host, machine_of_address, machine_of_id};
pub use pid::{machine_of_pid, machine_of_pidfd, pid_of};
pub use snapshot::{Field, Number, Snapshot};
pub use stock::{class as stock_class, interfaces as stock_interfaces};
pub use suggest::suggest;
pub use system::{Borrowed, Descriptor, peer as pid_of_peer};
pub use wait::{wait_for_end, wait_for_machine};

#[cfg(feature = "std")]
pub use cgroup::{ControlGroup, UnitPlace};
#[cfg(feature = "std")]
pub use error::Error;
#[cfg(feature = "std")]
pub use namespace::Namespace;
#[cfg(feature = "std")]
pub use process::{ProcessHandle, boot_id};
#[cfg(feature = "std")]
pub use signal::{signal_of_name, signal_of_number};
