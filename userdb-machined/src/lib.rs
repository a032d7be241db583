//! The userdb provider: `io.systemd.UserDatabase` for the users and groups of machines.
//!
//! Every answer comes from the published records, by way of [`registry`], and no daemon is asked. So this service needs no
//! privilege, keeps nothing, and can be ended at any time.

pub mod answer;
pub mod cli;
pub mod filter;
mod fuzzy;
pub mod mark;
mod privileges;
pub mod query;
pub mod record;
mod start;
mod user_name;
pub mod varlink;

pub use start::main;
