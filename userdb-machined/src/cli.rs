//! The command line.

use clap::Parser;
use service_manager::log::LogOptions;

/// Tells userdb whose the uids and gids of the containers of this host are.
///
/// Serves io.systemd.UserDatabase on /run/systemd/userdb/io.systemd.Machine, for userdbctl, nss-systemd and
/// systemd-userdbd, from the records in /run/systemd/machines; machined is not asked. With systemd it is started by
/// userdb-machined.socket; without, start it as root from any supervisor: it makes its socket, becomes nobody, stays in
/// the foreground and ends on SIGTERM.
#[derive(Debug, Parser)]
#[command(name = "userdb-machined", version, after_help = EXIT_STATUS)]
pub struct Options {
    #[command(flatten)]
    pub log: LogOptions,
    /// Serve nothing; note on the socket which users and groups it is about, where the kernel can do that
    #[arg(long)]
    pub mark_socket: bool,
}

const EXIT_STATUS: &str = "Exit status: 0 when stopped by SIGTERM or SIGINT; 1 when it cannot start or go on, \
with the reason on standard error; 2 for a wrong command line.";

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }
}
