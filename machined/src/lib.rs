//! The registry daemon.
