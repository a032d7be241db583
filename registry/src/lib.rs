//! The published registry of a host's machines.
//!
//! A machine is one file, `/run/systemd/machines/NAME`: its *record*. Whoever wants to know something about a
//! machine reads that file; the daemon is its only writer. This crate is the format of the record and of what
//! is derived from it, the rules for what stands in it, and the question whether the machine still lives.
//!
//! Without the feature `std` the crate allocates nothing and has no panic path that survives optimisation: it is the
//! core of the NSS module, which runs inside every process of the host. With the feature `libc` it asks the kernel, too: the
//! `calls` that the module and libmachine have in common; without both it calls nothing of the C library.
//! With it come the owned [`Record`] with its parse and emit pair, and the [`Directory`] that holds the records.

#![no_std]

#[cfg(any(feature = "std", test))]
extern crate std;

mod address;
mod address_index;
mod address_source;
#[cfg(feature = "libc")]
pub mod calls;
mod case_index;
mod class;
mod decimal;
mod env_file;
mod files;
mod group_index;
mod id_fields;
mod id_index;
mod id_lookup;
mod id_map;
mod id_name;
mod key;
mod leader_index;
mod liveness;
mod machine_id;
mod name;
mod owner;
mod path;
mod record_scan;
mod sha256;
mod text;

#[cfg(feature = "std")]
mod addresses_line;
#[cfg(feature = "std")]
mod directory;
#[cfg(feature = "std")]
mod error;
#[cfg(feature = "std")]
mod kernel_files;
#[cfg(feature = "std")]
mod listed_addresses;
#[cfg(feature = "std")]
mod processes;
#[cfg(feature = "std")]
mod record;

#[cfg(test)]
mod fuzz;

pub use address::Address;
pub use address_index::{AddressHolder, SHARED_ADDRESS, address_holder, address_link};
#[cfg(feature = "std")]
pub use address_source::Sources;
pub use address_source::{AddressSource, source_at};
pub use case_index::{asked_name, machine_in_any_case, name_link};
pub use class::Class;
pub use decimal::{Decimal, parse_decimal};
pub use env_file::{Lexer as EnvLexer, Sink as EnvSink, trim_key};
pub use files::{FileError, Files, RecordError, linked_machine, read_record};
pub use group_index::group_link;
pub use id_fields::{HOME, NO_LOGIN, NOBODY};
pub use id_index::{IdList, WIDE};
pub use id_lookup::{LookupError, MappedId, mapped_id_by_id, mapped_id_by_name};
pub use id_map::{
    FIRST_MACHINE_ID, IdKind, IdRange, is_valid_id, map_to_host, map_to_machine, parse_kernel_map,
};
pub use id_name::{Alias, IdName};
pub use key::Key;
pub use leader_index::{ANCESTORS_MAX, leader_link, leader_only_link};
pub use liveness::{LeaderIdentity, OpenError, ProcessStat, Processes, is_alive, start_time_of_stat};
pub use machine_id::MachineId;
pub use name::{HOST_NAME, MachineName, NameRule};
pub use path::{
    ADDRESS_DIRECTORY, ALIAS_DIRECTORY, DERIVED_DIRECTORY, GID_DIRECTORY, GROUP_DIRECTORY, LEADER_DIRECTORY,
    MACHINE_DIRECTORY, NAME_DIRECTORY, Path, UID_DIRECTORY, record_path,
};
pub use record_scan::{AddressState, ClassState, Item, RecordHead, RecordScan, RecordSink};
pub use sha256::sha256;
pub use text::Text;

#[cfg(feature = "std")]
pub use directory::{Directory, Names};
#[cfg(feature = "std")]
pub use env_file::pairs as parse_env_file;
#[cfg(feature = "std")]
pub use error::Error;
#[cfg(feature = "std")]
pub use id_index::list_text;
#[cfg(feature = "std")]
pub use kernel_files::KernelFiles;
#[cfg(feature = "std")]
pub use listed_addresses::ListedAddresses;
#[cfg(feature = "std")]
pub use processes::KernelProcesses;
#[cfg(feature = "std")]
pub use record::{Addresses, Process, Record, Resolution};

/// The largest record a reader accepts, in bytes. A larger file is damaged, and a writer must stay below it.
pub const RECORD_MAX: usize = 64 * 1024;
