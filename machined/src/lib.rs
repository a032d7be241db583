//! The registry daemon.

pub mod addresses;
