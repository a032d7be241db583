//! The registry daemon.

pub mod addresses;
pub mod authorization;
pub mod daemon;
pub mod error;
pub mod group;
pub mod log;
pub mod machines;
pub mod operations;
pub mod os_release;
pub mod publisher;
pub mod varlink;
pub mod watch;
