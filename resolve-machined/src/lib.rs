//! The hook of systemd-resolved: `io.systemd.Resolve.Hook` for the names and addresses of machines.
//!
//! Every answer comes from the published records, by way of [`registry`], and no daemon is asked. Where there is any trouble
//! the answer is that this hook knows nothing, and systemd-resolved goes on without it.

pub mod answer;
pub mod cli;
pub mod domains;
mod host;
pub mod question;
mod start;
mod varlink;
mod watch;

pub use start::main;
