//! The name server, by the programs that come with BIND and speak to any: dig(1) reads a zone, nsupdate(1) changes it, and both
//! sign what they send by the key.

use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Write};
use std::net::IpAddr;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::str::FromStr;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::name::DnsName;
use super::zone::{Record, Zone};
use crate::failure::Failure;

/// How long a program has; each gives the server up before.
const PATIENCE: Duration = Duration::from_secs(30);
/// The port of name servers.
const PORT: u16 = 53;

/// Where a name server is: an address, or a name that this host's resolver knows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    host: String,
    port: u16,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let host = |text: &str| match text.parse::<IpAddr>() {
            Ok(address) => Ok(address.to_string()),
            Err(_) => DnsName::new(text).map(|name| name.to_string()).map_err(|rule| rule.to_string()),
        };
        let port = |text: &str| {
            text.parse().ok().filter(|&port| port != 0).ok_or_else(|| format!("'{text}' is no port"))
        };
        if text.parse::<IpAddr>().is_ok() {
            return Ok(Self { host: host(text)?, port: PORT });
        }
        if let Some((address, rest)) = text.strip_prefix('[').and_then(|text| text.split_once(']')) {
            let number = if rest.is_empty() { PORT } else { port(rest.strip_prefix(':').unwrap_or(rest))? };
            return Ok(Self { host: host(address)?, port: number });
        }
        match text.split_once(':') {
            Some((name, number)) => Ok(Self { host: host(name)?, port: port(number)? }),
            None => Ok(Self { host: host(text)?, port: PORT }),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.port {
            PORT => f.write_str(&self.host),
            port if self.host.contains(':') => write!(f, "[{}]:{port}", self.host),
            port => write!(f, "{}:{port}", self.host),
        }
    }
}

/// Why the server did not do what it was asked for.
#[derive(Debug)]
pub enum Trouble {
    /// It does not answer.
    Away(String),
    /// It does not want to: what it says, or what is known of that.
    Refused(String),
    /// A prerequisite of an update does not hold.
    NotAsSeen,
    /// A program that is needed is not there, or the key cannot be read.
    Here(Failure),
}

/// A name server.
#[derive(Debug)]
pub struct Server {
    place: Place,
    key: PathBuf,
}

impl Server {
    /// The server at this place, and the key for it.
    ///
    /// # Errors
    /// What is missing on this host.
    pub fn new(place: Place, key: PathBuf) -> Result<Self, Failure> {
        let server = Self { place, key };
        server.check_key()?;
        for program in [DIG, NSUPDATE] {
            server.run(program, [OsStr::new("-v")], "").map_err(|trouble| match trouble {
                Trouble::Here(failure) => failure,
                _ => Failure::new(format!("{program} does not end")),
            })?;
        }
        Ok(server)
    }

    /// Both programs go on without a key that they cannot read.
    fn check_key(&self) -> Result<(), Failure> {
        std::fs::read(&self.key).map(drop).map_err(|error| {
            Failure::with_hint(
                format!("cannot read the key {}: {error}", self.key.display()),
                "tsig-keygen NAME makes one, which the server has to have too",
            )
        })
    }

    /// Reads a whole zone.
    ///
    /// # Errors
    /// [`Trouble`], but for `NotAsSeen`.
    pub fn transfer(&self, zone: &DnsName) -> Result<Zone, Trouble> {
        let output = self.dig(&[zone.as_str(), "AXFR"])?;
        let text = String::from_utf8_lossy(&output.stdout);
        Zone::read(zone, &text).ok_or_else(|| {
            let reason = text.lines().find(|line| line.starts_with(";;")).unwrap_or_default();
            let reason = reason.trim_start_matches([';', ' ']);
            if reason.contains("tsig indicates error") {
                return Trouble::Refused(format!(
                    "the server does not take the key for {zone}: {reason}; {KEY_HINT}"
                ));
            }
            Trouble::Refused(format!("the server does not tell what is in {zone}; {TRANSFER_HINT}"))
        })
    }

    /// The zones of the server's that these names are in.
    ///
    /// # Errors
    /// [`Trouble`], but for `NotAsSeen`.
    pub fn zones_of(&self, names: &[DnsName]) -> Result<Vec<DnsName>, Trouble> {
        let mut arguments = vec!["+authority", "+norecurse"];
        for name in names {
            arguments.extend(["-q", name.as_str(), "-t", "SOA"]);
        }
        let output = self.dig(&arguments)?;
        let mut zones: Vec<DnsName> = String::from_utf8_lossy(&output.stdout)
            .lines()
            .filter_map(Record::read)
            .filter(|record| record.kind == "SOA")
            .filter_map(|record| DnsName::new(record.name).ok())
            // What all addresses have in common is nobody's own.
            .filter(|zone| zone.labels() > 2)
            .filter(|zone| names.iter().any(|name| name == zone || name.is_below(zone)))
            .collect();
        zones.sort_unstable();
        zones.dedup();
        Ok(zones)
    }

    /// Sends an update.
    ///
    /// # Errors
    /// [`Trouble`].
    pub fn update(&self, script: &str) -> Result<(), Trouble> {
        let port = self.place.port;
        let text = format!("server {} {port}\n{script}", self.place.host);
        let arguments =
            [OsStr::new("-v"), OsStr::new("-t"), OsStr::new("20"), OsStr::new("-k"), self.key.as_os_str()];
        self.check_key().map_err(Trouble::Here)?;
        let output = self.run(NSUPDATE, arguments, &text)?;
        self.check_key_was_read(&output)?;
        if output.status.success() {
            return Ok(());
        }
        let told = String::from_utf8_lossy(&output.stderr);
        let code = told.lines().find_map(|line| line.strip_prefix("update failed: "));
        match code.map(str::trim) {
            Some("YXDOMAIN" | "NXDOMAIN" | "YXRRSET" | "NXRRSET") => Err(Trouble::NotAsSeen),
            Some(code) => Err(Trouble::Refused(explained(code))),
            None => Err(Trouble::Away(first_line(&told))),
        }
    }

