//! The registry daemon.

pub mod varlink;
