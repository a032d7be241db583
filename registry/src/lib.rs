//! The published registry of a host's machines.
//!
//! A machine is one file, `/run/systemd/machines/NAME`: its *record*. Whoever wants to know something about a
//! machine reads that file; the daemon is its only writer. This crate is the format of the record and of what
//! is derived from it, the rules for what stands in it, and the question whether the machine still lives.
//!
//! Without the feature `std` the crate allocates nothing, calls nothing of the C library and has no panic path
//! that survives optimisation: it is the core of the NSS module, which runs inside every process of the host.
//! With it come the owned [`Record`] with its parse and emit pair, and the [`Directory`] that holds the records.

#![no_std]

#[cfg(any(feature = "std", test))]
extern crate std;

mod address;
mod address_index;
mod class;
mod env_file;
mod host_entry;
mod id_map;
mod liveness;
mod machine_id;
mod name;
mod path;

#[cfg(feature = "std")]
mod directory;
#[cfg(feature = "std")]
mod error;
#[cfg(feature = "std")]
mod processes;
#[cfg(feature = "std")]
mod record;

pub use address::Address;
pub use address_index::address_link;
pub use class::Class;
pub use host_entry::{AddressSink, AddressState, ClassState, HostEntry, HostScan};
pub use id_map::{IdRange, map_to_host, map_to_machine, parse_kernel_map};
pub use liveness::{LeaderIdentity, OpenError, Processes, is_alive, start_time_of_stat};
pub use machine_id::MachineId;
pub use name::{HOST_NAME, MachineName, NameRule};
pub use path::{ADDRESS_DIRECTORY, DERIVED_DIRECTORY, MACHINE_DIRECTORY, Path, record_path};

#[cfg(feature = "std")]
pub use directory::{Directory, Names};
#[cfg(feature = "std")]
pub use env_file::pairs as parse_env_file;
#[cfg(feature = "std")]
pub use error::Error;
#[cfg(feature = "std")]
pub use processes::KernelProcesses;
#[cfg(feature = "std")]
pub use record::{Addresses, Process, Record};

/// The largest record a reader accepts, in bytes. A larger file is damaged, and a writer must stay below it.
pub const RECORD_MAX: usize = 64 * 1024;