    fn dig(&self, more: &[&str]) -> Result<Output, Trouble> {
        let (port, server) = (self.place.port.to_string(), format!("@{}", self.place.host));
        let mut arguments: Vec<&OsStr> = vec![OsStr::new("-r"), OsStr::new("-k"), self.key.as_os_str()];
        let usual = ["-p", &port, &server, "+noall", "+answer", "+time=10", "+tries=1", "+nomultiline"];
        arguments.extend(usual.iter().chain(more).map(OsStr::new));
        self.check_key().map_err(Trouble::Here)?;
        let output = self.run(DIG, arguments, "")?;
        self.check_key_was_read(&output)?;
        // 9: no answer.
        if output.status.code() == Some(9) {
            let told = String::from_utf8_lossy(&output.stdout);
            return Err(Trouble::Away(first_line(&told)));
        }
        Ok(output)
    }

    fn check_key_was_read(&self, output: &Output) -> Result<(), Trouble> {
        let told = String::from_utf8_lossy(&output.stderr);
        let wrong = told.lines().find(|line| line.contains("read key"));
        match wrong {
            Some(line) => Err(Trouble::Here(Failure::with_hint(
                format!("{} is no key: {line}", self.key.display()),
                "tsig-keygen NAME makes one, which the server has to have too",
            ))),
            None => Ok(()),
        }
    }

    /// Runs a program to its end, with this text to read.
    fn run<'a>(
        &self,
        program: &str,
        arguments: impl IntoIterator<Item = &'a OsStr>,
        text: &str,
    ) -> Result<Output, Trouble> {
        let failed = |error: io::Error| {
            Trouble::Here(Failure::with_hint(
                format!("cannot run {program}: {error}"),
                "it is in the package bind9-dnsutils (bind-utils, bind-tools or bind elsewhere)",
            ))
        };
        let path = std::env::var_os("PATH").unwrap_or_else(|| "/usr/bin:/bin".into());
        let mut child = Command::new(program)
            .args(arguments)
            .env_clear()
            .env("PATH", path)
            .env("LC_ALL", "C")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let id = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let id = id.and_then(|id| pidfd_open(id, PidfdFlags::empty()).ok());
        let (done, waits) = mpsc::channel();
        let text = text.to_owned();
        thread::spawn(move || {
            if let Some(mut input) = child.stdin.take() {
                // One that has ended meanwhile says why.
                let _ = input.write_all(text.as_bytes());
            }
            let _ = done.send(child.wait_with_output());
        });
        match waits.recv_timeout(PATIENCE) {
            Ok(output) => output.map_err(failed),
            Err(_) => {
                if let Some(id) = id {
                    let _ = pidfd_send_signal(&id, Signal::KILL);
                }
                Err(Trouble::Away(format!("{program} took more than {} s", PATIENCE.as_secs())))
            }
        }
    }
}

impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.fmt(f)
    }
}

const DIG: &str = "dig";
const NSUPDATE: &str = "nsupdate";
const KEY_HINT: &str = "has it this key, of this name, and the right time?";
const TRANSFER_HINT: &str = "has it the zone, and does it let the key transfer it? BIND: allow-transfer { key NAME; }, Knot: an acl with action [transfer, update]";

fn first_line(text: &str) -> String {
    let line = text.lines().find(|line| !line.is_empty()).unwrap_or("no answer");
    line.trim_start_matches([';', ' ']).to_owned()
}

/// What an update's response code means, RFC 2136, and what to do about it.
fn explained(code: &str) -> String {
    let hint = match code {
        "REFUSED" => {
            "does it let the key update the zone? BIND: allow-update { key NAME; }, Knot: an acl with action [transfer, update]"
        }
        "NOTAUTH" | "NOTZONE" => "is it the primary server of the zone?",
        "SERVFAIL" => "its log says why",
        code if code.starts_with("NOTAUTH(") => {
            "has it this key, of this name, and the right time? Knot says this, too, where no acl lets the key update the zone"
        }
        _ => "its log may say why",
    };
    format!("the server answers {}: {hint}", code.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_an_address_or_a_name_and_may_have_a_port() {
        for (text, host, port) in [
            ("10.0.0.1", "10.0.0.1", 53),
            ("10.0.0.1:5353", "10.0.0.1", 5353),
            ("2001:db8::1", "2001:db8::1", 53),
            ("[2001:db8::1]", "2001:db8::1", 53),
            ("[2001:db8::1]:5353", "2001:db8::1", 5353),
            ("ns.Example.", "ns.example", 53),
            ("ns.example:5353", "ns.example", 5353),
        ] {
            assert_eq!(text.parse(), Ok(Place { host: host.into(), port }), "{text}");
        }
        for text in ["", "-x", "a b", "ns:x", "ns:0", "ns:70000", "ns\nsend", "[::1", "[::1]x", "@ns", ":53"]
        {
            assert!(text.parse::<Place>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_key_that_is_not_there_is_said_at_once() {
        let place = "10.0.0.1".parse().unwrap();
        let failure = Server::new(place, "/nonexistent/key".into()).unwrap_err();
        assert!(failure.to_string().starts_with("cannot read the key /nonexistent/key"), "{failure}");
    }
}
