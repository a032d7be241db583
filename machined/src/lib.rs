//! The registry daemon.
pub mod authorization;
pub mod error;
pub mod group;
pub mod log;
pub mod machines;
pub mod os_release;
pub mod publisher;
pub mod watch;
