//! The Varlink server: what its messages and descriptions say.

pub mod errno;
pub mod error_reply;
pub mod idl;
pub mod message;
pub mod validate;
