//! The registry daemon.

mod addresses;
mod announcements;
mod authorization;
mod bus;
mod cli;
mod daemon;
mod dbus;
mod error;
mod eviction;
mod group;
mod host;
mod host_names;
mod image_workers;
mod inside;
mod jobs;
mod journal;
mod late_maps;
mod machines;
mod operations;
mod os_release;
mod own_process;
mod places;
mod predecessors;
mod publisher;
mod restore;
mod spare_memory;
mod start;
mod subscription;
mod systemd;
mod unit_part;
mod user;
mod vacancy;
mod varlink;
mod watch;

use service_manager::log;
pub use start::main;
