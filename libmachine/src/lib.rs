//! Query library for the machines of a host: which there are, what is known of each, and whose a process, an id or an
//! address is.
//!
//! Everything is read from files and from the kernel at the moment of the call: no daemon is asked, nothing is kept
//! between calls, nothing waits, no thread is started. A shortage of memory is an error like any other.
//!
//! # Which machine is this process in?
//!
//! ```
//! use libmachine::{Errno, machines_of_pid};
//!
//! // Of machines that are nested in each other, the outermost first. 0 is the caller.
//! let machines = machines_of_pid(0)?;
//! let names: Vec<&str> = machines.iter().map(|machine| machine.name().as_str()).collect();
//! println!("{}", if names.is_empty() { "the host".into() } else { names.join("/") });
//! # Ok::<(), Errno>(())
//! ```
//!
//! # And these many?
//!
//! One call for all of them costs a fraction of a call for each.
//!
//! ```
//! use libmachine::{Batch, Errno};
//!
//! let pids = [1, i32::try_from(std::process::id()).unwrap()];
//! let batch = Batch::of(&pids)?;
//! for (place, pid) in pids.iter().enumerate() {
//!     println!("{pid} {}", batch.path(place).unwrap_or("-"));
//! }
//! # Ok::<(), Errno>(())
//! ```
//!
//! # Which machines are there, and which come and go?
//!
//! ```
//! use libmachine::{Change, Errno, Monitor, MonitorOptions};
//!
//! let mut options = MonitorOptions::default();
//! options.list = true;
//! options.wait_for_registry = true;
//! let mut monitor = Monitor::with(options)?;
//! while let Some(event) = monitor.next_event()? {
//!     match (event.change, event.name) {
//!         (Change::Present | Change::New, Some(name)) => println!("there is {name}"),
//!         (Change::Removed, Some(name)) => println!("{name} is gone"),
//!         (Change::Overflow, _) => println!("all over again"),
//!         _ => {}
//!     }
//! }
//! // Now wait until the monitor, which is `AsFd`, is readable: `examples/watch.rs` does it with tokio.
//! # Ok::<(), Errno>(())
//! ```
//!
//! Errors are those of errno(3), with one meaning each ([`Errno`]), and become an [`std::io::Error`] by `?`.
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
mod record;
mod registries;
mod registry_watch;
mod snapshot;
mod sort;
mod stock;
mod suggest;
mod system;
mod unit_name;
mod wait;
mod zero_ended;

/// The page's code is a test.
#[cfg(doctest)]
#[doc = include_str!("../../docs/languages.md")]
struct Languages;

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
pub use ancestry::{machines_of_pid, machines_of_pidfd};
pub use batch::Batch;
pub use buffer::Buffer;
pub use errno::Errno;
pub use event::{Change, Event, MonitorOptions};
pub use login_watch::{Category, drain, watch_categories};
pub use monitor::Monitor;
pub use names::{Listing, Seen, each_name};
pub use nearest::path_of;
pub use owner::{MappedId, id_inside, id_on_host, machine_of_address, machine_of_id};
pub use pid::{machine_of_pid as stock_machine_of_pid, machine_of_pidfd as stock_machine_of_pidfd, pid_of};
pub use record::{Field, Number};
pub use snapshot::{Snapshot, last_name};
pub use stock::{class as stock_class, interfaces as stock_interfaces};
pub use suggest::{RefusedName, checked_name, suggest};
pub use system::{Borrowed, Descriptor, peer as pid_of_peer};
pub use wait::{wait_for_end, wait_for_machine};

// What the functions above take and return: no other crate is needed for them.
#[cfg(feature = "std")]
pub use registry::Process;
pub use registry::{Address, AddressSource, IdKind, IdRange, MachineId, MachineName, NameRule};
#[cfg(feature = "std")]
pub use rustix::process::{Pid, Signal};

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
