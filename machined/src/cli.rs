//! The command line.

use std::time::Duration;

use clap::{CommandFactory, Parser, ValueEnum};
use service_manager::log::LogOptions;

use crate::bus::Which;

/// Registry daemon for the containers and virtual machines of this host.
///
/// Serves Varlink on /run/systemd/machine/io.systemd.Machine and publishes one record per machine in
/// /run/systemd/machines, from which libnss_mymachines.so.2 answers. Needs root, or a user namespace in which it is
/// root; with --user it is the registry of one user's own machines, and needs neither. With systemd it is started by machined.service; without, start it from any supervisor: it stays in the
/// foreground and ends on SIGTERM.
#[derive(Debug, Parser)]
#[command(name = "machined", version, after_help = EXIT_STATUS)]
pub struct Options {
    #[command(flatten)]
    pub log: LogOptions,
    /// How long a machine that is told to terminate has before it is killed
    #[arg(
        long,
        value_name = "SECONDS",
        default_value = "10",
        value_parser = seconds,
        allow_negative_numbers = true
    )]
    pub grace: Duration,
    /// The bus to join when it is there, or none; by default the system bus, with --user that of the session
    #[arg(long, value_name = "BUS")]
    pub bus: Option<BusChoice>,
    /// Print the description of the D-Bus object at PATH, or for list all paths and interfaces, and end
    #[arg(long, value_name = "PATH")]
    pub bus_introspect: Option<String>,
    /// Keep the registry of this user's own machines, below $XDG_RUNTIME_DIR, and serve nobody else
    #[arg(long)]
    pub user: bool,
}

impl Options {
    /// Which bus is to be joined, if one is.
    ///
    /// # Errors
    /// What is asked for does not fit together.
    pub fn bus(&self) -> Result<Option<Which>, clap::Error> {
        let refused = |bus| {
            let text = format!("--bus={bus} is for another daemon than --user says");
            Self::command().error(clap::error::ErrorKind::ArgumentConflict, text)
        };
        match (self.bus, self.user) {
            (Some(BusChoice::No), _) => Ok(None),
            (Some(BusChoice::System) | None, false) => Ok(Some(Which::System)),
            (Some(BusChoice::Session) | None, true) => Ok(Some(Which::Session)),
            (Some(BusChoice::System), true) => Err(refused("system")),
            (Some(BusChoice::Session), false) => Err(refused("session")),
        }
    }
}

const EXIT_STATUS: &str = "Exit status: 0 when stopped by SIGTERM or SIGINT; 1 when it cannot start or go on, \
with the reason on standard error; 2 for a wrong command line.";

/// What `--bus` takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum BusChoice {
    /// The system bus, where org.freedesktop.machine1 is served and systemd is spoken to.
    System,
    /// The bus of the user's session, where org.freedesktop.machine1 is served. For --user.
    Session,
    /// None: no D-Bus clients, no scopes of systemd's, root and owners only.
    No,
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "not a number of seconds".to_owned())?;
    Duration::try_from_secs_f64(seconds)
        .ok()
        .filter(|time| *time <= Duration::from_secs(3600))
        .ok_or_else(|| "not from 0 to 3600 seconds".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Options::command().debug_assert();
    }

    #[test]
    fn a_users_daemon_is_on_the_users_bus_and_the_systems_on_the_systems() {
        let bus = |words: &[&str]| {
            let words = ["machined"].into_iter().chain(words.iter().copied());
            Options::try_parse_from(words).unwrap().bus().map_err(|error| error.kind())
        };
        assert_eq!(bus(&[]), Ok(Some(Which::System)));
        assert_eq!(bus(&["--bus=system"]), Ok(Some(Which::System)));
        assert_eq!(bus(&["--user"]), Ok(Some(Which::Session)));
        assert_eq!(bus(&["--user", "--bus=session"]), Ok(Some(Which::Session)));
        assert_eq!(bus(&["--user", "--bus=no"]), Ok(None));
        for words in [["--user", "--bus=system"].as_slice(), &["--bus=session"]] {
            assert_eq!(bus(words), Err(clap::error::ErrorKind::ArgumentConflict), "{words:?}");
        }
    }

    #[test]
    fn a_grace_is_a_number_of_seconds() {
        assert_eq!(seconds("0.5"), Ok(Duration::from_millis(500)));
        for bad in ["", "x", "-1", "3601", "nan", "inf"] {
            assert!(seconds(bad).is_err(), "{bad}");
        }
        let error = Options::try_parse_from(["machined", "--grace", "-1"]).unwrap_err().to_string();
        assert!(error.contains("not from 0 to 3600 seconds"), "{error}");
    }
}
