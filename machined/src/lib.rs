//! The registry daemon.

pub mod addresses;
mod announcements;
pub mod authorization;
pub mod bus;
pub mod cli;
pub mod daemon;
pub mod dbus;
pub mod error;
pub mod eviction;
pub mod group;
pub mod host;
pub mod journal;
pub mod late_maps;
pub mod machines;
pub mod operations;
pub mod os_release;
pub mod place;
pub mod predecessors;
pub mod publisher;
pub mod restore;
pub mod root_directory;
pub mod spare_memory;
mod start;
pub mod systemd;
pub mod varlink;
pub mod watch;

use service_manager::log;
pub use start::main;
