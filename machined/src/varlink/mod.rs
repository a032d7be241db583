//! The Varlink server: what its messages and descriptions say, and where they come from.

pub mod admission;
pub mod errno;
pub mod error_reply;
pub mod idl;
pub mod inbox;
pub mod listen;
pub mod message;
pub mod peer;
mod socket;
pub mod validate;
