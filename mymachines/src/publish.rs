//! `publish`: the names of this host's machines, where other hosts find them.

use std::sync::mpsc;

use registry::sha256;

use crate::cli;
use crate::failure::Failure;

mod machines;
pub mod name;
pub mod network;
mod ownership;
mod plan;
mod publisher;
pub mod server;
mod zone;

use ownership::Host;
use publisher::{Publisher, Settings};
use server::Server;

/// Publishes until it is ended.
///
/// # Errors
/// Why it cannot go on.
pub fn publish(options: &cli::Publish) -> Result<u8, Failure> {
    match &options.place {
        cli::Place::Dns(options) => dns(options),
    }
}

fn dns(options: &cli::PublishDns) -> Result<u8, Failure> {
    let server = Server::new(options.server.clone(), options.key.clone())?;
    let settings = Settings {
        zone: options.zone.clone(),
        networks: options.networks.clone(),
        reverse: options.reverse_zones.clone(),
        host: host(options.host.as_deref())?,
        id: id(),
        expiry: options.expiry,
        ttl: options.ttl,
        is_verbose: options.verbose,
    };
    let publisher = Publisher::new(settings, server, run()?);
    if options.withdraw {
        return publisher.withdraw();
    }
    let (listener, stream) = mpsc::channel();
    machines::follow(listener);
    publisher.publish(&stream)
}

/// What this host is called in the zone.
fn host(given: Option<&str>) -> Result<Host, Failure> {
    let own = rustix::system::uname();
    let own = own.nodename().to_string_lossy();
    let name = given.unwrap_or_else(|| own.split('.').next().unwrap_or_default());
    Host::new(name).map_err(|rule| {
        Failure::with_hint(
            format!("'{}' cannot be the name of this host in the zone: {rule}", name.escape_debug()),
            "--host gives it one: letters, digits and hyphens",
        )
    })
}

/// A number that this host has for itself, from which its machine id cannot be told; see machine-id(5).
fn id() -> u64 {
    let places = ["/etc/machine-id", "/var/lib/dbus/machine-id"];
    let machine = places.iter().find_map(|place| std::fs::read_to_string(place).ok()).unwrap_or_default();
    let [first, second, ..] = sha256(format!("mymachines publish dns\n{}", machine.trim()).as_bytes());
    u64::from(first) << 32 | u64::from(second)
}

/// A number that no other run has.
fn run() -> Result<u64, Failure> {
    const SOURCE: &str = "/proc/sys/kernel/random/uuid";
    let text = std::fs::read_to_string(SOURCE)
        .map_err(|error| Failure::new(format!("cannot read {SOURCE}: {error}")))?;
    let [first, second, ..] = sha256(text.as_bytes());
    Ok(u64::from(first) << 32 | u64::from(second))
}
