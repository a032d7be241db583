//! The hook of systemd-resolved: `io.systemd.Resolve.Hook` for the names and addresses of machines.
//!
//! Every answer comes from the published records, by way of [`registry`], and no daemon is asked. Where there is any trouble
//! the answer is that this hook knows nothing, and systemd-resolved goes on without it.

mod answer;
mod cli;
mod domains;
mod host;
mod question;
mod start;
mod varlink;
mod watch;

pub use start::main;
