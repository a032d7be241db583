//! From the command line to a running service, and to its end.

use std::io::ErrorKind;
use std::path::Path;
use std::process::ExitCode;
use std::rc::Rc;

use clap::Parser;
use closer::Closer;
use service_manager::{
    EndSignals, Failure, exit_status, give_large_memory_back, raise_descriptor_limit, ready, sockets,
    stopping, watchdog,
};
use varlink_server::{Listener, Server, Settings, listen_at, listen_on};

use crate::cli::Options;
use crate::mark::mark;
use crate::privileges;
use crate::varlink::{ABOUT, interface};

/// Where userdb looks for the service. The last part is its name.
pub const SOCKET: &str = "/run/systemd/userdb/io.systemd.Machine";

/// Runs the service until it is told to stop.
pub fn main() -> ExitCode {
    let options = Options::parse();
    options.log.start("userdb-machined");
    give_large_memory_back();
    if options.mark_socket {
        mark(Path::new(SOCKET));
        return ExitCode::SUCCESS;
    }
    // Before there is anything that it must not have.
    let closer = closer::start();
    let closer =
        closer.map_err(|error| Failure::new("cannot start the process that closes descriptors", error));
    exit_status(closer.and_then(|closer| service_manager::run(run(closer))))
}

async fn run(closer: Closer) -> Result<(), Failure> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    // One descriptor per connection.
    raise_descriptor_limit();
    let mut end = EndSignals::handle()?;
    let listeners = listeners()?;
    privileges::give_up()?;

    let interfaces = vec![interface()];
    // Who calls makes no difference, but for the limits of each user.
    let settings = Settings { pidfds: false, closer: Some(closer), ..Settings::of_process() };
    let server = Server::new(Rc::new(()), ABOUT, interfaces, settings)
        .map_err(|error| Failure::new("interface descriptions do not fit", error))?;
    for listener in listeners {
        tokio::task::spawn_local(server.clone().serve(listener));
    }
    ready();
    tokio::select! {
        () = watchdog() => {}
        () = end.came() => {}
    }
    stopping();
    Ok(())
}

/// The sockets that systemd made, if it did; otherwise one made here.
fn listeners() -> Result<Vec<Listener>, Failure> {
    let passed = sockets()?;
    if passed.is_empty() {
        let socket = Path::new(SOCKET);
        let listener = listen_at(socket).map_err(|error| {
            let hint = if error.kind() == ErrorKind::PermissionDenied { " (is this root?)" } else { "" };
            Failure::new(format!("cannot listen at {SOCKET}{hint}"), error)
        })?;
        mark(socket);
        return Ok(vec![listener]);
    }
    let adopt = |fd| listen_on(fd).map_err(|error| Failure::new("cannot take over a socket", error));
    passed.into_iter().map(adopt).collect()
}
