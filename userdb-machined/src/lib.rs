//! The userdb provider: `io.systemd.UserDatabase` for the users and groups of machines.
//!
//! Every answer comes from the published records, by way of [`registry`], and no daemon is asked. So this service needs no
//! privilege, keeps nothing, and can be ended at any time.

mod answer;
mod cli;
mod filter;
mod fuzzy;
mod mark;
mod privileges;
mod query;
mod record;
mod start;
mod user_name;
mod varlink;

pub use start::main;
