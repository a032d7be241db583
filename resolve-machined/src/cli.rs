//! The command line.

use clap::Parser;
use service_manager::log::LogOptions;

/// Tells systemd-resolved the names and addresses of the machines of this host.
///
/// Serves io.systemd.Resolve.Hook from the records in /run/systemd/machines; machined is not asked. It takes its socket,
/// /run/systemd/resolve.hook/io.systemd.Machine, from systemd (resolve-machined.socket), and makes none.
#[derive(Debug, Parser)]
#[command(name = "resolve-machined", version, after_help = EXIT_STATUS)]
pub struct Options {
    #[command(flatten)]
    pub log: LogOptions,
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
